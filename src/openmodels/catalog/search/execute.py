"""Searching an index: from a query to the records that answer it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

from openmodels.catalog.index import codec
from openmodels.catalog.index.reader import Index
from openmodels.catalog.query import Query, free_memory
from openmodels.catalog.record import ModelRecord
from openmodels.catalog.search import filters, query_expansion
from openmodels.catalog.search.filters import Scope, all_of, any_of
from openmodels.catalog.search.ranking import Ranker
from openmodels.errors import MissingExtra

_CANDIDATES = 120  # most popular matches that are ranked: recall@5 over the judged queries is the same from 80 to 400
_VARIANTS = 4  # one in so many at most may be a variant: they outnumber their originals, and would leave no room
_FEW = 5  # with fewer matches of all words, those of all words but one are added
_MOST_MISSING, _MOST_COMBINATIONS = 2, 12
"""So many words may be missing; each combination of the others is a query of its own."""
_MOST = 1_000
_BY_POPULARITY = ("relevance", "downloads")  # the orders whose matches are found among the most popular ones
_VARIANT_RELATIONS = ("quantized", "adapter", "merge")


@dataclass(slots=True)
class Matches:
    """What an index has for a query."""

    index: Index  # the index
    # Scores and models, best first; variants are folded into the model they are of.
    hits: list[tuple[float, ModelRecord]]
    parsed: query_expansion.ExpandedQuery  # how the text was understood
    expression: str  # the full-text expression of all matches, for counting
    scope: Scope  # the filters that they satisfy

    def count(self) -> int:
        """Return how many models match."""
        return self.scope.count(self.index, self.expression)

    def counts(self) -> tuple[Counter[str], Counter[str]]:
        """Return, over all matches, how often each author occurs and each term."""
        return self.scope.counts(self.index, self.expression)


def search(index: Index, query: Query) -> Matches:
    """Return what an index has for a query."""
    parsed = query_expansion.expand_query(query.text, index)
    _settle_memory(parsed)
    # What the caller says in an argument counts more than what the text may mean.
    stated = {name: value for name, value in parsed.filters.items() if getattr(query, name) is None}
    query = query.model_copy(update=stated)
    scope = filters.build_scope(index, query)
    if query.fits is not None:
        parsed.remarks.append(filters.describe_memory(query.fits, is_here=bool(query.fits_here)))
    matches = Matches(index, [], parsed, "", scope)
    if scope.is_impossible:
        return matches
    groups = [(group, part) for group in parsed.groups if (part := _expression(index, group)) and not group.is_optional]
    sort = query.sort or ("relevance" if parsed.groups else "downloads")
    folds = not parsed.wants_variants and query.base_model is None
    most = max(_CANDIDATES, 2 * query.limit)
    scope.excluded = any_of(filter(None, (_expression(index, group) for group in parsed.excluded)))
    matches.expression = scope.expression(part for _, part in groups)
    numbers = [] if sort in _BY_POPULARITY else _top_by_step(index, sort, matches, query.limit)
    if not numbers and sort not in _BY_POPULARITY and groups:
        # Words that no model has are left out here too.
        _, matches.expression = _candidates(index, parsed, groups, scope, most, folds=folds)
        numbers = _top_by_step(index, sort, matches, query.limit)
    if not numbers and "sort" in stated and sort not in _BY_POPULARITY:
        parsed.remarks.append(f"no match has a place in the order of {sort}")
        sort = "relevance" if parsed.groups else "downloads"
    if sort in _BY_POPULARITY:
        numbers, matches.expression = _candidates(index, parsed, groups, scope, most, folds=folds)
        if sort == "downloads":
            numbers = _most_downloaded(index, matches, query.limit)
        exact = {text: index.row_number(text) for text in (query.text.strip(), *parsed.ids) if text}
        named = {text: number for text, number in exact.items() if number is not None}
        allowed = [number for number in named.values() if scope.allows(index, number)]
        if named and not allowed:
            parsed.remarks.append(f"{next(iter(named))} itself is outside of what is asked for")
        numbers = [*allowed, *numbers]
    ranker = Ranker(index, query, parsed)
    ranked = ranker.ranked(numbers, sort)
    shown = ranker.folded(ranked, query.limit) if folds else ranked[: query.limit]
    records = index.records(hit.number for hit in shown)
    counts = variants(index, [record.id for record in records.values()])
    for hit, record in zip(shown, records.values(), strict=True):
        matches.hits.append((hit.score, record.model_copy(update={"variants": counts.get(record.id)})))
    return matches


def _settle_memory(parsed: query_expansion.ExpandedQuery) -> None:
    """Put bytes for the memory of this machine."""
    if parsed.filters.get("fits") == "here":
        try:
            parsed.filters["fits"] = free_memory("fits")
        except MissingExtra as error:
            del parsed.filters["fits"]
            parsed.remarks.append(f"the memory of this machine was not measured: {error.next_step}")
        else:
            parsed.filters["fits_here"] = True
            parsed.remarks.append(f"{parsed.filters['fits'] / 10**9:.1f} GB of memory are free here")


def variants(index: Index, model_ids: Iterable[str]) -> dict[str, int]:
    """Return how many conversions, adapters and merges models have, by id, where any."""
    terms = {f"base:{relation}:{model_id}": model_id for model_id in model_ids for relation in _VARIANT_RELATIONS}
    numbers = index.term_numbers(terms)
    frequent = index.common_term_counts(numbers.values())
    counts = Counter[str]()
    for term, number in numbers.items():
        counts[terms[term]] += frequent.get(number) or index.count(any_of([codec.term_token(number)]))
    return dict(+counts)


def _candidates(
    index: Index,
    parsed: query_expansion.ExpandedQuery,
    groups: list[tuple[query_expansion.WordGroup, str]],
    scope: Scope,
    most: int,
    *,
    folds: bool,
) -> tuple[list[int], str]:
    """Return the most popular matches and their expression.

    Words that no model has are left out. Where few models match all others, those that match all but one are
    added, then those that match all but two, and if there are none, those that match any.
    """
    numbers, expression = _matching_all(index, [part for _, part in groups], scope, most, folds=folds)
    if len(numbers) >= _FEW or not groups:
        return numbers, expression
    known = [(group, part) for group, part in groups if index.match(part, limit=1)]
    kept = {id(group) for group, _ in known} | {id(group) for group in parsed.groups if group.is_optional}
    if len(kept) < len(parsed.groups) and (known or parsed.filters):
        parsed.ignored += [group.word for group in parsed.groups if id(group) not in kept]
        parsed.groups = [group for group in parsed.groups if id(group) in kept]
        numbers, expression = _matching_all(index, [part for _, part in known], scope, most, folds=folds)
    parts = [part for _, part in known]
    for missing in range(1, min(_MOST_MISSING, len(parts) - 1) + 1):
        if len(numbers) >= _FEW:
            break
        # What misses the words that tell least comes first; reading the others as well took most of a search's time.
        chosen = sorted(
            combinations(known, len(parts) - missing), key=lambda some: -sum(group.weight for group, _ in some)
        )
        kept_parts = [all_of(part for _, part in some) for some in chosen[:_MOST_COMBINATIONS]]
        for part in kept_parts:
            if len(numbers) >= most:
                break
            numbers += _popular(index, scope.expression([part]), scope, most, folds=folds)
        expression = scope.expression([any_of(kept_parts)])
        remark = f"few models match all of it: some shown match all but {missing}"
        parsed.remarks = [*(text for text in parsed.remarks if not text.startswith("few models")), remark]
    if not numbers and len(parts) > 1:
        numbers, expression = _matching_all(index, [any_of(parts)], scope, most, folds=folds)
    return list(dict.fromkeys(numbers)), expression


def _matching_all(index: Index, parts: list[str], scope: Scope, most: int, *, folds: bool) -> tuple[list[int], str]:
    expression = scope.expression(parts)
    return _popular(index, expression, scope, most, folds=folds), expression


def _popular(index: Index, expression: str, scope: Scope, most: int, *, folds: bool) -> list[int]:
    numbers = scope.match(index, expression, most)
    variant = index.term_numbers(["is:variant"]).get("is:variant")
    if len(numbers) < most or not folds or variant is None or not expression:
        return numbers  # these are all, or no variant is to make room
    rows = index.rows_by_number(numbers)
    dropped = [number for number in numbers if variant in codec.unpack(rows[number].terms)][most // _VARIANTS :]
    if not dropped:
        return numbers
    originals = f'{expression} NOT "{codec.term_token(variant)}"'
    more = scope.match(index, originals, len(dropped), after=numbers[-1])
    return [*sorted(set(numbers).difference(dropped)), *more]


def _most_downloaded(index: Index, matches: Matches, limit: int) -> list[int]:
    """Return matches that include the most downloaded ones.

    Row numbers follow downloads and likes together, so more rows are read until no later one can have more.
    """
    most, numbers = _CANDIDATES, list[int]()
    while True:
        numbers = matches.scope.match(index, matches.expression, most)
        if len(numbers) < most or most >= _MOST * 4:
            return numbers
        downloads = sorted((row.downloads or 0 for row in index.rows_by_number(numbers).values()), reverse=True)
        last = numbers[-1] >> codec.POPULARITY_BITS
        # Folding may take away some: twice as many as asked for are made sure of.
        if codec.popularity(downloads[min(2 * limit, len(downloads) - 1)], 0) < last:
            return numbers
        most *= 4


def _top_by_step(index: Index, sort: str, matches: Matches, limit: int) -> list[int]:
    """Return enough matches for the top of an order, step by step from the highest."""
    if sort in {"trending", "price"}:
        mark = filters.term_expression(index, "is:trending" if sort == "trending" else "is:priced")
        return matches.scope.match(index, all_of([matches.expression, mark]), _MOST) if mark else []
    if matches.expression and len(few := matches.scope.match(index, matches.expression, _MOST)) < _MOST:
        return few
    letter, steps = filters.descending_steps(sort)
    numbers: list[int] = []
    at, width = 0, 1
    while at < len(steps) and len(numbers) < 3 * limit:
        tokens = any_of(f"={letter}{step}" for step in steps[at : at + width])
        rows = matches.scope.match(index, all_of([matches.expression, tokens]), _MOST)
        if len(rows) == _MOST and width > 1:
            width = 1  # too many to be sure of the first: step by step again
            continue
        numbers += rows
        at += width
        width = min(2 * width, 64) if len(rows) < limit else 1
    return numbers


def _expression(index: Index, group: query_expansion.WordGroup) -> str:
    known = index.term_numbers(group.terms) if group.terms else {}
    group.numbers = {number: group.terms[term] for term, number in known.items()}
    # A synonym of several words is no word of a name.
    words = (word for word in group.words if word.replace(".", "").isalnum())
    authors = (codec.author_token(author) for author in group.authors)
    name = [all_of(f'"{part}"' for part in group.name_parts)] if group.name_parts else []
    terms = (codec.term_token(number) for number in group.numbers)
    return any_of([*words, *authors, *terms, *sorted(group.tokens), *name])
