"""Tokens to text, one token at a time, never half a character."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_HALF = "\ufffd"  # what a decoder makes of bytes that are no whole character yet
_CONTEXT = 6  # tokens of the prompt that tell a decoder whether a space belongs before the first word


class Detokenizer:
    """Decodes a growing sequence at a constant cost per token.

    It continues the tokens of `before`: the prompt of a `complete`.
    """

    def __init__(self, tokenizer: Any, before: Sequence[int] = ()) -> None:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        self._tokenizer = tokenizer if backend is None else backend
        self._options = {"clean_up_tokenization_spaces": False} if backend is None else {}
        self._window = list(before[-_CONTEXT:])
        self._shown = self._decode()
        self._fresh = len(self._window)

    def add(self, token: int) -> str:
        """Return the text that became complete with this token; may be empty."""
        self._window.append(token)
        text = self._decode()
        if text.endswith(_HALF):
            return ""
        new = text[len(self._shown) :]
        # Slide: keep the tokens of this piece as the context of the next one.
        if new:
            self._window = self._window[self._fresh :]
            self._shown = self._decode()
            self._fresh = len(self._window)
        return new

    def flush(self) -> str:
        """Return what was held back, without the bytes that never became a character."""
        return self._decode()[len(self._shown) :].rstrip(_HALF)

    def _decode(self) -> str:
        text: str = self._tokenizer.decode(self._window, skip_special_tokens=True, **self._options)
        return text
