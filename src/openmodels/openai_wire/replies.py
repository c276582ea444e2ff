"""Answers as the JSON of the OpenAI API: bodies and the chunks of a stream."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from openmodels.http.sse import encode_event
from openmodels.openai_wire.logprobs import encode_chat_logprobs, encode_completion_logprobs
from openmodels.types.messages import ToolCall
from openmodels.types.reply import Delta, Reply, Usage

DONE = encode_event("[DONE]")
"""The end mark of a stream."""

_REASONS = frozenset({"stop", "length", "tool_calls", "content_filter"})


def encode_reason(reason: str | None) -> str | None:
    """Return a finish reason as one of the wire's words; None stays None."""
    if reason is None or reason in _REASONS:
        return reason
    return "length" if reason == "repetition" else "stop"


def encode_usage(usage: Usage, cost: float | None = None) -> dict[str, Any] | None:
    """Return a `usage` object, or None where a count is not known.

    `cost` is in US dollars; it stands in the field that OpenRouter has for it.
    """
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    total = usage.input_tokens + usage.output_tokens
    body: dict[str, Any] = {"prompt_tokens": usage.input_tokens, "completion_tokens": usage.output_tokens}
    body["total_tokens"] = total
    if usage.cached_tokens is not None:
        body["prompt_tokens_details"] = {"cached_tokens": usage.cached_tokens}
    if usage.reasoning_tokens is not None:
        body["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
    if cost is not None:
        body["cost"] = cost
    return body


def encode_calls(calls: Sequence[ToolCall], *, first_index: int | None = None) -> list[dict[str, Any]]:
    """Return tool calls as a message holds them, or numbered as a chunk does."""
    encoded: list[dict[str, Any]] = []
    for place, call in enumerate(calls):
        number = {} if first_index is None else {"index": first_index + place}
        function = {"name": call.name, "arguments": call.raw or "{}"}
        encoded.append({**number, "id": call.id, "type": "function", "function": function})
    return encoded


def encode_chat(reply: Reply, head: dict[str, Any]) -> dict[str, Any]:
    """Return the body of a chat's answer; `head` holds id, object, created and model."""
    choices = [_encode_choice(each, index) for index, each in enumerate((reply, *reply.alternatives))]
    usage = encode_usage(reply.usage, reply.cost)
    return {**head, "choices": choices, **({} if usage is None else {"usage": usage})}


def _encode_choice(reply: Reply, index: int) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text, "refusal": None}
    if reply.reasoning:
        # Clients read one of the two names.
        message |= {"reasoning": reply.reasoning, "reasoning_content": reply.reasoning}
    if reply.tool_calls:
        message["tool_calls"] = encode_calls(reply.tool_calls)
        message["content"] = reply.text or None
    logprobs = encode_chat_logprobs(reply.logprobs) if reply.logprobs else None
    choice = {"index": index, "message": message, "logprobs": logprobs}
    return choice | _encode_end(reply.finish_reason)


def _encode_end(reason: str | None) -> dict[str, Any]:
    """Return the finish reason, and ours beside it where the wire has no word for it."""
    encoded = encode_reason(reason)
    return {"finish_reason": encoded, **({} if reason == encoded else {"stop_reason": reason})}


def encode_completion(replies: Sequence[Reply], head: dict[str, Any], echoed: Sequence[str] = ()) -> dict[str, Any]:
    """Return the body of the answers to prompts; those of `echoed` stand before them."""
    choices: list[dict[str, Any]] = []
    usage: Usage | None = None
    for place, reply in enumerate(replies):
        usage = reply.usage if usage is None else usage + reply.usage
        for each in (reply, *reply.alternatives):
            logprobs = encode_completion_logprobs(each.logprobs) if each.logprobs else None
            text = f"{echoed[place]}{each.text}" if echoed else each.text
            choices.append({"index": len(choices), "text": text, "logprobs": logprobs})
            choices[-1] |= _encode_end(each.finish_reason)
    encoded = encode_usage(usage or Usage())
    return {**head, "choices": choices, **({} if encoded is None else {"usage": encoded})}


class ChunkEncoder:
    """Encodes the deltas of one stream as the events of a chat or a completion.

    Args:
        head: What every chunk begins with: id, object, created and model.
        is_chat: Whether the chunks are those of a chat.
        include_usage: Whether a last chunk holds the usage.
        only_first_call: Whether later tool calls of an answer are left out.
    """

    def __init__(
        self, head: dict[str, Any], *, is_chat: bool = True, include_usage: bool = False, only_first_call: bool = False
    ) -> None:
        self._head = head
        self._is_chat = is_chat
        self._include_usage = include_usage
        self._only_first_call = only_first_call
        self._calls: dict[int, int] = {}  # how many tool calls each answer has so far
        # Most chunks differ in one text only.
        start = json.dumps(head, ensure_ascii=False)[:-1]
        usage = ', "usage": null' if include_usage else ""
        if is_chat:
            self._before = f'{start}{usage}, "choices": [{{"index": 0, "delta": {{"content": '
            self._after = '}, "logprobs": null, "finish_reason": null}]}'
        else:
            self._before = f'{start}{usage}, "choices": [{{"index": 0, "text": '
            self._after = ', "logprobs": null, "finish_reason": null}]}'

    def feed(self, delta: Delta) -> Iterator[bytes]:
        """Yield the events of a delta."""
        index = delta.index
        if index not in self._calls:
            self._calls[index] = 0
            if self._is_chat:
                yield self._event(index, {"role": "assistant", "content": "", "refusal": None})
        if delta.text and not (index or delta.reasoning or delta.tool_calls or delta.logprobs or delta.finish_reason):
            yield encode_event(f"{self._before}{json.dumps(delta.text)}{self._after}")
            return
        fields = self._fields(index, delta)
        if fields and (self._is_chat or "content" in fields):
            yield self._event(index, fields, delta)
        if delta.finish_reason or delta.end:
            yield self._event(index, {}, reason=delta.finish_reason)

    def _fields(self, index: int, delta: Delta) -> dict[str, Any]:
        fields: dict[str, Any] = {"content": delta.text} if delta.text or delta.logprobs else {}
        if delta.reasoning:
            fields |= {"reasoning": delta.reasoning, "reasoning_content": delta.reasoning}
        calls = delta.tool_calls
        if self._only_first_call:
            calls = calls[: 1 - min(1, self._calls[index])]
        if calls:
            fields["tool_calls"] = encode_calls(calls, first_index=self._calls[index])
            self._calls[index] += len(calls)
        return fields

    def finish(self, reply: Reply) -> Iterator[bytes]:
        """Yield the last events."""
        if self._include_usage:
            usage = encode_usage(reply.usage, reply.cost)
            yield encode_event(json.dumps({**self._head, "choices": [], "usage": usage}))
        yield DONE

    def _event(
        self, index: int, fields: dict[str, Any], delta: Delta | None = None, reason: str | None = None
    ) -> bytes:
        likely = delta.logprobs if delta is not None else ()
        choice: dict[str, Any] = {"index": index}
        if self._is_chat:
            choice |= {"delta": fields, "logprobs": encode_chat_logprobs(likely) if likely else None}
        else:
            choice["text"] = fields.get("content", "")
            choice["logprobs"] = encode_completion_logprobs(likely) if likely else None
        body = {**self._head, "choices": [choice | _encode_end(reason)]}
        return encode_event(json.dumps(body | ({"usage": None} if self._include_usage else {})))
