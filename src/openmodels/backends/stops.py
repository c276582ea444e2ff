"""Stop strings: end the answer where one appears, and never let any part of it out."""

from __future__ import annotations

from collections.abc import Sequence


class StopStrings:
    """Passes text on, holding back what could still become a stop string.

    Attributes:
        found: The stop string that ended the text, or None.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.found: str | None = None

    def feed(self, text: str) -> str:
        """Take new text and return what is safe to give out."""
        if not self._stops or self.found is not None:
            return "" if self.found is not None else text
        self._held += text
        hits = [(at, stop) for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if hits:
            at, self.found = min(hits)
            safe, self._held = self._held[:at], ""
            return safe
        keep = max(_overlap(self._held, stop) for stop in self._stops)
        safe, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return safe

    def flush(self) -> str:
        """Return what was held back: the text ended and no stop string came of it."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest end of `text` that begins `stop` without being all of it."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
