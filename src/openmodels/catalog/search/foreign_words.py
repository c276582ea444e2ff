"""Words of queries in other languages, and the English ones that mean the same.

Of each language: what people ask for models by, and the words that carry no meaning in a query. The latter are left
out only where a word of the former shows the language: "mit" is a license and German.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

FILLER = "-"  # what stands for a word without a meaning in a query


@cache
def spaced_tables() -> tuple[dict[str, str], ...]:
    """Return the phrases of each language that has spaces, and what they mean."""
    return _read_tables("spaced")


@cache
def unspaced_phrases() -> dict[str, str]:
    """Return the phrases of Japanese, Chinese and Korean, and what they mean.

    One table, since they share characters.
    """
    merged: dict[str, str] = {}
    for table in _read_tables("unspaced"):
        for phrase, meaning in table.items():
            # What means something in one of them is not a filler word of another.
            if merged.get(phrase, FILLER) == FILLER:
                merged[phrase] = meaning
    return merged


def _read_tables(kind: str) -> tuple[dict[str, str], ...]:
    languages = json.loads((files("openmodels.catalog.search") / "foreign_words.json").read_text(encoding="utf-8"))
    return tuple(
        {phrase: meaning for meaning, phrases in table.items() for phrase in phrases}
        for table in languages[kind].values()
    )
