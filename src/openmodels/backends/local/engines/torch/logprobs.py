"""How likely tokens were: what `logprobs` asks for.

The scores are the model's own, before penalties, temperature, top_k, top_p or a grammar change them: as
OpenAI and, by default, vLLM and llama.cpp tell them. So a token may be chosen that is not among the
likeliest, and the numbers of two calls can be compared whatever their sampling.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import torch

from openmodels.types.reply import TokenLogprob


class Likelihoods:
    """Measures the tokens of one answer and gives them out with the text they are of.

    Args:
        tokenizer: A transformers tokenizer.
        count: How many likeliest tokens to tell at each place.
    """

    def __init__(self, tokenizer: Any, count: int) -> None:
        self._tokenizer = tokenizer
        self._count = count
        self._texts: dict[int, str] = {}
        self._waiting: deque[tuple[int, TokenLogprob]] = deque()
        self._size = 0
        # Behind another token, some tokenizers decode a word with the space before it, alone without.
        self._before: list[int] = tokenizer.encode("a", add_special_tokens=False)[-1:]
        self._shown = self._decode(self._before)

    def add(self, token: int, scores: torch.Tensor | None, size: int) -> None:
        """Measure a token.

        Args:
            token: The chosen token.
            scores: The model's raw scores at its place, shape (vocabulary,), any float type; None where a
                grammar left no choice, so that nothing was measured and the token is certain.
            size: How many characters of the answer became complete with it.
        """
        chance = 0.0
        top: tuple[tuple[str, float], ...] = ((self._text(token), 0.0),) if self._count else ()
        if scores is not None:
            chances = scores.float().log_softmax(dim=-1)
            chance = float(chances[token])
            best = chances.topk(min(self._count, chances.numel()))
            ids, values = best.indices.tolist(), best.values.tolist()
            top = tuple(
                (self._text(other), value) for other, value in zip(ids, values, strict=True) if value > -math.inf
            )
        self._waiting.append((self._size, TokenLogprob(self._text(token), chance, top)))
        self._size += size

    def until(self, size: int | None) -> tuple[TokenLogprob, ...]:
        """Give out the tokens that begin before a number of characters of the answer; None gives all."""
        out = []
        while self._waiting and (size is None or self._waiting[0][0] < size):
            out.append(self._waiting.popleft()[1])
        return tuple(out)

    def _text(self, token: int) -> str:
        found = self._texts.get(token)
        if found is None:
            found = self._texts[token] = self._decode([*self._before, token])[len(self._shown) :]
        return found

    def _decode(self, tokens: list[int]) -> str:
        text: str = self._tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text
