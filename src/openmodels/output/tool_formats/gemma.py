"""Gemma's calls: `call:NAME{key:value}` with strings between marks of their own."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from openmodels.output.tool_formats import values
from openmodels.output.tool_formats.parser import CallMatch, ToolFormatParser


class Gemma(ToolFormatParser):
    """Gemma 4: `<|tool_call>call:NAME{key:<|"|>text<|"|>}<tool_call|>`."""

    reasoning_markers: ClassVar[tuple[tuple[str, str], ...]] = (("<|channel>thought", "<channel|>"),)
    call_markers: ClassVar[tuple[str, ...]] = ("<|tool_call>",)
    ignored_markers: ClassVar[tuple[str, ...]] = ("<channel|>",)
    trims_reasoning: ClassVar[bool] = True
    quote: ClassVar[str] = '<|"|>'
    close: ClassVar[str] = "<tool_call|>"

    @classmethod
    def markers(cls) -> tuple[str, ...]:
        """Return every marker, those inside of calls included."""
        return (*super().markers(), "<|channel>", cls.quote, cls.close)

    def parse_call(self, text: str, *, final: bool) -> CallMatch | None:  # noqa: ARG002 - what is cut stays cut
        """Read the name and the object, up to the end mark that no string holds."""
        close = self._close_mark(text)
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
        return CallMatch(end, (values.make_call(name.strip(), value, json.dumps(value, ensure_ascii=False)),))

    def _close_mark(self, text: str) -> int | None:
        place = 0
        while True:
            close, quote = text.find(self.close, place), text.find(self.quote, place)
            if close < 0:
                return None
            if quote < 0 or close < quote:
                return close
            end = text.find(self.quote, quote + len(self.quote))
            if end < 0:
                return None
            place = end + len(self.quote)


class FunctionGemma(Gemma):
    """FunctionGemma: the same notation between tags of words."""

    reasoning_markers: ClassVar[tuple[tuple[str, str], ...]] = ()
    call_markers: ClassVar[tuple[str, ...]] = ("<start_function_call>",)
    ignored_markers: ClassVar[tuple[str, ...]] = ()
    quote: ClassVar[str] = "<escape>"
    close: ClassVar[str] = "<end_function_call>"


class _Notation:
    """Parses objects with bare keys, lists, quoted strings and JSON scalars."""

    def __init__(self, text: str, quote: str) -> None:
        self.text, self.quote = text, quote

    def value(self, place: int) -> tuple[Any, int]:
        place = self._skip(place)
        if self.text.startswith(self.quote, place):
            return self._string(place)
        if self.text[place : place + 1] == "{":
            return self._object(place + 1)
        if self.text[place : place + 1] == "[":
            return self._list(place + 1)
        end = place
        while end < len(self.text) and self.text[end] not in ",]}":
            end += 1
        word = self.text[place:end].strip()
        try:
            return values.loads(word), end
        except ValueError:
            if not word:
                raise
            return {"None": None, "True": True, "False": False}.get(word, word), end

    def _string(self, place: int) -> tuple[str, int]:
        begin = place + len(self.quote)
        end = self.text.find(self.quote, begin)
        if end < 0:
            raise ValueError("a string is open")
        return self.text[begin:end], end + len(self.quote)

    def _object(self, place: int) -> tuple[dict[str, Any], int]:
        members: dict[str, Any] = {}
        while self.text[(place := self._skip(place)) : place + 1] != "}":
            if self.text.startswith(self.quote, place):
                key, place = self._string(place)
                place = self._skip(place)
                if self.text[place : place + 1] != ":":
                    raise ValueError("no value")
            else:
                colon = self.text.find(":", place)
                if colon < 0:
                    raise ValueError("no value")
                key, place = self.text[place:colon].strip().strip('"'), colon
            members[key], place = self.value(place + 1)
            place = self._next(place, "}")
        return members, place + 1

    def _list(self, place: int) -> tuple[list[Any], int]:
        items: list[Any] = []
        while self.text[(place := self._skip(place)) : place + 1] != "]":
            item, place = self.value(place)
            items.append(item)
            place = self._next(place, "]")
        return items, place + 1

    def _next(self, place: int, close: str) -> int:
        place = self._skip(place)
        mark = self.text[place : place + 1]
        if mark == ",":
            return place + 1
        if mark != close:
            raise ValueError("neither the next item nor the end")
        return place

    def _skip(self, place: int) -> int:
        while place < len(self.text) and self.text[place].isspace():
            place += 1
        return place
