"""The streaming parser that every tool-call format shares."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from openmodels.output.text_scan import marker_matcher
from openmodels.types.messages import ToolCall
from openmodels.types.request import ToolSpec


@dataclass(slots=True)
class ParsedChunk:
    """What became complete with a chunk of text."""

    text: str = ""  # visible text
    reasoning: str = ""  # text of the model's reasoning
    calls: tuple[ToolCall, ...] = ()  # complete calls
    broken: tuple[str, ...] = ()  # calls that are malformed or were cut, as the model wrote them

    def __add__(self, other: "ParsedChunk") -> "ParsedChunk":
        return ParsedChunk(
            self.text + other.text,
            self.reasoning + other.reasoning,
            self.calls + other.calls,
            self.broken + other.broken,
        )


class CallMatch(NamedTuple):
    """The end of a call in the text, and its calls; none where it is malformed."""

    end: int
    calls: tuple[ToolCall, ...] = ()


class ForcedCall(NamedTuple):
    """The frame of an answer that must be a call: JSON between a start and an end."""

    start: str  # what it begins with; "{name}" stands for the tool's name
    end: str  # what follows the JSON
    key: str | None = None  # what the arguments are called in the JSON, beside "name"; None where they are all of it


class ToolFormatParser:
    """Parses one answer; a subclass gives the markers and calls of a family.

    Args:
        tools: The tools in the prompt; untyped arguments are cast by their schemas.
        prompt: The end of the rendered prompt, which may have opened the reasoning already.
    """

    # Pairs of markers around reasoning.
    reasoning_markers: ClassVar[tuple[tuple[str, str], ...]] = (("<think>", "</think>"),)
    call_markers: ClassVar[tuple[str, ...]] = ()  # what begins a call
    ignored_markers: ClassVar[tuple[str, ...]] = ()  # markers without a meaning of their own, which are dropped
    # Markers around a section of calls; text in it that is not a call is dropped.
    section_markers: ClassVar[tuple[tuple[str, ...], tuple[str, ...]]] = ((), ())
    inner_markers: ClassVar[tuple[str, ...]] = ()  # markers that only the family's own code reads
    # A call can be complete only when one of them came; it saves parsing it again at every token.
    call_ends: ClassVar[tuple[str, ...]] = ("",)
    reasoning_interrupts: ClassVar[tuple[str, ...]] = ()  # what ends reasoning although its end marker is missing
    trims_space: ClassVar[bool] = False  # whether the white space between text, reasoning and calls is markup
    trims_reasoning: ClassVar[bool] = False  # whether the white space around the reasoning is
    forced_call: ClassVar[ForcedCall | None] = None  # how a call is forced; None where it is not written as JSON

    def __init__(self, tools: Sequence[ToolSpec] = (), prompt: str = "") -> None:
        self.tools = {tool.name: tool for tool in tools}
        self.buffer = ""
        self._chunk = ""
        self.mode = "text"
        self.opener = ""
        self.parsed = ParsedChunk()
        self._space = ""  # white space that is held back until what follows tells whether it is text
        self._at_start = True
        self.has_called = False
        self._close = ""
        self._tried = 0
        for begin, close in self.reasoning_markers:
            if prompt.rfind(begin) > prompt.rfind(close):
                self._begin_reasoning(close)

    @classmethod
    def markers(cls) -> tuple[str, ...]:
        """Return every marker, so that a detokeniser keeps those that are special tokens."""
        return (
            *(marker for pair in cls.reasoning_markers for marker in pair),
            *cls.call_markers,
            *cls.ignored_markers,
            *cls.section_markers[0],
            *cls.section_markers[1],
            *cls.inner_markers,
        )

    @classmethod
    def find_forced_call(cls, template: str) -> ForcedCall | None:  # noqa: ARG003 - a family may have changed its format
        """Return how a call is forced for a model with this chat template."""
        return cls.forced_call

    @property
    def reasoning_end(self) -> str | None:
        """The marker that ends the reasoning that is open, or None."""
        return self._close if self.mode == "think" else None

    def feed(self, text: str) -> ParsedChunk:
        """Take more of the answer; return what became complete."""
        self.buffer += text
        self._chunk = text
        return self._run(final=False)

    def finish(self) -> ParsedChunk:
        """Return the rest, now that the answer is over."""
        return self._run(final=True)

    def parse_call(self, text: str, *, final: bool) -> CallMatch | None:  # noqa: ARG002 - families with `call_markers` override it
        """Parse the call at the start of `text`; return None while it is open."""
        return None

    def _run(self, *, final: bool) -> ParsedChunk:
        self.parsed = ParsedChunk()
        while self.buffer and self.step(final=final):
            pass
        if final:
            self._finish()
        return self.parsed

    def _finish(self) -> None:
        if self.mode == "call":
            self.parsed.broken += (self.opener,)
            self.mode = "text"
        if self.mode == "think":
            self.parsed.reasoning += self._space
        elif not self.has_called:
            self.parsed.text += self._space
        self._space = ""

    def step(self, *, final: bool) -> bool:
        """Advance by one marker; return whether there may be more to do."""
        if self.mode == "call":
            return self._read_call(final=final)
        if self.mode == "think":
            return self._read_reasoning(final=final)
        return self._read_text(final=final)

    def _emit_to_marker(self, markers: tuple[str, ...], *, final: bool, visible: bool) -> str | None:
        """Emit the text up to the first marker, or what may become one; return it."""
        matcher = marker_matcher(markers)
        match = matcher.search(self.buffer)
        if match is None:
            self._emit(len(self.buffer) - (0 if final else matcher.held_back(self.buffer)), visible=visible)
            return None
        self._emit(match.start(), visible=visible)
        return match[0]

    def _read_text(self, *, final: bool) -> bool:
        in_section = self.mode == "section"
        section_begins, section_ends = self.section_markers
        reasoning_ends = dict(self.reasoning_markers)
        markers = (*self.call_markers, *self.ignored_markers, *section_begins, *section_ends, *reasoning_ends)
        marker = self._emit_to_marker(markers, final=final, visible=not in_section)
        if marker is None:
            return False
        self.buffer = self.buffer[len(marker) :]
        if marker in reasoning_ends and not in_section:
            self._drop_space()
            self._begin_reasoning(reasoning_ends[marker])
        elif marker in section_begins or marker in section_ends:
            self._drop_space()
            self.has_called = True
            self.mode = "section" if marker in section_begins else "text"
        elif marker in self.call_markers:
            self._begin_call(marker)
        elif marker in self.ignored_markers:
            self._drop_space()
        return True

    def _read_reasoning(self, *, final: bool) -> bool:
        marker = self._emit_to_marker((self._close, *self.reasoning_interrupts), final=final, visible=True)
        if marker is None:
            return False
        if self.trims_space or self.trims_reasoning:
            self._space = ""
        self._flush_space()
        self.mode, self._at_start = "text", True
        if marker == self._close:
            self.buffer = self.buffer[len(marker) :]
        return True

    def _read_call(self, *, final: bool) -> bool:
        has_end = any(end in self.buffer[max(0, self._tried - len(end)) :] for end in self.call_ends)
        match = self.parse_call(self.buffer, final=final) if final or has_end else None
        if match is None and not final:
            self._tried = len(self.buffer)
            return False
        end, calls = match or CallMatch(len(self.buffer))
        if calls:
            self.parsed.calls += calls
        else:
            self.parsed.broken += (self.opener + self.buffer[:end],)
        self.buffer = self.buffer[end:]
        self.mode = self._mode_after_call
        return True

    def _begin_call(self, marker: str) -> None:
        self._drop_space()
        self._mode_after_call = self.mode if self.mode in {"text", "section"} else "text"
        self.has_called, self._at_start = True, False
        self.mode, self.opener, self._tried = "call", marker, 0

    def _begin_reasoning(self, close: str) -> None:
        self.mode, self._close, self._at_start = "think", close, True

    def _drop_space(self) -> None:
        """Forget white space before a marker, where it is markup."""
        if self.trims_space:
            self._space = ""
        self._flush_space()

    def _flush_space(self) -> None:
        if self.mode == "think":
            self.parsed.reasoning += self._space
        elif self.mode == "text":
            self.parsed.text += self._space
        self._space = ""

    def _emit(self, size: int, *, visible: bool) -> None:
        """Emit `size` characters of the buffer, holding white space back."""
        text, self.buffer = self.buffer[:size], self.buffer[size:]
        if not visible:
            return
        if self._at_start and (self.trims_space or (self.trims_reasoning and self.mode == "think")):
            text = text.lstrip()
        solid = text.rstrip()
        if solid:
            self._at_start = False
            self._space += solid
            self._flush_space()
        self._space += text[len(solid) :]
