"""A query to the catalogs: frozen, checked once."""

import re
from collections.abc import Collection
from contextlib import suppress
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict

from openmodels import licenses
from openmodels.catalog import languages, vocabulary
from openmodels.catalog.record import LicenseClass
from openmodels.catalog.sources import base as sources
from openmodels.errors import InvalidRequest, MissingExtra
from openmodels.settings import install_hint

Sort = Literal["relevance", "downloads", "likes", "trending", "updated", "created", "parameters", "context", "price"]

SORTS: tuple[Sort, ...] = get_args(Sort)
LICENSE_CLASSES: tuple[LicenseClass | Literal["commercial"], ...] = (*get_args(LicenseClass), "commercial")

_NUMBER = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmbtg]?)(?:ib|b|illion)?\s*", re.IGNORECASE)
_LONGEST = 10_000
_DECIMAL = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9, "t": 10**12}
_BINARY = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


class Range(NamedTuple):
    """From `low` to `high`, both included; None is open."""

    low: int | None
    high: int | None


class Query(BaseModel):
    """A checked query; a field that is None does not filter."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str = ""
    task: str | None = None
    conversational: bool = False
    license: tuple[str, ...] | None = None
    license_class: tuple[str, ...] | None = None
    language: tuple[str, ...] | None = None
    base_model: str | None = None
    author: str | None = None
    parameters: Range | None = None
    context: Range | None = None
    gated: bool | None = None
    open: bool | None = None
    fits: int | None = None
    fits_here: bool | None = None  # whether that memory is this machine's own, not a GPU's
    max_price: Decimal | None = None
    provider: str | None = None
    updated_after: date | None = None
    fine_tuning_task: str | None = None
    deployment: str | None = None
    capability: str | None = None
    catalog: tuple[str, ...] | None = None
    sort: Sort | None = None
    limit: int = 20


def build_query(text: str = "", **arguments: Any) -> Query:
    """Return a checked query from the arguments of `om.search`, or name a wrong one."""
    if not isinstance(text, str):
        raise _wrong("text", text, "a text")
    stated = {name: value for name, value in arguments.items() if value is not None}
    if extra := stated.keys() - Query.model_fields.keys():
        raise InvalidRequest(f"{min(extra)}: there is no such filter.")
    fields: dict[str, Any] = {"text": text.encode(errors="replace").decode()}
    for name, value in stated.items():
        fields[name] = _READERS.get(name, _word)(name, value)
    if "task" in fields:
        fields["conversational"] = vocabulary.is_chat(fields["task"])
        fields["task"] = vocabulary.task(fields["task"])
    if "fits" in fields:
        fields["fits_here"] = is_here(stated["fits"])
    return Query(**fields)


def is_here(memory: Any) -> bool:
    """Return whether an amount of memory is "here": what is free on this machine."""
    return isinstance(memory, str) and memory.strip().lower() == "here"


def parse_number(text: str, *, binary: bool = False, name: str = "number") -> int:
    """Return a number with a unit: "8B" is 8 billion; with `binary`, "32k" is 32,768."""
    match = _NUMBER.fullmatch(text)
    # Context lengths are powers of two; only "128k" and the like are meant in thousands of 1024.
    unit = (_BINARY if binary else _DECIMAL).get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise _wrong(name, text, 'a number such as "8B" or "32k"')
    return _bounded(float(match[1]) * unit)


def read_range(name: str, value: Any) -> Range:
    """Return the range of "1B..8B", "..8B", ">=32k", "<=8B", "7B" or a pair.

    A single number of parameters stands for 12 % less to 12 % more, one of a context for so many at least.
    """
    binary = name == "context"
    limit = re.match(r"\s*(>=|<=|>|<|≥|≤)", value) if isinstance(value, str) else None
    if isinstance(value, tuple | list) and len(value) == 2:
        bounds = Range(*(None if end is None else _integer(name, end, binary=binary) for end in value))
    elif isinstance(value, str) and ".." in value:
        limits = value.split("..", 1)
        bounds = Range(*(parse_number(end, binary=binary, name=name) if end.strip() else None for end in limits))
    elif limit:
        count = parse_number(value[limit.end() :], binary=binary, name=name)
        strict = limit[1] in "<>"
        bounds = Range(count + strict, None) if limit[1] in (">", ">=", "≥") else Range(None, count - strict)
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        count = _integer(name, value, binary=binary)
        # "7B" is what people call models of 6.7 to 7.6 billion.
        bounds = Range(count, None) if binary else Range(round(count * 0.88), round(count * 1.12))
    else:
        raise _wrong(name, value, 'a range such as "1B..8B"')
    if bounds.low is not None and bounds.high is not None and bounds.low > bounds.high:
        raise InvalidRequest(f"{name}: {value!r} is empty: its lower end is above its upper end.")
    return bounds


def _integer(name: str, value: Any, *, binary: bool) -> int:
    if isinstance(value, str):
        return parse_number(value, binary=binary, name=name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**62:
        raise _wrong(name, value, "a number")
    return int(value)


def _bounded(count: float) -> int:
    """Return a whole number that a 64-bit column can hold, at most 2**62."""
    return round(min(count, 2.0**62))


def _word(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > _LONGEST:
        raise _wrong(name, value, f"a text of at most {_LONGEST:,} characters")
    # Half a surrogate pair can be asked of no database and no server.
    return value.strip().encode(errors="replace").decode()


def _one_of(name: str, value: Any, known: Collection[str]) -> str:
    if value not in known:
        raise _wrong(name, value, f"one of {', '.join(known)}")
    return str(value)


def _several(name: str, value: Any) -> tuple[str, ...]:
    listed = value.split("|") if isinstance(value, str) else value
    if not isinstance(listed, list | tuple) or not listed:
        raise _wrong(name, value, "a text, or several in a list")
    return tuple(_word(name, entry) for entry in listed)


def _licenses(name: str, value: Any) -> tuple[str, ...]:
    return tuple(licenses.normalise(entry) for entry in _several(name, value))


def _classes(name: str, value: Any) -> tuple[str, ...]:
    classes: list[str] = []
    for entry in _several(name, value):
        classes += ("open", "restricted") if _one_of(name, entry, LICENSE_CLASSES) == "commercial" else (entry,)
    return tuple(dict.fromkeys(classes))


def _languages(name: str, value: Any) -> tuple[str, ...]:
    return tuple(filter(None, map(_language, _several(name, value))))


def _language(stated: str) -> str | None:
    """Return the code of a language by its code or its name in any language."""
    return languages.code_of(stated.lower()) or vocabulary.language(stated)


def _catalogs(name: str, value: Any) -> tuple[str, ...]:
    return tuple(_one_of(name, entry, sources.names()) for entry in _several(name, value))


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _wrong(name, value, "True or False")
    return value


def _bytes(name: str, value: Any) -> int:
    if not isinstance(value, str):
        count = _integer(name, value, binary=False)
        if count < 10**6:
            # A machine has more bytes than that: gigabytes are meant.
            reason = f"{name}: a number is bytes, and {value} are too few."
            raise InvalidRequest(reason, next_step=f'Write "{value}GB".')
        return count
    if is_here(value):
        return free_memory(name)
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*", value, re.IGNORECASE)
    if not match:
        raise _wrong(name, value, 'an amount of memory such as "24GB"')
    if not match[2]:
        raise InvalidRequest(f"{name}: {value!r} has no unit.", next_step=f'Write "{match[1]}GB".')
    return _bounded(float(match[1]) * float((1024 if match[3] else 1000) ** " kmgt".index(match[2].lower())))


def free_memory(name: str) -> int:
    """Return the bytes that are free on this machine now."""
    try:
        from openmodels.backends.local.weights import memory
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"{name}: measuring this machine's memory needs the package {error.name!r}, which is not installed.",
            next_step=f"Run: {install_hint('local')}",
        ) from error
    return memory.available()


def _price(name: str, value: Any) -> Decimal:
    with suppress(InvalidOperation):
        price = Decimal(str(value))
        if price.is_finite() and price >= 0:
            return price
    raise _wrong(name, value, "a price in US dollars per million tokens")


def _day(name: str, value: Any) -> date:
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(str(value))
    except ValueError as error:
        raise _wrong(name, value, 'a day such as "2026-01-31"') from error


def _sort(name: str, value: Any) -> str:
    text = str(value).removeprefix("-").replace("last_modified", "updated").replace("created_at", "created")
    return _one_of(name, text, SORTS)


def _limit(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1000:
        raise _wrong(name, value, "a whole number from 1 to 1000")
    return value


def _wrong(name: str, value: Any, wanted: str) -> InvalidRequest:
    return InvalidRequest(f"{name}: {str(value)[:100]!r} is not {wanted}.")


_READERS: dict[str, Any] = {
    "license": _licenses,
    "license_class": _classes,
    "language": _languages,
    "parameters": read_range,
    "context": read_range,
    "gated": _flag,
    "open": _flag,
    "conversational": _flag,
    "fits": _bytes,
    "max_price": _price,
    "updated_after": _day,
    "catalog": _catalogs,
    "sort": _sort,
    "limit": _limit,
}
