"""Putting the words of a query that is not English into English."""

from __future__ import annotations

import re
from functools import cache

from openmodels.catalog import languages
from openmodels.catalog.search.foreign_words import FILLER, spaced_tables, unspaced_phrases

_CHARACTERS = r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]+"
_UNSPACED = re.compile(rf"{_CHARACTERS}(?: {_CHARACTERS})*")
_HANGUL = re.compile(r"[\uac00-\ud7af]")
_HUNDRED_MILLIONS = re.compile(r"(\d+(?:\.\d+)?)\s*[亿億억]")
_LANGUAGE_ENDS = ("語", "语", "文", "어", "話")
_LONGEST_NAME = 6
_MOST_WORDS = 5
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?", re.UNICODE)


class Translation:
    """A query in English."""

    def __init__(self, text: str) -> None:
        self.meanings: list[tuple[str, str]] = []  # the words that were translated, and into what
        self.fillers: list[str] = []  # words without a meaning that were left out
        # 70 times a hundred million is 7 billion.
        text = _HUNDRED_MILLIONS.sub(lambda match: self._keep(match[0], f"{float(match[1]) / 10:g}b"), text)
        text = _UNSPACED.sub(lambda match: f" {self._segmented(match[0])} ", text)
        self.text = text if text.isascii() and not _is_foreign(text) else self._translated(text)  # the query

    def _segmented(self, run: str) -> str:
        """Return what a run of characters without spaces means.

        It is the longest known phrases, and what is between them.
        """
        phrases, out, unknown, at = unspaced_phrases(), list[str](), "", 0
        while at < len(run):
            # A particle of one syllable is the end of a Korean word, never its beginning.
            is_start = at == 0 or run[at - 1] == " " or bool(unknown)
            shortest = 1 if is_start and _HANGUL.match(run[at]) else 0
            lengths = range(min(_longest_phrase(), len(run) - at), shortest, -1)
            length = next((size for size in lengths if self._is_known(run[at : at + size])), 0)
            if length == 1 and not self._stands_alone(run, at):
                length = 0
            if length and unknown:
                out.append(unknown)
                unknown = ""
            if length:
                phrase = run[at : at + length]
                out.append(self._keep(phrase, phrases.get(phrase, phrase)))
            else:
                unknown += run[at]
            at += length or 1
        return " ".join(" ".join([*out, unknown]).split())

    def _stands_alone(self, run: str, at: int) -> bool:
        """Return whether a character is a word, not a part of one.

        That for "small" is one before "model", and none in the word for "novel".
        """
        if unspaced_phrases()[run[at]] == FILLER or at + 1 == len(run):
            return True
        return any(self._is_known(run[at + 1 : at + 1 + size]) for size in range(_longest_phrase(), 0, -1))

    @staticmethod
    def _is_known(phrase: str) -> bool:
        if phrase in unspaced_phrases():
            return True
        is_name = 1 < len(phrase) <= _LONGEST_NAME and phrase.endswith(_LANGUAGE_ENDS)
        return is_name and languages.code_of(phrase) is not None

    def _translated(self, text: str) -> str:
        words = [(match[0], match.start(), match.end()) for match in _WORD.finditer(text)]
        tables = [table for table in spaced_tables() if _is_of(table, text)]
        if not tables:
            return text
        phrases = {phrase: meaning for table in reversed(tables) for phrase, meaning in table.items()}
        out, done, at = "", 0, 0
        while at < len(words):
            for length in range(min(_MOST_WORDS, len(words) - at), 0, -1):
                start, end = words[at][1], words[at + length - 1][2]
                phrase = " ".join(text[start:end].split())
                if phrase in phrases and not _is_in_name(text, start, end):
                    out += text[done:start] + self._keep(phrase, phrases[phrase])
                    done = end
                    at += length
                    break
            else:
                at += 1
        return out + text[done:]

    def _keep(self, phrase: str, meaning: str) -> str:
        if meaning == FILLER:
            self.fillers.append(phrase)
            return ""
        if meaning != phrase:
            self.meanings.append((phrase, meaning))
        return meaning


def _is_in_name(text: str, start: int, end: int) -> bool:
    """Return whether a phrase is a part of a name ("mit-b0", "org/la")."""
    return text[max(0, start - 1) : start] in {"-", "_", "/", "."} or text[end : end + 1] in {"_", "/"}


def _is_foreign(text: str) -> bool:
    return any(_is_of(table, text) for table in spaced_tables())


def _is_of(table: dict[str, str], text: str) -> bool:
    """Return whether a text has a word that shows a table's language."""
    words = _WORD.findall(text)
    if any(table.get(word, FILLER) != FILLER and word not in _shared_words() for word in words):
        return True
    phrases = (" ".join(words[at : at + length]) for at in range(len(words)) for length in range(2, _MOST_WORDS))
    return any(" " in phrase and table.get(phrase, FILLER) != FILLER for phrase in phrases)


@cache
def _shared_words() -> frozenset[str]:
    """Return the words of the tables that are English, or names, as well."""
    from openmodels.catalog.search import synonyms, task_words

    others = """
    recht suche local medica medico salute diritto leve grande go ram dialog legal commercial mio large sin pas fra tra
    sem non ne nie bez sans salvo
    """
    return frozenset({*task_words.WORDS, *synonyms.WORDS, *synonyms.STOP_WORDS, *others.split()})


@cache
def _longest_phrase() -> int:
    return max(map(len, unspaced_phrases()))
