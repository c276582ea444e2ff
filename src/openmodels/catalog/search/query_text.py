"""Parsing a search text: words, sizes, languages, licenses, misspellings."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise
from math import log10
from typing import Any

from openmodels.catalog import vocabulary
from openmodels.catalog.index import codec
from openmodels.catalog.index.reader import Index
from openmodels.catalog.index.writer import trigrams
from openmodels.catalog.query import Range, number
from openmodels.catalog.search import synonyms
from openmodels.hub import model_names

_AMOUNT = r"(\d+(?:\.\d+)?)\s*(b|m|bn|billion|billions|million|millions)\b(?:\s*(?:parameters?|params?))?"
_BELOW = re.compile(
    r"(?:\b(?:under|below|less than|fewer than|smaller than|up to|at most|max(?:imum)?|no more than|within)|[<≤]=?)\s*"
    + _AMOUNT
)
_ABOVE = re.compile(r"(?:\b(?:over|above|more than|larger than|bigger than|at least|min(?:imum)?)|[>≥]=?)\s*" + _AMOUNT)
# A hyphen alone makes no range: "llama 2-7b" names a model.
_BETWEEN = re.compile(
    r"\b(?:between|from)\s+(\d+(?:\.\d+)?)\s*([bm]?)\s*(?:and|to|-|–)\s*" + _AMOUNT
    + r"|(?<![\w.-])(\d+(?:\.\d+)?)\s*([bm])\s*(?:to|-|–|\.\.)\s*" + _AMOUNT
)  # fmt: skip
_SIZE = re.compile(r"(?<![\w.-])" + _AMOUNT)
_CONTEXT = re.compile(
    r"\b(\d+)\s*k\s*(?:tokens?\s*)?(?:of\s+)?(?:context|ctx)(?:\s+(?:window|length))?\b|\b(?:context|ctx)(?:\s+(?:window|length))?(?:\s+of)?\s*(\d+)\s*k\b"
)
_NON_COMMERCIAL = re.compile(r"\bnon[- ]?commercial(?:ly)?(?:\s+use)?\b")
_COMMERCIAL = re.compile(r"\b(?:for\s+)?commercial(?:ly)?(?:\s+(?:use|usage|usable|licen[sc]e|purposes?))?\b")
_OPEN_SOURCE = re.compile(r"\bopen[- ]?source(?:d)?\b|\bpermissive(?:ly)?(?:\s+licen[sc]ed?)?\b")
_PHRASE = re.compile(
    "|".join(rf"\b{re.escape(phrase)}\b" for phrase in sorted(synonyms.PHRASES, key=len, reverse=True))
)
_WORD = re.compile(r"[^\s,;:!?()\[\]{}\"'`|]+")
_VERSION = re.compile(r"(?<![\d.])\d+\.\d")
_SIZE_WORD = re.compile(r"\d+(?:\.\d+)?[bm]", re.ASCII)


_VOCABULARY = frozenset((*synonyms.WORDS, *synonyms.AUTHORS, *vocabulary.LANGUAGES))
"""Words that mean something here, whether or not a name has them."""
_GENERIC, _LANGUAGE = 0.7, 1.4
_MOST_WORDS, _LONGEST = 16, 1_000


@dataclass(slots=True)
class WordGroup:
    """A part of the text: a model must have one of its alternatives.

    Attributes:
        word: As the user wrote it.
        words: Words of names, with how well each stands for the user's.
        terms: Terms of the index, likewise.
        authors: Accounts, in lower case, likewise.
        tokens: Tokens of numbers (size, context).
        numbers: The terms by their numbers in the index that is searched.
        weight: How much it matters.
    """

    word: str
    words: dict[str, float] = field(default_factory=dict)
    terms: dict[str, float] = field(default_factory=dict)
    authors: dict[str, float] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    numbers: dict[int, float] = field(default_factory=dict)
    weight: float = 1.0


@dataclass(slots=True)
class ParsedText:
    """What a text asks for: groups of words, filters stated in words, and notes."""

    groups: list[WordGroup] = field(default_factory=list)
    filters: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    wants_variants: bool = False


def parse(text: str, index: Index) -> ParsedText:
    """Return what a search text asks for, misspellings corrected by the index."""
    parsed = ParsedText()
    rest = _read_filters(text[:_LONGEST].lower(), parsed)
    rest = _PHRASE.sub(lambda match: synonyms.PHRASES[match[0]], rest)
    words = [word for piece in _WORD.findall(rest) for word in _words_of(piece)]
    kept = [word for word in words if word not in synonyms.STOP_WORDS] or words
    known = _KnownTerms(index, kept[:_MOST_WORDS])
    if len(kept) > _MOST_WORDS:
        parsed.notes.append(f"only the first {_MOST_WORDS} words were read")
    for word in dict.fromkeys(kept[:_MOST_WORDS]):
        parsed.groups += _groups(word, known, parsed)
    _join_neighbours(kept[:_MOST_WORDS], parsed, index)
    return parsed


def _read_filters(text: str, parsed: ParsedText) -> str:
    def add_range(match: re.Match[str], low: int | None, high: int | None) -> str:
        parsed.filters["parameters"] = Range(low, high)
        parsed.notes.append(f"read {match[0].strip()!r} as a number of parameters")
        return " "

    def amount(digits: str, unit: str) -> int:
        return number(digits + unit[0])

    def between(match: re.Match[str]) -> str:
        low, low_unit, high, unit = (part for part in match.groups() if part is not None)
        return add_range(match, amount(low, low_unit or unit), amount(high, unit))

    if "/" not in text:
        text = _BETWEEN.sub(between, text)
    text = _BELOW.sub(lambda m: add_range(m, None, amount(m[1], m[2])), text)
    text = _ABOVE.sub(lambda m: add_range(m, amount(m[1], m[2]), None), text)
    # "7 billion" is the "7b" of names.
    text = _SIZE.sub(lambda m: f" {m[1]}{m[2][0]} ", text)
    text = _CONTEXT.sub(lambda m: f" context:{m[1] or m[2]}k ", text)
    if _NON_COMMERCIAL.search(text):
        text = _NON_COMMERCIAL.sub(" ", text)
    elif (match := _COMMERCIAL.search(text)) and len(text.split()) > 1 and "/" not in text:
        parsed.filters["license_class"] = ("open", "restricted")
        parsed.notes.append(f"read {match[0].strip()!r} as a license that does not forbid it; read its conditions")
        text = _COMMERCIAL.sub(" ", text)
    if match := _OPEN_SOURCE.search(text):
        parsed.filters["license_class"] = ("open",)
        parsed.notes.append(f"read {match[0]!r} as an open license")
        text = _OPEN_SOURCE.sub(" ", text)
    return text


def _words_of(piece: str) -> list[str]:
    piece = piece.strip(".-/")
    if not piece:
        return []
    if piece in _VOCABULARY or piece.startswith("context:"):
        return [piece]
    author, _, name = piece.rpartition("/")
    # In a name "3.1" also counts as 3; whoever asks for 3.1 does not want 3.
    majors = {version.partition(".")[0] for version in _VERSION.findall(name)}
    words = [word for word in model_names.search_terms(name) if word not in majors]
    return ([f"@{author}"] if author else []) + words


class _KnownTerms:
    """Which words and terms of a text the index has: one look-up for all."""

    def __init__(self, index: Index, words: list[str]) -> None:
        self.index = index
        wanted = {term for word in words for term in (*_literal_terms(word), *synonyms.TERMS.get(word, ()))}
        wanted |= {f"lang:{code}" for word in words if (code := vocabulary.language_code(word))}
        self.terms = index.term_numbers(wanted)

    def term(self, *terms: str) -> list[str]:
        return [term for term in terms if term in self.terms]

    def has(self, word: str) -> bool:
        return bool(
            self.term(*_literal_terms(word)) or self.index.match(f'"{word}" OR "{codec.author_token(word)}"', limit=1)
        )


def _literal_terms(word: str) -> tuple[str, ...]:
    return (f"tag:{word}", f"family:{word}", f"lib:{word}", f"format:{word}", f"task:{word}", f"cap:{word}")


def _groups(word: str, known: _KnownTerms, parsed: ParsedText) -> list[WordGroup]:
    if word.startswith("context:"):
        wanted = number(word[8:], binary=True)
        steps = range(codec.context_bucket(wanted) or 0, 60)
        return [WordGroup(word[8:], {word[8:]: 1.0}, tokens={f"=x{step}" for step in steps})]
    if word.startswith("@"):
        return [WordGroup(word[1:], authors={word[1:]: 1.0}, weight=1.5)]
    if _SIZE_WORD.fullmatch(word):
        low, high = (codec.parameters_bucket(round(number(word) * factor)) or 0 for factor in (0.9, 1.1))
        return [WordGroup(word, {word: 1.0}, tokens={f"=p{step}" for step in range(low, high + 1)}, weight=1.1)]
    group = WordGroup(word, {word: 1.0}, dict.fromkeys(known.term(*_literal_terms(word)), 1.1), {word: 0.9})
    group.weight = _weight(word, known.index)
    _add_synonyms(word, group, known)
    if word in model_names.CONVERSION:
        parsed.wants_variants = True
    if word.isalpha() and len(word) > 2 and word not in _VOCABULARY:
        return _correct_spelling(word, group, known, parsed)
    if word.isalpha() and len(word) > 2 and not known.index.name_count(word):
        # No name has the word itself: "sql" still leads to sqlcoder.
        group.words.update((other, 0.7) for other in known.index.completions(word, 4) if other not in group.words)
    return [group]


def _weight(word: str, index: Index) -> float:
    """Return how much a word tells: rare ones more than common ones."""
    if vocabulary.language_code(word):
        return _LANGUAGE
    if word in synonyms.WORDS:
        return _GENERIC
    return 1 + 0.5 * (1 - log10(1 + index.name_count(word)) / log10(10 + len(index)))


def _add_synonyms(word: str, group: WordGroup, known: _KnownTerms) -> None:
    for other in synonyms.WORDS.get(word, ()):
        group.words.setdefault(other, 0.75)
    group.terms.update((term, 0.7) for term in known.term(*synonyms.TERMS.get(word, ())) if term not in group.terms)
    for place, account in enumerate(synonyms.AUTHORS.get(word, ())):
        group.authors[account] = max(group.authors.get(account, 0), 1.0 - 0.1 * place)
    if code := vocabulary.language_code(word):
        group.terms.update(dict.fromkeys(known.term(f"lang:{code}"), 0.8))
        group.words.update(
            (name, 0.9) for name, other in vocabulary.LANGUAGES.items() if other == code and name != word
        )
        group.words.setdefault(code, 0.85 if vocabulary.language_code(code) else 0.6)


def _correct_spelling(word: str, group: WordGroup, known: _KnownTerms, parsed: ParsedText) -> list[WordGroup]:
    """Return the group as it is, or with what the user may have meant."""
    index = known.index
    usual = index.name_count(word)
    is_here = usual > 0 or known.has(word)
    if is_here and usual * 100 > len(index):
        return [group]
    near = _nearest(word, usual, index)
    if is_here:
        # A rare word one letter away from a very common one may be meant, or may not.
        for other, distance, count in near[:1]:
            if distance == 1 and count >= 200 * max(1, usual):
                group.words[other] = 0.7
                group.authors[other] = 0.6
                parsed.notes.append(f"searched for {other!r} too")
        for other in index.completions(word, 4):
            group.words.setdefault(other, 0.7)
        return [group]
    longer, parts = index.completions(word), _halves(word, index)
    parts_of_word = longer[:1] or parts or ()
    count = min((index.name_count(part) for part in parts_of_word), default=0)
    if near and (near[0][2] > count if near[0][1] == 1 else not longer and not parts):
        _add_corrections(group, near, index)
        parsed.notes.append(f"read {word!r} as {near[0][0]!r}")
    elif longer:
        group.words.update((other, 0.85) for other in longer)
        group.authors.update((other, 0.8) for other in longer)
    elif parts:
        return [part_group for part in parts for part_group in _groups(part, known, parsed)]
    return [group]


def _add_corrections(group: WordGroup, near: list[tuple[str, int, int]], index: Index) -> None:
    """Add the words to a group that its word may have meant, with their synonyms."""
    group.weight = _weight(near[0][0], index)
    for place, (other, distance, _) in enumerate(near[:3]):
        # A second guess must be as close as the first.
        if distance != near[0][1]:
            continue
        corrected = WordGroup(other, {other: 0.9 - 0.1 * place}, authors={other: 0.8 - 0.1 * place})
        if place == 0:
            _add_synonyms(other, corrected, _KnownTerms(index, [other]))
        group.words |= corrected.words
        group.terms |= corrected.terms
        group.authors |= corrected.authors


def _nearest(word: str, usual: int, index: Index) -> list[tuple[str, int, int]]:
    furthest = 1 if len(word) < 5 else 2
    shared = 1 if len(word) < 5 else 2
    candidates = dict(index.similar_words(word, sorted(trigrams(word)), shared))
    candidates.update((other, max(1, usual + 1, candidates.get(other, 0))) for other in _VOCABULARY - {word})
    near = [
        (other, distance, count)
        for other, count in candidates.items()
        if count > usual and abs(len(other) - len(word)) <= furthest
        and (distance := edit_distance(word, other, furthest)) <= furthest
    ]  # fmt: skip
    # Of words equally far away the commonest; the first letter is seldom the wrong one, and letters
    # are left out more often than added.
    return sorted(
        near, key=lambda other: (other[1] + (other[0][0] != word[0]) + 0.5 * (len(other[0]) < len(word)), -other[2])
    )


def _halves(word: str, index: Index) -> tuple[str, str] | None:
    cuts = [(word[:i], word[i:]) for i in range(3, len(word) - 2)]
    known = [(min(index.name_count(a), index.name_count(b)), a, b) for a, b in cuts]
    best = max(known, default=(0, "", ""))
    return best[1:] if best[0] else None


def _join_neighbours(words: list[str], parsed: ParsedText, index: Index) -> None:
    """Let "star coder" find StarCoder: neighbouring words may be one."""
    by_word = {group.word: group for group in parsed.groups}
    for first, second in pairwise(words):
        if (joined := first + second).isalpha() and first in by_word and second in by_word and index.name_count(joined):
            by_word[first].words.setdefault(joined, 0.95)
            by_word[second].words.setdefault(joined, 0.95)


def edit_distance(a: str, b: str, furthest: int) -> int:
    """Return the optimal string alignment distance of two words, or `furthest` + 1.

    Letters are added, dropped, changed or swapped.
    """
    before: list[int] = []
    last = list(range(len(b) + 1))
    for i, char in enumerate(a, 1):
        row = [i]
        for j, other in enumerate(b, 1):
            cost = min(last[j] + 1, row[-1] + 1, last[j - 1] + (char != other))
            if i > 1 and j > 1 and char == b[j - 2] and a[i - 2] == other:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        if min(row) > furthest:
            return furthest + 1
        before, last = last, row
    return last[-1]
