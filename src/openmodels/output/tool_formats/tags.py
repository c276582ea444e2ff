"""Calls in `<tool_call>` tags: Hermes' JSON, Qwen's XML, GLM's keys."""

from __future__ import annotations

import json
import re
from typing import Any, ClassVar

from openmodels.output.tool_formats import values
from openmodels.output.tool_formats.parser import CallMatch, ForcedCall, ToolFormatParser
from openmodels.types.messages import ToolCall

_END = "</tool_call>"
_FUNCTION = re.compile(r"\s*(?:<tool_call>\s*)?<function=([^>\n]+)>")
_PARAMETER = re.compile(
    r"\s*<parameter=(?P<key>[^>\n]+)>(?P<value>.*?)"
    r"(?:</parameter>(?=\s*(?:<parameter=|</function>))|(?<=\n)(?=<parameter=[^>\n]+>)|(?<=\n)(?=</function>\s*</tool_call>))",
    re.DOTALL,
)
_FUNCTION_END = re.compile(r"\s*</function>")
_NAME = re.compile(r"\s*([^\s<]+)\s*(?=<arg_key>|</tool_call>)")
_ARGUMENT, _LAST_ARGUMENT = (
    re.compile(
        r"\s*<arg_key>(?P<key>.*?)</arg_key>\s*<arg_value>(?P<value>.*?)"
        r"(?:</arg_value>(?=\s*(?:<arg_key>|</tool_call>))|(?=</tool_call>\s*(?:<tool_call>" + end + ")))",
        re.DOTALL,
    )
    for end in ("", r"|\Z")
)
"""An argument; a value without its end tag is over where the next call begins, or the answer ends."""


class Hermes(ToolFormatParser):
    """Hermes, Qwen 2.5 and 3, SmolLM 3: JSON in `<tool_call>` tags.

    `<tool_call>{"name": …, "arguments": {…}}</tool_call>`
    """

    call_markers: ClassVar[tuple[str, ...]] = ("<tool_call>",)
    ignored_markers: ClassVar[tuple[str, ...]] = (_END,)
    trims_space: ClassVar[bool] = True
    forced_call: ClassVar[ForcedCall | None] = ForcedCall("<tool_call>\n", "\n</tool_call>", "arguments")

    def parse_call(self, text: str, *, final: bool) -> CallMatch | None:
        """Read a JSON object or list up to the closing tag."""
        return _json(text, final=final)

    def may_be_complete(self, text: str, since: int) -> bool:
        """Whether a closing tag came."""
        return _END in text[max(0, since - len(_END)) :]


class QwenXml(Hermes):
    """Qwen3-Coder, Qwen 3.5 and later: XML with the name in the tag.

    `<function=NAME><parameter=KEY>value</parameter></function>`
    """

    call_markers: ClassVar[tuple[str, ...]] = ("<tool_call>", "<function=")
    reasoning_interrupts: ClassVar[tuple[str, ...]] = ("<tool_call>\n<function=", "<tool_call><function=")
    forced_call: ClassVar[ForcedCall | None] = None

    def parse_call(self, text: str, *, final: bool) -> CallMatch | None:
        """Parse a function's parameters up to the closing tag, or Hermes' JSON."""
        begin = "<function=" if self.opener == "<function=" else ""
        if not begin and text.lstrip()[:1] in {"{", "["}:
            return _json(text, final=final)
        full = begin + text
        head = _FUNCTION.match(full)
        if head is None:
            end = full.find(_END)
            return CallMatch(end + len(_END) - len(begin)) if end >= 0 else None
        name, place = head[1].strip(), head.end()
        arguments: dict[str, Any] = {}
        types = values.schemas(self.tools, name)
        while (item := _PARAMETER.match(full, place)) is not None:
            key = item["key"].strip()
            # One line break on either side of a value is markup.
            text_value = item["value"].removeprefix("\n").removesuffix("\n")
            arguments[key] = values.cast(text_value, types.get(key, {"type": "string"}))
            place = item.end()
        end_tag = _FUNCTION_END.match(full, place)
        if end_tag is None:
            return None
        raw = json.dumps(arguments, ensure_ascii=False)
        return CallMatch(end_tag.end() - len(begin), (values.make_call(name, arguments, raw),))

    def may_be_complete(self, text: str, since: int) -> bool:
        """Whether a closing tag may have come."""
        return ">" in text[since:]


class Glm(Hermes):
    """GLM 4.5 and later: keys and values in tags.

    `<tool_call>NAME<arg_key>KEY</arg_key><arg_value>value</arg_value></tool_call>`
    """

    forced_call: ClassVar[ForcedCall | None] = None

    def parse_call(self, text: str, *, final: bool) -> CallMatch | None:
        """Read the name, then keys and values, up to the closing tag."""
        head = _NAME.match(text)
        if head is None:
            end = text.find(_END)
            return CallMatch(end + len(_END)) if end >= 0 else None
        name, place = head[1], head.end()
        arguments: dict[str, Any] = {}
        types = values.schemas(self.tools, name)
        argument = _LAST_ARGUMENT if final else _ARGUMENT
        while (item := argument.match(text, place)) is not None:
            key = item["key"].strip()
            arguments[key] = values.cast(item["value"], types.get(key, {"type": "string"}))
            place = item.end()
        rest = re.compile(r"\s*" + _END).match(text, place)
        if rest is None:
            return None
        return CallMatch(rest.end(), (values.make_call(name, arguments, json.dumps(arguments, ensure_ascii=False)),))


def _json(text: str, *, final: bool) -> CallMatch | None:
    start = len(text) - len(text.lstrip())
    end = values.balanced(text, start) if text[start : start + 1] in {"{", "["} else None
    close = values.outside_strings(text, _END, end or start)
    if close is None and final:
        # Broken strings hide the closing tag: without them, it ends what is malformed.
        close = text.find(_END) if _END in text else None
        if close is None and end is None:
            return None
    if close is None and not final:
        return None
    stop = len(text) if close is None else close + len(_END)
    body = text[start : end if close is None else close].strip()
    try:
        calls: tuple[ToolCall, ...] = tuple(values.read_calls(values.loads(body)))
    except ValueError:
        calls = ()
    return CallMatch(stop, calls)
