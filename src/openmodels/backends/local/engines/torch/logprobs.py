"""Log probabilities of an answer's tokens.

They are computed from the model's own scores, before penalties, temperature, top_k, top_p or a grammar change them, as
OpenAI and, by default, vLLM and llama.cpp report them. So a token may be chosen that is not among the likeliest, and
the numbers of two calls can be compared, however each samples.
"""

import math
from collections import deque
from typing import Any

import torch

from openmodels.backends.local.detokenizer import TokenTexts
from openmodels.types.reply import TokenLogprob


class LogprobCollector:
    """Collects the log probabilities of one answer's tokens.

    At each place `top_logprobs` of the likeliest are listed.
    """

    def __init__(self, tokenizer: Any, top_logprobs: int) -> None:
        self._texts = TokenTexts(tokenizer)
        self._top_logprobs = top_logprobs
        self._pending: deque[tuple[int, TokenLogprob]] = deque()
        self._size = 0

    def add(self, token: int, scores: torch.Tensor | None, size: int) -> None:
        """Add the chosen token, which completes `size` characters of the answer.

        The model's raw scores have the shape (vocabulary,) and any float type; they are None where a grammar left no
        choice, so that the token is certain and was not computed.
        """
        logprob = 0.0
        top: tuple[tuple[str, float], ...] = ((self._texts[token], 0.0),) if self._top_logprobs else ()
        if scores is not None:
            logprobs = scores.float().log_softmax(dim=-1)
            logprob = float(logprobs[token])
            best = logprobs.topk(min(self._top_logprobs, logprobs.numel()))
            ids, values = best.indices.tolist(), best.values.tolist()
            top = tuple(
                (self._texts[other], value) for other, value in zip(ids, values, strict=True) if value > -math.inf
            )
        self._pending.append((self._size, TokenLogprob(self._texts[token], logprob, top)))
        self._size += size

    def take_until(self, size: int | None) -> tuple[TokenLogprob, ...]:
        """Remove and return the tokens of the first `size` characters; None is all."""
        logprobs = []
        while self._pending and (size is None or self._pending[0][0] < size):
            logprobs.append(self._pending.popleft()[1])
        return tuple(logprobs)
