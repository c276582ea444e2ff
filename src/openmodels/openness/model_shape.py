"""The sizes in a model's config.json and in the configurations of training runs.

A recipe may bear a model's name and train another one: its sizes say which.
"""

import re
from collections.abc import Mapping
from typing import Any

_KEYS = {
    "hidden_size": "hidden[_-]size|d[_-]model|n[_-]embd|model[_-]dim|embedding[_-]size",
    "layers": "num[_-](?:hidden[_-])?layers|n[_-]layers?|num[_-]blocks",
    "heads": "num[_-](?:attention[_-])?heads|n[_-]heads?",
}
"""What frameworks call them, in YAML, JSON, TOML, Python and the arguments of a command."""
_NUMBER = r"[\"']?(?:\s{0,4}[:=]\s{0,4}|[ ]{1,4})[\"']?(\d{1,6})(?![\w.])"
_PATTERNS = {name: re.compile(rf"(?i)(?<![a-z0-9_.])(?:{keys}){_NUMBER}") for name, keys in _KEYS.items()}
_MOST_VALUES = 20

Shape = Mapping[str, list[int]]  # each size that a file states, with every value that it has there


def read_shape(text: str) -> dict[str, list[int]]:
    """Return the sizes that a file states."""
    values = {name: list(map(int, dict.fromkeys(pattern.findall(text)))) for name, pattern in _PATTERNS.items()}
    return {name: numbers[:_MOST_VALUES] for name, numbers in values.items() if numbers}


def parse_shape(stated: Any) -> dict[str, list[int]]:
    """Return the sizes that a page of evidence states, without what is none."""
    entries = stated.items() if isinstance(stated, dict) else ()
    read = {name: [n for n in numbers if isinstance(n, int)] for name, numbers in entries if isinstance(numbers, list)}
    return {name: numbers for name, numbers in read.items() if numbers and name in _KEYS}


def same_shape(first: Shape, second: Shape) -> bool | None:
    """Return whether two files speak of one model, or None if they say too little.

    Width and depth must agree: models of several sizes share either.
    """
    agreed = {name: not set(first[name]).isdisjoint(second[name]) for name in first.keys() & second.keys()}
    if not all(agreed.values()):
        return False
    return True if {"hidden_size", "layers"} <= agreed.keys() else None
