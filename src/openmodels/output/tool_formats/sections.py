"""Calls in sections of their own: DeepSeek's and Kimi K2's."""

from __future__ import annotations

import json
import re
from typing import Any, ClassVar

from openmodels.output.tool_formats import values
from openmodels.output.tool_formats.parser import CallMatch, ForcedCall, ToolFormatParser


class _Section(ToolFormatParser):
    """A section of calls, each with a header and a JSON object."""

    head: ClassVar[re.Pattern[str]]
    close: ClassVar[str]

    def parse_call(self, text: str, *, final: bool) -> CallMatch | None:
        """Read the header and the JSON object, up to the end mark that no string holds."""
        head = self.head.match(text)
        if head is None:
            stop = text.find(self.close)
            return CallMatch(stop + len(self.close)) if stop >= 0 else None
        start = head.end()
        end = values.balanced(text, start) if text[start : start + 1] == "{" else None
        close = values.outside_strings(text, self.close, end or start)
        if close is None and final and self.close in text:
            close = text.find(self.close)
        if close is None:
            return None
        raw = text[start : close if end is None else end]
        name = head["name"]
        try:
            arguments = values.loads(raw)
        except ValueError:
            arguments = None
        calls = (values.make_call(name, arguments, raw),) if isinstance(arguments, dict) else ()
        return CallMatch(close + len(self.close), calls)

    def may_be_complete(self, text: str, since: int) -> bool:
        """Whether an end mark came."""
        return self.close in text[max(0, since - len(self.close)) :]


class DeepSeek(_Section):
    """DeepSeek before V3.2: `<｜tool▁call▁begin｜>…<｜tool▁sep｜>…`."""

    call_markers: ClassVar[tuple[str, ...]] = ("<｜tool▁call▁begin｜>",)
    section_markers: ClassVar[tuple[tuple[str, ...], tuple[str, ...]]] = (
        ("<｜tool▁calls▁begin｜>",),
        ("<｜tool▁calls▁end｜>",),
    )
    close: ClassVar[str] = "<｜tool▁call▁end｜>"


class DeepSeekV3(DeepSeek):
    """DeepSeek V3 and R1: the arguments in a block of code."""

    head: ClassVar[re.Pattern[str]] = re.compile(r"\s*function<｜tool▁sep｜>(?P<name>[^\n<]+)\n```json\n\s*")
    forced_call: ClassVar[ForcedCall | None] = ForcedCall(
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>{name}\n```json\n",
        "\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    )


class DeepSeekV31(DeepSeek):
    """DeepSeek V3.1: the arguments right after the name."""

    head: ClassVar[re.Pattern[str]] = re.compile(r"\s*(?P<name>[^<\n]+)<｜tool▁sep｜>\s*")
    forced_call: ClassVar[ForcedCall | None] = ForcedCall(
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>{name}<｜tool▁sep｜>", "<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
    )


class KimiK2(_Section):
    """Kimi K2: `<|tool_call_begin|>functions.NAME:0…{…}<|tool_call_end|>`."""

    call_markers: ClassVar[tuple[str, ...]] = ("<|tool_call_begin|>",)
    section_markers: ClassVar[tuple[tuple[str, ...], tuple[str, ...]]] = (
        ("<|tool_calls_section_begin|>",),
        ("<|tool_calls_section_end|>",),
    )
    head: ClassVar[re.Pattern[str]] = re.compile(
        r"\s*(?:functions\.)?(?P<name>[^<\s]+?)(?::\d+)?\s*<\|tool_call_argument_begin\|>\s*"
    )
    close: ClassVar[str] = "<|tool_call_end|>"
    forced_call: ClassVar[ForcedCall | None] = ForcedCall(
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.{name}:0<|tool_call_argument_begin|>",
        "<|tool_call_end|><|tool_calls_section_end|>",
    )


_INVOKE = re.compile(r'\s*name="(?P<name>[^"]*)"\s*(?P<empty>/)?>')
_DSML = "｜DSML｜"
_PARAMETER = re.compile(
    rf'\s*<{_DSML} ?parameter name="(?P<key>[^"]*)"(?: string="(?P<text>true|false)")?>'
    rf"(?P<value>.*?)</{_DSML} ?parameter>(?=\s*<(?:{_DSML} ?parameter|/{_DSML} ?invoke))",
    re.DOTALL,
)
_INVOKED = re.compile(rf"\s*</{_DSML} ?invoke>")


class DeepSeekDsml(ToolFormatParser):
    """DeepSeek V3.2 and V4: `<｜DSML｜invoke name="NAME">` and parameters.

    A parameter is `<｜DSML｜parameter name="KEY" string="true">…`.
    """

    call_markers: ClassVar[tuple[str, ...]] = (f"<{_DSML}invoke", f"<{_DSML} invoke")
    section_markers: ClassVar[tuple[tuple[str, ...], tuple[str, ...]]] = (
        tuple(f"<{_DSML}{word}>" for word in ("function_calls", "tool_calls", " calls", " tool_calls")),
        tuple(f"</{_DSML}{word}>" for word in ("function_calls", "tool_calls", " calls", " tool_calls")),
    )
    trims_space: ClassVar[bool] = True

    def parse_call(self, text: str, *, final: bool) -> CallMatch | None:  # noqa: ARG002 - what is cut stays cut
        """Read the parameters up to the end of the invocation."""
        head = _INVOKE.match(text)
        if head is None:
            end = _INVOKED.search(text)
            return CallMatch(end.end()) if end else None
        name, place = head["name"], head.end()
        if head["empty"]:
            return CallMatch(place, (values.make_call(name, {}, "{}"),))
        arguments: dict[str, Any] = {}
        types = values.schemas(self.tools, name)
        while (item := _PARAMETER.match(text, place)) is not None:
            value: Any = item["value"]
            if item["text"] == "false":
                try:
                    value = values.loads(value)
                except ValueError:
                    value = values.cast(value, types.get(item["key"]))
            elif item["text"] is None:
                value = values.cast(value, types.get(item["key"], {"type": "string"}))
            arguments[item["key"]] = value
            place = item.end()
        end = _INVOKED.match(text, place)
        if end is None:
            return None
        return CallMatch(end.end(), (values.make_call(name, arguments, json.dumps(arguments, ensure_ascii=False)),))

    def may_be_complete(self, text: str, since: int) -> bool:
        """Whether a tag may have ended."""
        return ">" in text[since:]
