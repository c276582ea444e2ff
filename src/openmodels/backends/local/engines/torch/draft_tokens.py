"""Draft tokens for speculative decoding.

A draft is a guess at the next tokens, which the model checks in one step. They come from two sources. The text itself:
an answer that copies (a summary with quotes, an edited file) continues as the text continued where its last few tokens
stood before. And a smaller model, where the caller names one. Only what the model would have chosen is accepted, by
the sequence's own random numbers, so drafts change the speed and never the text; a sequence whose drafts fail stops
drafting for a while.

An answer that copies becomes five times as fast, 16 answers that repeat themselves make 227 instead of 134 tokens/s,
and 16 natural ones as many as without drafts. Whether a draft is worth its time beside others is up to the scheduler.
"""

from collections.abc import Sequence
from typing import Any

from openmodels.backends.local.engines.torch.prefix_cache import common_prefix_length
from openmodels.errors import InvalidRequest

_NGRAM_SIZES = (5, 3)
"""How many of the last tokens must have stood before, the surest first: the longer, the likelier the draft."""
_MAX_FROM_TEXT = 24  # tokens of a draft from the text, at most
_MAX_FROM_MODEL = 6  # tokens of a draft from a smaller model, at most: each costs one of its steps
_PAUSE = 32  # tokens without a draft after drafts that were all wrong
_RATE_WINDOW = 8  # draft tokens over which the acceptance rate is averaged, or so


class Drafter:
    """Proposes draft tokens for a sequence, from its own text or a smaller model.

    The list of the sequence's tokens is read again at every call and only grows.
    """

    def __init__(self, tokens: Sequence[int], model: "DraftModel | None" = None) -> None:
        self._tokens = tokens
        self._ngrams: dict[tuple[int, ...], int] = {}
        self._indexed = 0
        self._text_length = _DraftLength(_MAX_FROM_TEXT)
        self._model_length = _DraftLength(_MAX_FROM_MODEL)
        self._model = model
        self._cache: Any = None
        self._used_length = self._text_length
        # How often a draft token was right where those before it were, of late. Drafts that were not tried count too:
        # the tokens that followed show it for nothing.
        self.acceptance_rate = 0.5
        self._draft: list[int] = []
        self._drafted_at = 0

    def propose(self, limit: int, *, use_model: bool = True) -> list[int]:
        """Return at most `limit` tokens that may follow, often none.

        The smaller model is run where the text itself gives no draft, and with `use_model` alone.
        """
        self._update_acceptance_rate()
        self._draft = self._from_text(limit)
        if not self._draft and use_model:
            self._draft = self._from_model(limit)
        self._drafted_at = len(self._tokens)
        return list(self._draft)

    def record(self, drafted: int, accepted: int) -> None:
        """Adapt the length of the next drafts to how many tokens were accepted."""
        self._used_length.record(drafted, accepted, len(self._tokens))

    def _update_acceptance_rate(self) -> None:
        for drafted, token in zip(self._draft, self._tokens[self._drafted_at :], strict=False):
            self.acceptance_rate += ((drafted == token) - self.acceptance_rate) / _RATE_WINDOW
            if drafted != token:
                break

    def _from_text(self, limit: int) -> list[int]:
        tokens = self._tokens
        # Every place but the end's own, which is indexed once a token follows it.
        for end in range(max(_NGRAM_SIZES[-1], self._indexed), len(tokens)):
            for size in _NGRAM_SIZES:
                self._ngrams[tuple(tokens[max(0, end - size) : end])] = end
        self._indexed = len(tokens)
        if self._text_length.is_paused(len(tokens)):
            return []
        self._used_length = self._text_length
        for size in _NGRAM_SIZES:
            if (place := self._ngrams.get(tuple(tokens[-size:]))) is not None:
                return list(tokens[place : place + min(self._text_length.value, limit)])
        return []

    def _from_model(self, limit: int) -> list[int]:
        if self._model is None or self._model_length.is_paused(len(self._tokens)):
            return []
        self._used_length = self._model_length
        self._cache, draft = self._model.propose(self._tokens, min(self._model_length.value, limit), self._cache)
        return draft


class _DraftLength:
    """How many tokens to draft, from how many were accepted before."""

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self.value = 4
        self._paused_until = 0

    def is_paused(self, length: int) -> bool:
        """Return whether to draft nothing for a text of `length` tokens."""
        return self._paused_until > length

    def record(self, drafted: int, accepted: int, length: int) -> None:
        """Double the length where all were accepted, shorten it or pause where none was."""
        if accepted == drafted:
            self.value = min(self._maximum, 2 * self.value)
        elif accepted == 0:
            self.value = max(1, self.value // 2)
            if self.value == 1:
                self._paused_until, self.value = length + _PAUSE, 4
        else:
            self.value = max(2, accepted + 1)


class DraftModel:
    """A smaller model that writes ahead; both know at least `vocab_size` tokens."""

    def __init__(self, runner: Any, vocab_size: int) -> None:
        self._runner, self._vocab_size = runner, vocab_size

    def propose(self, tokens: Sequence[int], count: int, cache: Any = None) -> tuple[Any, list[int]]:
        """Return the cache for the next call, and the `count` likeliest tokens to follow.

        Of the cache that the last call for this text returned, what it holds of wrong drafts is dropped.
        """
        sequence = cache
        if sequence is not None:
            known = min(common_prefix_length(sequence.tokens, tokens), len(tokens) - 1)
            if (wrong := len(sequence.tokens) - known) and self._runner.can_crop:
                sequence.crop(wrong)
            elif wrong:
                sequence = None
        if sequence is None:
            sequence = self._runner.unbatched.start(tokens)
        text = list(tokens)
        if max(text[len(sequence.tokens) :]) >= self._vocab_size:
            return None, []
        for _ in range(count):
            scores = sequence.extend(text[len(sequence.tokens) :])
            token = int(scores[0].argmax())
            if token >= self._vocab_size:
                break
            text.append(token)
        return sequence, text[len(tokens) :]


def check_vocabulary(draft: Any, tokenizer: Any) -> None:
    """Check by their tokenizers that a smaller model can draft for a model."""
    if draft.get_vocab() != tokenizer.get_vocab():
        raise InvalidRequest(
            "draft: its vocabulary is not that of the model, so its guesses would mean something else.",
            next_step="Choose a smaller model of the same family.",
        )
