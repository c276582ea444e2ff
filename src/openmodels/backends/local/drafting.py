"""Guessing the next tokens from what the text already says, for the model to check in one step.

An answer that copies (a summary with quotes, an edited file) goes on as the text went on where the
last few tokens stood before. A guess that the model would not have made is thrown away, so only
the speed depends on it; and a request whose guesses fail stops guessing for a while.
"""

from __future__ import annotations

from collections.abc import Sequence

_GRAM = 3
_MOST = 15
_PAUSE = 32
"""Tokens without a guess after guesses that were all wrong."""


class Drafter:
    """Finds where the last tokens of a sequence stood before.

    Args:
        tokens: The sequence of tokens; it is read again at every call and only grows.
    """

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens = tokens
        self._places: dict[tuple[int, ...], int] = {}
        self._read = 0
        self._size = 4
        self._rest = 0

    def propose(self, most: int) -> list[int]:
        """Return at most `most` tokens that may follow, often none."""
        tokens, gram = self._tokens, _GRAM
        if self._rest > len(tokens):
            return []
        # Every place but the end's own, which follows when there is something behind it.
        for end in range(max(gram, self._read), len(tokens)):
            self._places[tuple(tokens[end - gram : end])] = end
        self._read = len(tokens)
        place = self._places.get(tuple(tokens[-gram:]))
        return [] if place is None else list(tokens[place : place + min(self._size, most)])

    def learn(self, guessed: int, right: int) -> None:
        """Take in how many of the guessed tokens were right: guess more, fewer, or pause."""
        if right == guessed:
            self._size = min(_MOST, 2 * self._size)
        elif right == 0:
            self._size = max(1, self._size // 2)
            if self._size == 1:
                self._rest = len(self._tokens) + _PAUSE
                self._size = 4
        else:
            self._size = max(2, right + 1)
