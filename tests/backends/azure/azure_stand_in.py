"""A loopback stand-in for Azure's v1 API, held to Microsoft's published description of it.

It answers as the backend `echo` does, a word a token. Where the description lies beside the project
(`DESCRIPTION`), openapi-core checks every request and every whole answer against it, and every chunk
of a stream against the schema that it gives for `text/event-stream`, a kind that openapi-core cannot
read. A breach is answered with an error, so that no test can pass with it.
"""

from __future__ import annotations

import json
import select
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from openapi_core import OpenAPI
from openapi_core.exceptions import OpenAPIError
from openapi_core.testing import MockRequest, MockResponse
from openapi_schema_validator import OAS30Validator

from openmodels.backends.echo import EchoBackend
from openmodels.testing.faults.answers import DONE, event
from openmodels.testing.faults.expect import Fault
from openmodels.testing.faults.server import Gone, Request, Wire, fault
from openmodels.types.reply import Delta
from openmodels.types.request import ChatRequest

DESCRIPTION = Path(__file__).parents[3].parent / "shared" / "data" / "azure" / "spec" / "openai-v1.json"
"""Microsoft's OpenAPI description of the v1 API."""

PAUSE = 0.02
"""Seconds between the tokens of the slow one."""

working: Counter[str] = Counter()
"""How many answers are in the making, by the stand-in's name."""
checked: Counter[str] = Counter()
"""What has been held to the description: "request", "answer", "chunk", "error"."""


class Breach(Exception):
    """A request or an answer is not as the description says."""


@cache
def description() -> dict[str, Any] | None:
    """Return the description, or None where it is not at hand."""
    if not DESCRIPTION.exists():
        return None
    return json.loads(DESCRIPTION.read_text(encoding="utf-8"), object_hook=_with_null)


def _with_null(schema: dict[str, Any]) -> dict[str, Any]:
    # It says "nullable" of enumerations that do not list null, which validators take at their word.
    if schema.get("nullable") is True and "enum" in schema:
        schema["enum"] = [*schema["enum"], None]
    return schema


@cache
def _api() -> OpenAPI:
    return OpenAPI.from_dict(description())


@cache
def _chunk_validator() -> OAS30Validator:
    operation = description()["paths"]["/chat/completions"]["post"]
    schema = operation["responses"]["200"]["content"]["text/event-stream"]["schema"]
    return OAS30Validator({"allOf": [schema], "components": description()["components"]})


def check_request(method: str, path: str, headers: Any, body: bytes) -> None:
    """Check a request. Raises Breach."""
    if description() is None:
        return
    asked = _asked(method, path, headers, body)
    try:
        _api().validate_request(asked)
    except OpenAPIError as error:
        raise Breach(f"{error}: {error.__cause__!r}") from error
    if body:  # more than the description demands: nothing may be sent that it does not name
        operation = description()["paths"][_path(path)]["post"]
        name = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        if unknown := json.loads(body).keys() - description()["components"]["schemas"][name]["properties"].keys():
            raise Breach(f"the request has fields that the description does not know: {sorted(unknown)}")
    checked["request"] += 1


def check_answer(method: str, path: str, status: int, body: Any) -> None:
    """Check a whole answer. Raises Breach."""
    if description() is None:
        return
    answer = MockResponse(json.dumps(body).encode(), status, content_type="application/json")
    try:
        _api().validate_response(_asked(method, path, {}, b""), answer)
    except OpenAPIError as error:
        raise Breach(f"{error}: {error.__cause__!r}") from error
    checked["answer" if status == 200 else "error"] += 1


def check_chunk(chunk: Any) -> None:
    """Check a chunk of a stream. Raises Breach."""
    if description() is None:
        return
    for error in _chunk_validator().iter_errors(chunk):
        raise Breach(f"a chunk: {error.message}")
    checked["chunk"] += 1


def _path(path: str) -> str:
    return path.partition("?")[0].removeprefix("/v1")


def _asked(method: str, path: str, headers: Any, body: bytes) -> MockRequest:
    query = dict(pair.split("=", 1) for pair in path.partition("?")[2].split("&") if pair)
    return MockRequest(
        "https://resource.cognitiveservices.azure.com",
        method.lower(),
        f"/openai/v1{_path(path)}",
        args=query,
        headers=dict(headers),
        data=body or None,
        content_type="application/json",
    )


def _answer(wire: Wire, request: Request, name: str, pause: float) -> None:
    working[name] += 1
    begun = False
    try:
        check_request(request.method, request.path, request.headers, request.body)
        if _path(request.path) == "/models":
            rows = [{"id": name, "created": 1, "object": "model", "owned_by": "nobody"}]
            _send(wire, request, {"object": "list", "data": rows})
        elif _path(request.path) == "/embeddings":
            _send(wire, request, _vectors(json.loads(request.body)))
        elif request.stream:
            wire.begin()
            begun = True
            _stream(wire, json.loads(request.body), pause)
        else:
            _send(wire, request, _completion(wire, json.loads(request.body), pause))
    except Breach as breach:
        told = {"error": {"code": "breach", "message": str(breach)}}
        if begun:
            wire.chunk(event(told))
            wire.chunk(b"")
        else:
            wire.answer(told, 400)
    finally:
        working[name] -= 1


def _send(wire: Wire, request: Request, body: Any) -> None:
    check_answer(request.method, request.path, 200, body)
    wire.answer(body)


def _deltas(wire: Wire, body: dict[str, Any], pause: float) -> Iterator[Delta]:
    asked = ChatRequest(
        messages=[_message(message) for message in body["messages"]],
        tools=[tool["function"] for tool in body.get("tools", ())],
        tool_choice=_choice(body.get("tool_choice")),
        max_tokens=body.get("max_tokens"),
        stop=body.get("stop") or (),
        n=body.get("n"),
        logprobs=body.get("top_logprobs", 0) if body.get("logprobs") else None,
    )
    script = [f"{asked.messages[-1].content} " * 30] if pause else None
    for delta in EchoBackend(body["model"], script=script).run(asked):
        if pause and select.select([wire.sock], [], [], pause)[0]:
            raise Gone  # the client has left
        yield delta


def _message(message: dict[str, Any]) -> dict[str, Any]:
    calls = [
        {"id": call["id"], "arguments": None, "name": call["function"]["name"], "raw": call["function"]["arguments"]}
        for call in message.get("tool_calls", ())
    ]
    return {**message, "content": message.get("content") or "", "tool_calls": calls}


def _choice(choice: Any) -> str | None:
    return choice["function"]["name"] if isinstance(choice, dict) else choice


def _calls(delta: Delta, *, index: bool) -> list[dict[str, Any]]:
    return [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.raw}}
        | ({"index": at} if index else {})
        for at, call in enumerate(delta.tool_calls)
    ]


def _completion(wire: Wire, body: dict[str, Any], pause: float) -> dict[str, Any]:
    deltas = list(_deltas(wire, body, pause))
    choices = []
    for index in range(body.get("n", 1)):
        told = [delta for delta in deltas if delta.index == index]
        message = {"role": "assistant", "content": "".join(delta.text for delta in told), "refusal": None}
        if calls := [call for delta in told for call in _calls(delta, index=False)]:
            message["tool_calls"] = calls
        choice = {"index": index, "finish_reason": told[-1].finish_reason, "message": message}
        choice["logprobs"] = _likely(told) if body.get("logprobs") else None
        choices.append({**choice, "content_filter_results": {"hate": {"filtered": False, "severity": "safe"}}})
    return {**_envelope(body, "chat.completion"), "choices": choices, "usage": _usage(deltas[-1])}


def _stream(wire: Wire, body: dict[str, Any], pause: float) -> None:
    def send(chunk: dict[str, Any]) -> None:
        chunk = {**_envelope(body, "chat.completion.chunk"), **chunk}
        check_chunk(chunk)
        wire.chunk(event(chunk))

    said: dict[str, Any] = {"role": "assistant", "content": ""}
    for index in range(body.get("n", 1)):
        send({"choices": [{"index": index, "delta": said, "finish_reason": None}]})
    last = None
    for last in _deltas(wire, body, pause):
        choice = {"index": last.index, "delta": {"content": last.text} if last.text else {}}
        if last.tool_calls:
            choice["delta"]["tool_calls"] = _calls(last, index=True)
        choice["finish_reason"] = last.finish_reason
        if body.get("logprobs"):
            choice["logprobs"] = _likely([last])
        send({"choices": [choice]})
    if last and body.get("stream_options", {}).get("include_usage"):
        send({"choices": [], "usage": _usage(last)})
    wire.chunk(DONE)
    wire.chunk(b"")


def _likely(deltas: list[Delta]) -> dict[str, Any]:
    content = [
        {
            **_chance(entry.token, entry.logprob),
            "top_logprobs": [_chance(token, logprob) for token, logprob in entry.top],
        }
        for delta in deltas
        for entry in delta.logprobs
    ]
    return {"content": content, "refusal": None}


def _chance(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}


def _vectors(body: dict[str, Any]) -> dict[str, Any]:
    rows = [
        {"object": "embedding", "index": at, "embedding": [float(len(text)), 1.0][: body.get("dimensions")]}
        for at, text in enumerate(body["input"])
    ]
    words = sum(len(text.split()) for text in body["input"])
    usage = {"prompt_tokens": words, "total_tokens": words}
    return {"object": "list", "model": body["model"], "data": rows, "usage": usage}


def _envelope(body: dict[str, Any], kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "created": 1, "model": body["model"], "object": kind}


def _usage(last: Delta) -> dict[str, int]:
    told = last.usage.input_tokens, last.usage.output_tokens
    return {"prompt_tokens": told[0], "completion_tokens": told[1], "total_tokens": sum(told)}


@fault(Fault("azure-v1", "stands in for Azure"))
def _quick(wire: Wire, request: Request) -> None:
    _answer(wire, request, "azure-v1", 0)


@fault(Fault("azure-v1-slow", "stands in for Azure, slowly"))
def _slow(wire: Wire, request: Request) -> None:
    _answer(wire, request, "azure-v1-slow", PAUSE)
