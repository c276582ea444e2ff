"""One of the answers that a call asked for, as its pieces come: text, reasoning, tool calls, logprobs."""

from __future__ import annotations

import re
from typing import Any

from openmodels.errors import InvalidResponse, UnsupportedFeature
from openmodels.openai_wire import logprobs
from openmodels.openai_wire.tool_calls import ToolAssembler
from openmodels.output.text_scan import REASONING_FIELDS, ReasoningSplitter, ReasoningTags
from openmodels.types.reply import Delta, TokenLogprob


class Choice:
    """Reads the choices of one index.

    Args:
        index: Which of the answers it is.
        tags: What stands around reasoning that the server leaves in the text, if it does.
        likeliest: How many likeliest tokens were asked for at each place; None is no logprobs.

    Attributes:
        reason: Why the answer ended, once it has.
        reasoning_name: The field in which the server sends the reasoning, once it has.
    """

    def __init__(self, index: int, tags: tuple[ReasoningTags, ...] = (), likeliest: int | None = None) -> None:
        self.reason: str | None = None
        self.reasoning_name: str | None = None
        self._index = index
        self._splitter = ReasoningSplitter(*tags) if tags else None
        self._tools = ToolAssembler()
        self._half = ""
        self._likeliest = likeliest
        self._spoke = self._told = False

    @property
    def unmeasured(self) -> bool:
        """Whether text came without the logprobs that were asked for."""
        return self._likeliest is not None and self._spoke and not self._told

    def feed(self, choice: dict[str, Any], key: str) -> Delta | None:
        """Take a choice of a chunk or body and return what it says, or None where it says nothing.

        Args:
            choice: The vendor's object.
            key: Where it says it: "delta" or "message".

        Raises:
            InvalidResponse: It has the wrong shape.
        """
        message = _said(choice, key)
        self._take_calls(message, whole=key == "message")
        text, reasoning = _parts(message.get("content"), "content")
        if refusal := message.get("refusal"):
            text += _parts(refusal, "refusal")[0]
        if name := next((name for name in REASONING_FIELDS if message.get(name)), None):
            reasoning, self.reasoning_name = "".join(_parts(message[name], name)), name
        if self._half or not text.isascii():
            text = self._encodable(text)
        likely: tuple[TokenLogprob, ...] = ()
        if self._likeliest is not None and (told := choice.get("logprobs")):
            # Some servers give more than were asked for.
            likely = tuple(entry._replace(top=entry.top[: self._likeliest]) for entry in logprobs.tokens(told))
        self._spoke, self._told = self._spoke or bool(text), self._told or bool(likely)
        if reason := choice.get("finish_reason"):
            self.reason = str(reason)
        if text and self._splitter is not None:
            inline, text = self._splitter.feed(text)
            reasoning += inline
        if not (text or reasoning or likely):
            return None
        return Delta(text, reasoning, logprobs=likely, index=self._index)

    def _take_calls(self, message: dict[str, Any], *, whole: bool) -> None:
        if "tool_calls" in message:
            self._tools.add(message["tool_calls"], whole=whole)
        if isinstance(call := message.get("function_call"), dict):  # the form before `tool_calls`
            self._tools.add([{"index": 0, "function": call}], whole=whole)

    def end(self) -> Delta:
        """Return the answer's last delta: what was held back, the tool calls and the finish reason.

        Raises:
            InvalidResponse: A tool call is broken.
        """
        text, reasoning = "\ufffd" if self._half else "", ""
        if self._splitter is not None:
            reasoning, text = self._splitter.feed(text)
            more, rest = self._splitter.flush()
            reasoning, text = reasoning + more, text + rest
        calls, whole = self._tools.calls(), self.reason is None
        return Delta(text, reasoning, calls, finish_reason=self.reason, end=whole, index=self._index)

    def _encodable(self, text: str) -> str:
        """Join a surrogate pair sent as two halves, and replace halves that stay alone."""
        text, self._half = self._half + text, ""
        if text and 0xD800 <= ord(text[-1]) <= 0xDBFF:
            text, self._half = text[:-1], text[-1]
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def listed(value: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the choices of a chunk or body. Raises InvalidResponse when they have the wrong shape."""
    choices = value.get("choices")
    if choices is None:
        return []
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        raise InvalidResponse("The answer's choices are no list of objects.")
    return choices


def _said(choice: dict[str, Any], key: str) -> dict[str, Any]:
    """Return what a choice says: its message or delta, or the text of a completion."""
    message = choice.get(key) or choice.get("delta") or choice.get("message")
    if message is None and "text" in choice:
        return {"content": choice["text"]}
    if message is None and key == "delta":
        return {}
    if not isinstance(message, dict):
        raise InvalidResponse("The answer's first choice has no message.")
    return message


def _parts(content: Any, what: str) -> tuple[str, str]:
    """Return the text and the reasoning of a content: a string, null, a part or a list of parts."""
    if isinstance(content, str):
        return content, ""
    if content is None:
        return "", ""
    if isinstance(content, list):
        pairs = [_part(part, what) if isinstance(part, dict) else _parts(part, what) for part in content]
        return "".join(text for text, _ in pairs), "".join(thought for _, thought in pairs)
    raise InvalidResponse(f"The answer's {what} is neither text nor a list of parts.")


def _part(part: dict[str, Any], what: str) -> tuple[str, str]:
    kind = part.get("type")
    if isinstance(kind, str) and kind.startswith(("thinking", "reasoning", "summary")):
        inner = part.get("thinking") or part.get("reasoning") or part.get("text") or part.get("summary")
        return "", "".join(_parts(inner, what))
    if (inner := part.get("text") or part.get("refusal")) is not None:
        return _parts(inner, what)
    if isinstance(kind, str) and re.search(r"image|audio|video|file", kind):
        raise UnsupportedFeature(
            f"The answer holds a part of the type {kind[:40]!r}, and only text is read.",
            next_step="Ask for text alone; the vendor's own client reads the rest.",
        )
    return "", ""
