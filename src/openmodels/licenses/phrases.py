"""How restrictions, subjects and licenses are worded, language by language.

A row of `phrases.json` serves license files and model cards alike. What no row covers is counted as not read,
by `unread_language`, and never taken for permission.
"""

import json
import re
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from openmodels.licenses.table import Restriction

_LONGEST_SENTENCE = 2_000


class Language(NamedTuple):
    """The words of one language."""

    name: str  # its English name
    licenses: str  # words by which a sentence speaks about terms of use
    restrictions: dict[Restriction, str]  # what is demanded or forbidden, by kind
    denied: str  # words before a restriction that take it back ("not limited to")
    weights: str  # nouns for the weights
    code: str  # nouns for programs
    data: str  # nouns for data
    others: str  # words that introduce someone else's work
    past: str  # words for terms that hold no more
    contrast: str  # words before the name of a license that does not hold


class _Patterns(NamedTuple):
    restrictions: list[dict[Restriction, re.Pattern[str]]]  # one a language
    denied: list[re.Pattern[str]]
    both: re.Pattern[str]  # "for commercial and non-commercial use" restricts nothing
    terms: re.Pattern[str]
    unread: list[tuple[re.Pattern[str], str]]  # with the name of the language, or of a script's languages


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads((files("openmodels.licenses") / "phrases.json").read_text(encoding="utf-8"))
    return table


@cache
def languages() -> tuple[Language, ...]:
    """Return the languages whose sentences about terms are read."""
    return tuple(
        Language(**row | {"restrictions": {Restriction(kind): words for kind, words in row["restrictions"].items()}})
        for row in _table()["languages"]
    )


@cache
def _patterns() -> _Patterns:
    def compiled(pattern: str) -> re.Pattern[str]:
        return re.compile(pattern, re.IGNORECASE)

    return _Patterns(
        [{kind: compiled(words) for kind, words in language.restrictions.items()} for language in languages()],
        [compiled(language.denied) for language in languages()],
        compiled(_table()["both"]),
        compiled("|".join(language.licenses for language in languages())),
        [(compiled(row["words"]), row["name"]) for row in _table()["unread"]],
    )


def find_restrictions(text: str) -> tuple[Restriction, ...]:
    """Return the restrictions that a text words, without those it takes back."""
    patterns = _patterns()
    if both := patterns.both.search(text):
        text = text[: both.start()] + " " * len(both[0]) + text[both.end() :]
    kinds: dict[Restriction, None] = {}
    for by_kind, denied in zip(patterns.restrictions, patterns.denied, strict=True):
        for kind, pattern in by_kind.items():
            if not all(_is_denied(text, match.start(), denied) for match in pattern.finditer(text)):
                kinds.setdefault(kind)
    return tuple(kind for kind in Restriction if kind in kinds)


def _is_denied(text: str, start: int, denied: re.Pattern[str]) -> bool:
    """Return whether words before a place take it back ("not limited to")."""
    matches = denied.finditer(text, max(0, start - 60), start + 20)
    return any(m.start() < start <= m.end() + 30 and not re.search("[.;。]", text[m.end() : start]) for m in matches)


def first_restriction(text: str) -> int:
    """Return where the first restriction of a text begins, else its length."""
    patterns = (pattern for by_kind in _patterns().restrictions for pattern in by_kind.values())
    starts = (match.start() for pattern in patterns if (match := pattern.search(text)))
    return min(starts, default=len(text))


def is_about_terms(text: str) -> bool:
    """Return whether a sentence speaks about terms of use, read or not."""
    # A sentence is no longer than that; what is longer lacks full stops, and may be made to cost time.
    has_words = _patterns().terms.search(text) or find_restrictions(text[:_LONGEST_SENTENCE])
    return bool(has_words) or unread_language(text) is not None


def unread_language(text: str) -> str | None:
    """Return the language of a sentence about licenses if it is not read."""
    return next((name for pattern, name in _patterns().unread if pattern.search(text)), None)
