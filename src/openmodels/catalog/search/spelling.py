"""Misspelled words, and what the user may have meant.

That is a word of names, or one that means something in a search.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from rapidfuzz import process
from rapidfuzz.distance import OSA

from openmodels.catalog import languages
from openmodels.catalog.index import codec
from openmodels.catalog.index.reader import Index
from openmodels.catalog.index.writer import trigrams
from openmodels.catalog.search import synonyms
from openmodels.catalog.search.task_words import WORDS as TASK_WORDS

_SHORT, _LONG = 5, 9
"""Letters of a word that shares one trigram with those like it, and of one that may have two wrong letters."""
_KINDS = ("tag", "family", "lib", "format", "task", "cap", "lang")


class KnownTerms:
    """Which words and terms of a text the index has: one look-up for all."""

    def __init__(self, index: Index, terms: Iterable[str]) -> None:
        self.index = index
        self.terms = index.term_numbers(terms)

    def term(self, *terms: str) -> list[str]:
        """Return those of the terms that the index has."""
        return [term for term in terms if term in self.terms]

    def has(self, word: str, terms: Iterable[str]) -> bool:
        """Return whether a model has one of the terms, or a word in its name or account."""
        return bool(self.term(*terms)) or is_in_names(word, self.index)


class Speller:
    """Corrects the words of one text by an index."""

    def __init__(self, index: Index) -> None:
        self.index = index

    def guesses(self, word: str) -> tuple[str, ...]:
        """Return the words that a word may be a misspelling of, the likeliest first.

        None where the word is something: in a name, an account, a tag, a family, a task, a language.
        """
        index = self.index
        if (
            index.name_count(word)
            or index.term_numbers(f"{kind}:{word}" for kind in _KINDS)
            or is_in_names(word, index)
        ):
            return ()
        near = nearest(word, 0, index)
        if not near:
            return ()
        longer, parts = index.completions(word), halves(word, index)
        parts_of_word = longer[:1] or parts or ()
        count = min((index.name_count(part) for part in parts_of_word), default=0)
        # One letter off is a misspelling unless the word begins a commoner one; two are, unless it begins any.
        if near[0][2] > count if near[0][1] == 1 else not longer and not parts:
            # A second guess must be as close as the first.
            return tuple(other for other, distance, _ in near[:3] if distance == near[0][1])
        return ()


def is_in_names(word: str, index: Index) -> bool:
    """Return whether a model has a word in its name or as its account."""
    return bool(index.match(f'"{word}" OR "{codec.author_token(word)}"', limit=1))


@cache
def vocabulary() -> frozenset[str]:
    """Return the words that mean something here, whether or not a name has them."""
    tasks = {word for word in TASK_WORDS if len(word) > 2}
    return frozenset({*synonyms.WORDS, *synonyms.AUTHORS, *tasks, *synonyms.PHRASES, *synonyms.SIZES})


@cache
def _correct_words() -> tuple[str, ...]:
    """Return the words that others may be corrected to, in names or not."""
    spoken = {word for code in languages.CODES for word in languages.names(code)}
    fillers = {word for word in synonyms.STOP_WORDS if len(word) > 3}
    return tuple(sorted(word for word in {*vocabulary(), *spoken, *fillers} if word.isalpha()))


def nearest(word: str, usual: int, index: Index) -> list[tuple[str, int, int]]:
    """Return the words a letter or two away: word, distance, names it is in.

    Only those in more names than `usual`. Letters are added, dropped, changed or swapped (optimal string alignment).
    """
    furthest, shared = 2 if len(word) >= _LONG else 1, 1 if len(word) < _SHORT else 2
    candidates = dict(index.similar_words(word, sorted(trigrams(word)), shared))
    # What means something here counts as one name at least.
    close = process.extract(word, _correct_words(), scorer=OSA.distance, score_cutoff=furthest, limit=None)
    candidates.update((other, max(1, usual + 1, candidates.get(other, 0))) for other, _, _ in close if other != word)
    near = [
        (other, distance, count)
        for other, count in candidates.items()
        if count > usual and abs(len(other) - len(word)) <= furthest
        and (distance := int(OSA.distance(word, other, score_cutoff=furthest))) <= furthest
    ]  # fmt: skip
    # Of words equally far away the commonest; the first letter is seldom the wrong one, and letters
    # are left out more often than added.
    return sorted(
        near, key=lambda other: (other[1] + (other[0][0] != word[0]) + 0.5 * (len(other[0]) < len(word)), -other[2])
    )


def halves(word: str, index: Index) -> tuple[str, str] | None:
    """Return the two commonest words of names that a word is made of, or None."""
    cuts = [(word[:i], word[i:]) for i in range(3, len(word) - 2)]
    known = [(min(index.name_count(a), index.name_count(b)), a, b) for a, b in cuts]
    best = max(known, default=(0, "", ""))
    return best[1:] if best[0] else None
