"""Calls in sections of their own: DeepSeek's and Kimi K2's."""

import re
from typing import Any

from openmodels.output.tool_formats import values
from openmodels.output.tool_formats.parser import CallMatch, ForcedCall
from openmodels.output.tool_formats.tags import ArgumentTagsParser, JsonCallParser


class DeepSeek(JsonCallParser):
    """DeepSeek before V3.2: `<｜tool▁call▁begin｜>…<｜tool▁sep｜>…`."""

    call_markers = ("<｜tool▁call▁begin｜>",)
    section_markers = (("<｜tool▁calls▁begin｜>",), ("<｜tool▁calls▁end｜>",))
    close = "<｜tool▁call▁end｜>"
    call_ends = (close,)


class DeepSeekV3(DeepSeek):
    """DeepSeek V3 and R1: the arguments in a block of code."""

    head = re.compile(r"\s*function<｜tool▁sep｜>(?P<name>[^\n<]+)\n```json\n\s*")
    forced_call = ForcedCall(
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>{name}\n```json\n",
        "\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    )


class DeepSeekV31(DeepSeek):
    """DeepSeek V3.1: the arguments right after the name."""

    head = re.compile(r"\s*(?P<name>[^<\n]+)<｜tool▁sep｜>\s*")
    forced_call = ForcedCall(
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>{name}<｜tool▁sep｜>", "<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
    )


class KimiK2(JsonCallParser):
    """Kimi K2: `<|tool_call_begin|>functions.NAME:0…{…}<|tool_call_end|>`."""

    call_markers = ("<|tool_call_begin|>",)
    section_markers = (("<|tool_calls_section_begin|>",), ("<|tool_calls_section_end|>",))
    head = re.compile(r"\s*(?:functions\.)?(?P<name>[^<\s]+?)(?::\d+)?\s*<\|tool_call_argument_begin\|>\s*")
    close = "<|tool_call_end|>"
    call_ends = (close,)
    forced_call = ForcedCall(
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.{name}:0<|tool_call_argument_begin|>",
        "<|tool_call_end|><|tool_calls_section_end|>",
    )


_DSML = "｜DSML｜"


class DeepSeekDsml(ArgumentTagsParser):
    """DeepSeek V3.2 and V4: `<｜DSML｜invoke name="NAME">` and parameters.

    A parameter is `<｜DSML｜parameter name="KEY" string="true">…`.
    """

    call_markers = (f"<{_DSML}invoke", f"<{_DSML} invoke")
    section_markers = (
        tuple(f"<{_DSML}{word}>" for word in ("function_calls", "tool_calls", " calls", " tool_calls")),
        tuple(f"</{_DSML}{word}>" for word in ("function_calls", "tool_calls", " calls", " tool_calls")),
    )
    call_ends = (">",)
    trims_space = True
    head = re.compile(r'\s*name="(?P<name>[^"]*)"\s*(?P<empty>/)?>')
    argument = re.compile(
        rf'\s*<{_DSML} ?parameter name="(?P<key>[^"]*)"(?: string="(?P<text>true|false)")?>'
        rf"(?P<value>.*?)</{_DSML} ?parameter>(?=\s*<(?:{_DSML} ?parameter|/{_DSML} ?invoke))",
        re.DOTALL,
    )
    end = re.compile(rf"\s*</{_DSML} ?invoke>")
    malformed_end = end

    def parse_call(self, text: str, *, final: bool) -> CallMatch | None:
        """Read the parameters up to the end of the invocation."""
        head = self.head.match(text)
        if head is not None and head["empty"]:
            return CallMatch(head.end(), (values.make_call(head["name"], {}),))
        return super().parse_call(text, final=final)

    def read_value(self, item: re.Match[str], schema: Any) -> Any:
        """Return the text of a parameter, or the JSON of one that is not marked as text."""
        if item["text"] is None:
            return super().read_value(item, schema)
        if item["text"] == "true":
            return item["value"]
        try:
            return values.loads(item["value"])
        except ValueError:
            return values.cast(item["value"], schema)
