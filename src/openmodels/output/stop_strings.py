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
        self._hidden: list[tuple[int, int]] = []  # spans of the held text that are not given out
        self.found: str | None = None

    def feed(self, text: str, *, hidden: bool = False) -> str:
        """Take new text and return what is safe to give out.

        Args:
            text: The text.
            hidden: Whether it only counts for the stop strings and is never given out, as a control token's.
        """
        if not self._stops or self.found is not None:
            return "" if hidden or self.found is not None else text
        if hidden and text:
            self._hidden.append((len(self._held), len(self._held) + len(text)))
        self._held += text
        hits = [(at, stop) for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if hits:
            at, self.found = min(hits)
            text = self._release(at)
            self._held, self._hidden = "", []
            return text
        keep = max(_overlap(self._held, stop) for stop in self._stops)
        return self._release(len(self._held) - keep)

    def flush(self) -> str:
        """Return what was held back: the text ended and no stop string came of it."""
        return self._release(len(self._held))

    def _release(self, size: int) -> str:
        """Return the first characters of the held text, but for the hidden ones."""
        text, self._held = self._held[:size], self._held[size:]
        if not self._hidden:
            return text
        shown, at = "", 0
        for start, stop in self._hidden:
            shown += text[at:start]
            at = max(at, min(stop, size))
        self._hidden = [(max(0, start - size), stop - size) for start, stop in self._hidden if stop > size]
        return shown + text[at:]


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest end of `text` that begins `stop` without being all of it."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
