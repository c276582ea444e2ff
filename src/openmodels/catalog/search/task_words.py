"""What people call the tasks of the Hub, in English."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from importlib.resources import files

_TASK_WORDS: dict[str, list[str]] = json.loads(
    (files("openmodels.catalog.search") / "task_words.json").read_text(encoding="utf-8")
)["tasks"]
TASKS = frozenset(task for tasks in _TASK_WORDS for task in tasks.split())
"""The tasks that the Hub lets authors choose from."""

_WORDS: dict[str, tuple[str, ...]] = {}
for _tasks, _listed in _TASK_WORDS.items():
    for _word in _listed:
        _WORDS[_word] = tuple(dict.fromkeys((*_WORDS.get(_word, ()), *_tasks.split())))

_PHRASES: dict[str, tuple[str, ...]] = _WORDS | {task.replace("-", " "): (task,) for task in TASKS}


def phrase_key(words: Iterable[str]) -> str:
    """Return what "describe a picture" and "describing pictures" share."""
    listed = list(words)
    roots = [_root(word) for word in listed if word not in _SKIPPED]
    # "Text to speech" is not "speech to text"; "classification of images" is "image classification".
    return " ".join(roots if "to" in listed or "into" in listed else sorted(roots))


def _root(word: str) -> str:
    if len(word) > _SHORT:
        word = word.replace("isation", "ization").removesuffix("ing").removesuffix("ed")
        word = word[:-1] if word[-1:] == word[-2:-1] != "s" else word
    if len(word) > _SHORT - 1:
        word = word[:-3] + "y" if word.endswith("ies") else word.removesuffix("s").removesuffix("e")
    return word


_SHORT_WORDS = "a an the of to into in my from for with on its their out up some any these those and"
_SKIPPED = frozenset(_SHORT_WORDS.split())
_SHORT = 5

_BY_KEY: dict[str, tuple[str, tuple[str, ...]]] = {
    phrase_key(phrase.split()): (phrase, tasks) for phrase, tasks in _PHRASES.items()
}
LONGEST = 1 + max(phrase.count(" ") for phrase in _PHRASES)  # words of the longest phrase
WORDS = frozenset(word for phrase in _PHRASES for word in phrase.split())  # the words of all phrases


def find_tasks(words: Sequence[str]) -> tuple[str, tuple[str, ...]] | None:
    """Return the phrase that some words are a form of, and its tasks, or None.

    The words are in lower case; the likeliest task is the first.
    """
    if tasks := _PHRASES.get(phrase := " ".join(words)):
        return phrase, tasks
    if words[0] in _SKIPPED or words[-1] in _SKIPPED:
        return None
    return _BY_KEY.get(phrase_key(words))
