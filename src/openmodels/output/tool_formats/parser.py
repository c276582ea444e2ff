"""The machine that every format shares: text, reasoning and calls told apart as they stream."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from openmodels.types.chat import ToolSpec
from openmodels.types.messages import ToolCall


@dataclass(slots=True)
class Piece:
    """What became complete with a piece of text.

    Attributes:
        text: Visible text.
        reasoning: Text of the model's reasoning.
        calls: Complete calls.
        broken: Calls that are malformed or were cut, as the model wrote them.
    """

    text: str = ""
    reasoning: str = ""
    calls: tuple[ToolCall, ...] = ()
    broken: tuple[str, ...] = ()

    def __add__(self, other: Piece) -> Piece:
        return Piece(
            self.text + other.text,
            self.reasoning + other.reasoning,
            self.calls + other.calls,
            self.broken + other.broken,
        )


class Found(NamedTuple):
    """A call's end in the text, and the calls up to there; no calls means that it is malformed."""

    end: int
    calls: tuple[ToolCall, ...] = ()


class Forcing(NamedTuple):
    """How an answer is made to be a call: JSON between what it begins and ends with.

    Attributes:
        start: What it begins with; "{name}" stands for the tool's name.
        end: What follows the JSON.
        key: What the arguments are called in the JSON, beside "name"; None where they are all of it.
    """

    start: str
    end: str
    key: str | None = None


def alternatives(markers: Sequence[str]) -> re.Pattern[str]:
    """Return a pattern of any of the markers, the longest first."""
    return re.compile("|".join(re.escape(m) for m in sorted(markers, key=len, reverse=True)) or r"(?!)")


def unfinished(text: str, markers: Sequence[str]) -> int:
    """Return how many characters at the end of the text may yet become one of the markers."""
    longest = max(map(len, markers), default=1)
    for size in range(min(len(text), longest - 1), 0, -1):
        if any(marker.startswith(text[-size:]) for marker in markers):
            return size
    return 0


class Parser:
    """Reads one answer. A family says what its markers are and how a call reads.

    Args:
        tools: What the model was told; untyped arguments are cast by their schemas.
        prompt: The end of the rendered prompt, which may have opened the reasoning already.

    Attributes:
        thinks: Pairs of markers around reasoning.
        openers: What begins a call.
        dropped: Markers that say nothing by themselves.
        section: Markers around a section of calls; text in it that is no call is dropped.
        interrupts: What ends reasoning although its end marker is missing.
        trims: Whether the white space between text, reasoning and calls is markup.
        trims_thoughts: Whether the white space around the reasoning is.
        forcing: How a call is forced; None where it is not written as JSON.
    """

    thinks: ClassVar[tuple[tuple[str, str], ...]] = (("<think>", "</think>"),)
    openers: ClassVar[tuple[str, ...]] = ()
    dropped: ClassVar[tuple[str, ...]] = ()
    section: ClassVar[tuple[tuple[str, ...], tuple[str, ...]]] = ((), ())
    interrupts: ClassVar[tuple[str, ...]] = ()
    trims: ClassVar[bool] = False
    trims_thoughts: ClassVar[bool] = False
    forcing: ClassVar[Forcing | None] = None

    def __init__(self, tools: Sequence[ToolSpec] = (), prompt: str = "") -> None:
        self.tools = {tool.name: tool for tool in tools}
        self.buffer = ""
        self.latest = ""
        self.mode = "text"
        self.opener = ""
        self.out = Piece()
        self.said = ""  # white space that is held back until what follows tells whether it is text
        self.fresh = True
        self.called = False
        self._close = ""
        self._tried = 0
        for begin, close in self.thinks:
            if prompt.rfind(begin) > prompt.rfind(close):
                self._think(close)

    @classmethod
    def markers(cls) -> tuple[str, ...]:
        """Return every marker, so that a detokeniser keeps those that are special tokens."""
        thinks = [marker for pair in cls.thinks for marker in pair]
        return (*thinks, *cls.openers, *cls.dropped, *cls.section[0], *cls.section[1])

    @classmethod
    def forced(cls, template: str) -> Forcing | None:  # noqa: ARG003 - a family may have changed its format
        """Return how a call is forced for a model with this chat template."""
        return cls.forcing

    @property
    def thinking(self) -> str | None:
        """The marker that ends the reasoning that is open, or None."""
        return self._close if self.mode == "think" else None

    def feed(self, text: str) -> Piece:
        """Take more of the answer; return what became complete."""
        self.buffer += text
        self.latest = text
        return self._run(final=False)

    def end(self) -> Piece:
        """Return the rest, now that the answer is over."""
        return self._run(final=True)

    def call(self, text: str, *, final: bool) -> Found | None:  # noqa: ARG002 - families with `openers` override it
        """Read the call that begins `text`, its opener left out; None while it is not over."""
        return None

    def ready(self, text: str, since: int) -> bool:  # noqa: ARG002 - a family may look
        """Whether `text` can have become complete by what follows `since`; saves reading it again."""
        return True

    def _run(self, *, final: bool) -> Piece:
        self.out = Piece()
        while self.buffer and self.step(final=final):
            pass
        if final:
            self._finish()
        return self.out

    def _finish(self) -> None:
        if self.mode == "call":
            self.out.broken += (self.opener,)
            self.mode = "text"
        if self.mode == "think":
            self.out.reasoning += self.said
        elif not self.called:
            self.out.text += self.said
        self.said = ""

    def step(self, *, final: bool) -> bool:
        """Move on by one marker; return whether there may be more to do."""
        if self.mode == "call":
            return self._read_call(final=final)
        if self.mode == "think":
            return self._read_thinking(final=final)
        return self._read_text(final=final)

    def _read_text(self, *, final: bool) -> bool:
        inside = self.mode == "section"
        opens, closes = self.section
        markers = (*self.openers, *self.dropped, *opens, *closes, *(begin for begin, _ in self.thinks))
        found = alternatives(markers).search(self.buffer)
        if found is None:
            self._give(len(self.buffer) - (0 if final else unfinished(self.buffer, markers)), say=not inside)
            return False
        self._give(found.start(), say=not inside)
        self.buffer = self.buffer[len(found[0]) :]
        marker = found[0]
        close = dict(self.thinks).get(marker)
        if close is not None and not inside:
            self._separate()
            self._think(close)
        elif marker in opens or marker in closes:
            self._separate()
            self.called = True
            self.mode = "section" if marker in opens else "text"
        elif marker in self.openers:
            self._begin(marker)
        elif marker in self.dropped:
            self._separate()
        return True

    def _read_thinking(self, *, final: bool) -> bool:
        markers = (self._close, *self.interrupts)
        found = alternatives(markers).search(self.buffer)
        if found is None:
            held = 0 if final else unfinished(self.buffer, markers)
            self._give(len(self.buffer) - held, say=True)
            return False
        self._give(found.start(), say=True)
        self.said = "" if self.trims or self.trims_thoughts else self.said
        self._flush()
        self.mode, self.fresh = "text", True
        if found[0] == self._close:
            self.buffer = self.buffer[len(found[0]) :]
        return True

    def _read_call(self, *, final: bool) -> bool:
        if not final and not self.ready(self.buffer, self._tried):
            self._tried = len(self.buffer)
            return False
        found = self.call(self.buffer, final=final)
        if found is None and not final:
            self._tried = len(self.buffer)
            return False
        end, calls = found or Found(len(self.buffer))
        if calls:
            self.out.calls += calls
        else:
            self.out.broken += (self.opener + self.buffer[:end],)
        self.buffer = self.buffer[end:]
        self.mode = self._after
        return True

    def _begin(self, marker: str) -> None:
        self._separate()
        self._after = self.mode if self.mode in {"text", "section"} else "text"
        self.called, self.fresh = True, False
        self.mode, self.opener, self._tried = "call", marker, 0

    def _think(self, close: str) -> None:
        self.mode, self._close, self.fresh = "think", close, True

    def _separate(self) -> None:
        """Forget white space before a marker, where it is markup."""
        if self.trims:
            self.said = ""
        self._flush()

    def _flush(self) -> None:
        if self.mode == "think":
            self.out.reasoning += self.said
        elif self.mode == "text":
            self.out.text += self.said
        self.said = ""

    def _give(self, size: int, *, say: bool) -> None:
        """Take `size` characters out of the buffer; white space waits for what follows it."""
        text, self.buffer = self.buffer[:size], self.buffer[size:]
        if not say:
            return
        if self.fresh and (self.trims or (self.trims_thoughts and self.mode == "think")):
            text = text.lstrip()
        solid = text.rstrip()
        if solid:
            self.fresh = False
            self._flush()
            if self.mode == "think":
                self.out.reasoning += solid
            else:
                self.out.text += solid
        self.said += text[len(solid) :]
