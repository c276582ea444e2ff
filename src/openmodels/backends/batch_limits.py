"""Batches of texts, as large as a server allows, and their joined results."""

import re
from collections.abc import Iterator, Sequence
from functools import reduce
from operator import add
from typing import Any, Generic, TypeVar

from openmodels.errors import InvalidResponse, OpenModelsError
from openmodels.types.embeddings import Embeddings, EmbedRequest
from openmodels.types.rankings import Ranking, RerankRequest
from openmodels.types.reply import Usage

_Request = TypeVar("_Request", EmbedRequest, RerankRequest)
_Outcome = TypeVar("_Outcome", Embeddings, Ranking)

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


def allowed_count(refusal: str, count: int) -> int | None:
    """Return the number of texts that a refusal allows, or None if not below `count`."""
    if re.search("token", refusal, re.IGNORECASE):
        return None  # the numbers in it count something else
    numbers = [int(number.replace(",", "")) for number in _LIMIT.findall(refusal)]
    return max((number for number in numbers if 0 < number < count), default=None)


class Batches(Generic[_Request, _Outcome]):
    """The batches of one request, in order; they shrink where the server refuses.

    `most` is how many texts the server takes at once, None where it has not said so.
    """

    def __init__(self, request: _Request, most: int | None) -> None:
        self.learned: int | None = None  # the number that the server has named, once it has
        self.parts: list[tuple[int, _Outcome]] = []  # the answers, each with the place of its first text
        self._request: Any = request
        self._count = len(request.texts if isinstance(request, EmbedRequest) else request.documents)
        self._size = min(self._count, most or self._count)
        self._start = 0

    def __iter__(self) -> Iterator[_Request]:
        """Yield the next batch as a request, again until its answer is added."""
        while self._start < self._count:
            yield _part_of(self._request, slice(self._start, self._start + self._size))

    def add(self, outcome: _Outcome) -> None:
        """Take the answer to the batch."""
        self.parts.append((self._start, outcome))
        self._start += self._size

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
        self.learned = allowed_count(error.refusal, size)
        self._size = self.learned or size // 2
        return True


def _part_of(request: Any, part: slice) -> Any:
    if isinstance(request, EmbedRequest):
        return request.model_copy(update={"texts": request.texts[part]})
    documents = request.documents[part]
    top_n = None if request.top_n is None else min(request.top_n, len(documents))
    return request.model_copy(update={"documents": documents, "top_n": top_n})


def join_embeddings(parts: Sequence[tuple[int, Embeddings]]) -> Embeddings:
    """Return the vectors of several batches as those of one request.

    Raises:
        InvalidResponse: They differ in length.
    """
    outcomes = [part for _, part in parts]
    if len(outcomes) == 1:
        return outcomes[0]
    import numpy as np

    lengths = sorted({part.vectors.shape[1] for part in outcomes})
    if len(lengths) > 1:
        raise InvalidResponse(f"The batches' vectors have different lengths: {lengths[0]} to {lengths[-1]}.")
    return Embeddings(np.concatenate([part.vectors for part in outcomes]), _sum_usage(outcomes), outcomes[0].model)


def join_rankings(parts: Sequence[tuple[int, Ranking]], request: RerankRequest) -> Ranking:
    """Return the rankings of several batches as that of the whole request."""
    outcomes = [part for _, part in parts]
    if len(outcomes) == 1:
        return outcomes[0]
    scores = {start + document.index: document.score for start, part in parts for document in part}
    return Ranking.of(scores, request, _sum_usage(outcomes), outcomes[0].model)


def _sum_usage(outcomes: Sequence[Embeddings | Ranking]) -> Usage:
    return reduce(add, (outcome.usage for outcome in outcomes))
