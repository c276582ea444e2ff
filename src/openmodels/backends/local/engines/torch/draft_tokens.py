"""Guessing the next tokens, for the model to check in one step.

Two ways: from what the text already says, for an answer that copies (a summary with quotes, an
edited file) goes on as the text went on where the last few tokens stood before; and by a smaller
model, where the caller names one. A guess that the model would not have made is thrown away, so
only the speed depends on it; and a request whose guesses fail stops guessing for a while.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from openmodels.errors import InvalidRequest

_GRAMS = (5, 3)
"""How many of the last tokens must have stood before: the more, the surer the guess."""
_MOST = 24
_PAUSE = 32
"""Tokens without a guess after guesses that were all wrong."""
_REMEMBERED = 8
"""Guessed tokens that tell how the next ones will do, or so."""
_ASKED = 6
"""Tokens that a smaller model is asked for at most: each costs one of its steps."""


class Drafter:
    """Finds where the last tokens of a sequence stood before; else asks a smaller model, where there is one.

    Args:
        tokens: The sequence of tokens; it is read again at every call and only grows.
        assistant: The smaller model, or None.

    Attributes:
        rate: How often a guessed token was right where those before it were, of late; whether or not it was tried.
    """

    def __init__(self, tokens: Sequence[int], assistant: Assistant | None = None) -> None:
        self._tokens = tokens
        self._places: dict[tuple[int, ...], int] = {}
        self._read = 0
        self._found = _Trust(_MOST)
        self._asked = None if assistant is None else _Trust(_ASKED)
        self._assistant = assistant
        self._cache: Any = None
        self._last = self._found
        self.rate = 0.5
        self._guess: list[int] = []
        self._guessed_at = 0

    def propose(self, most: int, *, ask: bool = True) -> list[int]:
        """Return at most `most` tokens that may follow, often none; only the text's own unless `ask`."""
        self._judge()
        self._guess, self._guessed_at = self._find(most, ask=ask), len(self._tokens)
        return list(self._guess)

    def _judge(self) -> None:
        """Take in how the last guess did, by what came instead."""
        for guessed, came in zip(self._guess, self._tokens[self._guessed_at :], strict=False):
            self.rate += ((guessed == came) - self.rate) / _REMEMBERED
            if guessed != came:
                break

    def _find(self, most: int, *, ask: bool) -> list[int]:
        tokens = self._tokens
        # Every place but the end's own, which follows when there is something behind it.
        for end in range(max(_GRAMS[-1], self._read), len(tokens)):
            for gram in _GRAMS:
                self._places[tuple(tokens[max(0, end - gram) : end])] = end
        self._read = len(tokens)
        if not self._found.rests(len(tokens)):
            self._last = self._found
            for gram in _GRAMS:
                if (place := self._places.get(tuple(tokens[-gram:]))) is not None:
                    return list(tokens[place : place + min(self._found.size, most)])
        if not ask or self._assistant is None or self._asked is None or self._asked.rests(len(tokens)):
            return []
        self._last = self._asked
        self._cache, guess = self._assistant.guess(tokens, min(self._asked.size, most), self._cache)
        return guess

    def learn(self, guessed: int, right: int) -> None:
        """Take in how many of the guessed tokens were right: guess more, fewer, or pause."""
        self._last.learn(guessed, right, len(self._tokens))


class _Trust:
    """How many tokens to guess, from how many were right before."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.size = 4
        self._until = 0

    def rests(self, length: int) -> bool:
        """Return whether to leave a text of this length alone."""
        return self._until > length

    def learn(self, guessed: int, right: int, length: int) -> None:
        """Take in how many of the guessed tokens were right."""
        if right == guessed:
            self.size = min(self._most, 2 * self.size)
        elif right == 0:
            self.size = max(1, self.size // 2)
            if self.size == 1:
                self._until, self.size = length + _PAUSE, 4
        else:
            self.size = max(2, right + 1)


class Assistant:
    """A smaller model of the same vocabulary that writes ahead of the one that answers.

    Args:
        decoder: Runs it.
        vocabulary: The number of tokens that both models have an embedding for: some tables have spare rows.
    """

    def __init__(self, decoder: Any, vocabulary: int) -> None:
        self._decoder, self._vocabulary = decoder, vocabulary

    def guess(self, tokens: Sequence[int], count: int, cache: Any = None) -> tuple[Any, list[int]]:
        """Return the likeliest tokens to follow, and the cache for the next time.

        Args:
            tokens: The text's tokens so far.
            count: How many to guess.
            cache: What the last call for this text returned; what it holds of guesses that were wrong is dropped.
        """
        sequence = cache
        if sequence is not None:
            known = next(
                (at for at, (a, b) in enumerate(zip(sequence.tokens, tokens, strict=False)) if a != b),
                len(sequence.tokens),
            )
            known = min(known, len(tokens) - 1)
            if (wrong := len(sequence.tokens) - known) and self._decoder.crops:
                sequence.crop(wrong)
            elif wrong:
                sequence = None
        if sequence is None:
            sequence = self._decoder.sequential.begin(tokens)
        text = list(tokens)
        if max(text[len(sequence.tokens) :]) >= self._vocabulary:
            return None, []
        for _ in range(count):
            scores = sequence.extend(text[len(sequence.tokens) :])
            guess = int(scores[0].argmax())
            if guess >= self._vocabulary:
                break
            text.append(guess)
        return sequence, text[len(tokens) :]


def check(draft: Any, tokenizer: Any) -> None:
    """Check that a model can draft for another one.

    Args:
        draft: The smaller model's tokenizer.
        tokenizer: That of the model that answers.

    Raises:
        InvalidRequest: They cut texts into other tokens.
    """
    if draft.get_vocab() != tokenizer.get_vocab():
        raise InvalidRequest(
            "draft: its vocabulary is not that of the model, so its guesses would mean something else.",
            next_step="Choose a smaller model of the same family.",
        )
