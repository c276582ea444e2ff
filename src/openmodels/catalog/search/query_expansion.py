"""Parsing a search text for an index: the words, terms and accounts to look for."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from math import log10
from typing import Any

from openmodels.catalog import languages
from openmodels.catalog.index import codec
from openmodels.catalog.index.reader import Index
from openmodels.catalog.query import Range, parse_number
from openmodels.catalog.search import spelling, synonyms
from openmodels.catalog.search.interpretation import Interpretation
from openmodels.catalog.search.phrases import ComparedModel, Phrase, is_vocabulary, parse_phrases
from openmodels.hub import model_names

_GENERIC, _LANGUAGE, _ANY_LLM = 0.7, 1.7, 0.5
_CONTEXT_SHARE = 0.95  # a model of 128,000 tokens counts for who asks for "128k", and one of a million for "1M"
_LAST_CONTEXT_STEP = 60


@dataclass(slots=True)
class WordGroup:
    """A part of the text: a model must have one of its alternatives."""

    word: str  # as the user wrote it
    words: dict[str, float] = field(default_factory=dict)  # words of names, with how well each stands for the user's
    name_parts: tuple[str, ...] = ()  # words that stand for the user's if a name has all of them
    terms: dict[str, float] = field(default_factory=dict)  # terms of the index, likewise
    authors: dict[str, float] = field(default_factory=dict)  # accounts, in lower case, likewise
    tokens: set[str] = field(default_factory=set)  # tokens of numbers (size, context)
    least_context: int = 0  # tokens of context that a model must have at least
    most_parameters: int = 0  # parameters that a model must have at most
    is_optional: bool = False  # a model need not have any of it
    numbers: dict[int, float] = field(default_factory=dict)  # the terms by their numbers in the index that is searched
    weight: float = 1.0  # how much it matters

    def add_alternative(self, other: WordGroup) -> None:
        """Let a model have what another group asks for instead."""
        self.word = f"{self.word} or {other.word}"
        self.words = other.words | self.words
        self.terms = other.terms | self.terms
        self.authors = other.authors | self.authors
        self.tokens |= other.tokens


@dataclass(slots=True)
class ExpandedQuery:
    """What a text asks for in one index: groups of words, filters, and its reading."""

    groups: list[WordGroup] = field(default_factory=list)
    excluded: list[WordGroup] = field(default_factory=list)
    filters: dict[str, Any] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)
    meanings: list[tuple[str, str]] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    wants_variants: bool = False

    @property
    def interpretation(self) -> Interpretation:
        """How the text was read."""
        unused = [word for word in self.words if word not in self.ignored]
        return Interpretation(
            tuple(dict.fromkeys(self.meanings)), tuple(unused), tuple(dict.fromkeys(self.ignored)), tuple(self.remarks)
        )


def expand_query(text: str, index: Index) -> ExpandedQuery:
    """Return what a search text asks for, misspellings corrected by the index."""
    speller = spelling.Speller(index)
    read = parse_phrases(text, speller.guesses)
    parsed = ExpandedQuery(
        filters=read.filters, ids=read.ids, meanings=read.meanings, ignored=read.ignored, remarks=read.remarks,
        wants_variants=read.wants_variants,
    )  # fmt: skip
    known = spelling.KnownTerms(index, _terms_to_look_up(read.phrases))
    for phrase in read.phrases:
        groups = _groups(phrase, known, parsed)
        if phrase.is_excluded:
            parsed.excluded += groups
        elif phrase.is_alternative and len(groups) == 1 and parsed.groups:
            parsed.groups[-1].add_alternative(groups[0])
        else:
            parsed.groups += groups
    for comparison in read.comparisons:
        _compare(comparison, parsed, index)
    _join_neighbours([phrase for phrase in read.phrases if not phrase.is_excluded], parsed, index)
    return parsed


def _compare(comparison: ComparedModel, parsed: ExpandedQuery, index: Index) -> None:
    """Read a comparison with a model.

    Its size is a limit, or it is not wanted itself. Where nothing else is asked for, its task is.
    """
    number_of_id = index.row_number(comparison.name) if "/" in comparison.name else None
    words = model_names.search_terms(comparison.name.rpartition("/")[2])
    matches = (
        [number_of_id]
        if number_of_id is not None
        else index.match(" AND ".join(f'"{word}"' for word in words), limit=1)
    )
    row = next(iter(index.rows_by_number(matches).values()), None) if words else None
    if comparison.size:
        stated = model_names.parameter_counts("-".join(words))[0]
        count = stated or (row.parameters if row else None)
        if count is None:
            parsed.ignored.append(comparison.text)
            return
        low, high = parsed.filters.get("parameters") or Range(None, None)
        if comparison.size == "smaller":
            bounds = Range(low, count - 1 if high is None else min(high, count - 1))
        else:
            bounds = Range(count + 1 if low is None else max(low, count + 1), high)
        parsed.filters["parameters"] = bounds
        relation = "fewer" if comparison.size == "smaller" else "more"
        parsed.meanings.append((comparison.text, f"{relation} than {count / 1e9:.3g}B parameters"))
    elif words:
        parsed.excluded.append(WordGroup(comparison.text, name_parts=words))
        parsed.meanings.append((comparison.text, f"none of {comparison.name!r}; how good models are is not compared"))
        if not row:
            parsed.remarks.append(f"{comparison.name!r} is in no name of a model")
    task = next((term for term in index.terms_of(row) if term.startswith("task:")), None) if row else None
    if task and not parsed.groups and "task" not in parsed.filters:
        parsed.filters["task"] = task.removeprefix("task:")
        parsed.meanings.append((comparison.name, f"the task {parsed.filters['task']}, since no other is asked for"))


def _literal_terms(word: str) -> tuple[str, ...]:
    return (f"tag:{word}", f"family:{word}", f"lib:{word}", f"format:{word}", f"task:{word}", f"cap:{word}")


def _task_terms(phrase: Phrase) -> dict[str, float]:
    """Return the terms of a phrase's tasks and how well each stands for it."""
    terms: dict[str, float] = {}
    for place, task in enumerate(phrase.tasks):
        terms[f"task:{task}"] = 1.1 - 0.1 * place
        terms.setdefault(f"tag:{task}", 0.8)
    terms.setdefault(f"tag:{phrase.word.replace(' ', '-')}", 1.0)
    terms.setdefault(f"tag:{phrase.word}", 1.0)
    return terms


def _terms_to_look_up(phrases: list[Phrase]) -> set[str]:
    wanted: set[str] = set()
    for phrase in phrases:
        wanted.update(_task_terms(phrase) if phrase.kind == "task" else ())
        for word in (phrase.word, *phrase.guesses[:1]):
            wanted.update((*_literal_terms(word), *synonyms.TERMS.get(word, ())) if word else ())
    return wanted


def _groups(phrase: Phrase, known: spelling.KnownTerms, parsed: ExpandedQuery) -> list[WordGroup]:
    match phrase.kind:
        case "context":
            first = codec.context_bucket(round(phrase.tokens * _CONTEXT_SHARE)) or 0
            tokens = {f"=x{step}" for step in range(first, _LAST_CONTEXT_STEP)}
            least = round(phrase.tokens * _CONTEXT_SHARE)
            words = {phrase.word: 1.0} if phrase.word else {}
            parsed.meanings.append((phrase.text, f"a context of at least {phrase.tokens:,} tokens"))
            return [WordGroup(phrase.text, words, tokens=tokens, least_context=least)]
        case "author":
            parsed.words.append(phrase.text)
            group = WordGroup(phrase.text, authors={phrase.word: 1.0}, weight=1.5)
            others = (*synonyms.AUTHORS.get(phrase.word, ()), *model_names.accounts_of(phrase.word))
            group.authors.update((account, 0.9) for account in others if account != phrase.word)
            if not any(map(known.index.has_author, group.authors)):
                group.words[phrase.word] = 0.8  # an owner elsewhere, or the name of a family
            return [group]
        case "license":
            words = {phrase.word: 1.0} if phrase.word else {}
            return [WordGroup(phrase.text, words, terms=dict.fromkeys(_licenses(phrase.code, known.index), 1.1))]
        case "size":
            low, high = (
                codec.parameters_bucket(round(parse_number(phrase.word) * factor)) or 0 for factor in (0.9, 1.1)
            )
            tokens = {f"=p{step}" for step in range(low, high + 1)}
            parsed.words.append(phrase.text)
            return [WordGroup(phrase.text, {phrase.word: 1.0}, tokens=tokens, weight=1.1)]
        case "small":
            words = {phrase.word: 1.0, **{word: 0.8 for word in synonyms.SIZES if word != phrase.word}}
            return [WordGroup(phrase.text, words, most_parameters=phrase.tokens, is_optional=True, weight=_GENERIC)]
        case "task":
            return [_task_group(phrase, known)]
        case "language":
            return [_language_group(phrase, known.index)]
        case _ if phrase.is_excluded:
            return [WordGroup(phrase.text, {phrase.word: 1.0}, terms=_literal_weights(phrase.word, known))]
        case _:
            parsed.words.append(phrase.text)
            return _word_groups(phrase, known, parsed)


def _licenses(code: str, index: Index) -> list[str]:
    """Return the terms of a license in any version, or of a family ("openrail")."""
    wanted = code.lower()
    ids = {license_id: license_id.lower() for license_id in index.values("license")}
    return [
        f"license:{license_id}"
        for license_id, lowered in ids.items()
        if lowered == wanted or lowered.startswith(f"{wanted}-") or wanted in lowered.split("-")
    ]


def _literal_weights(word: str, known: spelling.KnownTerms) -> dict[str, float]:
    return dict.fromkeys(known.term(*_literal_terms(word)), 1.1)


def _task_group(phrase: Phrase, known: spelling.KnownTerms) -> WordGroup:
    terms = _task_terms(phrase)
    group = WordGroup(phrase.text, terms={term: terms[term] for term in known.term(*terms)})
    parts = tuple(phrase.word.split())
    if len(parts) == 1:
        group.words[phrase.word] = 1.0
        group.authors[phrase.word] = 0.9
        _add_synonyms(phrase.word, group, known)
    else:
        group.name_parts = parts
        group.words["".join(parts)] = 0.9
    group.weight = _ANY_LLM if phrase.tasks == ("text-generation",) else 1.0
    return group


def _language_group(phrase: Phrase, index: Index) -> WordGroup:
    """Return the group of a language: its codes with any script, and its names."""
    code = phrase.code
    group = WordGroup(phrase.text, {phrase.word: 1.0}, weight=_LANGUAGE)
    for stated in index.values("lang"):
        if languages.matches(code, stated):
            is_exact = stated == code or languages.primary(stated) == languages.primary(code) == code
            group.terms[f"lang:{stated}"] = 1.1 if is_exact else 0.7
    for name in languages.names(languages.primary(code)):
        group.words.setdefault(name, 0.9)
    short = languages.primary(code)
    # "it" and "id" are words of names that have nothing to do with Italian and Indonesian.
    if languages.code_of(short):
        group.words.setdefault(short, 0.85)
    if len(long := languages.alpha3(short)) == 3:
        group.words.setdefault(long, 0.6)
    return group


def _word_groups(phrase: Phrase, known: spelling.KnownTerms, parsed: ExpandedQuery) -> list[WordGroup]:
    word = phrase.word
    group = WordGroup(phrase.text, {word: 1.0}, terms=_literal_weights(word, known), authors={word: 0.9})
    group.weight = _weight(word, known.index)
    _add_synonyms(word, group, known)
    # In names "fp8" is two words.
    parts = model_names.search_terms(word)
    group.name_parts = parts if len(parts) > 1 else ()
    if phrase.guesses:
        _add_corrections(group, phrase.guesses, known.index)
        parsed.words.remove(phrase.text)
        parsed.meanings.append((phrase.text, repr(phrase.guesses[0])))
        return [group]
    if code := languages.three_letter_code(word):
        language = _language_group(Phrase(word, "language", word, code=code), known.index)
        group.words |= language.words
        group.terms |= language.terms
        parsed.meanings.append((phrase.text, f"a word, or the language {code}"))
        parsed.words.remove(phrase.text)
    if not word.isalpha() or len(word) < 3:
        return [group]
    if is_vocabulary(word):
        if not known.index.name_count(word):
            # No name has the word itself: "sql" still leads to sqlcoder.
            completions = known.index.completions(word, 4)
            group.words.update((other, 0.7) for other in completions if other not in group.words)
        return [group]
    return _extend_word(word, group, known, parsed)


def _weight(word: str, index: Index) -> float:
    """Return how much a word tells: rare ones more than common ones."""
    if word in synonyms.WORDS:
        return _GENERIC
    return 1 + 0.5 * (1 - log10(1 + index.name_count(word)) / log10(10 + len(index)))


def _add_synonyms(word: str, group: WordGroup, known: spelling.KnownTerms) -> None:
    for other in synonyms.WORDS.get(word, ()):
        group.words.setdefault(other, 0.9)
    group.terms.update((term, 0.7) for term in known.term(*synonyms.TERMS.get(word, ())) if term not in group.terms)
    for place, account in enumerate(synonyms.AUTHORS.get(word, ())):
        group.authors[account] = max(group.authors.get(account, 0), 1.0 - 0.1 * place)


def _extend_word(word: str, group: WordGroup, known: spelling.KnownTerms, parsed: ExpandedQuery) -> list[WordGroup]:
    """Return the groups of a word that only names have, with longer words."""
    index = known.index
    usual = index.name_count(word)
    if usual * 100 > len(index):
        return [group]
    if usual or known.has(word, _literal_terms(word)):
        if not known.term(*_literal_terms(word)):
            # A rare word one letter away from a very common one may be meant, or may not.
            for other, distance, count in spelling.nearest(word, usual, index)[:1]:
                if distance == 1 and count >= 200 * max(1, usual):
                    group.words[other] = 0.7
                    group.authors[other] = 0.6
                    parsed.remarks.append(f"searched for {other!r} too")
        for other in index.completions(word, 4):
            group.words.setdefault(other, 0.7)
        return [group]
    if longer := index.completions(word):
        group.words.update((other, 0.85) for other in longer)
        group.authors.update((other, 0.8) for other in longer)
    elif parts := spelling.halves(word, index):
        parsed.meanings.append((word, repr(" ".join(parts))))
        parsed.words.remove(word)
        return [part for half in parts for part in _word_groups_of_half(half, known)]
    return [group]


def _word_groups_of_half(word: str, known: spelling.KnownTerms) -> list[WordGroup]:
    group = WordGroup(word, {word: 1.0}, authors={word: 0.9}, weight=_weight(word, known.index))
    _add_synonyms(word, group, spelling.KnownTerms(known.index, synonyms.TERMS.get(word, ())))
    return [group]


def _add_corrections(group: WordGroup, guesses: tuple[str, ...], index: Index) -> None:
    """Add what the word of a group may have meant, with synonyms of the first."""
    group.weight = _weight(guesses[0], index)
    for place, other in enumerate(guesses):
        corrected = WordGroup(other, {other: 0.9 - 0.1 * place}, authors={other: 0.8 - 0.1 * place})
        if place == 0:
            _add_synonyms(other, corrected, spelling.KnownTerms(index, synonyms.TERMS.get(other, ())))
        group.words |= corrected.words
        group.terms |= corrected.terms
        group.authors |= corrected.authors


def _join_neighbours(phrases: list[Phrase], parsed: ExpandedQuery, index: Index) -> None:
    """Let "star coder" find StarCoder: neighbouring words may be one.

    They may also be an account ("allen ai") or a tag ("chest x-ray").
    """
    by_word = {group.word: group for group in parsed.groups}
    texts = [phrase.text for phrase in phrases]
    runs = [texts[at : at + length] for length in (2, 3) for at in range(len(texts) - length + 1)]
    tags = {f"tag:{mark.join(run)}": run for run in runs for mark in ("-", " ", "_")}
    for tag in index.term_numbers(tags):
        for text in tags[tag]:
            if text in by_word:
                by_word[text].terms[tag] = 1.1
    words = [phrase for phrase in phrases if phrase.kind in {"word", "task"} and phrase.word.isalpha()]
    for first, second in pairwise(words):
        if first.text not in by_word or second.text not in by_word:
            continue
        joined = first.word + second.word
        names = [name for name in (joined, f"{first.word}-{second.word}") if index.has_author(name)]
        for phrase in (first, second):
            group = by_word[phrase.text]
            if index.name_count(joined):
                group.words.setdefault(joined, 0.95)
            group.authors.update((name, 1.0) for name in names)
