"""Answers as the JSON of OpenAI's Responses, whole or as the events of a stream."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

from openmodels.http.sse import encode_event
from openmodels.openai_wire.logprobs import encode_chat_logprobs
from openmodels.responses_wire.bodies import ResponsesBody
from openmodels.types.messages import ToolCall
from openmodels.types.reply import CUT_SHORT, Delta, Reply, TokenLogprob, Usage

_ECHOED = (
    *("instructions", "max_output_tokens", "max_tool_calls", "previous_response_id", "prompt_cache_key"),
    *("safety_identifier", "user"),
)


def start_response(body: ResponsesBody, model: str) -> dict[str, Any]:
    """Return a response before its answer: what the request asked for."""
    form = body.text.format if body.text else None
    described = form.model_dump(by_alias=True, exclude_none=True) if form else {"type": "text"}
    tools = [
        {"strict": None, "parameters": None, **tool} if tool.get("type") == "function" else tool
        for tool in body.tools or ()
    ]
    return {
        "id": f"resp_{uuid4().hex}",
        "object": "response",
        "created_at": int(time.time()),
        "completed_at": None,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": model,
        "output": [],
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "temperature": 1.0 if body.temperature is None else body.temperature,
        "top_p": 1.0 if body.top_p is None else body.top_p,
        "presence_penalty": body.presence_penalty or 0.0,
        "frequency_penalty": body.frequency_penalty or 0.0,
        "top_logprobs": body.top_logprobs or 0,
        "tool_choice": body.tool_choice or "auto",
        "tools": tools,
        "text": {"format": described, "verbosity": body.text.verbosity if body.text else None},
        "reasoning": {"effort": body.reasoning.effort if body.reasoning else None, "summary": None},
        "truncation": "disabled",
        "store": False,
        "service_tier": "default",
        "metadata": body.metadata or {},
        "usage": None,
        **{name: getattr(body, name) for name in _ECHOED},
    }


def encode_usage(usage: Usage) -> dict[str, Any] | None:
    """Return a `usage` object, or None where a count is not known."""
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens or 0, "cache_write_tokens": 0},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens or 0},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def finish_response(response: dict[str, Any], reply: Reply, output: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a response with its answer."""
    reason = reply.finish_reason
    is_cut = reason in CUT_SHORT or reason == "content_filter"
    details = {"reason": "content_filter" if reason == "content_filter" else "max_output_tokens"}
    return {
        **response,
        "status": "incomplete" if is_cut else "completed",
        "completed_at": int(time.time()),
        "incomplete_details": details if is_cut else None,
        "output": output,
        "usage": encode_usage(reply.usage),
    }


class ResponseEncoder:
    """Encodes the deltas of one answer: as the events of a stream, and as items.

    Args:
        body: The request.
        model: The name of the model.
    """

    def __init__(self, body: ResponsesBody, model: str) -> None:
        self.response = start_response(body, model)
        self.output: list[dict[str, Any]] = []  # the items so far
        self._customs = body.custom_tools
        self._only_first_call = body.parallel_tool_calls is False
        self._number = 0
        self._open: str | None = None  # the type of the item that is open
        self._texts: list[str] = []
        self._likely: list[TokenLogprob] = []
        self._has_begun = self._has_call = False

    def feed(self, delta: Delta) -> Iterator[bytes]:
        """Yield the events of a delta."""
        if not self._has_begun:
            self._has_begun = True
            yield self._event("response.created", response=self.response)
            yield self._event("response.in_progress", response=self.response)
        if delta.reasoning:
            yield from self._begin("reasoning")
            yield self._piece("response.reasoning_text.delta", delta=delta.reasoning)
            self._texts.append(delta.reasoning)
        if delta.text or delta.logprobs:
            yield from self._begin("message")
            likely = encode_chat_logprobs(delta.logprobs)["content"]
            yield self._piece("response.output_text.delta", delta=delta.text, logprobs=likely)
            self._texts.append(delta.text)
            self._likely += delta.logprobs
        for call in delta.tool_calls:
            if not (self._only_first_call and self._has_call):
                self._has_call = True
                yield from self._end()
                yield from self._call(call)

    def finish(self, reply: Reply) -> Iterator[bytes]:
        """Yield the last events."""
        yield from self._end(is_cut=reply.finish_reason in CUT_SHORT)
        response = finish_response(self.response, reply, self.output)
        yield self._event(f"response.{response['status']}", response=response)

    def fail(self, code: str, message: str) -> bytes:
        """Return the event of an error in the middle of an answer."""
        error = {"code": code, "message": message}
        return self._event("response.failed", response={**self.response, "status": "failed", "error": error})

    def _begin(self, kind: str) -> Iterator[bytes]:
        if self._open == kind:
            return
        yield from self._end()
        self._open, self._texts, self._likely = kind, [], []
        self._item_id = f"{'rs' if kind == 'reasoning' else 'msg'}_{uuid4().hex}"
        item: dict[str, Any] = {**self._item("in_progress"), "content": []}
        yield self._event("response.output_item.added", output_index=len(self.output), item=item)
        yield self._piece("response.content_part.added", part=self._part())

    def _end(self, *, is_cut: bool = False) -> Iterator[bytes]:
        if self._open is None:
            return
        text, part = "".join(self._texts), self._part()
        if self._open == "reasoning":
            yield self._piece("response.reasoning_text.done", text=text)
        else:
            yield self._piece("response.output_text.done", text=text, logprobs=part["logprobs"])
        yield self._piece("response.content_part.done", part=part)
        item = self._item("incomplete" if is_cut else "completed")
        yield self._event("response.output_item.done", output_index=len(self.output), item=item)
        self.output.append(item)
        self._open = None

    def _part(self) -> dict[str, Any]:
        text = "".join(self._texts)
        if self._open == "reasoning":
            return {"type": "reasoning_text", "text": text}
        likely = encode_chat_logprobs(self._likely)["content"]
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": likely}

    def _item(self, status: str) -> dict[str, Any]:
        item: dict[str, Any] = {"id": self._item_id, "type": self._open, "status": status, "content": [self._part()]}
        more: dict[str, Any] = {"summary": []} if self._open == "reasoning" else {"role": "assistant"}
        return item | more

    def _call(self, call: ToolCall) -> Iterator[bytes]:
        is_custom = call.name in self._customs
        raw = str((call.arguments or {}).get("input", call.raw)) if is_custom else call.raw or "{}"
        kind, field = ("custom_tool_call", "input") if is_custom else ("function_call", "arguments")
        event = "response.custom_tool_call_input" if is_custom else "response.function_call_arguments"
        self._item_id = f"{'ctc' if is_custom else 'fc'}_{uuid4().hex}"
        item = {"id": self._item_id, "type": kind, "call_id": call.id, "name": call.name, "status": "completed"}
        added = {**item, field: "", "status": "in_progress"}
        index: dict[str, Any] = {"output_index": len(self.output)}
        yield self._event("response.output_item.added", **index, item=added)
        yield self._event(f"{event}.delta", **index, item_id=self._item_id, delta=raw)
        yield self._event(f"{event}.done", **index, item_id=self._item_id, **{field: raw})
        self.output.append({**item, field: raw})
        yield self._event("response.output_item.done", **index, item=self.output[-1])

    def _piece(self, name: str, **fields: Any) -> bytes:
        return self._event(name, item_id=self._item_id, output_index=len(self.output), content_index=0, **fields)

    def _event(self, name: str, **fields: Any) -> bytes:
        number, self._number = self._number, self._number + 1
        return encode_event(json.dumps({"type": name, "sequence_number": number, **fields}), name)


def encode_response(reply: Reply, body: ResponsesBody, model: str) -> dict[str, Any]:
    """Return the response of a whole reply."""
    encoder = ResponseEncoder(body, model)
    delta = Delta(reply.text, reply.reasoning, reply.tool_calls, logprobs=reply.logprobs)
    for _ in (*encoder.feed(delta), *encoder.finish(reply)):
        pass
    return finish_response(encoder.response, reply, encoder.output)
