"""Searching an index: which models match, in which order, and which of them stand for others."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from math import log10
from typing import Any

from openmodels.catalog import filters, names, rows, text
from openmodels.catalog.filters import Scope, all_of, any_of
from openmodels.catalog.index import Index
from openmodels.catalog.query import Query
from openmodels.catalog.record import ModelRecord

_CANDIDATES = 400
_VARIANTS = 150
_FEW = 5
_MOST = 5_000
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
    reading: text.Reading
    expression: str
    scope: Scope


@dataclass(slots=True)
class _Hit:
    number: int
    row: rows.Row
    terms: frozenset[str]
    score: float


def search(index: Index, query: Query) -> Found:
    """Return what an index has for a query."""
    reading = text.read(query.text, index)
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
        exact = index.numbered(query.text.strip()) if query.text else None
        if exact is not None and scope.lets_through(index, exact):
            numbers = [exact, *numbers]
    else:
        numbers = _walked(index, sort, found, query.limit)
    hits = sorted(_scored(index, numbers, reading, query), key=_order(sort))
    hits = (_folded(hits) if folds else hits)[: query.limit]
    records = index.records(hit.number for hit in hits)
    found.hits = [
        (hit.score, record.model_copy(update={"variants": variants(index, record.id)}))
        for hit in hits
        for record in (records[hit.number],)
    ]
    return found


def variants(index: Index, model_id: str) -> int | None:
    """Return how many conversions, adapters and merges of a model are listed; None for none."""
    numbers = index.term_numbers(f"base:{relation}:{model_id}" for relation in _FOLDED)
    return index.count(any_of(f"~{rows.base36(number)}" for number in numbers.values())) or None if numbers else None


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
    variant = filters.marked(index, "is:variant")
    if not folds or variant is None or not expression:
        return scope.match(index, expression, _CANDIDATES)
    originals = scope.match(index, f"{expression} NOT {variant}", _CANDIDATES)
    return originals + scope.match(index, f"{expression} AND {variant}", _VARIANTS)


def _walked(index: Index, sort: str, found: Found, limit: int) -> list[int]:
    """Return enough matches for the top of an order, walking down the steps of its numbers."""
    if sort in {"trending", "price"}:
        mark = filters.marked(index, "is:trending" if sort == "trending" else "is:priced")
        return found.scope.match(index, all_of([found.expression, mark]), _MOST) if mark else []
    letter, steps = filters.steps(sort)
    numbers: list[int] = []
    for step in steps:
        numbers += found.scope.match(index, all_of([found.expression, f'"={letter}{step}"']), _MOST)
        if len(numbers) >= 3 * limit:
            break
    return numbers


def _expression(index: Index, group: text.Group) -> str:
    numbers = index.term_numbers(group.terms) if group.terms else {}
    authors = (rows.author_token(author) for author in group.authors)
    terms = (f"~{rows.base36(number)}" for number in numbers.values())
    return any_of([*group.words, *authors, *terms, *sorted(group.tokens)])


def _scored(index: Index, numbers: list[int], reading: text.Reading, query: Query) -> list[_Hit]:
    stored = index.stored(dict.fromkeys(numbers))
    packed = {number: rows.unpack(row.terms) for number, row in stored.items()}
    held = index.hold({term for terms in packed.values() for term in terms})
    hits = []
    for number, row in stored.items():
        terms = frozenset(held[term] for term in packed[number])
        if query.max_price is None or _affordable(row, query):
            hits.append(_Hit(number, row, terms, _score(row, terms, reading, query.text)))
    return hits


def _score(row: rows.Row, terms: frozenset[str], reading: text.Reading, asked: str) -> float:
    name = row.id.lower().rpartition("/")[2]
    own = names.words(row.id.rpartition("/")[2])
    tokens = frozenset(rows.tokens(row).split()) if any(group.tokens for group in reading.groups) else frozenset()
    score, matched = 0.0, set[str]()
    for group in reading.groups:
        matched.update(word for word in group.words if word in own)
        best = _fit(group, row.id.lower(), own, terms, tokens)
        score += group.weight * (2.0 * best if best else -1.5)
    telling = [word for word in own if word not in names.NOISE] or list(own)
    score += 1.2 * sum(word in matched for word in telling) / len(telling)
    if asked and asked.strip().lower() in {name, row.id.lower()}:
        score += 3.0
    score += 0.3 * log10(1 + (row.downloads or 0)) + 0.25 * log10(1 + (row.likes or 0))
    return score - 1.5 if "is:variant" in terms and not reading.wants_variants else score


def _fit(
    group: text.Group, model_id: str, own: tuple[str, ...], terms: frozenset[str], tokens: frozenset[str]
) -> float:
    """Return from 0 to 1 how well a model satisfies a part of the text; the name counts most."""
    author = model_id.rpartition("/")[0].removeprefix("azure:")
    return max(
        max((weight for word, weight in group.words.items() if word in own), default=0.0),
        max((0.9 * weight for account, weight in group.authors.items() if account == author), default=0.0),
        max((0.75 * weight for term, weight in group.terms.items() if term in terms), default=0.0),
        0.6 if not group.tokens.isdisjoint(tokens) else 0.0,
        0.5 * max((weight for word, weight in group.words.items() if word in author), default=0.0),
    )


def _affordable(row: rows.Row, query: Query) -> bool:
    prices = (
        Decimal(offer["price_out"])
        for offer in json.loads(row.rest or "{}").get("offers", ())
        if offer.get("price_out") is not None and query.provider in {None, offer.get("provider")}
    )
    return any(price <= (query.max_price or 0) for price in prices)


def _order(sort: str) -> Callable[[_Hit], Any]:
    def falling(value: float | None) -> tuple[bool, float]:
        return value is None, -(value or 0)

    def rest(hit: _Hit) -> dict[str, Any]:
        return dict(json.loads(hit.row.rest or "{}"))

    if sort == "relevance":
        return lambda hit: (-hit.score, hit.number)
    if sort == "trending":
        return lambda hit: (falling(rest(hit).get("trending")), -hit.score)
    if sort == "price":

        def cheapest(hit: _Hit) -> tuple[float, float]:
            prices = [float(one["price_out"]) for one in rest(hit).get("offers", ()) if one.get("price_out")]
            return min(prices, default=float("inf")), -hit.score

        return cheapest
    return lambda hit: (falling(getattr(hit.row, sort)), -hit.score)


def _folded(hits: list[_Hit]) -> list[_Hit]:
    """Keep one of each model: the model itself if it matches, else its best variant."""
    shown = {hit.row.id.lower() for hit in hits if "is:variant" not in hit.terms}
    named = {_unconverted(one) for one in shown}
    kept: list[_Hit] = []
    for hit in hits:
        if "is:variant" in hit.terms:
            bases = {base for term in hit.terms if term.startswith("base:") and (base := term.split(":", 2)[2].lower())}
            name = _unconverted(hit.row.id)
            if bases & shown or name in named:
                continue
            shown |= bases
            named.add(name)
        kept.append(hit)
    return kept


def _unconverted(model_id: str) -> str:
    """Return a model's name without author and without the words for conversions."""
    own = names.words(model_id.rpartition("/")[2])
    return " ".join(word for word in own if word not in names.CONVERSION)
