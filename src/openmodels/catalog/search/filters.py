"""A query's filters in the words of the index: terms of the full-text index, and exact limits in SQL."""

from __future__ import annotations

from collections.abc import Callable, Iterable
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
# Column, letter, step of a number, last step, and the steps below and above which few models are.
_BUCKETS: tuple[tuple[str, str, Callable[[int | None], int | None], int, int, int], ...] = (
    ("parameters", "p", codec.parameters_bucket, 360, 200, 285),
    ("context", "x", codec.context_bucket, 60, 0, 0),
)
_FIRST_DAY = codec.days(date(2016, 1, 1)) or 0


@dataclass(slots=True)
class Scope:
    """What every match must satisfy.

    Attributes:
        required: Full-text expressions.
        where: A condition on columns, in SQL; "" for none.
        values: What its question marks stand for.
        impossible: A filter names something the index does not have: nothing can match.
    """

    required: list[str] = field(default_factory=list)
    where: str = ""
    values: list[Any] = field(default_factory=list)
    impossible: bool = False

    def match(self, index: Index, expression: str, limit: int) -> list[int]:
        """Return the most popular matches of an expression that already holds `required`."""
        return index.match(expression, where=self.where, values=self.values, limit=limit)

    def lets_through(self, index: Index, number: int) -> bool:
        """Return whether a single model satisfies it."""
        where = f"{self.where} AND models.row = ?" if self.where else "models.row = ?"
        return bool(index.match(all_of(self.required), where=where, values=[*self.values, number], limit=1))


def scope(index: Index, query: Query) -> Scope:
    """Return what a query's filters ask of every match."""
    made = Scope()
    _add_terms(made, index, query)
    limits = {"parameters": sizes(query), "context": query.context}
    conditions: list[str] = []
    for column, letter, bucket, last, rare_below, rare_above in _BUCKETS:
        asked = limits[column]
        if asked is None:
            continue
        # The steps narrow the lists to read where few models are in them; the condition is exact.
        low = bucket(asked.low) or 0
        high = (bucket(asked.high) or 0) if asked.high is not None else last
        if high - low <= _NARROW or low >= rare_above or high <= rare_below:
            made.required.append(any_of(f"={letter}{step}" for step in range(low, high + 1)))
        for limit, sign in ((asked.low, ">="), (asked.high, "<=")):
            if limit is not None:
                conditions.append(f"models.{column} {sign} ?")
                made.values.append(limit)
    if query.updated_after:
        first = codec.month_of(codec.days(query.updated_after)) or 0
        made.required.append(any_of(f"=u{month}" for month in range(first, max(first, this_month()) + 2)))
        conditions.append("models.updated >= ?")
        made.values.append(codec.days(query.updated_after))
    made.where = " AND ".join(conditions)
    return made


def sizes(query: Query) -> Range | None:
    """Return the range of parameters, cut by the memory to fit in: two bytes each, and a fifth for the rest."""
    asked = query.parameters
    if query.fits is None:
        return asked
    most = int(query.fits / 2.4)
    return Range(asked.low if asked else None, min(most, asked.high) if asked and asked.high else most)


def steps(sort: str) -> tuple[str, range]:
    """Return the letter of the tokens that an order is walked by, and their numbers from the top."""
    days = range((codec.days(codec.today()) or 0) + 1, _FIRST_DAY, -1)
    return {
        "likes": ("k", range(50, -1, -1)),
        "updated": ("v", days),
        "created": ("c", days),
        "parameters": ("p", range(360, -1, -1)),
        "context": ("x", range(60, -1, -1)),
    }[sort]


def this_month() -> int:
    """Return the current month, counted from the year 0."""
    return codec.month_of(codec.days(codec.today())) or 0


def marked(index: Index, term: str) -> str | None:
    """Return the expression of a single term, or None where no model has it."""
    number = index.term_numbers([term]).get(term)
    return None if number is None else f'"~{codec.base36(number)}"'


def any_of(tokens: Iterable[str]) -> str:
    """Return the expression for at least one of some tokens or expressions."""
    quoted = [token if token.startswith(("(", '"')) else f'"{token}"' for token in tokens]
    return quoted[0] if len(quoted) == 1 else f"({' OR '.join(quoted)})" if quoted else ""


def all_of(parts: Iterable[str]) -> str:
    """Return the expression for all of some expressions; empty ones ask nothing."""
    kept = [part for part in parts if part]
    return f"({' AND '.join(kept)})" if kept else ""


def _add_terms(made: Scope, index: Index, query: Query) -> None:
    wanted: list[list[str]] = []
    for name, kind in _KINDS.items():
        asked = getattr(query, name)
        if asked:
            wanted.append([f"{kind}:{value}" for value in ((asked,) if isinstance(asked, str) else asked)])
    if query.catalog and len(query.catalog) < len(sources.names()):
        wanted.append([f"in:{name}" for name in query.catalog])
    if query.conversational:
        wanted.append(["tag:conversational"])
    wanted += [terms[asked] for name, terms in _FLAGS.items() if (asked := getattr(query, name)) is not None]
    if query.base_model:
        wanted.append([f"base:{relation}:{query.base_model}" for relation in RELATIONS])
    if query.max_price is not None:
        wanted.append(["is:priced"])
    numbers = index.term_numbers(term for group in wanted for term in group)
    for group in wanted:
        known = [f"~{codec.base36(numbers[term])}" for term in group if term in numbers]
        made.impossible |= not known
        made.required.append(any_of(known))
    if query.author:
        accounts = (query.author, *AUTHORS.get(query.author.lower(), ()))
        made.required.append(any_of(codec.author_token(name) for name in accounts))
