"""Reading a search text into phrases, without an index.

A phrase is a task, a language, a license, a size, a name or another word.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from openmodels import licenses
from openmodels.catalog import languages
from openmodels.catalog.query import number
from openmodels.catalog.search import spelling, synonyms, task_words
from openmodels.catalog.search.amounts import read_amounts
from openmodels.catalog.search.translate import Translation
from openmodels.hub import addresses, model_names

Kind = Literal["word", "task", "language", "license", "author", "size", "small", "context"]

_WORD = re.compile(r"[^\s,;:!?()\[\]{}\"'`|<>]+")
_SHORTENED = re.compile(r"(?<=[a-z])['\u2019](?:s|re|ve|ll|d|m)\b")
_VERSION = re.compile(r"(?<![\d.])\d+\.\d")
_SIZE_WORD = re.compile(r"\d+(?:\.\d+)?[bm]", re.ASCII)
_CONTEXT_WORD = re.compile(r"\d{1,4}k", re.ASCII)
_QUANTIZATION = re.compile(r"i?q([2-8])(?:_[01k])?(?:_(?:xxs|xs|nl|xl|[sml]))?", re.ASCII)
_FILE = re.compile(rf"(.+?)(?:[-._]({_QUANTIZATION.pattern}))?\.(gguf|ggml|safetensors|onnx|bin|pt|pth)", re.ASCII)
_LICENSE = re.compile(r"(?:cc|a?gpl|lgpl|bsd|mpl|odc|openrail|creativeml|gfdl|apache|epl|isc)[-\w.]*", re.ASCII)
_NEGATIONS = frozenset({"no", "not", "without", "except", "excluding"})
_MOST_WORDS, _LONGEST, _LONGEST_PHRASE = 16, 1_000, 6
_LEAST_LETTERS = 4
"""Of a word that may be misspelled: too many words of three letters are one letter apart."""


@dataclass(slots=True)
class Phrase:
    """A part of a text that means one thing.

    Attributes:
        text: As it is written.
        kind: What it is.
        word: The word of names for it: a word, an account, a size; "" for none.
        tasks: The tasks that it means, the likeliest first.
        code: The language's code, or the license's id.
        tokens: The least tokens of context, or the most parameters of a small model.
        guesses: Words that it may be a misspelling of, the likeliest first.
        is_excluded: A model must not be that.
    """

    text: str
    kind: Kind
    word: str = ""
    tasks: tuple[str, ...] = ()
    code: str = ""
    tokens: int = 0
    guesses: tuple[str, ...] = ()
    is_excluded: bool = False


@dataclass(slots=True)
class ReadText:
    """What a text asks for in any index.

    Attributes:
        phrases: Its parts, in their order.
        filters: Fields of the query that it states in words.
        ids: What may be an id of a model.
        meanings: Parts of the text and what they were taken to mean.
        ignored: Words that were left out.
        remarks: What else is worth knowing.
        wants_variants: It asks for a conversion, an adapter or a merge.
    """

    phrases: list[Phrase] = field(default_factory=list)
    filters: dict[str, Any] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)
    meanings: list[tuple[str, str]] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    wants_variants: bool = False


def read_text(text: str, guesses: Callable[[str], tuple[str, ...]] | None = None) -> ReadText:
    """Return what a text asks for.

    `guesses` returns the words that an unknown one may be a misspelling of.
    """
    read = ReadText()
    text = unicodedata.normalize("NFKC", addresses.replace_addresses(text[:_LONGEST])).lower()
    text = _SHORTENED.sub("", text)
    translation = Translation(text)
    read.meanings += translation.meanings
    read.ignored += translation.fillers
    amounts = read_amounts(" ".join(translation.text.split()))
    read.filters |= amounts.filters
    read.meanings += amounts.meanings
    contexts = list(amounts.contexts.items())
    pieces = [part for piece in _WORD.findall(amounts.rest) for part in _parts_of(piece) if part]
    spelled = {piece: guesses(piece) for piece in pieces if guesses and _may_be_misspelled(piece)}
    corrected = [next(iter(spelled.get(piece, ())), piece) for piece in pieces]
    at = 0
    while at < len(pieces):
        if pieces[at].startswith("context="):
            words, tokens = contexts[int(pieces[at].removeprefix("context="))] if contexts else (pieces[at], 0)
            read.phrases.append(Phrase(words, "context", tokens=tokens))
            at += 1
            continue
        is_excluded = pieces[at] in _NEGATIONS and at + 1 < len(pieces) and pieces[at + 1] not in synonyms.STOP_WORDS
        at += is_excluded
        before = len(read.phrases)
        length = _add_phrase(read, pieces, corrected, at)
        if not length:
            _add_words(read, pieces[at], spelled.get(pieces[at], ()), guesses)
        for phrase in read.phrases[before:] if is_excluded else ():
            phrase.is_excluded = True
            read.meanings.append((f"{pieces[at - 1]} {phrase.text}", f"none of {phrase.text!r}"))
        at += length or 1
    _drop_repeated(read)
    _use_lone_words(read)
    return read


def _parts_of(piece: str) -> list[str]:
    """Return a piece, or name, quantization and format of a file of weights."""
    piece = piece.strip(".-/_~*#")
    if match := _FILE.fullmatch(piece):
        name, quantization, suffix = match[1], match[2], match[4]
        return [name, quantization or "", suffix if suffix in synonyms.WORDS else ""]
    return [piece]


def _may_be_misspelled(piece: str) -> bool:
    return piece.isalpha() and len(piece) >= _LEAST_LETTERS and not is_vocabulary(piece)


def is_vocabulary(word: str) -> bool:
    """Return whether a word in lower case means something without any name."""
    return (
        word in spelling.vocabulary()
        or word in synonyms.STOP_WORDS
        or synonyms.stem(word) is not None
        or languages.code_of(word) is not None
    )


def _add_phrase(read: ReadText, pieces: list[str], corrected: list[str], at: int) -> int:
    """Add what the longest known phrase from a piece on means.

    Return of how many pieces it is, or 0.
    """
    for length in range(min(_LONGEST_PHRASE, len(pieces) - at), 0, -1):
        words = pieces[at : at + length]
        if any("/" in word or "=" in word for word in words):
            continue
        for spelled in (words, corrected[at : at + length]):
            if _add_meaning(read, " ".join(words), " ".join(spelled)):
                return length
    return 0


def _add_meaning(read: ReadText, text: str, spelled: str) -> bool:
    """Add what some words mean as a whole, if anything.

    `spelled` is the text as it should be spelled.
    """
    phrase = spelled.replace("-", " ").replace("_", " ")
    note = f" ({spelled})" if spelled != text else ""
    if meant := synonyms.PHRASES.get(phrase) or synonyms.PHRASES.get(synonyms.stem(phrase) or ""):
        read.phrases += [Phrase(text, "word", word) for word in meant.split()]
        read.wants_variants |= any(word in synonyms.VARIANTS for word in meant.split())
        if meant != text:
            read.meanings.append((text, repr(meant)))
        return True
    if match := task_words.find_tasks(phrase.split()):
        read.phrases.append(Phrase(text, "task", match[0], match[1]))
        read.meanings.append((text, f"task {' or '.join(match[1])}{note}"))
        return True
    if phrase in synonyms.SIZES:
        read.phrases.append(Phrase(text, "small", phrase, tokens=synonyms.SIZES[phrase]))
        read.meanings.append((text, f"better few parameters{note}"))
        return True
    if spelled in spelling.vocabulary() or spelled in synonyms.STOP_WORDS or (" " in text and "-" in text):
        return False
    code = languages.code_of(spelled) if " " not in spelled else _name_of_two_words(phrase)
    if code:
        read.phrases.append(Phrase(text, "language", spelled, code=code))
        read.meanings.append((text, f"language {code}{note}"))
        return True
    if _LICENSE.fullmatch(text) and "-" in text and licenses.find(text).kind is not licenses.LicenseClass.UNKNOWN:
        read.phrases.append(Phrase(text, "license", code=licenses.find(text).id))
        read.meanings.append((text, f"license {licenses.find(text).id}"))
        return True
    return False


def _name_of_two_words(phrase: str) -> str | None:
    """Return the code of "brazilian portuguese", or None."""
    return languages.name_code(phrase) if phrase.count(" ") == 1 and phrase.replace(" ", "").isalpha() else None


def _add_words(
    read: ReadText, piece: str, guesses: tuple[str, ...], find_guesses: Callable[[str], tuple[str, ...]] | None
) -> None:
    """Add the words of a piece outside of phrases: a name, a size, a word."""
    if quantization := _QUANTIZATION.fullmatch(piece):
        read.phrases.append(Phrase(piece, "word", f"q{quantization[1]}"))
        read.meanings.append((piece, f"quantized to {quantization[1]} bits"))
        read.wants_variants = True
        return
    if piece in synonyms.STOP_WORDS or (guesses and guesses[0] in synonyms.STOP_WORDS):
        read.ignored.append(piece)
        return
    author, _, name = piece.rpartition("/")
    if author:
        read.ids.append(piece)
        read.phrases.append(Phrase(author, "author", author))
    read.wants_variants |= piece in synonyms.VARIANTS
    stem = None if piece in synonyms.WORDS else synonyms.stem(piece)
    if piece in spelling.vocabulary() or stem or guesses:
        read.phrases.append(Phrase(piece, "word", stem or piece, guesses=guesses))
        read.wants_variants |= (stem or piece) in synonyms.VARIANTS
        return
    # In a name "3.1" also counts as 3; whoever asks for 3.1 does not want 3.
    majors = {version.partition(".")[0] for version in _VERSION.findall(name)}
    for word in model_names.search_terms(name):
        if word in majors:
            continue
        read.wants_variants |= word in synonyms.VARIANTS
        if _SIZE_WORD.fullmatch(word):
            read.phrases.append(Phrase(word, "size", word))
        elif _CONTEXT_WORD.fullmatch(word):
            read.phrases.append(Phrase(word, "context", word, tokens=number(word, binary=True)))
        else:
            is_code = languages.code_of(word) is not None and word not in spelling.vocabulary()
            code = languages.code_of(word) or "" if is_code else ""
            others = find_guesses(word) if find_guesses and not author and _may_be_misspelled(word) else ()
            read.phrases.append(Phrase(word, "language" if code else "word", word, code=code, guesses=others))


def _drop_repeated(read: ReadText) -> None:
    seen: dict[tuple[str, Kind], Phrase] = {}
    for phrase in read.phrases:
        seen.setdefault((phrase.word or phrase.text, phrase.kind), phrase)
    read.phrases = list(seen.values())
    if len(read.phrases) > _MOST_WORDS:
        read.ignored += [phrase.text for phrase in read.phrases[_MOST_WORDS:]]
        read.phrases = read.phrases[:_MOST_WORDS]
        read.remarks.append(f"only the first {_MOST_WORDS} words were read")


def _use_lone_words(read: ReadText) -> None:
    """Search for a word that is usually left out where it is all that the text says."""
    if not read.phrases and not read.filters and len(set(read.ignored)) == 1:
        word = read.ignored[0]
        read.phrases = [Phrase(word, "word", part) for part in model_names.search_terms(word)]
        read.ignored = []
