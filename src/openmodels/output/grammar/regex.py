r"""Regular expressions of JSON Schema: ECMAScript's, with ASCII classes.

`\d`, `\w` and `\s` are ASCII. What depends on more than the text matched so far (look-around, word boundaries,
references to groups) has no grammar and is refused, as is what dialects read in different ways.
"""

from __future__ import annotations

import sys
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from openmodels.output.grammar.expression import (
    ANY,
    EMPTY,
    LAST,
    Alt,
    Chars,
    Expression,
    Range,
    Repeat,
    Rule,
    Seq,
    chars,
    complement,
    minus,
    repeat,
    sequence,
    size,
    union,
)

LONGEST = 10_000
"""Characters of a pattern at most."""
DEEPEST = 100
"""Groups inside of each other at most."""
LARGEST = 50_000
"""Characters of a pattern with its repetitions written out, at most."""

_START, _END = Rule("^"), Rule("$")
_REPETITION = {"*": (0, None), "+": (1, None), "?": (0, 1)}
_DIGIT = chars([(0x30, 0x39)])
_WORD = chars([(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)])
_SPACE = chars([(9, 13), (32, 32)])
_OTHER_SPACES = (
    (28, 31),
    (133, 133),
    (160, 160),
    (5760, 5760),
    (8192, 8202),
    (8232, 8233),
    (8239, 8239),
    (8287, 8287),
    (12288, 12288),
    (65279, 65279),
)
_ANY_SPACE = chars((*_SPACE.ranges, *_OTHER_SPACES))
_LINE_ENDS = chars([(10, 10), (13, 13), (0x2028, 0x2029)])
_NAMED = {"t": 9, "n": 10, "v": 11, "f": 12, "r": 13}


class PatternRefused(ValueError):
    """A pattern that has no grammar; the message says why."""


@dataclass(frozen=True, slots=True)
class _Class:
    """A class: the characters that every dialect puts in it, and those that any does."""

    sure: Chars
    possible: Chars

    def negated(self) -> _Class:
        return _Class(complement(self.possible), complement(self.sure))


def _exact(characters: Chars) -> _Class:
    return _Class(characters, characters)


_CLASSES = {"d": _exact(_DIGIT), "w": _exact(_WORD), "s": _Class(_SPACE, _ANY_SPACE)}


@lru_cache(256)
def fullmatch(pattern: str) -> Expression:
    """Return the expression of the texts that a pattern matches as `re.fullmatch`.

    Raises:
        PatternRefused: It has none.
    """
    return _anchored(_Parser(pattern).parse(), EMPTY)


@lru_cache(256)
def search(pattern: str) -> Expression:
    """Return the expression of the texts that a pattern matches as `re.search`.

    The keyword `pattern` means that.

    Raises:
        PatternRefused: It has none.
    """
    return _anchored(_Parser(pattern).parse(), repeat(ANY, 0, None))


def _anchored(parsed: Expression, around: Expression) -> Expression:
    """Return an expression without anchors, with `around` where an anchor is missing."""
    if isinstance(parsed, Alt):
        return union(_anchored(part, around) for part in parsed.parts)
    parts = list(parsed.parts) if isinstance(parsed, Seq) else [parsed]
    if len(parts) == 1 and isinstance(parts[0], Alt):
        return _anchored(parts[0], around)
    is_anchored_left = is_anchored_right = False
    while parts and parts[0] == _START:
        is_anchored_left, parts = True, parts[1:]
    while parts and parts[-1] == _END:
        is_anchored_right, parts = True, parts[:-1]
    # An anchor in a group at the end of its branch is that branch's own.
    for place, anchor in ((0, _START), (-1, _END)):
        edge = parts[place] if parts else EMPTY
        if isinstance(edge, Alt) and _holds(edge, anchor):
            rest = parts[1:] if place == 0 else parts[:-1]
            tied = [[part, *rest] if place == 0 else [*rest, part] for part in edge.parts]
            head, tail = ([_START] if is_anchored_left else []), ([_END] if is_anchored_right else [])
            return union(_anchored(sequence([*head, *branch, *tail]), around) for branch in tied)
    if any(_holds(part, anchor) for part in parts for anchor in (_START, _END)):
        raise PatternRefused("an anchor (^ or $) in the middle of a pattern cannot be followed")
    return sequence([EMPTY if is_anchored_left else around, *parts, EMPTY if is_anchored_right else around])


def _holds(expression: Expression, anchor: Rule) -> bool:
    match expression:
        case Seq(parts=parts) | Alt(parts=parts):
            return any(_holds(part, anchor) for part in parts)
        case Repeat(inner=inner):
            return _holds(inner, anchor)
    return expression == anchor


class _Parser:
    """Reads one pattern."""

    def __init__(self, pattern: str) -> None:
        if len(pattern) > LONGEST:
            raise PatternRefused(f"it has {len(pattern):,} characters, and at most {LONGEST:,} are read")
        self._pattern, self._place, self._depth = pattern, 0, 0
        self._ignore_case = self._dot_all = False

    def parse(self) -> Expression:
        if self._pattern.startswith("(?") and (end := self._pattern.find(")")) > 0:
            flags = self._pattern[2:end]
            if flags and flags.isalpha():
                self._set(flags)
                self._place = end + 1
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

    def _next(self) -> str:
        if self._place >= len(self._pattern):
            raise PatternRefused("it ends too early")
        self._place += 1
        return self._pattern[self._place - 1]

    def _skip(self, expected: str) -> bool:
        if self._pattern.startswith(expected, self._place):
            self._place += len(expected)
            return True
        return False

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
        least, most = bounds
        if most is not None and most < least:
            raise PatternRefused(f"{{{least},{most}}} allows nothing")
        if max(least, most or 0) > LARGEST:
            raise PatternRefused(f"a repetition of more than {LARGEST:,} is too long")
        return repeat(inner, least, most)

    def _bounds(self) -> tuple[int, int | None] | None:
        if self._place >= len(self._pattern):
            return None
        if (letter := self._pattern[self._place]) in _REPETITION:
            self._place += 1
            return _REPETITION[letter]
        end = self._pattern.find("}", self._place)
        if letter != "{" or end < 0:
            return None
        low, comma, high = self._pattern[self._place + 1 : end].partition(",")
        if not low and high.isdecimal():
            raise PatternRefused("{,n} means different things to different engines: write {0,n}")
        if not (_number(low) and (not high or _number(high))):
            return None
        if max(len(low), len(high)) > len(str(LARGEST)):
            raise PatternRefused(f"a repetition of more than {LARGEST:,} is too long")
        self._place = end + 1
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
                return self._cased(self._escape(inside=False).sure)
            case "*" | "+" | "?":
                raise PatternRefused("a quantifier has nothing to repeat")
        return self._cased(_single(letter))

    def _group(self) -> Expression:
        self._depth += 1
        if self._depth > DEEPEST:
            raise PatternRefused(f"its groups are more than {DEEPEST} deep")
        flags = self._ignore_case, self._dot_all
        if self._skip("?"):
            self._kind_of_group()
        inner = self._alternatives()
        if not self._skip(")"):
            raise PatternRefused("a group is not closed")
        self._ignore_case, self._dot_all = flags
        self._depth -= 1
        # Kept apart from what stands beside it, so that a quantifier counts the whole group.
        return inner

    def _kind_of_group(self) -> None:
        if self._skip(":"):
            return
        for opening in ("=", "!", "<=", "<!"):
            if self._skip(opening):
                raise PatternRefused("look-around cannot be followed")
        if self._skip("P<") or self._skip("<"):
            end = self._pattern.find(">", self._place)
            if end < 0 or not self._pattern[self._place : end].isidentifier():
                raise PatternRefused("a group's name cannot be read")
            self._place = end + 1
            return
        end = self._pattern.find(":", self._place)
        flags = self._pattern[self._place : max(end, self._place)]
        if not flags.isalpha():
            raise PatternRefused("a group of this kind cannot be followed")
        self._set(flags)
        self._place = end + 1

    def _set_of_characters(self) -> Expression:
        negated = self._skip("^")
        if self._pattern.startswith("]", self._place):
            raise PatternRefused("[] and [^] mean different things to different engines: escape the bracket")
        sure: list[Range] = []
        possible: list[Range] = []
        while not self._skip("]"):
            if self._pattern.startswith("[:", self._place):
                raise PatternRefused("classes like [:alpha:] cannot be followed: write the ranges")
            low = self._member()
            if self._pattern.startswith("-", self._place) and not self._pattern.startswith("-]", self._place):
                self._place += 1
                high = self._member()
                first, last = _code(low), _code(high)
                if first is None or last is None or last < first:
                    raise PatternRefused("a range of characters cannot be read")
                low = _exact(chars([(first, last)]))
            sure += self._cased(low.sure).ranges
            possible += self._cased(low.possible).ranges
        members = _Class(chars(sure), chars(possible))
        characters = (members.negated() if negated else members).sure
        if not characters.ranges:
            raise PatternRefused("a set of characters is empty")
        return characters

    def _member(self) -> _Class:
        letter = self._next()
        return self._escape(inside=True) if letter == "\\" else _exact(_single(letter))

    def _escape(self, *, inside: bool) -> _Class:
        letter = self._next()
        if letter.lower() in _CLASSES:
            members = _CLASSES[letter.lower()]
            return members.negated() if letter.isupper() else members
        if letter in _NAMED:
            return _exact(chars([(_NAMED[letter], _NAMED[letter])]))
        if letter in "xuUpP":
            return self._numbered_or_named(letter)
        if letter == "0" and not self._pattern[self._place : self._place + 1].isdecimal():
            return _exact(_single("\0"))
        if letter == "b" and inside:
            return _exact(_single("\b"))
        if not letter.isalnum():
            return _exact(_single(letter))
        if letter in "bB":
            raise PatternRefused("word boundaries (\\b) cannot be followed")
        if letter.isdecimal() or letter == "k":
            raise PatternRefused("references to groups cannot be followed")
        if letter in "AzZ" and not inside:
            raise PatternRefused(f"\\{letter} is not known to every engine: write ^ or $")
        raise PatternRefused(f"\\{letter} cannot be followed")

    def _numbered_or_named(self, letter: str) -> _Class:
        if letter not in "pP":
            return _exact(_character(self._digits({"x": 2, "u": 4, "U": 8}[letter])))
        members = _exact(_category(self._property()))
        return members.negated() if letter == "P" else members

    def _digits(self, count: int) -> int:
        if self._skip("{"):
            end = self._pattern.find("}", self._place)
            digits = self._pattern[self._place : max(end, self._place)]
            self._place = end + 1
        else:
            digits = self._pattern[self._place : self._place + count]
            self._place += count
            digits = digits if len(digits) == count else ""
        try:
            return int(digits, 16)
        except ValueError:
            raise PatternRefused("an escaped character cannot be read") from None

    def _property(self) -> str:
        if not self._skip("{"):
            return self._next()
        end = self._pattern.find("}", self._place)
        name = self._pattern[self._place : max(end, self._place)]
        self._place = end + 1
        return name.removeprefix("gc=").removeprefix("General_Category=")

    def _cased(self, characters: Chars) -> Chars:
        if not self._ignore_case:
            return characters
        both: list[Range] = list(characters.ranges)
        for first, last in characters.ranges:
            for code in range(first, min(last, first + LARGEST) + 1):
                letter = chr(code)
                both += [(ord(other), ord(other)) for other in (letter.lower(), letter.upper()) if len(other) == 1]
        return chars(both)


def _number(digits: str) -> bool:
    return digits.isascii() and digits.isdecimal()


def _single(letter: str) -> Chars:
    return _character(ord(letter))


def _character(code: int) -> Chars:
    characters = chars([(code, code)])
    if not characters.ranges or code > LAST:
        raise PatternRefused("half a surrogate pair is no character")
    return characters


def _code(members: _Class) -> int | None:
    ranges = members.sure.ranges
    return ranges[0][0] if len(ranges) == 1 and ranges[0][0] == ranges[0][1] else None


@lru_cache(1)
def _categories() -> dict[str, list[Range]]:
    ranges: dict[str, list[Range]] = {}
    for code in range(sys.maxunicode + 1):
        known = ranges.setdefault(unicodedata.category(chr(code)), [])
        if known and known[-1][1] == code - 1:
            known[-1] = (known[-1][0], code)
        else:
            known.append((code, code))
    return ranges


_LONG = {
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


def _category(name: str) -> Chars:
    short = _LONG.get(name, name)
    ranges = [span for key, spans in _categories().items() if short and key.startswith(short) for span in spans]
    if not ranges or short.startswith("C"):
        raise PatternRefused(f"the class of characters {name!r} is not known")
    return chars(ranges)
