"""Answers as the JSON of Anthropic's API: messages and the events of a stream."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from openmodels.http.sse import encode_event
from openmodels.types.messages import ToolCall
from openmodels.types.reply import Delta, Reply, Usage

_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "repetition": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
"""Anthropic's words for why an answer ended; other words of a vendor are an end of the turn."""


def encode_usage(usage: Usage) -> dict[str, Any]:
    """Return a `usage` object; what is not known is 0."""
    cached = usage.cached_tokens or 0
    return {
        "input_tokens": max(0, (usage.input_tokens or 0) - cached),
        "output_tokens": usage.output_tokens or 0,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
    }


def encode_reason(reason: str | None) -> str | None:
    """Return why an answer ended in Anthropic's words."""
    return None if reason is None else _REASONS.get(reason, "end_turn")


def encode_message(reply: Reply, head: dict[str, Any]) -> dict[str, Any]:
    """Return the body of an answer; `head` holds its id and model."""
    content: list[dict[str, Any]] = []
    if reply.reasoning:
        content.append({"type": "thinking", "thinking": reply.reasoning, "signature": ""})
    if reply.text:
        content.append({"type": "text", "text": reply.text})
    content += [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments or {}}
        for call in reply.tool_calls
    ]
    return {
        **_start(head),
        "content": content,
        "stop_reason": encode_reason(reply.finish_reason),
        "usage": encode_usage(reply.usage),
    }


def _start(head: dict[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {"content": [], "stop_reason": None, "stop_sequence": None, "usage": encode_usage(Usage())}
    return {**head, "type": "message", "role": "assistant", **fields}


def encode_named(name: str, **fields: Any) -> bytes:
    """Return an event, which has its name in its data, too."""
    return encode_event(json.dumps({"type": name, **fields}), name)


class MessageEncoder:
    """Encodes the deltas of one stream as events.

    Args:
        head: Id and model of the message.
        only_first_call: Whether later tool calls are left out.
    """

    def __init__(self, head: dict[str, Any], *, only_first_call: bool = False) -> None:
        self._head = head
        self._only_first_call = only_first_call
        self._has_begun = False
        self._has_call = False
        self._index = -1
        self._open: str | None = None  # the type of the block that is open

    def feed(self, delta: Delta) -> Iterator[bytes]:
        """Yield the events of a delta."""
        if not self._has_begun:
            self._has_begun = True
            yield encode_named("message_start", message=_start(self._head))
        if delta.reasoning:
            yield from self._begin("thinking", thinking="", signature="")
            yield self._piece("thinking_delta", thinking=delta.reasoning)
        if delta.text:
            yield from self._begin("text", text="")
            yield self._piece("text_delta", text=delta.text)
        for call in delta.tool_calls:
            if not (self._only_first_call and self._has_call):
                self._has_call = True
                yield from self._call(call)

    def _call(self, call: ToolCall) -> Iterator[bytes]:
        yield from self._end()
        yield from self._begin("tool_use", id=call.id, name=call.name, input={})
        yield self._piece("input_json_delta", partial_json=json.dumps(call.arguments or {}))
        yield from self._end()

    def _begin(self, kind: str, **fields: Any) -> Iterator[bytes]:
        if self._open == kind:
            return
        yield from self._end()
        self._open = kind
        self._index += 1
        yield encode_named("content_block_start", index=self._index, content_block={"type": kind, **fields})

    def _piece(self, kind: str, **fields: Any) -> bytes:
        return encode_named("content_block_delta", index=self._index, delta={"type": kind, **fields})

    def _end(self) -> Iterator[bytes]:
        if self._open is not None:
            self._open = None
            yield encode_named("content_block_stop", index=self._index)

    def finish(self, reply: Reply) -> Iterator[bytes]:
        """Yield the last events."""
        yield from self._end()
        delta = {"stop_reason": encode_reason(reply.finish_reason), "stop_sequence": None}
        yield encode_named("message_delta", delta=delta, usage=encode_usage(reply.usage))
        yield encode_named("message_stop")
