"""Answers read by transformers' own `ResponseParser`, for tokenizers that declare their format.

Where the chat template is of a family that `openmodels.output.tool_formats` knows, that is used instead: the
`ResponseParser` raises on most malformed and truncated calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers.utils.chat_parsing import ResponseParser

from openmodels.errors import LoadFailed
from openmodels.output.tool_formats import values
from openmodels.output.tool_formats.parser import ParsedChunk
from openmodels.types.request import ToolSpec

_THOUGHTS = frozenset({"reasoning", "reasoning_content", "thinking"})


class Declared:
    """Reads one answer by a `response_template`.

    Args:
        template: The tokenizer's `response_template`.
        tools: What the model was told; untyped arguments are cast by their schemas.
        prompt: The rendered prompt, control tokens included.

    Raises:
        LoadFailed: The template is broken.
    """

    def __init__(self, template: Any, tools: Sequence[ToolSpec], prompt: str) -> None:
        told = [{"type": "function", "function": tool.model_dump(exclude={"strict"})} for tool in tools]
        try:
            self._parser = ResponseParser(template, prefix=prompt, tools=told)
        except (ValueError, TypeError, KeyError) as error:
            raise LoadFailed(f"The tokenizer's `response_template` is broken: {error}.") from error
        self._field: str | None = None
        self._raw = ""  # of the calls that are being read
        self._lost = False
        self._take(self._parser.initial_events)

    @property
    def reasoning_end(self) -> str | None:
        """Something where reasoning is open: the template keeps its end marker to itself."""
        return self._field if self._field in _THOUGHTS else None

    def feed(self, text: str) -> ParsedChunk:
        """Take more of the answer; return what became complete."""
        if self._lost:
            self._raw += text
            return ParsedChunk()
        if self._field == "tool_calls":
            self._raw += text
        try:
            return self._take(self._parser.feed(text))
        except ValueError:
            return self._lose(text)

    def finish(self) -> ParsedChunk:
        """Return the rest, now that the answer is over."""
        if not self._lost:
            try:
                _, events = self._parser.finalize()
                return self._take(events)
            except ValueError:
                self._lose("")
        return ParsedChunk(broken=(self._raw,) if self._raw.strip() else ())

    def _lose(self, text: str) -> ParsedChunk:
        # What it raises on is a call; it cannot be fed after that, so the rest belongs to it.
        self._lost = True
        self._raw = self._raw or text
        return ParsedChunk()

    def _take(self, events: list[dict[str, Any]]) -> ParsedChunk:
        piece = ParsedChunk()
        for event in events:
            field = event["field"]
            if event["type"] == "region_open":
                self._field, self._raw = field, ""
            elif event["type"] == "region_chunk" and field == "content":
                piece.text += event["text"]
            elif event["type"] == "region_chunk" and field in _THOUGHTS:
                piece.reasoning += event["text"]
            elif event["type"] == "region_chunk":
                self._raw = self._raw or event["text"]
            elif event["type"] == "region_close":
                self._field = None
                if field == "tool_calls":
                    try:
                        piece.calls += tuple(values.named(event["value"]))
                    except ValueError:
                        piece.broken += (self._raw,)
                    self._raw = ""
        return piece
