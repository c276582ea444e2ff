"""A query's filters as terms of the full-text index and as limits in SQL."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from openmodels.catalog.index import codec
from openmodels.catalog.index.reader import Index
from openmodels.catalog.query import Query, Range
from openmodels.catalog.search.synonyms import AUTHORS
from openmodels.catalog.sources import base as sources

RELATIONS = ("", "finetune", "adapter", "quantized", "merge", "distilled")
"""The relations of `base:` terms; "" where the catalog does not say."""

_KINDS = {
    "task": "task", "license": "license", "license_class": "class", "language": "lang", "provider": "provider",
    "fine_tuning_task": "tune", "deployment": "offer", "capability": "cap",
}  # fmt: skip
_FLAGS = {
    "gated": {True: ["gated:auto", "gated:manual"], False: ["gated:no"]},
    "open": {True: ["open:yes"], False: ["open:no"]},
}
_NARROW = 32
"""A range of more steps is left to the condition, unless few models lie in it: merging long lists costs more."""
# Column, letter, step of a number, last step, and the steps below and above which few models are.
_BUCKETS = (
    ("parameters", "p", codec.parameters_bucket, 360, 200, 285),
    ("context", "x", codec.context_bucket, 60, 0, 0),
)
_FIRST_DAY = codec.days(date(2016, 1, 1)) or 0


@dataclass(slots=True)
class Scope:
    """What every match must satisfy.

    Attributes:
        required: Full-text expressions.
        where: A condition on columns in SQL, with `values` for its question marks; "" for none.
        is_impossible: A filter names something that the index lacks, so nothing can match.
    """

    required: list[str] = field(default_factory=list)
    where: str = ""
    values: list[Any] = field(default_factory=list)
    is_impossible: bool = False

    def match(self, index: Index, expression: str, limit: int) -> list[int]:
        """Return the most popular matches of an expression that already holds `required`."""
        return index.match(expression, where=self.where, values=self.values, limit=limit)

    def allows(self, index: Index, number: int) -> bool:
        """Return whether a model satisfies it."""
        where = f"{self.where} AND models.row = ?" if self.where else "models.row = ?"
        return bool(index.match(all_of(self.required), where=where, values=[*self.values, number], limit=1))


def build_scope(index: Index, query: Query) -> Scope:
    """Return what a query's filters demand of every match."""
    scope = Scope()
    _add_terms(scope, index, query)
    ranges = {"parameters": parameter_range(query), "context": query.context}
    conditions: list[str] = []
    for column, letter, bucket, last, rare_below, rare_above in _BUCKETS:
        bounds = ranges[column]
        if bounds is None:
            continue
        # The steps narrow the lists to read where few models are in them; the condition is exact.
        low = bucket(bounds.low) or 0
        high = (bucket(bounds.high) or 0) if bounds.high is not None else last
        if high - low <= _NARROW or low >= rare_above or high <= rare_below:
            scope.required.append(any_of(f"={letter}{step}" for step in range(low, high + 1)))
        for limit, sign in ((bounds.low, ">="), (bounds.high, "<=")):
            if limit is not None:
                conditions.append(f"models.{column} {sign} ?")
                scope.values.append(limit)
    if query.updated_after:
        first = codec.month_of(codec.days(query.updated_after)) or 0
        last = codec.month_of(codec.days(codec.today())) or 0
        scope.required.append(any_of(f"=u{month}" for month in range(first, max(first, last) + 2)))
        conditions.append("models.updated >= ?")
        scope.values.append(codec.days(query.updated_after))
    scope.where = " AND ".join(conditions)
    return scope


def parameter_range(query: Query) -> Range | None:
    """Return the range of parameters that also fits in the memory of the query.

    A parameter counts two bytes, and a fifth is added for the rest.
    """
    stated = query.parameters
    if query.fits is None:
        return stated
    most = int(query.fits / 2.4)
    return Range(stated.low if stated else None, min(most, stated.high) if stated and stated.high else most)


def descending_steps(sort: str) -> tuple[str, range]:
    """Return the letter of an order's tokens, and its steps from the highest."""
    days = range((codec.days(codec.today()) or 0) + 1, _FIRST_DAY, -1)
    return {
        "likes": ("k", range(50, -1, -1)),
        "updated": ("v", days),
        "created": ("c", days),
        "parameters": ("p", range(360, -1, -1)),
        "context": ("x", range(60, -1, -1)),
    }[sort]


def term_expression(index: Index, term: str) -> str | None:
    """Return the expression of a term, or None where no model has it."""
    number = index.term_numbers([term]).get(term)
    return None if number is None else f'"{codec.term_token(number)}"'


def any_of(tokens: Iterable[str]) -> str:
    """Return the expression for at least one of some tokens or expressions."""
    quoted = [token if token.startswith(("(", '"')) else f'"{token}"' for token in tokens]
    return quoted[0] if len(quoted) == 1 else f"({' OR '.join(quoted)})" if quoted else ""


def all_of(parts: Iterable[str]) -> str:
    """Return the expression for all of some expressions; empty ones are left out."""
    kept = [part for part in parts if part]
    return f"({' AND '.join(kept)})" if kept else ""


def _add_terms(scope: Scope, index: Index, query: Query) -> None:
    wanted: list[list[str]] = []
    for name, kind in _KINDS.items():
        if value := getattr(query, name):
            wanted.append([f"{kind}:{entry}" for entry in ((value,) if isinstance(value, str) else value)])
    if query.catalog and len(query.catalog) < len(sources.names()):
        wanted.append([f"in:{name}" for name in query.catalog])
    if query.conversational:
        wanted.append(["tag:conversational"])
    wanted += [terms[value] for name, terms in _FLAGS.items() if (value := getattr(query, name)) is not None]
    if query.base_model:
        wanted.append([f"base:{relation}:{query.base_model}" for relation in RELATIONS])
    if query.max_price is not None:
        wanted.append(["is:priced"])
    numbers = index.term_numbers(term for group in wanted for term in group)
    for group in wanted:
        known = [codec.term_token(numbers[term]) for term in group if term in numbers]
        scope.is_impossible |= not known
        scope.required.append(any_of(known))
    if query.author:
        accounts = (query.author, *AUTHORS.get(query.author.lower(), ()))
        scope.required.append(any_of(codec.author_token(name) for name in accounts))
