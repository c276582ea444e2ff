"""Expressions over code points, for patterns, JSON strings and grammars."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

Range = tuple[int, int]  # a first and a last code point

LAST = 0x10FFFF
_SURROGATES = (0xD800, 0xDFFF)


@dataclass(frozen=True, slots=True)
class Chars:
    """One character of a set, given as ranges in order, without surrogates."""

    ranges: tuple[Range, ...]


@dataclass(frozen=True, slots=True)
class Seq:
    """Parts that follow each other; the empty sequence is the empty text."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Alt:
    """One of some parts; one of none matches nothing."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """A part `least` to `most` times; `most` None is without an end."""

    inner: Expression
    least: int
    most: int | None


@dataclass(frozen=True, slots=True)
class And:
    """Text that every part matches; none holds a `Rule`, and only Lark can write it.

    Messages name the schema's keywords that demand it.
    """

    parts: tuple[Expression, ...]
    keywords: str


@dataclass(frozen=True, slots=True)
class Rule:
    """What the rule of a name stands for."""

    name: str


Expression = Chars | Seq | Alt | Repeat | And | Rule

EMPTY = Seq(())


def chars(ranges: Iterable[Range]) -> Chars:
    """Return a set of characters; ranges may overlap and hold surrogates."""
    merged: list[Range] = []
    for first, last in sorted(_without([*ranges], [_SURROGATES])):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return Chars(tuple(merged))


def complement(characters: Chars) -> Chars:
    """Return the characters that a set lacks."""
    return chars(_without([(0, LAST)], characters.ranges))


def minus(characters: Chars, taken: Chars) -> Chars:
    """Return the characters of a set that another lacks."""
    return Chars(tuple(sorted(_without([*characters.ranges], taken.ranges))))


def _without(ranges: list[Range], taken: Iterable[Range]) -> list[Range]:
    for low, high in taken:
        ranges = [
            (first, last)
            for start, end in ranges
            for first, last in ((start, min(end, low - 1)), (max(start, high + 1), end))
            if first <= last
        ]
    return ranges


ANY = complement(Chars(()))
NEVER = Alt(())


def text(value: str) -> Expression:
    """Return an expression of exactly this text."""
    return sequence([Chars(((ord(letter), ord(letter)),)) for letter in value])


def sequence(parts: Iterable[Expression]) -> Expression:
    """Return parts in a row, nested rows joined; with `NEVER` in it, `NEVER`."""
    flat: list[Expression] = []
    for part in parts:
        flat.extend(part.parts if isinstance(part, Seq) else [part])
    if any(part == NEVER for part in flat):
        return NEVER
    return flat[0] if len(flat) == 1 else Seq(tuple(flat))


def union(parts: Iterable[Expression]) -> Expression:
    """Return one of some parts, nested choices joined, each once; `NEVER` drops out."""
    flat: dict[Expression, None] = {}
    for part in parts:
        flat.update(dict.fromkeys(part.parts if isinstance(part, Alt) else [part]))
    return next(iter(flat)) if len(flat) == 1 else Alt(tuple(flat))


def repeat(inner: Expression, least: int, most: int | None) -> Expression:
    """Return a part some times."""
    if most is not None and most < least:
        return NEVER
    if inner == NEVER:
        return NEVER if least else EMPTY
    if most == 0:
        return EMPTY
    return inner if (least, most) == (1, 1) else Repeat(inner, least, most)


def optional(inner: Expression) -> Expression:
    """Return a part that may be missing."""
    return repeat(inner, 0, 1)


def leaves(expression: Expression) -> Iterator[Chars | And | Rule]:
    """Yield what the rows, choices and repetitions of an expression hold."""
    match expression:
        case Seq(parts=parts) | Alt(parts=parts):
            for part in parts:
                yield from leaves(part)
        case Repeat(inner=inner):
            yield from leaves(inner)
        case _:
            yield expression


def transform(expression: Expression, replace: Callable[[Chars | Rule], Expression]) -> Expression:
    """Return an expression with its characters and rules replaced."""
    match expression:
        case Seq(parts=parts):
            return sequence(transform(part, replace) for part in parts)
        case Alt(parts=parts):
            return union(transform(part, replace) for part in parts)
        case And(parts=parts, keywords=keywords):
            return And(tuple(transform(part, replace) for part in parts), keywords)
        case Repeat(inner=inner, least=least, most=most):
            return repeat(transform(inner, replace), least, most)
    return replace(expression)


def lengths(expression: Expression) -> tuple[int, float]:
    """Return the shortest and longest length of an expression, which holds no rules.

    The longest is `math.inf` without an end.
    """
    match expression:
        case Chars():
            return 1, 1
        case Seq(parts=parts):
            sizes = [lengths(part) for part in parts]
            return sum(low for low, _ in sizes), sum(high for _, high in sizes)
        case Alt(parts=parts):
            sizes = [lengths(part) for part in parts]
            return min((low for low, _ in sizes), default=0), max((high for _, high in sizes), default=0)
        case And(parts=parts):
            sizes = [lengths(part) for part in parts]
            return max(low for low, _ in sizes), min(high for _, high in sizes)
        case Repeat(inner=inner, least=least, most=most):
            low, high = lengths(inner)
            # Nothing repeated without an end is nothing, not the undefined 0 * infinity.
            return low * least, high and high * (math.inf if most is None else most)
    return 0, math.inf


def size(expression: Expression) -> int:
    """Return the characters of an expression with its repetitions written out."""
    match expression:
        case Seq(parts=parts) | Alt(parts=parts) | And(parts=parts):
            return 1 + sum(map(size, parts))
        case Repeat(inner=inner, least=least, most=most):
            return size(inner) * max(1, least, most or 0)
        case Chars(ranges=ranges):
            return max(1, len(ranges) // 4)
    return 1


_SHORT = {8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r", 0x22: '\\"', 0x5C: "\\\\"}
_ESCAPED_CODES = (*range(0x20), 0x22, 0x5C)
_ESCAPED = chars((code, code) for code in _ESCAPED_CODES)
_UNUSUAL = chars([(0, 8), (11, 12), (14, 0x1F)])


def in_json(expression: Expression) -> Expression:
    """Return an expression of the matching texts as JSON strings without quotes.

    Every character has one spelling, so that lengths are those of the text. Control characters other than tabs and
    line ends are written only where nothing else is allowed.
    """
    return transform(expression, _characters_in_json)


def _characters_in_json(leaf: Chars | Rule) -> Expression:
    if isinstance(leaf, Rule):
        return leaf
    usual = minus(leaf, _UNUSUAL)
    wanted = usual if usual.ranges else leaf
    plain = minus(wanted, _ESCAPED)
    escaped = [code for code in _ESCAPED_CODES if any(first <= code <= last for first, last in wanted.ranges)]
    return union([plain if plain.ranges else NEVER, *(text(_SHORT.get(code, f"\\u{code:04x}")) for code in escaped)])


def any_text_except(words: Sequence[str]) -> Expression:
    """Return an expression of every text but these."""
    heads: dict[str, list[str]] = {}
    for word in words:
        if word:
            heads.setdefault(word[0], []).append(word[1:])
    others = complement(chars((ord(head), ord(head)) for head in heads))
    return union(
        [
            sequence([others, repeat(ANY, 0, None)]),
            NEVER if "" in words else EMPTY,
            *(sequence([text(head), any_text_except(rests)]) for head, rests in heads.items()),
        ]
    )
