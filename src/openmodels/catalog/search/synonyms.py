"""Synonyms of a search, and the terms of the index that they stand for."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.resources import files

from openmodels.hub import model_names

_TABLE = json.loads((files("openmodels.catalog.search") / "synonyms.json").read_text(encoding="utf-8"))
STOP_WORDS = frozenset(_TABLE["stop words"])
WORDS: dict[str, tuple[str, ...]] = {}  # the words that mean the same as a word
TERMS: dict[str, tuple[str, ...]] = {}  # the terms of the index that mean the same as a word
for _line, _terms in _TABLE["synonyms"].items():
    for _word in (_words := tuple(_line.split())):
        WORDS.setdefault(_word, _words)
        TERMS.setdefault(_word, tuple(_terms))
PHRASES = {phrase: word for word, phrases in _TABLE["phrases"].items() for phrase in phrases}
"""Several words that are one, or one that is several."""
AUTHORS = {name: tuple(accounts) for name, accounts in _TABLE["accounts"].items()}
"""What people call an organisation, and its accounts on the Hub in lower case."""
WORDS_BY_BITS = {
    4: ("4bit", "4-bit", "q4", "int4", "nf4", "gptq", "awq", "w4a16", "mxfp4", "nvfp4", "exl2", "gguf"),
    8: ("8bit", "8-bit", "q8", "int8", "fp8", "w8a8"),
}
"""Words of names and tags for weights whose parameters have so many bits; most GGUF repositories have a 4-bit file."""
_VARIANTS = "quantised quant quants lora loras adapter adapters merge merged"
VARIANTS = model_names.CONVERSION.union(_VARIANTS.split())
"""Words that ask for a conversion, an adapter or a merge instead of the model itself."""

SIZES = {word: int(most) for most, words in _TABLE["sizes"].items() for word in words}
"""Words for few parameters, and how many these are at most."""

_ENDINGS = (
    ("s", ""), ("es", ""), ("ies", "y"), ("ing", ""), ("ing", "e"), ("ed", ""), ("ed", "e"), ("er", ""), ("er", "e"),
    ("isation", "ization"), ("isations", "ization"), ("ise", "ize"), ("ises", "ize"), ("iser", "izer"),
    ("ising", "ize"),
)  # fmt: skip


@lru_cache(maxsize=4096)
def stem(phrase: str) -> str | None:
    """Return the known word that one is a form of ("translates"), or None."""
    for end, other in _ENDINGS:
        if not phrase.endswith(end) or len(phrase) < len(end) + 3:
            continue
        start = phrase.removesuffix(end)
        doubled = (start[:-1],) if start[-1:] == start[-2:-1] and not other else ()
        for form in (start + other, *doubled):
            if form in WORDS or form in PHRASES:
                return str(form)
    return None
