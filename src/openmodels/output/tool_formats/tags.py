"""Calls in tags: Hermes' JSON, Qwen's XML, GLM's keys, and the kinds of calls."""

import re
from typing import Any, ClassVar

from openmodels.output.tool_formats import values
from openmodels.output.tool_formats.parser import CallMatch, ForcedCall, ToolFormatParser

_END = "</tool_call>"


class JsonCallParser(ToolFormatParser):
    """Calls of a header, which may name the tool, and JSON up to a closing mark."""

    head: ClassVar[re.Pattern[str]]  # what precedes the JSON; its group "name" is the tool, and the JSON its arguments
    close: ClassVar[str]  # the closing mark

    def parse_call(self, text: str, *, final: bool) -> CallMatch | None:
        """Read the header and the JSON, up to the closing mark that no string holds."""
        head = self.head.match(text)
        if head is None:
            stop = text.find(self.close)
            return CallMatch(stop + len(self.close)) if stop >= 0 else None
        start, is_named = head.end(), "name" in self.head.groupindex
        end = values.find_end(text, start) if text[start : start + 1] in ({"{"} if is_named else {"{", "["}) else None
        close = values.find_outside(text, (self.close,), end or start)
        if close is None and final and self.close in text:
            close = text.find(self.close)  # broken strings hide it: without them, it ends what is malformed
        if close is None and (not final or end is None or is_named):
            return None
        raw = text[start : close if end is None else end]
        stop = len(text) if close is None else close + len(self.close)
        try:
            value = values.loads(raw)
            if not is_named:
                return CallMatch(stop, tuple(values.read_calls(value)))
        except ValueError:
            return CallMatch(stop)
        return CallMatch(stop, (values.make_call(head["name"], value, raw),) if isinstance(value, dict) else ())


class ArgumentTagsParser(ToolFormatParser):
    """Calls of a name and arguments, each argument in tags of its own."""

    head: ClassVar[re.Pattern[str]]  # what precedes the arguments; its group "name" is the tool
    argument: ClassVar[re.Pattern[str]]  # an argument; its groups are "key" and "value"
    end: ClassVar[re.Pattern[str]]  # what follows the arguments
    malformed_end: ClassVar[re.Pattern[str]] = re.compile(_END)  # what ends a call without a header

    def parse_call(self, text: str, *, final: bool) -> CallMatch | None:  # noqa: ARG002 - what is cut stays cut
        """Read the name, then the arguments, up to the end."""
        head = self.head.match(text)
        if head is None:
            malformed = self.malformed_end.search(text)
            return malformed and CallMatch(malformed.end())
        name, place = head["name"].strip(), head.end()
        arguments: dict[str, Any] = {}
        types = values.argument_schemas(self.tools, name)
        while (item := self.argument.match(text, place)) is not None:
            key = item["key"].strip()
            arguments[key] = self.read_value(item, types.get(key))
            place = item.end()
        end = self.end.match(text, place)
        return None if end is None else CallMatch(end.end(), (values.make_call(name, arguments),))

    def read_value(self, item: re.Match[str], schema: Any) -> Any:
        """Return the value of an argument, whose schema may be missing."""
        return values.cast(item["value"], {"type": "string"} if schema is None else schema)


class Hermes(JsonCallParser):
    """Hermes, Qwen 2.5 and 3, SmolLM 3: JSON in `<tool_call>` tags.

    `<tool_call>{"name": …, "arguments": {…}}</tool_call>`
    """

    call_markers = ("<tool_call>",)
    ignored_markers = (_END,)
    call_ends = (_END,)
    trims_space = True
    forced_call = ForcedCall("<tool_call>\n", "\n</tool_call>", "arguments")
    head = re.compile(r"\s*")
    close = _END


class QwenXml(ArgumentTagsParser):
    """Qwen3-Coder, Qwen 3.5 and later: XML with the name in the tag.

    `<function=NAME><parameter=KEY>value</parameter></function>`
    """

    call_markers = ("<tool_call>", "<function=")
    ignored_markers = (_END,)
    call_ends = (">",)
    reasoning_interrupts = ("<tool_call>\n<function=", "<tool_call><function=")
    trims_space = True
    head = re.compile(r"\s*(?:<tool_call>\s*)?<function=(?P<name>[^>\n]+)>")
    # One line break on either side of a value is markup.
    argument = re.compile(
        r"\s*<parameter=(?P<key>[^>\n]+)>\n?(?P<value>.*?)\n?"
        r"(?:</parameter>(?=\s*(?:<parameter=|</function>))|(?<=\n)(?=<parameter=[^>\n]+>)|(?<=\n)(?=</function>\s*</tool_call>))",
        re.DOTALL,
    )
    end = re.compile(r"\s*</function>")

    def parse_call(self, text: str, *, final: bool) -> CallMatch | None:
        """Parse a function's parameters up to the closing tag, or Hermes' JSON."""
        if self.opener == "<function=":
            match = super().parse_call(self.opener + text, final=final)
            return match and match._replace(end=match.end - len(self.opener))
        if text.lstrip()[:1] in {"{", "["}:
            return Hermes().parse_call(text, final=final)
        return super().parse_call(text, final=final)


class Glm(ArgumentTagsParser):
    """GLM 4.5 and later: keys and values in tags.

    `<tool_call>NAME<arg_key>KEY</arg_key><arg_value>value</arg_value></tool_call>`
    """

    call_markers = ("<tool_call>",)
    ignored_markers = (_END,)
    call_ends = (_END,)
    trims_space = True
    head = re.compile(r"\s*(?P<name>[^\s<]+)\s*(?=<arg_key>|</tool_call>)")
    argument = re.compile(
        r"\s*<arg_key>(?P<key>.*?)</arg_key>\s*<arg_value>(?P<value>.*?)"
        r"(?:</arg_value>(?=\s*(?:<arg_key>|</tool_call>))|(?=</tool_call>\s*<tool_call>))",
        re.DOTALL,
    )
    end = re.compile(r"\s*</tool_call>")

    def parse_call(self, text: str, *, final: bool) -> CallMatch | None:
        """Read the name, then keys and values, up to the closing tag."""
        # A value without its end tag is over where the next call begins, or the answer ends.
        return super().parse_call(text + "<tool_call>" if final else text, final=final)
