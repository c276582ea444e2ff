"""Schemas that visibly have no value in common, as `oneOf` needs them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

from openmodels.output.grammar.merge import Flat, Schema

_DEEPEST = 4

Flatten = Callable[[Any], Flat]
Valid = Callable[[Flat, Any], bool]


def are_distinct(left: Flat, right: Flat, flat: Flatten, is_valid: Valid, depth: int = 0) -> bool:
    """Return whether no value satisfies two flat schemas.

    Args:
        left: The first.
        right: The second.
        flat: Brings a schema into its flat form.
        is_valid: Says whether a value satisfies a flat schema.
        depth: How many properties led here.
    """
    if left is False or right is False:
        return True
    if not (isinstance(left, dict) and isinstance(right, dict)) or depth > _DEEPEST:
        return False
    for part, other in ((left, right), (right, left)):
        if "enum" in part:
            return not any(is_valid(other, value) for value in part["enum"])
    if "type" not in left or "type" not in right:
        return False
    both = _kinds(left) & _kinds(right)
    if both == {"number"}:
        return _are_apart(left, right) or _are_apart(right, left)
    if both == {"object"}:
        return _differ(left, right, flat, is_valid, depth)
    return not both


def _kinds(schema: Schema) -> set[str]:
    kinds = schema["type"]
    return {"number" if kind == "integer" else kind for kind in ([kinds] if isinstance(kinds, str) else kinds)}


def _differ(left: Schema, right: Schema, flat: Flatten, is_valid: Valid, depth: int) -> bool:
    """Return whether a property tells two schemas of objects apart."""
    listed, others = left.get("properties", {}), right.get("properties", {})
    needed, demanded = {*left.get("required", ())}, {*right.get("required", ())}
    for name in needed & demanded & listed.keys() & others.keys():
        if are_distinct(flat(listed[name]), flat(others[name]), flat, is_valid, depth + 1):
            return True
    return any(
        part.get("additionalProperties") is False and not part.get("patternProperties") and names - known.keys()
        for part, known, names in ((left, listed, demanded), (right, others, needed))
    )


def limit(flat: Schema, closed: str, exclusive: str, tightest: Callable[[Iterable[Decimal]], Decimal]) -> Any:
    """Return a limit of numbers, or None, and whether it is itself left out."""
    bounds = {name: Decimal(str(flat[name])) for name in (closed, exclusive) if flat.get(name) is not None}
    if not bounds:
        return None, False
    bound = tightest(bounds.values())
    return bound, bounds.get(exclusive) == bound


def _are_apart(left: Schema, right: Schema) -> bool:
    """Return whether the numbers of a schema all lie below those of another."""
    high, is_below = limit(left, "maximum", "exclusiveMaximum", min)
    low, is_above = limit(right, "minimum", "exclusiveMinimum", max)
    return high is not None and low is not None and (high < low or (high == low and (is_below or is_above)))
