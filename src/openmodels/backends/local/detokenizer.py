"""Tokens to text, one token at a time, never half a character."""

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


class TokenTexts:
    """The texts of single tokens, as they stand within a text."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._texts: dict[int, str] = {}
        # Some tokenizers decode a word with the space before it behind another token, and without it alone.
        self._context: list[int] = tokenizer.encode("a", add_special_tokens=False)[-1:]
        self._context_text = self._decode(self._context)

    def __getitem__(self, token: int) -> str:
        text = self._texts.get(token)
        if text is None:
            text = self._texts[token] = self._decode([*self._context, token])[len(self._context_text) :]
        return text

    def _decode(self, tokens: list[int]) -> str:
        text: str = self._tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text
