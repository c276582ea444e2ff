"""A query's filters as terms of the full-text index and as limits in SQL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from openmodels.backends.local.weights import process_memory
from openmodels.catalog import languages
from openmodels.catalog.index import codec
from openmodels.catalog.index.reader import Index
from openmodels.catalog.query import Query
from openmodels.catalog.search import synonyms
from openmodels.catalog.sources import base as sources
from openmodels.hub import model_names

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
class Condition:
    """What some matches must satisfy."""

    expression: str = ""  # a full-text expression, "" for none
    where: str = ""  # a condition on columns in SQL, with `values` for its question marks; "" for none
    values: list[Any] = field(default_factory=list)


@dataclass(slots=True)
class Scope:
    """What every match must satisfy."""

    required: list[str] = field(default_factory=list)  # full-text expressions
    excluded: str = ""  # the expression of what no match may be, "" for none
    # Every match satisfies exactly one: memory holds more parameters of few bits than of many.
    conditions: list[Condition] = field(default_factory=list)
    is_impossible: bool = False  # a filter names something that the index lacks, so nothing can match

    def expression(self, parts: Iterable[str]) -> str:
        """Return the expression of some parts and of the scope, without conditions."""
        demanded = all_of([*parts, *self.required])
        return f"({demanded} NOT {self.excluded})" if demanded and self.excluded else demanded

    def match(self, index: Index, expression: str, limit: int, *, after: int | None = None) -> list[int]:
        """Return the most popular matches of an expression that `expression` returned.

        `after` is the last row number to leave out, None for none.
        """
        numbers = [
            number
            for condition in self.conditions
            for number in index.match(
                all_of([expression, condition.expression]),
                where=condition.where,
                values=condition.values,
                limit=limit,
                after=after,
            )
        ]
        return numbers if len(self.conditions) == 1 else sorted(numbers)[:limit]

    def count(self, index: Index, expression: str) -> int:
        """Return how many models match an expression that `expression` returned."""
        return sum(
            index.count(all_of([expression, condition.expression]), where=condition.where, values=condition.values)
            for condition in self.conditions
        )

    def counts(self, index: Index, expression: str) -> tuple[Counter[str], Counter[str]]:
        """Return, over all matches, how often each author occurs and each term."""
        authors, terms = Counter[str](), Counter[str]()
        for condition in self.conditions:
            both = all_of([expression, condition.expression])
            more_authors, more_terms = index.counts(both, where=condition.where, values=condition.values)
            authors += more_authors
            terms += more_terms
        return authors, terms

    def allows(self, index: Index, number: int) -> bool:
        """Return whether a model satisfies it."""
        expression = self.expression(())
        return any(
            index.match(
                all_of([expression, condition.expression]),
                where=f"{condition.where} AND models.row = ?" if condition.where else "models.row = ?",
                values=[*condition.values, number],
                limit=1,
            )
            for condition in self.conditions
        )


def build_scope(index: Index, query: Query) -> Scope:
    """Return what a query's filters demand of every match."""
    scope = Scope()
    _add_terms(scope, index, query)
    ranges = {"parameters": query.parameters, "context": query.context}
    conditions: list[str] = []
    values: list[Any] = []
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
                values.append(limit)
    if query.updated_after:
        first = codec.month_of(codec.days(query.updated_after)) or 0
        last = codec.month_of(codec.days(codec.today())) or 0
        scope.required.append(any_of(f"=u{month}" for month in range(first, max(first, last) + 2)))
        conditions.append("models.updated >= ?")
        values.append(codec.days(query.updated_after))
    if query.fits is None:
        scope.conditions = [Condition("", " AND ".join(conditions), values)]
    else:
        scope.conditions = list(_memory_conditions(index, query, conditions, values))
    return scope


def _memory_conditions(index: Index, query: Query, conditions: list[str], values: list[Any]) -> Iterator[Condition]:
    """Yield what may fit in memory with the usual bits, then with fewer.

    The second kind has parameters of fewer bits, by words of its name or by tags.
    """
    memory, is_here = query.fits or 0, bool(query.fits_here)
    most = parameters_that_fit(memory, usual_bits(is_here=is_here), is_here=is_here)
    yield Condition("", " AND ".join([*conditions, "models.parameters <= ?"]), [*values, most])
    fewer = ""
    for bits, words in synonyms.WORDS_BY_BITS.items():
        known = index.term_numbers(f"{kind}:{word}" for word in words for kind in ("tag", "format"))
        expression = any_of([*map(_name_expression, words), *map(codec.term_token, known.values())])
        where = " AND ".join([*conditions, "models.parameters > ?", "models.parameters <= ?"])
        yield Condition(
            f"({expression} NOT {fewer})" if fewer else expression,
            where,
            [*values, most, parameters_that_fit(memory, bits, is_here=is_here)],
        )
        fewer = expression


def _name_expression(word: str) -> str:
    """Return the expression of a word that may be several in names ("fp8")."""
    return all_of(f'"{part}"' for part in model_names.search_terms(word))


def usual_bits(*, is_here: bool) -> int:
    """Return the bits in which the backend "local" keeps most weights."""
    return 32 if is_here and not process_memory.cpu_has_bfloat16() else 16


def parameters_that_fit(memory: int, bits: int, *, is_here: bool) -> int:
    """Return the most parameters of so many bits that `om.fit` may accept.

    Its sum is counted without what takes a config, which no listing has: the cache above all.
    """
    return max(0, memory - _process_bytes(bits, is_here=is_here)) * 8 // bits


def _process_bytes(bits: int, *, is_here: bool) -> int:
    # Most weights of 4 bits are GGUF files.
    kind, is_gguf = "cpu" if is_here else "cuda", bits == 4
    return process_memory.count_libraries(kind, is_gguf=is_gguf) + process_memory.count_runtime(kind, is_gguf=is_gguf)


def describe_memory(memory: int, *, is_here: bool) -> str:
    """Return which bounds say what fits."""
    bits = usual_bits(is_here=is_here)
    process = _process_bytes(bits, is_here=is_here) / 10**9
    place = "this machine" if is_here else "a GPU"
    return (
        f"what fits in {memory / 10**9:.3g} GB of {place} has weights of {bits // 8} bytes a parameter, fewer where "
        f"its name or tags say so, beside {process:.2g} GB of a process; the cache of a context is not known here: "
        "om.fit counts it; models of an unknown size are left out"
    )


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
            entries = (value,) if isinstance(value, str) else value
            if kind == "lang":
                entries = [
                    code
                    for code in index.values(kind)
                    if any(languages.matches(wanted_code, code) for wanted_code in entries)
                ]
            wanted.append([f"{kind}:{entry}" for entry in entries])
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
        accounts = (query.author, *synonyms.AUTHORS.get(query.author.lower(), ()))
        scope.required.append(any_of(codec.author_token(name) for name in accounts))
