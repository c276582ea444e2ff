"""Gemma's calls: `call:NAME{key:value}` with strings between marks of their own."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar

from openmodels.output.tool_formats import values
from openmodels.output.tool_formats.parser import CallMatch, ToolFormatParser


class Gemma(ToolFormatParser):
    """Gemma 4: `<|tool_call>call:NAME{key:<|"|>text<|"|>}<tool_call|>`."""

    reasoning_markers: ClassVar[tuple[tuple[str, str], ...]] = (("<|channel>thought", "<channel|>"),)
    call_markers = ("<|tool_call>",)
    ignored_markers: ClassVar[tuple[str, ...]] = ("<channel|>",)
    trims_reasoning = True
    quote: ClassVar[str] = '<|"|>'
    close: ClassVar[str] = "<tool_call|>"
    inner_markers: ClassVar[tuple[str, ...]] = ("<|channel>", quote, close)
    call_ends = (close,)

    def parse_call(self, text: str, *, final: bool) -> CallMatch | None:  # noqa: ARG002 - what is cut stays cut
        """Read the name and the object, up to the end mark that no string holds."""
        quote = re.escape(self.quote)
        close = values.outside_strings(text, (self.close,), 0, string=rf"{quote}.*?(?:{quote}|\Z)")
        if close is None:
            return None
        end, body = close + len(self.close), text[:close].strip()
        name, brace, rest = body.removeprefix("call:").partition("{")
        if not brace or not rest.endswith("}") or not name.strip() or " " in name.strip():
            return CallMatch(end)
        try:
            value, place = _Notation(brace + rest, self.quote).value(0)
        except (ValueError, RecursionError):
            return CallMatch(end)
        if place != len(brace + rest) or not isinstance(value, dict):
            return CallMatch(end)
        return CallMatch(end, (values.make_call(name.strip(), value),))


class FunctionGemma(Gemma):
    """FunctionGemma: the same notation between tags of words."""

    reasoning_markers = ()
    call_markers = ("<start_function_call>",)
    ignored_markers = ()
    quote = "<escape>"
    close = "<end_function_call>"
    inner_markers = (quote, close)
    call_ends = (close,)


_SPACE = re.compile(r"\s+")
_WORD = re.compile(r"[^,\]}]+")


class _Notation:
    """Parses objects with bare keys, lists, quoted strings and JSON scalars.

    Each method returns what stands at a place, and the place behind it.
    """

    def __init__(self, text: str, quote: str) -> None:
        self.text, self.quote = text, quote

    def value(self, place: int) -> tuple[Any, int]:
        place = _end(_SPACE, self.text, place)
        if self.text.startswith(self.quote, place):
            return self._string(place)
        match self.text[place : place + 1]:
            case "{":
                members, place = self._items(place + 1, "}", self._member)
                return dict(members), place
            case "[":
                return self._items(place + 1, "]", self.value)
        end = _end(_WORD, self.text, place)
        word = self.text[place:end].strip()
        try:
            return values.loads(word), end
        except ValueError:
            if not word:
                raise
            return {"None": None, "True": True, "False": False}.get(word, word), end

    def _string(self, place: int) -> tuple[str, int]:
        begin = place + len(self.quote)
        end = self.text.index(self.quote, begin)
        return self.text[begin:end], end + len(self.quote)

    def _items(self, place: int, close: str, read: Callable[[int], tuple[Any, int]]) -> tuple[list[Any], int]:
        items: list[Any] = []
        while not self.text.startswith(close, place := _end(_SPACE, self.text, place)):
            item, place = read(place)
            items.append(item)
            place = _end(_SPACE, self.text, place)
            if self.text.startswith(",", place):
                place += 1
            elif not self.text.startswith(close, place):
                raise ValueError("neither the next item nor the end")
        return items, place + 1

    def _member(self, place: int) -> tuple[tuple[str, Any], int]:
        if self.text.startswith(self.quote, place):
            key, place = self._string(place)
            place = _end(_SPACE, self.text, place)
            if not self.text.startswith(":", place):
                raise ValueError("no value")
        else:
            colon = self.text.index(":", place)
            key, place = self.text[place:colon].strip().strip('"'), colon
        value, place = self.value(place + 1)
        return (key, value), place


def _end(pattern: re.Pattern[str], text: str, place: int) -> int:
    match = pattern.match(text, place)
    return place if match is None else match.end()
