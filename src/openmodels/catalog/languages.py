"""Languages: what people call them, and the codes that models state.

Names in any language, three-letter codes and subtags are those of CLDR and the IANA registry, read by `langcodes`.
It is imported at the first question, since its tables take 60 ms to load.
"""

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langcodes import Language

_CODES = """
af am ar az be bg bn bo bs ca cs cy da de el en eo es et eu fa fi fr ga gl gu ha he hi hr hu hy id is it ja ka kk km
kn ko ky la lb lo lt lv mg mi mk ml mn mr ms mt my ne nl no or pa pl ps pt ro ru rw si sk sl sm sn so sq sr sv sw ta
te tg th ti tk tl tr tt ug uk ur uz vi xh yi yo zh zu
"""
CODES = frozenset(_CODES.split())  # codes of two letters that are tags of models on the Hub

# Codes that are also words of names, of English or of other languages that people ask in.
_AMBIGUOUS = """
it no is my so id am as or be to he la ml ms lo et el hi mi si sm sn ti tk tt ug mg ps te
"""
_BARE_CODES = CODES - frozenset(_AMBIGUOUS.split())

# What people write for a language, and which is no name of it in CLDR.
_MISNOMERS = {"jp": "ja", "kr": "ko", "cn": "zh", "nihongo": "ja", "bahasa": "id", "castellano": "es", "汉语": "zh"}

# CLDR keeps the two written Norwegians apart from "no"; models state any of the three.
_WIDER = {"nb": "no", "nn": "no"}

# How an adjective ends in German, French, Spanish, Portuguese and Italian, and how the name in CLDR does.
_ENDINGS = (
    ("es", ""), ("en", ""), ("er", ""), ("em", ""), ("e", ""), ("s", ""), ("es", "és"), ("esa", "és"), ("esas", "és"),
    ("eses", "és"), ("a", "o"), ("as", "o"), ("os", "o"), ("i", "o"), ("e", "o"), ("a", ""), ("as", ""), ("es", "ês"),
    ("esa", "ês"), ("i", "e"), ("es", "e"), ("ais", "ais"), ("aise", "ais"), ("aises", "ais"), ("cais", "çais"),
    ("caise", "çais"), ("nol", "ñol"), ("nola", "ñol"),
)  # fmt: skip
_LEAST_LETTERS = 4
# Words of names that are also names of languages somewhere.
_NO_LANGUAGES = frozenset(
    ["adapt", "adapter", "apart", "indices", "java", "lets", "letter", "paste", "paris", "pools", "sota"]
)
_LARGE = frozenset({"fil", "yue", "ceb", "ckb"})


@lru_cache(maxsize=4096)
def code_of(word: str) -> str | None:
    """Return the code of the language that a word in lower case means, or None.

    A word is a name or an adjective in any language ("german", "deutsch", "française"), a code of two letters
    that no other word has ("de"), or a tag with a region or script ("pt-br").
    """
    if word in _MISNOMERS or word in _BARE_CODES:
        return _MISNOMERS.get(word, word)
    if "-" in word or "_" in word:
        return _subtag(word.replace("_", "-"))
    if word.isascii() and (not word.isalpha() or len(word) < _LEAST_LETTERS):
        return None
    if word in _NO_LANGUAGES:
        return None
    stems = ((word.removesuffix(end), other) for end, other in _ENDINGS if word.endswith(end))
    inflected = (start + other for start, other in stems if len(start) >= _LEAST_LETTERS)
    return next((code for name in (word, *inflected) if (code := name_code(name))), None)


@lru_cache(maxsize=4096)
def name_code(name: str) -> str | None:
    """Return the code of a language by its name in any language, or None.

    Only of languages with a code of two letters, and the few others that have as many speakers: the registry has
    7,000 names, among them words such as "even" and "meta".
    """
    from language_data import names

    # Half a surrogate pair cannot be looked up.
    if len(name) < 2 or not name.isprintable():
        return None
    code = names.name_to_code("language", name)
    if code is None:
        return None
    # A word is found by its beginning too ("suma" is a name of Somali), and the table leaves out names that are found
    # so ("hindi" by "hind"): at most one letter may be more.
    key, table = names.normalize_name(name), names.TRIES["und/name_to_language"]
    if key not in table and len(table.prefixes(key)[-1]) < len(key) - 1:
        return None
    code = code.lower()
    return code if len(primary(code)) == 2 or primary(code) in _LARGE else None


@lru_cache(maxsize=1024)
def three_letter_code(word: str) -> str | None:
    """Return the usual code for one of three letters ("de" for "deu"), or None."""
    if len(word) != 3 or not word.isascii() or not word.isalpha():
        return None
    code = primary(word)
    # The bibliographic codes ("ger") and those of small languages are words of names too often.
    return code if code != word and alpha3(code) == word else None


@lru_cache(maxsize=1024)
def alpha3(code: str) -> str:
    """Return the code of three letters for a code ("ita" for "it"), or ""."""
    try:
        return _parsed(code).to_alpha3()
    except LookupError:
        return ""


@lru_cache(maxsize=4096)
def primary(code: str) -> str:
    """Return a code without region and script: "zh" for "zh-Hant" and "cmn"."""
    language = _parsed(code).prefer_macrolanguage().language or code
    return _WIDER.get(language, language)


@lru_cache(maxsize=65_536)
def matches(wanted: str, stated: str) -> bool:
    """Return whether a model that states a code is one for the wanted language.

    A code without region or script covers all of them; one that has them covers those that state the same or none.
    """
    if wanted == stated:
        return True
    if primary(wanted) != primary(stated):
        return False
    pair = _parsed(wanted), _parsed(stated)
    if len({language.language for language in pair} - {primary(wanted)}) == 2:
        return False  # Bokmål and Nynorsk
    scripts = {script for script in map(_script, pair) if script}
    territories = {language.territory for language in pair if language.territory}
    return len(scripts) < 2 and len(territories) < 2


def english_name(code: str) -> str:
    """Return the English name of a code in lower case ("german")."""
    return _parsed(code).display_name("en").lower()


@lru_cache(maxsize=1024)
def names(code: str) -> tuple[str, ...]:
    """Return the English and the own name of a language, in lower case."""
    language = _parsed(code)
    autonym = language.autonym().lower() if language.is_valid() else ""
    return tuple(dict.fromkeys(name for name in (english_name(code), autonym) if name.isalpha()))


def _subtag(word: str) -> str | None:
    """Return a code with region or script, None for two languages ("en-de")."""
    first, *rest = word.split("-")
    if first not in _BARE_CODES or len(rest) > 2 or not rest or rest[0] in _BARE_CODES:
        return None
    language = _parsed(word)
    is_whole = len(language.to_tag().split("-")) == 1 + len(rest)
    return word if (language.territory or language.script) and is_whole and language.is_valid() else None


def _script(language: "Language") -> str | None:
    return language.script or (language.maximize().script if language.territory else None)


@lru_cache(maxsize=4096)
def _parsed(code: str) -> "Language":
    from langcodes import Language, standardize_tag

    try:
        return Language.get(standardize_tag(code))
    except ValueError:  # no code at all ("multilingual")
        return Language.make()
