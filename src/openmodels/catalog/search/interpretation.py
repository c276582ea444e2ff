"""How a search text was read: what its parts mean, and what was left out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Interpretation:
    """How a search text was read.

    Attributes:
        parts: Words of the text in lower case, and what they were taken to mean.
        words: The words that were searched for as they are.
        ignored: The words that were left out.
        remarks: What else is worth knowing, in sentences.
    """

    parts: tuple[tuple[str, str], ...] = ()
    words: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def __str__(self) -> str:
        clauses = [f"read {text!r} as {meaning}" for text, meaning in self.parts]
        if self.words:
            clauses.append(f"searched for {', '.join(map(repr, self.words))}")
        if self.ignored:
            clauses.append(f"left out {', '.join(map(repr, self.ignored))}")
        return "; ".join([*clauses, *self.remarks])

    __repr__ = __str__

    def __bool__(self) -> bool:
        return bool(self.parts or self.words or self.ignored or self.remarks)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "parts": [{"text": text, "meaning": meaning} for text, meaning in self.parts],
            "words": list(self.words),
            "ignored": list(self.ignored),
            "remarks": list(self.remarks),
        }


def join(interpretations: Iterable[Interpretation]) -> Interpretation:
    """Return one interpretation of those of several indexes.

    What one of them read or used counts. A word is left out only where every index leaves it out.
    """
    read = list(interpretations)
    if not read:
        return Interpretation()
    parts = tuple(dict.fromkeys(part for each in read for part in each.parts))
    words = tuple(dict.fromkeys(word for each in read for word in each.words))
    used = {*words, *(text for text, _ in parts)}
    ignored = tuple(dict.fromkeys(word for each in read for word in each.ignored if word not in used))
    return Interpretation(parts, words, ignored, tuple(dict.fromkeys(note for each in read for note in each.remarks)))
