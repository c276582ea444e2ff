"""Expressions of JSON without white space: values, strings, lists, objects."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from openmodels.output.grammar.expression import (
    ANY,
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
from openmodels.output.grammar.merge import refused

_MOST_STATES = 2_000
"""Combinations of left-out properties that are told apart at most."""


class Member(NamedTuple):
    """A property of an object.

    Attributes:
        written: Its name, the colon and its value.
        is_needed: Whether it may not be left out.
    """

    written: Expression
    is_needed: bool


def value(plain: Any) -> Expression:
    """Return the expression of one JSON value."""
    return text(json.dumps(plain, ensure_ascii=False, separators=(",", ":")))


def member(name: str, written: Expression, *, is_needed: bool) -> Member:
    """Return the member of an object with a name and the expression of its values."""
    return Member(sequence([value(name), text(":"), written]), is_needed)


def any_string() -> Expression:
    """Return the expression of all strings."""
    return string(repeat(ANY, 0, None))


def string(content: Expression) -> Expression:
    """Return the strings of some contents.

    In a conjunction the quotes are part of each expression.
    """
    if content == NEVER:
        return NEVER
    if isinstance(content, And):
        return And(tuple(map(string, content.parts)), content.keywords)
    return sequence([text('"'), in_json(content), text('"')])


def array(first: Sequence[Expression], item: Expression, least: int, most: int | None) -> Expression:
    """Return the lists of first items, then others, with a number of items in all."""
    if most is not None and most < least:
        return NEVER
    heads = first if most is None else first[:most]
    left = None if most is None else most - len(heads)
    missing = max(0, least - len(heads))
    following = sequence([text(","), item])
    if heads:
        tail = repeat(following, missing, left)
    elif item == NEVER or left == 0:
        tail = NEVER if missing else EMPTY
    else:
        tail = sequence([item, repeat(following, max(0, missing - 1), None if left is None else left - 1)])
        tail = tail if missing else optional(tail)
    for place in range(len(heads) - 1, -1, -1):
        tail = sequence([text(",") if place else EMPTY, heads[place], tail])
        if place >= least:
            tail = EMPTY if tail == NEVER else optional(tail)
    return sequence([text("["), tail, text("]")])


def obj(members: Sequence[Member], others: Expression, least: int = 0, most: int | None = None) -> Expression:
    """Return the objects of members in order, then others, of a size in all.

    Args:
        members: The members that have names.
        others: The name, the colon and the value of any other member; `NEVER` where there are none.
        least: How many members there are at least.
        most: How many there are at most; None is without an end.

    Raises:
        UnsupportedFeature: The counts have no grammar.
    """
    needed = sum(each.is_needed for each in members)
    if most is not None and needed > most:
        return NEVER
    if needed >= least and (most is None or (len(members) <= most and others == NEVER)):
        body = _in_order(members, others)
    else:
        if 2 ** (len(members) - needed) > _MOST_STATES:
            raise refused("minProperties or maxProperties", "with so many optional properties it has no grammar")
        body = _Counted(members, others, least, most).after(0, 0)
    return NEVER if body == NEVER else sequence([text("{"), body, text("}")])


def _in_order(members: Sequence[Member], others: Expression) -> Expression:
    """Return members in order, those that are not needed written or left out."""
    begun = EMPTY if others == NEVER else repeat(sequence([text(","), others]), 0, None)
    fresh = EMPTY if others == NEVER else optional(sequence([others, begun]))
    # From the end: what follows when something stands before, and when nothing does.
    for written, is_needed in reversed(members):
        with_comma = sequence([text(","), written])
        fresh = union([sequence([written, begun]), *([] if is_needed else [fresh])])
        begun = sequence([with_comma if is_needed else optional(with_comma), begun])
    return fresh


class _Counted:
    """Writes the members of an object whose number has limits."""

    def __init__(self, members: Sequence[Member], others: Expression, least: int, most: int | None) -> None:
        self._members, self._others, self._least, self._most = members, others, least, most
        self._known: dict[tuple[int, int], Expression] = {}

    def after(self, place: int, count: int) -> Expression:
        """Return what follows the members before a place, `count` of which are written."""
        if (place, count) not in self._known:
            self._known[place, count] = self._following(place, count)
        return self._known[place, count]

    def _following(self, place: int, count: int) -> Expression:
        if self._most is not None and count > self._most:
            return NEVER
        if place == len(self._members):
            return self._end(count)
        written, is_needed = self._members[place]
        with_it = sequence([text(",") if count else EMPTY, written, self.after(place + 1, count + 1)])
        without = NEVER if is_needed else self.after(place + 1, count)
        return union(part for part in (with_it, without) if part != NEVER)

    def _end(self, count: int) -> Expression:
        missing = max(0, self._least - count)
        left = None if self._most is None else self._most - count
        if self._others == NEVER or left == 0:
            return NEVER if missing else EMPTY
        if missing > 1:
            raise refused("minProperties", "that names differ from one another has no grammar")
        following = sequence([text(","), self._others])
        if count:
            return repeat(following, missing, left)
        rest = sequence([self._others, repeat(following, 0, None if left is None else left - 1)])
        return rest if missing else optional(rest)
