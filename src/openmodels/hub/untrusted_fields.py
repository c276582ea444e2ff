"""Readers of the fields of untrusted rows.

Each returns the value in the expected type, or None where it has another.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from math import isfinite
from typing import Any

LARGEST = 2**62  # counts above it are taken for damage; a 64-bit column holds those below
LONGEST = 200  # characters of a text, and items of a list, that are kept
# C0 and C1, and the marks that turn the direction of writing.
_CONTROLS = dict.fromkeys((*range(32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A)))


def mapping(value: Any) -> Mapping[str, Any]:
    """Return an object, also one that a dump holds as JSON text; else {}."""
    decoded = _decoded(value, "{")
    return decoded if isinstance(decoded, Mapping) else {}


def items(value: Any) -> list[Any]:
    """Return a list, also one that a dump holds as JSON text; else []."""
    decoded = _decoded(value, "[")
    return list(decoded) if isinstance(decoded, list | tuple) else []


def objects(value: Any) -> list[Mapping[str, Any]]:
    """Return the objects of a list."""
    return [entry for entry in items(value) if isinstance(entry, Mapping)]


def _decoded(value: Any, bracket: str) -> Any:
    if not isinstance(value, str) or not value.lstrip().startswith(bracket):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


def clean(value: str) -> str:
    """Return a text without outer blanks and control characters.

    The latter could rewrite a terminal.
    """
    if value.isprintable():
        return value.strip()
    # Half a surrogate pair cannot be stored or printed either.
    return value.translate(_CONTROLS).encode(errors="ignore").decode().strip()


def text(value: Any) -> str | None:
    """Return the beginning of a text, cleaned; None where nothing is left."""
    return clean(value[:LONGEST]) or None if isinstance(value, str) else None


def texts(value: Any) -> list[str]:
    """Return the texts of a value that is one text or a list of them."""
    listed = [value] if isinstance(value, str) and not value.lstrip().startswith("[") else items(value)
    return [entry for item in listed if (entry := text(item))]


def distinct(values: Iterable[str]) -> tuple[str, ...] | None:
    """Return texts without repetition, at most `LONGEST`; None for none."""
    return tuple(dict.fromkeys(values))[:LONGEST] or None


def count(value: Any) -> int | None:
    """Return a number of things."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < LARGEST:
        return None
    return int(value)


def size(value: Any) -> int | None:
    """Return a size in bytes; one that is too large counts as the largest."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return LARGEST - 1 if is_number and value >= LARGEST else count(value)


def positive_count(value: Any) -> int | None:
    """Return a number of things that is not 0."""
    return count(value) or None


def positive_number(value: Any) -> float | None:
    """Return a number above 0."""
    return float(value) if count(value) is not None and value > 0 else None


def number(value: Any) -> float | None:
    """Return a finite number."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # A whole number without end is larger than any float.
    return float(value) if is_number and abs(value) < LARGEST and isfinite(value) else None


def dollars(value: Any) -> Decimal | None:
    """Return a price in US dollars."""
    if isinstance(value, str):
        try:
            value = float(value) if len(value) <= LONGEST else None
        except ValueError:
            return None
    # By way of the text: 0.1 is a tenth of a dollar, not the nearest binary fraction.
    return Decimal(str(value)) if number(value) is not None and value >= 0 else None


def flag(value: Any) -> bool | None:
    """Return True or False, and None for anything else."""
    return value if isinstance(value, bool) else None


def day(value: Any) -> date | None:
    """Return the day of a time stamp."""
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(str(value).strip()[:10]) if value else None
    except ValueError:
        return None
