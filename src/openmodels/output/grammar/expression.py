"""Expressions over code points, for patterns, JSON strings and grammars."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce

Range = tuple[int, int]
"""A first and a last code point."""

LAST = 0x10FFFF
_SURROGATES = (0xD800, 0xDFFF)


@dataclass(frozen=True, slots=True)
class Chars:
    """One character of a set.

    Attributes:
        ranges: The set, as ranges in order, without surrogates.
    """

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
    """Text that every part matches; only some notations can write it.

    Attributes:
        parts: The parts, none of which holds a `Rule`.
        keywords: The schema's keywords that demand it, for messages.
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
        cut: list[Range] = []
        for first, last in ranges:
            if last < low or first > high:
                cut.append((first, last))
                continue
            if first < low:
                cut.append((first, low - 1))
            if last > high:
                cut.append((high + 1, last))
        ranges = cut
    return ranges


ANY = complement(Chars(()))
NEVER = Alt(())


def text(value: str) -> Expression:
    """Return an expression of exactly this text."""
    return sequence([Chars(((ord(letter), ord(letter)),)) for letter in value])


def sequence(parts: Iterable[Expression]) -> Expression:
    """Return parts in a row, nested rows joined."""
    flat: list[Expression] = []
    for part in parts:
        flat.extend(part.parts if isinstance(part, Seq) else [part])
    if any(part == NEVER for part in flat):
        return NEVER
    return flat[0] if len(flat) == 1 else Seq(tuple(flat))


def union(parts: Iterable[Expression]) -> Expression:
    """Return one of some parts, nested choices joined, each once."""
    flat: dict[Expression, None] = {}
    for part in parts:
        flat.update(dict.fromkeys(part.parts if isinstance(part, Alt) else [part]))
    return next(iter(flat)) if len(flat) == 1 else Alt(tuple(flat))


def repeat(inner: Expression, least: int, most: int | None) -> Expression:
    """Return a part some times."""
    if inner == NEVER:
        return NEVER if least else EMPTY
    if most == 0:
        return EMPTY
    return inner if (least, most) == (1, 1) else Repeat(inner, least, most)


def optional(inner: Expression) -> Expression:
    """Return a part that may be missing."""
    return repeat(inner, 0, 1)


def lengths(expression: Expression) -> tuple[int, int | None]:
    """Return the shortest and longest length of an expression; None is unbounded.

    It holds no rules.
    """
    match expression:
        case Chars():
            return 1, 1
        case Seq(parts=parts):
            nothing: tuple[int, int | None] = (0, 0)
            return reduce(_add, map(lengths, parts), nothing)
        case Alt(parts=parts):
            sizes = [lengths(part) for part in parts] or [(0, 0)]
            most = [size[1] for size in sizes]
            return min(size[0] for size in sizes), None if None in most else max(
                size for size in most if size is not None
            )
        case Repeat(inner=inner, least=least, most=most_times):
            low, high = lengths(inner)
            return low * least, 0 if high == 0 else None if high is None or most_times is None else high * most_times
        case And(parts=parts):
            sizes = [lengths(part) for part in parts]
            longest = [size[1] for size in sizes if size[1] is not None]
            return max(size[0] for size in sizes), min(longest, default=None)
    return 0, None


def _add(left: tuple[int, int | None], right: tuple[int, int | None]) -> tuple[int, int | None]:
    most = None if left[1] is None or right[1] is None else left[1] + right[1]
    return left[0] + right[0], most


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
_ESCAPED = chars([(0, 0x1F), (0x22, 0x22), (0x5C, 0x5C)])
_UNUSUAL = chars([(0, 8), (11, 12), (14, 0x1F)])


def in_json(expression: Expression) -> Expression:
    """Return an expression of the matching texts as JSON strings without quotes.

    Every character has one spelling, so that lengths are those of the text. Control characters other than tabs and
    line ends are written only where nothing else is allowed.
    """
    match expression:
        case Chars():
            usual = minus(expression, _UNUSUAL)
            wanted = usual if usual.ranges else expression
            plain = minus(wanted, _ESCAPED)
            escaped = minus(wanted, complement(_ESCAPED))
            spelled = [
                text(_SHORT.get(code, f"\\u{code:04x}"))
                for first, last in escaped.ranges
                for code in range(first, last + 1)
            ]
            return union([*([plain] if plain.ranges else []), *spelled])
        case Seq(parts=parts):
            return sequence(map(in_json, parts))
        case Alt(parts=parts):
            return union(map(in_json, parts))
        case Repeat(inner=inner, least=least, most=most):
            return repeat(in_json(inner), least, most)
        case And(parts=parts, keywords=keywords):
            return And(tuple(map(in_json, parts)), keywords)
    return expression


def unlike(words: Sequence[str]) -> Expression:
    """Return an expression of every text but these."""
    heads: dict[str, list[str]] = {}
    for word in words:
        if word:
            heads.setdefault(word[0], []).append(word[1:])
    others = complement(chars((ord(head), ord(head)) for head in heads))
    parts: list[Expression] = [sequence([others, repeat(ANY, 0, None)])]
    if "" not in words:
        parts.append(EMPTY)
    parts += [sequence([text(head), unlike(rests)]) for head, rests in heads.items()]
    return union(parts)
