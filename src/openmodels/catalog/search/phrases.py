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
from openmodels.catalog.query import parse_number
from openmodels.catalog.search import spelling, synonyms, task_words
from openmodels.catalog.search.amounts import FIRST_CONTEXT, read_amounts
from openmodels.catalog.search.translate import Translation
from openmodels.hub import addresses, model_names

Kind = Literal["word", "task", "language", "license", "author", "size", "small", "context"]

_WORD = re.compile(r"[^\s,;:!?()\[\]{}\"'`|<>=→⇒—…•·&。、，]+")
_SHORTENED = re.compile(r"(?<=[a-z])['\u2019](?:s|re|ve|ll|d|m)\b")
_SHORTENED_NOT = re.compile(r"\bcan['\u2019]?t\b|(?<=[a-z])n['\u2019]t\b")
_PRIVATE = re.compile("[\ue000-\uf8ff]")
_FIRST_ID = 0xE400  # the character that stands for the first id while amounts are read
# "ollama run", "hf download", "vllm serve", and code before a bracket: "AutoModel.from_pretrained(".
_COMMAND = re.compile(
    r"^[$> ]*((?:hf|huggingface-cli|ollama|vllm|docker|lms|git|llama-cli|llama-server|mlx_lm\S*|sglang)"
    r"(?: (?:download|pull|run|serve|get|clone|model|load|chat|show|lfs|launch))+|wget|curl) "
)
_CALL = re.compile(r"(?<![\w.])[a-z_][\w.]*(?=\([\"'])")
_OPTION = re.compile(r"(?<!\S)--[a-z][\w-]*(?:[= ]\d+(?!\S))?")
_UNWANTED = re.compile(r"(?<!\S)-(?=[a-z]{3})")
_OTHER_THAN = re.compile(
    r"(?:better|stronger|smarter|faster|newer|superior|more \w+) (?:than|to)"
    r"|(?:alternatives?|replacements?|substitutes?) to|(?:replacements?|substitutes?) for"
    r"|(?:instead|replacement) of|rather than|other than|(?:any|every)thing but|as (?:good|fast|capable|strong) as"
)
_ALTERNATIVE = re.compile(r"((?:[^\s,;:!?]+ +){1,4})alternatives?\b(?! to\b)")
_SMALLER_THAN = re.compile(r"(smaller|lighter|bigger|larger|heavier) than")
_VERSION = re.compile(r"(?<![\d.])\d+\.\d")
_SIZE_WORD = re.compile(r"\d+(?:\.\d+)?[bm]", re.ASCII)
_CONTEXT_WORD = re.compile(r"\d{1,4}k", re.ASCII)
_QUANTIZATION = re.compile(r"i?q([2-8])(?:_[01k])?(?:_(?:xxs|xs|nl|xl|[sml]))?", re.ASCII)
_FILE = re.compile(
    rf"(.+?)(?:[-._:]({_QUANTIZATION.pattern}))?(?:\.(gguf|ggml|safetensors|onnx|bin|pt|pth))?", re.ASCII
)
_LICENSE = re.compile(r"(?:cc|a?gpl|lgpl|bsd|mpl|odc|openrail|creativeml|gfdl|apache|epl|isc)[-\w.]*", re.ASCII)
_LICENSE_FAMILY = re.compile(r"[al]?gpl(?:-?v?\d)?|bsd|mpl|cc0|cc-by(?:-nc|-sa|-nd)*|openrail", re.ASCII)
_NEGATIONS = frozenset({"no", "not", "nor", "non", "without", "w/o", "except", "excluding", "exclude", "avoid"})
_NOT_SAID_OF = "want need like use using require requires a an any the from by for based on in"
_AFTER_NEGATION = frozenset(_NOT_SAID_OF.split())
_LONGEST_NEGATION = 4
_MOST_WORDS, _LONGEST, _LONGEST_PHRASE = 16, 1_000, 6
_LEAST_LETTERS = 4  # of a word that may be misspelled: too many words of three letters are one letter apart


@dataclass(slots=True)
class Phrase:
    """A part of a text that means one thing."""

    text: str  # as it is written
    kind: Kind  # what it is
    word: str = ""  # the word of names for it: a word, an account, a size; "" for none
    tasks: tuple[str, ...] = ()  # the tasks that it means, the likeliest first
    code: str = ""  # the language's code, or the license's id
    tokens: int = 0  # the least tokens of context, or the most parameters of a small model
    guesses: tuple[str, ...] = ()  # words that it may be a misspelling of, the likeliest first
    is_excluded: bool = False  # a model must not be that
    is_alternative: bool = False  # a model may be that instead of what the phrase before means


@dataclass(slots=True)
class ComparedModel:
    """A model that the wanted one is compared with."""

    text: str  # as it is written
    name: str  # the words of its name, or its id
    # "smaller" or "larger" where the sizes are compared, "" where another model is wanted.
    size: Literal["", "smaller", "larger"] = ""


@dataclass(slots=True)
class QueryPhrases:
    """What a text asks for in any index."""

    phrases: list[Phrase] = field(default_factory=list)  # its parts, in their order
    filters: dict[str, Any] = field(default_factory=dict)  # fields of the query that it states in words
    ids: list[str] = field(default_factory=list)  # what may be an id of a model
    meanings: list[tuple[str, str]] = field(default_factory=list)  # parts of the text and what they were taken to mean
    ignored: list[str] = field(default_factory=list)  # words that were left out
    remarks: list[str] = field(default_factory=list)  # what else is worth knowing
    wants_variants: bool = False  # it asks for a conversion, an adapter or a merge
    comparisons: list[ComparedModel] = field(default_factory=list)  # the models that it compares with


def parse_phrases(text: str, guesses: Callable[[str], tuple[str, ...]] | None = None) -> QueryPhrases:
    """Return what a text asks for.

    `guesses` returns the words that an unknown one may be a misspelling of.
    """
    read = QueryPhrases()
    if len(text) > _LONGEST:
        read.remarks.append(f"only the first {_LONGEST:,} characters were read")
    text = _without_code(read, _without_addresses(read, text[:_LONGEST]))
    translation = Translation(text)
    read.meanings += translation.meanings
    read.ignored += translation.fillers
    ids: list[str] = []
    text = _WORD.sub(lambda match: _without_slash(match[0], ids), translation.text)
    amounts = read_amounts(" ".join(text.split()))
    read.filters |= amounts.filters
    read.meanings += amounts.meanings
    contexts = list(amounts.contexts.items())
    rest = _without_comparisons(read, amounts.rest, ids)
    pieces = [part for piece in _WORD.findall(rest) for part in _parts_of(_restored(piece, ids)) if part]
    spelled = {piece: guesses(piece) for piece in pieces if guesses and _may_be_misspelled(piece)}
    corrected = [next(iter(spelled.get(piece, ())), piece) for piece in pieces]
    at, was_excluded = 0, False
    while at < len(pieces):
        if _PRIVATE.match(pieces[at]):
            words, tokens = contexts[ord(pieces[at]) - FIRST_CONTEXT]
            read.phrases.append(Phrase(words, "context", tokens=tokens))
            at += 1
            continue
        before, is_choice = len(read.phrases), pieces[at] == "or" and 0 < at < len(pieces) - 1
        length = 0 if is_choice else _add_phrase(read, pieces, corrected, at)
        negation = 0 if length else _negation_length(pieces, at, was_excluded=was_excluded)
        negation_text = " ".join(pieces[at : at + negation])
        at += negation or is_choice
        if not length and not _PRIVATE.match(pieces[at]):
            length = _add_phrase(read, pieces, corrected, at)
            if not length:
                _add_words(read, pieces[at], spelled.get(pieces[at], ()), guesses)
                length = 1
        for phrase in read.phrases[before:] if negation else ():
            phrase.is_excluded = True
            read.meanings.append((f"{negation_text} {phrase.text}", f"none of {phrase.text!r}"))
        if is_choice and not negation:
            _join_choice(read, before)
        was_excluded = negation > 0
        at += length
    _drop_repeated(read)
    _use_lone_words(read)
    return read


def _without_addresses(read: QueryPhrases, text: str) -> str:
    """Return a text in lower case, with ids or words for the addresses in it."""
    words = []
    for piece in _PRIVATE.sub(" ", text).split():
        words.append(replaced := addresses.replace_address(piece))
        if not replaced:
            read.ignored.append(piece.lower())
        elif replaced != piece:
            read.meanings.append((piece.lower(), f"'{replaced.lower()}'"))
    lowered = unicodedata.normalize("NFKC", " ".join(words)).lower()
    return _SHORTENED.sub("", _SHORTENED_NOT.sub(" not", lowered))


def _without_code(read: QueryPhrases, text: str) -> str:
    """Return a text without commands, calls and their options.

    "-word" is a word that is not wanted.
    """

    def drop(match: re.Match[str]) -> str:
        read.ignored.append((match[1] if match.re is _COMMAND else match[0]).strip())
        return " "

    for pattern in (_COMMAND, _CALL, _OPTION):
        text = pattern.sub(drop, text)
    return _UNWANTED.sub("not ", text) if " " in text.strip() else text


def _without_slash(piece: str, ids: list[str]) -> str:
    """Return the words on both sides of a slash, or a mark for an id."""
    first, slash, second = piece.partition("/")
    if not slash or piece == "w/o":
        return piece
    if not second:
        return "with" if first == "w" else first
    if _SIZE_WORD.fullmatch(first) and _SIZE_WORD.fullmatch(second):
        return f"{first} or {second}"
    if first not in synonyms.AUTHORS and all(map(is_vocabulary, (first, second))):
        return f"{first} {second}"
    ids.append(piece)
    return f" {chr(_FIRST_ID + len(ids) - 1)} "


def _restored(piece: str, ids: list[str]) -> str:
    at = ord(piece[0]) - _FIRST_ID
    return ids[at] if len(piece) == 1 and 0 <= at < len(ids) else piece


def _without_comparisons(read: QueryPhrases, text: str, ids: list[str]) -> str:
    """Return a text without the models that it compares with."""
    if match := _ALTERNATIVE.search(text):
        words = match[1].split()
        first = next((at for at in range(len(words), 0, -1) if not _is_of_name(words[at - 1])), 0)
        if name := words[first:]:
            rewritten = [*words[:first], "alternative to", *name]
            text = f"{text[: match.start()]} {' '.join(rewritten)}, {text[match.end() :]}"
    for pattern in (_OTHER_THAN, _SMALLER_THAN):
        while match := pattern.search(text):
            words = _WORD.findall(re.split(r"[,;?!]", text[match.end() :], maxsplit=1)[0])
            name = words[: next((at for at, word in enumerate(words) if not _is_of_name(word)), len(words))][:5]
            if not name:
                is_other = pattern is _OTHER_THAN and words and words[0] not in synonyms.STOP_WORDS
                read.ignored += [] if is_other else [match[0]]
                text = f"{text[: match.start()]} {'not' if is_other else ''} {text[match.end() :]}"
                continue
            last = re.compile(r"\s*" + r"\W+?".join(map(re.escape, name))).match(text, match.end())
            end = last.end() if last else match.end()
            size = "" if pattern is _OTHER_THAN else "smaller" if match[1] in {"smaller", "lighter"} else "larger"
            name = [_restored(word, ids) for word in name]
            read.comparisons.append(ComparedModel(f"{match[0]} {' '.join(name)}", " ".join(name), size))  # type: ignore[arg-type]
            text = f"{text[: match.start()]} {text[end:]}"
    return text


def _is_of_name(word: str) -> bool:
    """Return whether a word can be one of a model's name."""
    if word in synonyms.STOP_WORDS:
        return False
    return word in synonyms.AUTHORS or not word.isalpha() or not is_vocabulary(word)


def _negation_length(pieces: list[str], at: int, *, was_excluded: bool) -> int:
    """Return how many pieces say that what follows is not wanted ("not from").

    An "or" after something that is not wanted says it again.
    """
    if pieces[at] not in _NEGATIONS and not (was_excluded and pieces[at] == "or"):
        return 0
    end = at + 1
    while end < len(pieces) and end - at < _LONGEST_NEGATION and pieces[end] in _AFTER_NEGATION:
        end += 1
    is_said = end < len(pieces) and pieces[end] not in synonyms.STOP_WORDS and not _PRIVATE.match(pieces[end])
    return end - at if is_said else 0


def _join_choice(read: QueryPhrases, before: int) -> None:
    """Make two phrases of one kind around an "or" alternatives."""
    pair = read.phrases[before - 1 :] if before else []
    if len(pair) == 2 and pair[0].kind == pair[1].kind and not pair[0].is_excluded:
        pair[1].is_alternative = True
        read.meanings.append((f"{pair[0].text} or {pair[1].text}", "either of them"))
    else:
        read.ignored.append("or")


def _parts_of(piece: str) -> list[str]:
    """Return a piece, or name, quantization and format of a file of weights."""
    if piece != "w/o":
        piece = piece.strip(".-/_~*#")
    if re.fullmatch(r"[\d.]+[bmk]?\+", piece):
        piece = piece.rstrip("+")
    if piece.startswith("non-"):
        return ["non", piece.removeprefix("non-")]
    if (match := _FILE.fullmatch(piece)) and (match[4] or "/" not in piece):
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


def _add_phrase(read: QueryPhrases, pieces: list[str], corrected: list[str], at: int) -> int:
    """Add what the longest known phrase from a piece on means.

    Return of how many pieces it is, or 0.
    """
    for length in range(min(_LONGEST_PHRASE, len(pieces) - at), 0, -1):
        words = pieces[at : at + length]
        if any("/" in word or _PRIVATE.match(word) for word in words):
            continue
        for spelled in (words, corrected[at : at + length]):
            if _add_meaning(read, " ".join(words), " ".join(spelled)):
                return length
    return 0


def _add_meaning(read: QueryPhrases, text: str, spelled: str) -> bool:
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
    if _LICENSE_FAMILY.fullmatch(text):
        read.phrases.append(Phrase(text, "license", text, code=re.sub(r"(?<=l)v?(?=\d)", "-", text)))
        read.meanings.append((text, f"licenses of the family {text}"))
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
    read: QueryPhrases, piece: str, guesses: tuple[str, ...], find_guesses: Callable[[str], tuple[str, ...]] | None
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
    if not name.isascii() and any(unicodedata.category(char).startswith("M") for char in name):
        # A word with marks is one word: no name has its parts.
        read.phrases.append(Phrase(piece, "word", piece))
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
            read.phrases.append(Phrase(word, "context", word, tokens=parse_number(word, binary=True)))
        else:
            is_code = languages.code_of(word) is not None and word not in spelling.vocabulary()
            code = languages.code_of(word) or "" if is_code else ""
            others = find_guesses(word) if find_guesses and not author and _may_be_misspelled(word) else ()
            read.phrases.append(Phrase(word, "language" if code else "word", word, code=code, guesses=others))


def _drop_repeated(read: QueryPhrases) -> None:
    seen: dict[tuple[str, Kind], Phrase] = {}
    for phrase in read.phrases:
        seen.setdefault((phrase.word or phrase.text, phrase.kind), phrase)
    read.phrases = list(seen.values())
    if len(read.phrases) > _MOST_WORDS:
        read.ignored += [phrase.text for phrase in read.phrases[_MOST_WORDS:]]
        read.phrases = read.phrases[:_MOST_WORDS]
        read.remarks.append(f"only the first {_MOST_WORDS} words were read")


def _use_lone_words(read: QueryPhrases) -> None:
    """Search for a word that is usually left out where it is all that the text says."""
    is_empty = not (read.phrases or read.filters or read.comparisons)
    if is_empty and len(set(read.ignored)) == 1:
        word = read.ignored[0]
        read.phrases = [Phrase(word, "word", part) for part in model_names.search_terms(word)]
        read.ignored = []
