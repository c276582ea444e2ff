"""Batches of texts, as large as a server allows, and their joined results."""

from __future__ import annotations

import re
from collections.abc import Sequence

from openmodels.errors import InvalidResponse, OpenModelsError
from openmodels.types.embeddings import Embeddings
from openmodels.types.rankings import Ranking, RerankRequest

_STATUSES = frozenset({400, 413, 422, 500, None})
_ITEMS = r"(inputs?|texts?|documents?|items?|elements?|embeddings|sentences|passages|strings|entries|records)"
_TOO_MANY = re.compile(
    rf"batch|array|(too many|number of) {_ITEMS}|(at most|up to|more than|exceeds?|max(imum)?( of)?) [\d,]+ {_ITEMS}|"
    rf"max(imum)?.{{0,20}} {_ITEMS}|(payload|request|entity|body|content).{{0,20}}too large|too_long|list should have|"
    r"tokens (per|in the|in a|in one) (request|batch)|total.{0,30}tokens",
    re.IGNORECASE,
)
_ONE_TEXT = re.compile(
    r"must have less than \d+ tokens|context length|sequence length|(text|prompt) is too long", re.IGNORECASE
)
_TOO_LARGE = 413
_LIMIT = re.compile(
    r"(?:max\w{0,12}|at most|up to|limit\w{0,12}|"
    r"less than(?: or equal to)?|no more than|not exceed|<=?|≤)\D{0,40}?(\d[\d,]*)",
    re.IGNORECASE,
)


def limit(refusal: str, count: int) -> int | None:
    """Return the number of texts that a refusal allows, or None if not below `count`."""
    if re.search("token", refusal, re.IGNORECASE):
        return None  # the numbers in it count something else
    numbers = [int(number.replace(",", "")) for number in _LIMIT.findall(refusal)]
    return max((number for number in numbers if 0 < number < count), default=None)


class Batches:
    """The batches of one request, in order; they shrink where the server refuses.

    Args:
        count: How many texts there are.
        most: How many the server takes at once, or None where it has not said so.

    Attributes:
        learned: The number that the server has named, once it has.
    """

    def __init__(self, count: int, most: int | None) -> None:
        self.learned: int | None = None
        self._count = count
        self._size = min(count, most or count)
        self._start = 0

    def next(self) -> slice | None:
        """Return the texts to send now, or None at the end."""
        return slice(self._start, min(self._start + self._size, self._count)) if self._start < self._count else None

    def done(self) -> None:
        """Take the batch as answered."""
        self._start = min(self._start + self._size, self._count)

    def is_too_large(self, error: OpenModelsError) -> bool:
        """Return whether an error is about the size of a batch of several texts."""
        words = error.refusal
        if error.status not in _STATUSES or (not words and error.status != _TOO_LARGE):
            return False
        if _ONE_TEXT.search(words) and not re.search("batch|total|per request", words, re.IGNORECASE):
            return False
        return error.status == _TOO_LARGE or _TOO_MANY.search(words) is not None

    def shrink(self, error: OpenModelsError) -> bool:
        """Make the batches smaller; return whether that can help."""
        size = min(self._size, self._count - self._start)
        if size <= 1 or not self.is_too_large(error):
            return False
        self.learned = limit(error.refusal, size)
        self._size = self.learned or size // 2
        return True


def embeddings(parts: Sequence[Embeddings]) -> Embeddings:
    """Return the vectors of several batches as those of one request.

    Raises:
        InvalidResponse: They differ in length.
    """
    if len(parts) == 1:
        return parts[0]
    import numpy as np

    lengths = sorted({part.vectors.shape[1] for part in parts})
    if len(lengths) > 1:
        raise InvalidResponse(f"The batches' vectors have different lengths: {lengths[0]} to {lengths[-1]}.")
    usage = parts[0].usage
    for part in parts[1:]:
        usage += part.usage
    return Embeddings(np.concatenate([part.vectors for part in parts]), usage, parts[0].model)


def ranking(parts: Sequence[tuple[int, Ranking]], request: RerankRequest) -> Ranking:
    """Return the rankings of several batches as that of one request.

    Args:
        parts: Each with the place of its first document.
        request: The whole request.
    """
    if len(parts) == 1:
        return parts[0][1]
    scores = {start + document.index: document.score for start, part in parts for document in part}
    usage = parts[0][1].usage
    for _, part in parts[1:]:
        usage += part.usage
    return Ranking.of(scores, request, usage, parts[0][1].model)
