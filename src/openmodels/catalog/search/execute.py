"""Searching an index: from a query to the records that answer it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from openmodels.catalog.index import codec
from openmodels.catalog.index.reader import Index
from openmodels.catalog.query import Query
from openmodels.catalog.record import ModelRecord
from openmodels.catalog.search import filters, query_text
from openmodels.catalog.search.filters import Scope, all_of, any_of
from openmodels.catalog.search.ranking import Ranker

_CANDIDATES = 250
_VARIANTS = 60
_FEW = 5
_MOST = 1_000
_FOLDED = ("quantized", "adapter", "merge")


@dataclass(slots=True)
class Found:
    """What a search found.

    Attributes:
        hits: Models with their scores, best first; variants folded under the model they are of.
        reading: How the text was understood.
        expression: The full-text expression of all matches, for counting.
        scope: What else they satisfy.
    """

    hits: list[tuple[float, ModelRecord]]
    reading: query_text.Reading
    expression: str
    scope: Scope


def search(index: Index, query: Query) -> Found:
    """Return what an index has for a query."""
    reading = query_text.read(query.text, index)
    # What the caller says in an argument counts more than what the text may mean.
    stated = {name: value for name, value in reading.filters.items() if getattr(query, name) is None}
    query = query.model_copy(update=stated)
    scope = filters.scope(index, query)
    found = Found([], reading, "", scope)
    if scope.impossible:
        return found
    groups = [expression for group in reading.groups if (expression := _expression(index, group))]
    sort = query.sort or ("relevance" if reading.groups else "downloads")
    folds = not reading.wants_variants and query.base_model is None
    found.expression = all_of([*groups, *scope.required])
    if sort in {"relevance", "downloads"}:
        numbers, found.expression = _candidates(index, groups, scope, folds=folds)
        if sort == "downloads":
            numbers = _most_downloaded(index, found, query.limit)
        exact = index.numbered(query.text.strip()) if query.text else None
        if exact is not None and scope.lets_through(index, exact):
            numbers = [exact, *numbers]
    else:
        numbers = _walked(index, sort, found, query.limit)
    ranker = Ranker(index, query, reading)
    hits = ranker.ranked(numbers, sort)
    hits = ranker.folded(hits, query.limit) if folds else hits[: query.limit]
    records = index.records(hit.number for hit in hits)
    counts = variants(index, [record.id for record in records.values()])
    for hit in hits:
        record = records[hit.number]
        found.hits.append((hit.score, record.model_copy(update={"variants": counts.get(record.id)})))
    return found


def variants(index: Index, model_ids: Iterable[str]) -> dict[str, int]:
    """Return how many conversions, adapters and merges of models are listed, by id; models without any are left out."""
    terms = {f"base:{relation}:{one}": one for one in model_ids for relation in _FOLDED}
    numbers = index.term_numbers(terms)
    counted = index.counted(numbers.values())
    found: dict[str, int] = {}
    for term, number in numbers.items():
        count = counted.get(number) or index.count(f'"~{codec.base36(number)}"')
        found[terms[term]] = found.get(terms[term], 0) + count
    return {one: count for one, count in found.items() if count}


def _candidates(index: Index, groups: list[str], scope: Scope, *, folds: bool) -> tuple[list[int], str]:
    """Return the most popular matches and their expression.

    Where few models match all words, those that match all but one are added, and if there are none
    of these either, those that match any.
    """
    expression = all_of([*groups, *scope.required])
    numbers = _popular(index, expression, scope, folds=folds)
    if len(numbers) >= _FEW or len(groups) < 2:
        return numbers, expression
    parts = [all_of([*groups[:out], *groups[out + 1 :]]) for out in range(len(groups))]
    for part in parts:
        numbers += _popular(index, all_of([part, *scope.required]), scope, folds=folds)
    expression = all_of([any_of(parts), *scope.required])
    if not numbers and len(groups) > 2:
        expression = all_of([any_of(groups), *scope.required])
        numbers = _popular(index, expression, scope, folds=folds)
    return list(dict.fromkeys(numbers)), expression


def _popular(index: Index, expression: str, scope: Scope, *, folds: bool) -> list[int]:
    numbers = scope.match(index, expression, _CANDIDATES)
    variant = filters.marked(index, "is:variant")
    if len(numbers) < _CANDIDATES or not folds or variant is None or not expression:
        return numbers  # these are all, or no variant is to make room
    originals = scope.match(index, f"{expression} NOT {variant}", _CANDIDATES)
    return originals + scope.match(index, f"{expression} AND {variant}", _VARIANTS)


def _most_downloaded(index: Index, found: Found, limit: int) -> list[int]:
    """Return matches among which the most downloaded are, reading on until no later one can have more."""
    most, numbers = _CANDIDATES, list[int]()
    while True:
        numbers = found.scope.match(index, found.expression, most)
        if len(numbers) < most or most >= _MOST * 4:
            return numbers
        downloads = sorted((row.downloads or 0 for row in index.stored(numbers).values()), reverse=True)
        last = numbers[-1] >> codec.POPULARITY_BITS
        # Folding may take away some: twice as many as asked for are made sure of.
        if codec.popularity(downloads[min(2 * limit, len(downloads) - 1)], 0) < last:
            return numbers
        most *= 4


def _walked(index: Index, sort: str, found: Found, limit: int) -> list[int]:
    """Return enough matches for the top of an order, walking down the steps of its numbers."""
    if sort in {"trending", "price"}:
        mark = filters.marked(index, "is:trending" if sort == "trending" else "is:priced")
        return found.scope.match(index, all_of([found.expression, mark]), _MOST) if mark else []
    if found.expression and len(few := found.scope.match(index, found.expression, _MOST)) < _MOST:
        return few
    letter, steps = filters.steps(sort)
    numbers: list[int] = []
    at, width = 0, 1
    while at < len(steps) and len(numbers) < 3 * limit:
        tokens = any_of(f"={letter}{step}" for step in steps[at : at + width])
        got = found.scope.match(index, all_of([found.expression, tokens]), _MOST)
        if len(got) == _MOST and width > 1:
            width = 1  # too many to be sure of the first: step by step again
            continue
        numbers += got
        at += width
        width = min(2 * width, 64) if len(got) < limit else 1
    return numbers


def _expression(index: Index, group: query_text.Group) -> str:
    known = index.term_numbers(group.terms) if group.terms else {}
    group.numbers = {number: group.terms[term] for term, number in known.items()}
    # A synonym of several words is no word of a name.
    words = (word for word in group.words if word.replace(".", "").isalnum())
    authors = (codec.author_token(author) for author in group.authors)
    return any_of([*words, *authors, *(f"~{codec.base36(number)}" for number in group.numbers), *sorted(group.tokens)])
