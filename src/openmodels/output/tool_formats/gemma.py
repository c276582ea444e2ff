"""Gemma's calls: `call:NAME{key:value}` with strings between marks of their own."""

import json
import re
from typing import ClassVar

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
        close = values.find_outside(text, (self.close,), 0, string=rf"{quote}.*?(?:{quote}|\Z)")
        if close is None:
            return None
        end, body = close + len(self.close), text[:close].strip()
        name, brace, rest = body.removeprefix("call:").partition("{")
        if not brace or not rest.endswith("}") or not name.strip() or " " in name.strip():
            return CallMatch(end)
        try:
            value = values.loads(_to_json(brace + rest, quote))
        except ValueError:
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


def _to_json(text: str, quote: str) -> str:
    """Return an object of bare keys, words and quoted strings as JSON."""
    token = re.compile(
        rf"{quote}(?P<string>.*?){quote}|(?P<comma>,\s*(?=[]}}]))"
        rf"|(?P<key>(?<![:[])[^][{{}},:]+)(?=:)|(?P<word>(?!\s*{quote})[^][{{}},:][^][{{}},]*)",
        re.DOTALL,
    )

    def convert(match: re.Match[str]) -> str:
        text = match[0].strip()
        if match["string"] is not None:
            return json.dumps(match["string"])
        if match["key"]:
            return json.dumps(text.strip('"'))
        if match["comma"] or not text:
            return ""
        try:
            values.loads(text)
        except ValueError:
            return {"None": "null", "True": "true", "False": "false"}.get(text) or json.dumps(text)
        return text

    return token.sub(convert, text)
