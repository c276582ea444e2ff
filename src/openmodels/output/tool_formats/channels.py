"""Answers made of messages with headers: gpt-oss' Harmony and Kimi K3's elements."""

import html
import re
from typing import Any

from openmodels.output.text_scan import marker_matcher
from openmodels.output.tool_formats import values
from openmodels.output.tool_formats.parser import ForcedCall, ToolFormatParser

_RECIPIENT = re.compile(r"\bto=([^\s<]+)")
_CHANNEL = re.compile(r"<\|channel\|>\s*([A-Za-z]*)")


class Harmony(ToolFormatParser):
    """gpt-oss: `<|channel|>analysis<|message|>…<|end|><|start|>assistant to=…`."""

    reasoning_markers = ()
    end_markers = ("<|end|>", "<|call|>", "<|return|>", "<|start|>")
    inner_markers = (*end_markers, "<|channel|>", "<|message|>", "<|constrain|>")
    forced_call = ForcedCall("<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>", "<|call|>")

    def __init__(self, tools: Any = (), prompt: str = "") -> None:
        super().__init__(tools, prompt)
        self.mode = "header"
        self._head = ""
        self._name = ""

    def step(self, *, final: bool) -> bool:
        """Read a header, or what the message says."""
        if self.mode == "header":
            return self._read_header()
        if self.mode == "arguments":
            return self._read_arguments(final=final)
        # Only the end of the message ends the analysis: the model may write of its other marks.
        markers = ("<|end|>", "<|return|>") if self.mode == "think" else self.end_markers
        marker = self._emit_to_marker(markers, final=final, visible=self.mode != "ignored")
        if marker is None:
            return False
        self._flush_space()
        self._next(marker)
        return True

    def _read_header(self) -> bool:
        match = marker_matcher(("<|message|>", "<|end|>", "<|return|>", "<|call|>")).search(self.buffer)
        if match is None:
            return False
        head, self.buffer = self.buffer[: match.start()], self.buffer[match.end() :]
        if match[0] != "<|message|>":
            return True
        recipient, channel = _RECIPIENT.findall(head), _CHANNEL.findall(head)
        name = recipient[-1] if recipient else ""
        self._head = head + match[0]
        if name.startswith("functions.") or name in self.tools:
            self._name = name.removeprefix("functions.")
            self.mode, self._tried = "arguments", 0
        elif name and name != "assistant":
            self.mode = "ignored"
        else:
            modes = {"analysis": "think", "final": "text", "commentary": "text"}
            self.mode = modes.get(channel[-1] if channel else "final", "ignored")
        return True

    def _read_arguments(self, *, final: bool) -> bool:
        has_end = marker_matcher(self.end_markers).search(self.buffer, max(0, self._tried - 10))
        self._tried = len(self.buffer)
        if not final and not has_end:
            return False
        start = len(self.buffer) - len(self.buffer.lstrip())
        end = values.find_end(self.buffer, start) if self.buffer[start : start + 1] == "{" else None
        close = values.find_outside(self.buffer, self.end_markers, end or start)
        if close is None and not final:
            return False
        body = self.buffer[:close]
        raw = self.buffer[start:end].strip() if end else body.strip()
        try:
            arguments = values.loads(raw)
        except ValueError:
            arguments = None
        if isinstance(arguments, dict):
            self.parsed.calls += (values.make_call(self._name, arguments, raw),)
        else:
            self.parsed.broken += (self._head + body,)
        self.buffer = self.buffer[len(body) :]
        self._next(next(filter(self.buffer.startswith, self.end_markers), ""))
        return True

    def _next(self, marker: str) -> None:
        self.buffer = self.buffer[len(marker) :]
        self.mode = "header"

    def _finish(self) -> None:
        if self.mode == "header" and _RECIPIENT.search(self.buffer):
            self.parsed.broken += (self.buffer,)
        super()._finish()


_TAG = re.compile(r"(?P<name>\w+)(?P<attributes>[^<]*)<\|sep\|>")
_ATTRIBUTE = re.compile(r'(\w+)="([^"]*)"')


class KimiK3(ToolFormatParser):
    """Kimi K3: elements of `<|open|>NAME attributes<|sep|>…<|close|>NAME<|sep|>`."""

    reasoning_markers = ()
    inner_markers = ("<|open|>", "<|close|>", "<|sep|>")

    def __init__(self, tools: Any = (), prompt: str = "") -> None:
        super().__init__(tools, prompt)
        opened = re.findall(r"<\|open\|>(think|response)<\|sep\|>", prompt)
        self.mode = "think" if opened and opened[-1] == "think" else "text"
        self._raw = ""
        self._call: str | None = None
        self._arguments: dict[str, Any] = {}
        self._key: tuple[str, str] | None = None

    def step(self, *, final: bool) -> bool:
        """Advance to the next tag."""
        if self._key is not None:
            return self._read_value()
        marker = self._emit_to_marker(("<|open|>", "<|close|>"), final=final, visible=self.mode in {"text", "think"})
        if marker is None:
            return False
        tag = _TAG.match(self.buffer, len(marker))
        if tag is None:
            if final:
                is_call = "call" in self.buffer[:14] and self._call is None
                self.parsed.broken += (self.buffer,) if is_call else ()
                self.buffer = ""
            return False
        self._flush_space()
        self._raw += self.buffer[: tag.end()] if self._call is not None else ""
        self.buffer = self.buffer[tag.end() :]
        attributes = {key: html.unescape(value) for key, value in _ATTRIBUTE.findall(tag["attributes"])}
        self._read_tag(tag["name"], attributes, opening=marker == "<|open|>")
        return True

    def _read_tag(self, name: str, attributes: dict[str, str], *, opening: bool) -> None:
        if name == "call":
            if opening:
                self._call, self._arguments, self._raw = attributes.get("tool", ""), {}, ""
            elif self._call:
                self.parsed.calls += (values.make_call(self._call, self._arguments, self._raw),)
                self._call = None
        elif name == "argument" and opening and self._call is not None:
            self._key = (attributes.get("key", ""), attributes.get("type", "string"))
        elif name in {"think", "response", "tools"}:
            self.mode = {"think": "think", "response": "text"}.get(name, "tools") if opening else "between"

    def _read_value(self) -> bool:
        end = re.search(r"<\|close\|>argument<\|sep\|>(?=<\|open\|>argument |<\|close\|>call<\|sep\|>)", self.buffer)
        if end is None or self._key is None:
            return False
        (key, kind), text = self._key, self.buffer[: end.start()]
        self._raw += self.buffer[: end.end()]
        self.buffer = self.buffer[end.end() :]
        self._arguments[key] = text if kind == "string" else values.cast(text, {"type": kind})
        self._key = None
        return True

    def _finish(self) -> None:
        if self._call is not None:
            self.parsed.broken += (self._call + self._raw + self.buffer,)
            self.buffer = ""
        super()._finish()
