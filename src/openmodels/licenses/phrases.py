"""How restrictions, subjects and licenses are worded, language by language.

A row of `LANGUAGES` serves license files and model cards alike. What no row covers is counted as not read,
by `unread_language`, and never taken for permission.
"""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import Any, NamedTuple

from openmodels.licenses.table import Restriction


class Language(NamedTuple):
    """The words of one language.

    Attributes:
        name: Its English name.
        licenses: Words by which a sentence speaks about terms of use.
        restrictions: What is demanded or forbidden, by kind.
        denied: Words before a restriction that take it back ("not limited to").
        weights: Nouns for the weights.
        code: Nouns for programs.
        data: Nouns for data.
        others: Words that introduce someone else's work.
        past: Words for terms that hold no more.
        contrast: Words before the name of a license that does not hold.
    """

    name: str
    licenses: str
    restrictions: dict[Restriction, str]
    denied: str
    weights: str
    code: str
    data: str
    others: str
    past: str
    contrast: str


def _read_table() -> dict[str, Any]:
    return json.loads((files("openmodels.licenses") / "phrases.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


_TABLE = _read_table()
LANGUAGES = tuple(
    Language(**row | {"restrictions": {Restriction(kind): words for kind, words in row["restrictions"].items()}})
    for row in _TABLE["languages"]
)
"""The languages whose sentences about terms are read."""

_RESTRICTIONS = [
    {kind: re.compile(pattern, re.IGNORECASE) for kind, pattern in language.restrictions.items()}
    for language in LANGUAGES
]
_DENIED = [re.compile(rf"(?:{language.denied})[^.;。]{{0,30}}$", re.IGNORECASE) for language in LANGUAGES]
# "for commercial and non-commercial use" restricts nothing.
_BOTH = re.compile(_TABLE["both"])
# Words for "license" in languages that are not read. Scripts stand for the languages written in them.
_UNREAD = [(re.compile(row["words"], re.IGNORECASE), row["name"]) for row in _TABLE["unread"]]
_TERMS = re.compile("|".join(language.licenses for language in LANGUAGES), re.IGNORECASE)


def find_restrictions(text: str) -> tuple[Restriction, ...]:
    """Return the restrictions that a text words in one of the languages, those it takes back left out."""
    if both := _BOTH.search(text):
        text = text[: both.start()] + " " * len(both[0]) + text[both.end() :]
    kinds: dict[Restriction, None] = {}
    for patterns, denied in zip(_RESTRICTIONS, _DENIED, strict=True):
        for kind, pattern in patterns.items():
            if any(
                not denied.search(text[max(0, match.start() - 60) : match.start()]) for match in pattern.finditer(text)
            ):
                kinds.setdefault(kind)
    return tuple(kind for kind in Restriction if kind in kinds)


def first_restriction(text: str) -> int:
    """Return where the first restriction of a text begins; its length where there is none."""
    starts = [
        match.start() for patterns in _RESTRICTIONS for pattern in patterns.values() if (match := pattern.search(text))
    ]
    return min(starts, default=len(text))


def is_about_terms(text: str) -> bool:
    """Return whether a sentence speaks about terms of use, in any language known here by its words."""
    return bool(_TERMS.search(text) or find_restrictions(text)) or unread_language(text) is not None


def unread_language(text: str) -> str | None:
    """Return the language of a sentence about licenses that is not read, None for those that are."""
    if _TERMS.search(text):
        return None
    return next((name for pattern, name in _UNREAD if pattern.search(text)), None)
