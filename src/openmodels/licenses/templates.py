"""The standard texts: which words of a text stand outside of its license.

The templates are those of `licenseclassifier`, built from the SPDX matching templates: words, optional
parts, alternatives, and gaps of up to N words for names and places.
"""

import gzip
import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

_WORD = re.compile(r"[^\W_]+|©")
# Tags of HTML alone: what else stands in angle brackets is read.
_MARKUP = re.compile(
    r"</?(?:a|b|i|u|p|br|hr|div|span|h[1-6]|pre|code|ul|ol|li|center|strong|em|table|t[rdh]|tbody|thead|sup|sub|font)"
    r"(?:\s+[\w-]{1,20}=(?:\"[^\"<>\s]{0,300}\"|'[^'<>\s]{0,300}'))*\s*/?>",
    re.IGNORECASE,
)
# SPDX matching guidelines: spellings that are the same word. "these" and "this" differ in no license.
_EQUIVALENT = {
    "are": "is", "them": "it", "they": "it", "these": "the", "this": "the", "those": "the", "copies": "copy",
    "licence": "license", "licences": "licenses", "licenced": "licensed", "sublicence": "sublicense",
    "https": "http", "organisation": "organization", "organisations": "organizations",
    "authorised": "authorized", "authorisation": "authorization", "recognised": "recognized", "favour": "favor",
    "acknowledgement": "acknowledgment", "acknowledgements": "acknowledgments", "merchantibility": "merchantability",
    "judgement": "judgment", "fulfilment": "fulfillment", "centre": "center", "programme": "program",
}  # fmt: skip
_TOKEN = re.compile(r"\(\(|\)\)|\|\||\?\?|__\d+__|//\*\*.*?\*\*//", re.DOTALL)


_Node = tuple[str, Any]
"""A part of a template: ("words", [...]), ("gap", n), ("all", [...]), ("any", [...]) or ("maybe", part)."""


class Word(NamedTuple):
    """A word of a text: its canonical form, and where it stands in characters."""

    form: str
    start: int
    end: int


class TemplateMatch(NamedTuple):
    """The places of the words beside a license, those in its gaps included."""

    license_id: str  # SPDX
    added: list[int]
    missing: int = 0  # words of the license that the text lacks


def split_words(text: str) -> list[Word]:
    """Return the words of a text in the form in which licenses are compared."""
    text = _MARKUP.sub(lambda match: " " * len(match[0]), text)
    words: list[Word] = []
    for match in _WORD.finditer(text):
        form = match[0]
        if not form.isascii():
            form = "".join(c for c in unicodedata.normalize("NFKD", form) if not unicodedata.combining(c))
        form = form.lower()
        if form in ("©", "c"):  # in templates, "((c))??" is a mark of a list that may be left out
            form = "copyright"
        elif (
            form == "s"
            and words
            and words[-1].end == match.start() - 1
            and text[words[-1].end : match.end() + 1] in ("(s)", "(S)")
        ):
            words[-1] = words[-1]._replace(form=words[-1].form + "s", end=match.end() + 1)
            continue
        form = _EQUIVALENT.get(form, form)
        if form and not (form == "copyright" and words and words[-1].form == "copyright"):
            words.append(Word(form, match.start(), match.end()))
    return words


def compare(license_id: str, words: Sequence[Word]) -> TemplateMatch | None:
    """Return what stands beside a license, None where it is not whole."""
    forms = [word.form for word in words]
    fits = [added for template in _templates().get(license_id, ()) if (added := _program(template).run(forms))]
    return TemplateMatch(license_id, [*min(fits, key=len)][1:]) if fits else None


def find_nearest(words: Sequence[Word], license_ids: Sequence[str]) -> TemplateMatch | None:
    """Return the license that most words of a text come from, or None."""
    from difflib import SequenceMatcher

    forms = [word.form for word in words]
    present, best = set(forms), (0.0, "", [""])
    for license_id in license_ids:
        for template in _templates().get(license_id, ()):
            required = _required_words(template)
            overlap = len(present & set(required)) / len(set(required)) if len(required) >= 20 else 0.0
            if overlap > best[0]:
                best = overlap, license_id, required
    overlap, license_id, required = best
    if overlap < 0.9:
        return None
    same = set()
    missing = len(required)
    for block in SequenceMatcher(None, required, forms, autojunk=False).get_matching_blocks():
        same |= set(range(block.b, block.b + block.size))
        missing -= block.size
    if missing > 0.15 * len(required):
        return None
    optional = set(_all_words(license_id))
    added = [place for place, form in enumerate(forms) if place not in same]
    # Words of optional parts are not told apart from words that were added, unless they stand alone.
    return TemplateMatch(
        license_id, [place for place in added if not (missing == 0 and forms[place] in optional)], missing
    )


@cache
def _templates() -> dict[str, list[str]]:
    """Return the templates by SPDX id; without them, no text is exact."""
    source = files("licenseclassifier") / "_engine" / "licenses.json.gz"
    by_id: dict[str, list[str]] = defaultdict(list)
    if source.is_file():
        for entry in json.loads(gzip.decompress(source.read_bytes())):
            if entry.get("lre"):
                # A slip in the template of the AGPL, which else would be nobody's text.
                by_id[entry["id"]].append(entry["lre"].replace("not to s ue", "not to sue"))
    # SPDX 3.29 does not list version 1.1, which adds two words to version 1.0.
    by_id["openmdw-1.1"] = [
        lre.replace("version 1.0 (OpenMDW-1.0)", "version 1.1 (OpenMDW-1.1)").replace(
            "infringe any patent,", "infringe any patent or copyright,"
        )
        for lre in by_id["OpenMDW-1.0"]
    ]
    return dict(by_id)


@cache
def _all_words(license_id: str) -> tuple[str, ...]:
    """Return the words of a license, with optional parts and alternatives."""
    return tuple(word.form for lre in _templates().get(license_id, ()) for word in split_words(_TOKEN.sub(" ", lre)))


@cache
def own_sentences(license_id: str) -> frozenset[str]:
    """Return the sentences of a license, as words with a blank between."""
    sentences = (
        sentence
        for lre in _templates().get(license_id, ())
        for paragraph in re.split(r"\n\s*\n", _TOKEN.sub(" ", lre))
        for sentence in [paragraph, *split_sentences(paragraph)]
    )
    return frozenset(" ".join(word.form for word in split_words(sentence)) for sentence in sentences)


def split_sentences(paragraph: str) -> list[str]:
    """Return the sentences of a paragraph; a semicolon ends one, too."""
    return re.split(r"(?<=[.!?;])\s+(?=\S)|(?<=[。！？；])", paragraph)


@cache
def _required_words(template: str) -> list[str]:
    """Return the words of the longest reading, without optional parts."""

    def walk(node: _Node) -> list[str]:
        match node:
            case ("words", words):
                return list(words)
            case ("all", parts):
                return [word for part in parts for word in walk(part)]
            case ("any", parts):
                return max(map(walk, parts), key=len)
            case _:
                return []

    return walk(_parse(template))


def _parse(template: str) -> _Node:  # noqa: C901 - one branch a mark of the notation
    """Return the tree of a template."""
    stack: list[list[list[_Node]]] = [[[]]]

    def close(branches: list[list[_Node]]) -> _Node:
        parts: list[_Node] = [("all", branch) for branch in branches]
        return parts[0] if len(parts) == 1 else ("any", parts)

    position = 0
    for match in [*_TOKEN.finditer(template), None]:
        if plain := [w.form for w in split_words(template[position : match.start() if match else None])]:
            stack[-1][-1].append(("words", plain))
        if match is None:
            break
        position, mark = match.end(), match[0]
        if mark == "((":
            stack.append([[]])
        elif mark == "||":
            stack[-1].append([])
        elif mark == "))":
            part = close(stack.pop())
            stack[-1][-1].append(part)
        elif mark == "??":
            kind, last = stack[-1][-1].pop()
            if kind == "words":  # it belongs to the last word alone
                stack[-1][-1].append(("words", last[:-1]))
                last = last[-1:]
            stack[-1][-1].append(("maybe", (kind, last)))
        elif mark.startswith("__"):
            stack[-1][-1].append(("gap", int(mark.strip("_"))))
    return close(stack[0])


class _Program:
    """A template as a machine that finds the reading with the fewest words added."""

    def __init__(self, tree: _Node) -> None:
        self._words: list[str | None] = []  # the word that leads on from a state; None: any word, which is added
        self._jumps: list[tuple[int, ...]] = []  # states that follow without a word
        self._emit(tree)
        self._end = len(self._words)
        self._words.append("")
        self._jumps.append(())
        self._closures: dict[int, tuple[int, ...]] = {}

    def run(self, forms: Sequence[str]) -> list[int] | None:  # noqa: C901 - one pass over the words
        """Return [-1, places of added words …], or None for other words."""
        # A thread is the number of words added so far, and a linked list of their places.
        threads: dict[int, tuple[int, object]] = {}
        best: tuple[int, object, int] | None = None
        for place, form in enumerate([*forms, ""]):
            # The license may begin at each word: those before it are added.
            for state in self._closure(0):
                if state not in threads or threads[state][0] > place:
                    threads[state] = place, ("before", place)
            if (ended := threads.get(self._end)) is not None:
                total = ended[0] + len(forms) - place
                if best is None or total < best[0]:
                    best = total, ended[1], place
            following: dict[int, tuple[int, object]] = {}
            for state, (cost, added) in threads.items():
                expected = self._words[state]
                if expected is None:
                    thread: tuple[int, object] = (cost + 1, (added, place))
                elif expected == form and form:
                    thread = (cost, added)
                else:
                    continue
                for follower in self._closure(state + 1):
                    if follower not in following or following[follower][0] > thread[0]:
                        following[follower] = thread
            threads = following
        return None if best is None else [-1, *_unroll(best[1]), *range(best[2], len(forms))]

    def _closure(self, state: int) -> tuple[int, ...]:
        """Return the states that wait for a word, from a state on."""
        if (known := self._closures.get(state)) is None:
            reached: dict[int, None] = {}
            todo = [state]
            while todo:
                current = todo.pop()
                if current in reached:
                    continue
                reached[current] = None
                todo += self._jumps[current]
            known = tuple(current for current in reached if not self._jumps[current])
            self._closures[state] = known
        return known

    def _emit(self, tree: _Node) -> None:
        kind, content = tree
        if kind == "words":
            for word in content:
                self._add(word)
        elif kind == "all":
            for part in content:
                self._emit(part)
        elif kind == "gap":
            begin = len(self._words)
            end = begin + 2 * content
            for _ in range(content):
                self._add("", len(self._words) + 1, end)
                self._add(None)
        elif kind == "maybe":
            fork = self._add("")
            self._emit(content)
            self._jumps[fork] = (fork + 1, len(self._words))
        else:
            leaves = []
            for part in content[:-1]:
                fork = self._add("")
                self._emit(part)
                leaves.append(self._add(""))
                self._jumps[fork] = (fork + 1, len(self._words))
            self._emit(content[-1])
            for leaf in leaves:
                self._jumps[leaf] = (len(self._words),)

    def _add(self, word: str | None, *jumps: int) -> int:
        self._words.append(word)
        self._jumps.append(jumps)
        return len(self._words) - 1


def _unroll(added: object) -> Iterator[int]:
    places: list[int] = []
    while isinstance(added, tuple) and added[0] != "before":
        added, place = added
        places.append(place)
    first = added[1] if isinstance(added, tuple) else 0
    yield from range(first)
    yield from reversed(places)


@cache
def _program(template: str) -> _Program:
    return _Program(_parse(template))
