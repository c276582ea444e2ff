"""Expressions of JSON without white space: values, strings, lists, objects."""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from openmodels.output.grammar.expression import (
    EMPTY,
    NEVER,
    And,
    Expression,
    in_json,
    optional,
    repeat,
    sequence,
    text,
    union,
)
from openmodels.output.grammar.merge import unsupported

_MOST_STATES = 2_000  # combinations of left-out properties that are told apart at most


class Member(NamedTuple):
    """A property (name, colon and value), and whether it may not be left out."""

    written: Expression
    is_needed: bool


def write(plain: Any) -> str:
    """Return a JSON value without white space."""
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":"))


def build_value(plain: Any) -> Expression:
    """Return the expression of one JSON value."""
    return text(write(plain))


def build_member(name: str, written: Expression, *, is_needed: bool) -> Member:
    """Return the member of an object with a name and the expression of its values."""
    return Member(sequence([build_value(name), text(":"), written]), is_needed)


def build_string(content: Expression) -> Expression:
    """Return strings of a content; in a conjunction each part has the quotes."""
    if isinstance(content, And):
        return And(tuple(map(build_string, content.parts)), content.keywords)
    return sequence([text('"'), in_json(content), text('"')])


def build_array(first: Sequence[Expression], item: Expression, least: int, most: int | None) -> Expression:
    """Return the lists of first items, then others, with a number of items in all."""
    if most is not None and most < least:
        return NEVER
    heads = first if most is None else first[:most]
    left = None if most is None else most - len(heads)
    tail = _build_items(item, max(0, least - len(heads)), left, is_begun=bool(heads))
    for place in range(len(heads) - 1, -1, -1):
        tail = sequence([text(",") if place else EMPTY, heads[place], tail])
        if place >= least:
            tail = optional(tail)
    return sequence([text("["), tail, text("]")])


def _build_items(item: Expression, least: int, most: int | None, *, is_begun: bool) -> Expression:
    """Return items with commas between them, and before them where it is begun."""
    following = sequence([text(","), item])
    if is_begun or item == NEVER or most == 0:
        return repeat(following, least, most)
    some = sequence([item, repeat(following, max(0, least - 1), None if most is None else most - 1)])
    return some if least else optional(some)


def build_object(members: Sequence[Member], others: Expression, least: int = 0, most: int | None = None) -> Expression:
    """Return the objects of members in order, then others, of a size in all.

    `others` is the name, the colon and the value of any other member, or `NEVER`.
    """
    needed = sum(each.is_needed for each in members)
    if most is not None and needed > most:
        return NEVER
    if needed >= least and (most is None or (len(members) <= most and others == NEVER)):
        body = _build_ordered_members(members, others)
    else:
        if 2 ** (len(members) - needed) > _MOST_STATES:
            raise unsupported("minProperties or maxProperties", "with so many optional properties it has no grammar")
        body = _build_counted_members(members, others, least, most)
    return sequence([text("{"), body, text("}")])


def _build_ordered_members(members: Sequence[Member], others: Expression) -> Expression:
    """Return members in order, those that are not needed written or left out."""
    begun, fresh = (_build_items(others, 0, None, is_begun=is_begun) for is_begun in (True, False))
    # From the end: what follows when something stands before, and when nothing does.
    for written, is_needed in reversed(members):
        with_comma = sequence([text(","), written])
        fresh = union([sequence([written, begun]), NEVER if is_needed else fresh])
        begun = sequence([with_comma if is_needed else optional(with_comma), begun])
    return fresh


def _build_counted_members(members: Sequence[Member], others: Expression, least: int, most: int | None) -> Expression:
    """Return members in order, then others, of a number in all."""

    @cache
    def after(place: int, count: int) -> Expression:
        """Return what follows the members before a place, `count` of which are written."""
        if most is not None and count > most:
            return NEVER
        if place == len(members):
            missing = max(0, least - count)
            if missing > 1 and others != NEVER and count != most:
                raise unsupported("minProperties", "that names differ from one another has no grammar")
            return _build_items(others, missing, None if most is None else most - count, is_begun=count > 0)
        written, is_needed = members[place]
        with_it = sequence([text(",") if count else EMPTY, written, after(place + 1, count + 1)])
        return union([with_it, NEVER if is_needed else after(place + 1, count)])

    return after(0, 0)
