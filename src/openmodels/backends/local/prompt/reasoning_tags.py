"""Reasoning of a local model, by the tags that its chat template knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from openmodels.backends.local.prompt import chat_template
from openmodels.output.text_scan import ReasoningSplitter, find_reasoning_tags, opens_reasoning

_END = 24
"""Tokens of the prompt's end in which an opened tag would stand."""


class Thinking:
    """Passes an answer's text on as reasoning or as answer.

    Args:
        tokenizer: A transformers tokenizer; its chat template tells the tags.
        prompt: The prompt's tokens, or None where no template made them: then all is answer.

    Attributes:
        tokens: How many tokens were reasoning, tags included; None for a model without tags.
    """

    def __init__(self, tokenizer: Any, prompt: Sequence[int] | None) -> None:
        tags = (
            None
            if prompt is None or not tokenizer.chat_template
            else find_reasoning_tags(chat_template.get_template(tokenizer))
        )
        self.tokens: int | None = None
        self._splitter: ReasoningSplitter | None = None
        self._hidden: dict[int, str] = {}
        self._undecided = 0  # tokens that may belong to an opening tag
        if tags is None or prompt is None:
            return
        end = tokenizer.decode(list(prompt[-_END:]), skip_special_tokens=False)
        self._splitter = ReasoningSplitter(tags, inside=opens_reasoning(end, tags))
        self.tokens = 0
        # Tags that are control tokens are left out of the decoded text.
        control = tokenizer.added_tokens_decoder
        for tag in tags:
            token = tokenizer.convert_tokens_to_ids(tag)
            if token in control and control[token].special:
                self._hidden[token] = tag

    @property
    def done(self) -> bool:
        """Whether the answer has begun: nothing is reasoning any more."""
        return self._splitter is None or self._splitter.is_over

    def feed(self, text: str, token: int, *, last: bool) -> tuple[str, str]:
        """Return what is reasoning and what is answer of a token's text.

        Args:
            text: The text that became complete with the token.
            token: The token.
            last: Whether it is the last one.
        """
        splitter = self._splitter
        if splitter is None:
            return "", text
        before = splitter.is_inside
        thought, answer = splitter.feed(text + self._hidden.get(token, ""))
        self._undecided += 1
        if self.tokens is not None and (before or splitter.is_inside):
            self.tokens, self._undecided = self.tokens + self._undecided, 0
        if last:
            more, rest = splitter.flush()
            thought, answer = thought + more, answer + rest
        return thought, answer
