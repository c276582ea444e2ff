r"""Regular expressions of JSON Schema: ECMAScript's, with ASCII classes.

`\d`, `\w` and `\s` are ASCII. What depends on more than the text matched so far (look-around, word boundaries,
references to groups) has no grammar and is refused, as is what dialects read in different ways.
"""

import re
import sys
import unicodedata
from functools import lru_cache

from openmodels.output.grammar.expression import (
    ANY,
    EMPTY,
    LAST,
    NEVER,
    Alt,
    Chars,
    Expression,
    Range,
    Rule,
    Seq,
    chars,
    complement,
    leaves,
    minus,
    repeat,
    sequence,
    size,
    union,
)

LONGEST = 10_000  # characters of a pattern at most
DEEPEST = 100  # groups inside of each other at most
LARGEST = 50_000  # characters of a pattern with its repetitions written out, at most

_FLAGS = re.compile(r"\(\?([A-Za-z]+)\)")
_REPETITIONS = {"*": (0, None), "+": (1, None), "?": (0, 1)}
_QUANTIFIER = re.compile(r"[*+?]|\{(?!,?\})([0-9]*)(,?)([0-9]*)\}")  # a quantifier; `{}` and `{,}` are texts
_GROUP = re.compile(r"\?(?:(?P<look_around><?[=!])|P?<(?P<name>[^>]*)>|(?P<flags>[A-Za-z]*):)")
_CODE_POINTS = {
    letter: re.compile(rf"\{{([0-9A-Fa-f]+)\}}|([0-9A-Fa-f]{{{digits}}})")
    for letter, digits in (("x", 2), ("u", 4), ("U", 8))
}
_PROPERTY = re.compile(r"\{(?:gc=|General_Category=)?([^}]*)\}|([^{])", re.DOTALL)

_START, _END = Rule("^"), Rule("$")
_CLASSES = {"d": chars([(0x30, 0x39)]), "w": chars([(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)])}
_SPACE = chars([(9, 13), (32, 32)])
_UNICODE_SPACES = (0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000, 0xFEFF)
_ANY_SPACE = chars((*_SPACE.ranges, (0x1C, 0x1F), *((code, code) for code in _UNICODE_SPACES)))
_LINE_ENDS = chars([(10, 10), (13, 13), (0x2028, 0x2029)])
_CONTROLS = {"t": "\t", "n": "\n", "v": "\v", "f": "\f", "r": "\r"}


class PatternRefused(ValueError):
    """A pattern that has no grammar; the message says why."""


@lru_cache(256)
def fullmatch(pattern: str) -> Expression:
    """Return the texts that a pattern matches as `re.fullmatch`."""
    return _resolve_anchors(_Parser(pattern).parse(), EMPTY)


@lru_cache(256)
def search(pattern: str) -> Expression:
    """Return the texts that a pattern matches as `re.search`, as schemas mean it."""
    return _resolve_anchors(_Parser(pattern).parse(), repeat(ANY, 0, None))


def _resolve_anchors(parsed: Expression, around: Expression) -> Expression:
    """Return an expression without anchors, with `around` where an anchor is missing."""
    branches = [
        sequence([before, body, after])
        for before, ending in zip((EMPTY, around), _split_by_anchor(parsed, _START), strict=True)
        for after, body in zip((EMPTY, around), _split_by_anchor(ending, _END), strict=True)
    ]
    if any(leaf in (_START, _END) for branch in branches for leaf in leaves(branch)):
        raise PatternRefused("an anchor (^ or $) in the middle of a pattern cannot be followed")
    return union(branches)


def _split_by_anchor(expression: Expression, anchor: Rule) -> tuple[Expression, Expression]:
    """Return the texts with an anchor at their edge, without it, and the others."""
    match expression:
        case Rule() if expression == anchor:
            return EMPTY, NEVER
        case Alt(parts=parts):
            branches = [_split_by_anchor(part, anchor) for part in parts]
            return union(tied for tied, _ in branches), union(free for _, free in branches)
        case Seq(parts=parts) if parts:
            is_start = anchor == _START
            edge, rest = (parts[0], parts[1:]) if is_start else (parts[-1], parts[:-1])
            tied, free = (
                sequence([part, *rest] if is_start else [*rest, part]) for part in _split_by_anchor(edge, anchor)
            )
            if edge == anchor:  # what stands beside it may repeat it
                tied = union(_split_by_anchor(tied, anchor))
            return tied, free
    return NEVER, expression


class _Parser:
    """Reads one pattern."""

    def __init__(self, pattern: str) -> None:
        if len(pattern) > LONGEST:
            raise PatternRefused(f"it has {len(pattern):,} characters, and at most {LONGEST:,} are read")
        self._pattern, self._place, self._depth = pattern, 0, 0
        self._ignore_case = self._dot_all = False

    def parse(self) -> Expression:
        if flags := self._match(_FLAGS):
            self._set(flags[1])
        parsed = self._alternatives()
        if self._place < len(self._pattern):
            raise PatternRefused("a closing parenthesis has no opening one")
        if size(parsed) > LARGEST:
            raise PatternRefused(f"with its repetitions written out it has more than {LARGEST:,} characters")
        return parsed

    def _set(self, flags: str) -> None:
        if unknown := sorted(set(flags) - set("isau")):
            raise PatternRefused(f"the flag {unknown[0]!r} cannot be followed")
        self._ignore_case, self._dot_all = self._ignore_case or "i" in flags, self._dot_all or "s" in flags

    def _match(self, syntax: re.Pattern[str]) -> re.Match[str] | None:
        match = syntax.match(self._pattern, self._place)
        if match:
            self._place = match.end()
        return match

    def _next(self) -> str:
        if self._place >= len(self._pattern):
            raise PatternRefused("it ends too early")
        self._place += 1
        return self._pattern[self._place - 1]

    def _skip(self, expected: str) -> bool:
        is_there = self._pattern.startswith(expected, self._place)
        self._place += len(expected) * is_there
        return is_there

    def _alternatives(self) -> Expression:
        branches = [self._branch()]
        while self._skip("|"):
            branches.append(self._branch())
        return union(branches)

    def _branch(self) -> Expression:
        parts: list[Expression] = []
        while self._place < len(self._pattern) and self._pattern[self._place] not in "|)":
            parts.append(self._repeated(self._atom()))
        return sequence(parts)

    def _repeated(self, inner: Expression) -> Expression:
        bounds = self._bounds()
        if bounds is None:
            return inner
        if inner in (_START, _END):
            raise PatternRefused("an anchor cannot be repeated")
        self._skip("?")  # a lazy quantifier matches the same texts
        if self._skip("+"):
            raise PatternRefused("possessive quantifiers cannot be followed")
        if self._bounds() is not None:
            raise PatternRefused("a quantifier follows a quantifier")
        return repeat(inner, *bounds)

    def _bounds(self) -> tuple[int, int | None] | None:
        quantifier = self._match(_QUANTIFIER)
        if quantifier is None:
            return None
        if quantifier[0] in _REPETITIONS:
            return _REPETITIONS[quantifier[0]]
        low, comma, high = quantifier.groups()
        if not low:
            raise PatternRefused("{,n} means different things to different engines: write {0,n}")
        if any(len(digits) > len(str(LARGEST)) or int(digits or 0) > LARGEST for digits in (low, high)):
            raise PatternRefused(f"a repetition of more than {LARGEST:,} is too long")
        if high and int(high) < int(low):
            raise PatternRefused(f"{quantifier[0]} allows nothing")
        return int(low), (int(high) if high else None) if comma else int(low)

    def _atom(self) -> Expression:
        match letter := self._next():
            case "(":
                return self._group()
            case "[":
                return self._set_of_characters()
            case ".":
                return ANY if self._dot_all else minus(ANY, _LINE_ENDS)
            case "^":
                return _START
            case "$":
                return _END
            case "\\":
                return self._cased(self._escape(in_set=False))
            case "*" | "+" | "?":
                raise PatternRefused("a quantifier has nothing to repeat")
        return self._cased(_build_single(letter))

    def _group(self) -> Expression:
        self._depth += 1
        if self._depth > DEEPEST:
            raise PatternRefused(f"its groups are more than {DEEPEST} deep")
        flags = self._ignore_case, self._dot_all
        if self._pattern.startswith("?", self._place):
            self._kind_of_group()
        inner = self._alternatives()
        if not self._skip(")"):
            raise PatternRefused("a group is not closed")
        self._ignore_case, self._dot_all = flags
        self._depth -= 1
        return inner

    def _kind_of_group(self) -> None:
        kind = self._match(_GROUP)
        if kind is None:
            raise PatternRefused("a group of this kind cannot be followed")
        if kind["look_around"]:
            raise PatternRefused("look-around cannot be followed")
        if kind["name"] is not None and not kind["name"].isidentifier():
            raise PatternRefused("a group's name cannot be read")
        self._set(kind["flags"] or "")

    def _set_of_characters(self) -> Expression:
        negated = self._skip("^")
        if self._pattern.startswith("]", self._place):
            raise PatternRefused("[] and [^] mean different things to different engines: escape the bracket")
        ranges: list[Range] = []
        while not self._skip("]"):
            if self._pattern.startswith("[:", self._place):
                raise PatternRefused("classes like [:alpha:] cannot be followed: write the ranges")
            members = self._member(negated=negated)
            if self._pattern.startswith("-", self._place) and not self._pattern.startswith("-]", self._place):
                self._place += 1
                match members.ranges, self._member(negated=negated).ranges:
                    case [(first, first_end)], [(last, last_end)] if first == first_end <= last == last_end:
                        members = chars([(first, last)])
                    case _:
                        raise PatternRefused("a range of characters cannot be read")
            ranges += self._cased(members).ranges
        characters = complement(chars(ranges)) if negated else chars(ranges)
        if not characters.ranges:
            raise PatternRefused("a set of characters is empty")
        return characters

    def _member(self, *, negated: bool) -> Chars:
        letter = self._next()
        return self._escape(in_set=True, negated=negated) if letter == "\\" else _build_single(letter)

    def _escape(self, *, in_set: bool, negated: bool = False) -> Chars:
        """Return an escape's characters; in a negated set, those of any dialect."""
        letter = self._next()
        if letter in "pP":
            name = self._match(_PROPERTY)
            characters = _build_category((name[1] or name[2] or "") if name else "")
        elif letter in "sS":
            characters = _SPACE if negated == letter.isupper() else _ANY_SPACE
        elif letter.lower() in _CLASSES:
            characters = _CLASSES[letter.lower()]
        else:
            return _build_single(self._escaped_character(letter, in_set=in_set))
        return complement(characters) if letter.isupper() else characters

    def _escaped_character(self, letter: str, *, in_set: bool) -> str:
        if letter in _CODE_POINTS:
            digits = self._match(_CODE_POINTS[letter])
            code = int(digits[1] or digits[2], 16) if digits else LAST + 1
            if code > LAST:
                raise PatternRefused("an escaped character cannot be read")
            return chr(code)
        if letter in _CONTROLS:
            return _CONTROLS[letter]
        if letter == "0" and not self._pattern[self._place : self._place + 1].isdecimal():
            return "\0"
        if letter == "b" and in_set:
            return "\b"
        if not letter.isalnum():
            return letter
        if letter in "bB":
            raise PatternRefused("word boundaries (\\b) cannot be followed")
        if letter.isdecimal() or letter == "k":
            raise PatternRefused("references to groups cannot be followed")
        if letter in "AzZ" and not in_set:
            raise PatternRefused(f"\\{letter} is not known to every engine: write ^ or $")
        raise PatternRefused(f"\\{letter} cannot be followed")

    def _cased(self, characters: Chars) -> Chars:
        if not self._ignore_case:
            return characters
        letters = (
            chr(code) for first, last in characters.ranges for code in range(first, min(last, first + LARGEST) + 1)
        )
        cased = (ord(other) for letter in letters for other in (letter.lower(), letter.upper()) if len(other) == 1)
        return chars([*characters.ranges, *((code, code) for code in cased)])


def _build_single(letter: str) -> Chars:
    characters = chars([(ord(letter), ord(letter))])
    if not characters.ranges:
        raise PatternRefused("half a surrogate pair is no character")
    return characters


@lru_cache(1)
def _list_categories() -> dict[str, list[Range]]:
    ranges: dict[str, list[Range]] = {}
    for code in range(sys.maxunicode + 1):
        known = ranges.setdefault(unicodedata.category(chr(code)), [])
        if known and known[-1][1] == code - 1:
            known[-1] = (known[-1][0], code)
        else:
            known.append((code, code))
    return ranges


_LONG_NAMES = {
    "Letter": "L",
    "Mark": "M",
    "Number": "N",
    "Punctuation": "P",
    "Symbol": "S",
    "Separator": "Z",
    "Uppercase_Letter": "Lu",
    "Lowercase_Letter": "Ll",
    "Decimal_Number": "Nd",
}


def _build_category(name: str) -> Chars:
    short = _LONG_NAMES.get(name, name)
    ranges = [span for key, spans in _list_categories().items() if short and key.startswith(short) for span in spans]
    if not ranges or short.startswith("C"):
        raise PatternRefused(f"the class of characters {name!r} is not known")
    return chars(ranges)
