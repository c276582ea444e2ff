"""Calls after a marker or a bracket: Mistral's, Llama's and Python's."""

import ast
import json
import re
from abc import ABC, abstractmethod

from openmodels.output.tool_formats import values
from openmodels.output.tool_formats.parser import CallMatch, ForcedCall, ToolFormatParser
from openmodels.types.messages import ToolCall

_MISTRAL_HEAD = re.compile(r"\s*(?P<name>[^\s\[{]+)(?:\[CALL_ID\](?P<id>[^\[{]+))?(?:\[ARGS\])?\s*(?=\{)")


class Mistral(ToolFormatParser):
    """`[TOOL_CALLS]` before a JSON list, or before each `NAME[ARGS]{…}`."""

    reasoning_markers = (("[THINK]", "[/THINK]"), ("<think>", "</think>"))
    call_markers = ("[TOOL_CALLS]",)
    inner_markers = ("[ARGS]", "[CALL_ID]")
    call_ends = ("]", "}")

    @classmethod
    def find_forced_call(cls, template: str) -> ForcedCall | None:
        """Return how a call is forced: with `[ARGS]` the name precedes the JSON."""
        if "[ARGS]" in template:
            return ForcedCall("[TOOL_CALLS]{name}[ARGS]", "")
        return ForcedCall("[TOOL_CALLS] [", "]", "arguments")

    def parse_call(self, text: str, *, final: bool) -> CallMatch | None:  # noqa: ARG002 - what is cut stays cut
        """Read a list of calls, or a name and its arguments."""
        head = _MISTRAL_HEAD.match(text)
        start = head.end() if head else len(text) - len(text.lstrip())
        if head is None and text[start : start + 1] != "[":
            return None
        end = values.find_end(text, start)
        if end is None:
            return None
        raw = text[start:end]
        try:
            value = values.loads(raw)
            if head is None:
                return CallMatch(end, tuple(values.read_calls(value)))
        except ValueError:
            return CallMatch(end)
        return CallMatch(end, (values.make_call(head["name"], value, raw, head["id"]),))


class _BareCallParser(ToolFormatParser, ABC):
    """Calls that stand at the beginning of an answer without any marker."""

    _start = True

    @abstractmethod
    def is_bare_call(self, text: str, *, final: bool) -> bool | None:
        """Whether an answer that begins like this is a call; None while that is open."""

    def step(self, *, final: bool) -> bool:
        """Look for a bare call before any text was given."""
        if self.mode == "text" and not self.has_called and not self.parsed.text and self._start:
            answer = self.is_bare_call(self.buffer.lstrip(), final=final)
            if answer is None:
                return False
            self._start = False
            if answer:
                self._begin_call("")
                return True
        return super().step(final=final)


class Llama(_BareCallParser):
    """Llama 3: `{"name": …, "parameters": {…}}`, alone or after a marker.

    The marker is `<|python_tag|>`; several calls are split by ";".
    """

    reasoning_markers = ()
    call_markers = ("<|python_tag|>",)
    call_ends = ("}",)
    forced_call = ForcedCall("", "", "parameters")

    def is_bare_call(self, text: str, *, final: bool) -> bool | None:
        """Whether the answer is the JSON of a call, to a tool that was offered."""
        if not text:
            return False if final else None
        if text[0] != "{":
            return False
        # Only a bracket that has just come can close it; reading it again at every token would be slow.
        end = values.find_end(text, 0) if final or "}" in self._chunk else None
        if end is None:
            # A cut object that had begun as a call is one that is broken.
            return bool(re.match(r'\{\s*"(?:name|type)"\s*:', text)) if final else None
        try:
            (call,) = values.read_calls(values.loads(text[:end]))
        except ValueError:
            return False
        has_arguments = re.search(r'"(?:parameters|arguments)"\s*:', text[:end]) is not None
        return has_arguments and (not self.tools or call.name in self.tools)

    def parse_call(self, text: str, *, final: bool) -> CallMatch | None:
        """Read objects one after the other, as long as there are more."""
        place = 0
        calls: list[ToolCall] = []
        while True:
            start = len(text) - len(text[place:].lstrip(" \t\r\n;"))
            if text[start : start + 1] != "{":
                if start == len(text) and not final:
                    return None
                return CallMatch(start if calls and start == len(text) else place, tuple(calls)) if calls else None
            end = values.find_end(text, start)
            if end is None:
                return CallMatch(place, tuple(calls)) if final and calls else None
            try:
                calls += values.read_calls(values.loads(text[start:end]))
            except ValueError:
                return CallMatch(place if calls else end, tuple(calls))
            place = end


class Pythonic(_BareCallParser):
    """`[name(key="value"), …]`: Llama 4 and OLMo 3.

    OLMo writes one call a line between `<function_calls>` tags.
    """

    call_markers = ("<|python_start|>", "<function_calls>")
    ignored_markers = ("<|python_end|>", "</function_calls>")
    call_ends = ("]", ">")
    _begins = re.compile(r"\[\s*[A-Za-z_][\w.]*\s*\(")
    _may_begin = re.compile(r"\[\s*(?:[A-Za-z_][\w.]*\s*)?")

    def is_bare_call(self, text: str, *, final: bool) -> bool | None:
        """Whether the answer is a list of Python calls."""
        if self._begins.match(text):
            return True
        return None if not final and (not text or self._may_begin.fullmatch(text)) else False

    def parse_call(self, text: str, *, final: bool) -> CallMatch | None:
        """Read the list, or the lines up to the closing tag."""
        start = len(text) - len(text.lstrip())
        end: int | None = None
        if self.opener == "<function_calls>":
            end = text.find("</function_calls>")
        elif text[start : start + 1] == "[":
            end = values.find_end(text, start, python=True)
        if end is None:
            end = text.find("<|python_end|>") if self.opener and final else -1
        return CallMatch(end, _python_calls(text[:end])) if end >= 0 else None


def _python_calls(text: str) -> tuple[ToolCall, ...]:
    """Return the calls of a Python list or of lines; none if any is not a call."""
    try:
        body = ast.parse(text.strip()).body
        nodes: list[ast.AST] = [item.value for item in body if isinstance(item, ast.Expr)]
        if len(nodes) != len(body):
            return ()
        nodes = [e for node in nodes for e in (node.elts if isinstance(node, ast.List | ast.Tuple) else [node])]
        return tuple(_python_call(node) for node in nodes)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        return ()


def _python_call(node: ast.AST) -> ToolCall:
    if not isinstance(node, ast.Call) or node.args or not all(word.arg for word in node.keywords):
        raise ValueError("no call with named arguments")
    arguments = {str(word.arg): ast.literal_eval(word.value) for word in node.keywords}
    raw = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
    return values.make_call(ast.unparse(node.func), arguments, raw)
