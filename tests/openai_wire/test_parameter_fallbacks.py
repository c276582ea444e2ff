"""Fields that a server refuses: ours are left out and remembered, the caller's refusal reaches the caller."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import pytest

import openmodels as om
from openmodels import retry
from openmodels.errors import InvalidRequest, OpenModelsError
from openmodels.http import status_errors
from openmodels.testing.faults import TEXT, FaultServer
from openmodels.testing.faults.answers import completion, right
from openmodels.testing.faults.expect import Fault
from openmodels.testing.faults.server import Request, Wire, fault
from openmodels.types.messages import Message, ToolCall

SHAPES = {
    "message": lambda name: {"error": {"message": f"Unrecognized request argument supplied: {name}"}},
    "param": lambda name: {"error": {"message": "Unknown parameter.", "param": name, "code": "unknown_parameter"}},
    "detail": lambda name: {"detail": [{"loc": ["body", name], "msg": "Extra inputs are not permitted"}]},
    "string": lambda name: {"error": json.dumps({"message": f'json: unknown field "{name}"'})},
    "errors": lambda name: {"errors": [f"{name}: is not allowed"], "title": "Bad Request"},
}


def _holds(body: Any, name: str) -> bool:
    if isinstance(body, dict):
        return name in body or any(_holds(value, name) for value in body.values())
    return isinstance(body, list) and any(_holds(value, name) for value in body)


def _refuses(name: str, *fields: str, shape: str = "message", status: int = 400) -> None:
    @fault(Fault(name, f"refuses {', '.join(fields)}"))
    def _answer(wire: Wire, request: Request) -> None:
        body = json.loads(request.body)
        refused = next((field for field in fields if _holds(body, field)), None)
        if refused:
            wire.answer(SHAPES[shape](refused), status)
        else:
            right(wire, request)


for _shape in SHAPES:
    _refuses(f"no-usage-{_shape}", "stream_options", shape=_shape, status=422 if _shape == "detail" else 400)
_refuses("no-reasoning", "reasoning_content", "reasoning")
_refuses("other-reasoning", "reasoning_content")
_refuses("no-strict", "strict")
_refuses("no-seed", "seed")
_refuses("one-penalty", "repeat_penalty")


def _bodies(server: FaultServer, url: str) -> list[dict[str, Any]]:
    return [json.loads(request.body) for request in server.seen(url)]


@pytest.mark.parametrize("shape", SHAPES)
def test_what_we_add_is_left_out_once_it_is_refused(server: FaultServer, shape: str) -> None:
    async def astream() -> str:
        async with model.astream("x") as stream:
            return "".join([delta.text async for delta in stream])

    url = server.url(f"no-usage-{shape}")
    with retry.override_retries(attempts=1), om.Model("server:m", base_url=url) as model:
        with model.stream("x") as stream:
            assert "".join(delta.text for delta in stream) == TEXT
        assert asyncio.run(astream()) == TEXT
    assert ["stream_options" in body for body in _bodies(server, url)] == [True, False, False]


def test_what_the_caller_asked_for_is_not_left_out(server: FaultServer) -> None:
    url = server.url("no-seed")
    with retry.override_retries(attempts=1), om.Model("server:m", base_url=url) as model:
        with pytest.raises(InvalidRequest, match="seed"):
            model.chat("x", seed=3)
        with pytest.raises(InvalidRequest, match="seed"):
            asyncio.run(model.achat("x", seed=3))
    url = server.url("no-usage-message")
    with retry.override_retries(attempts=1), om.Model("server:m", base_url=url) as model, pytest.raises(InvalidRequest):
        model.chat("x", extra={"stream_options": {"include_usage": True}})
    assert len(server.seen(url)) == 1


def _with_reasoning() -> list[Message]:
    call = ToolCall(id="c1", name="f", arguments={}, raw="{}")
    turn = Message(role="assistant", tool_calls=(call,), reasoning="I must look.")
    return [om.user("x"), turn, call.answer("y")]


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("no-reasoning", ["reasoning_content", "reasoning", None]),
        ("other-reasoning", ["reasoning_content", "reasoning"]),
    ],
)
def test_reasoning_is_sent_back_as_the_server_takes_it(server: FaultServer, name: str, sent: list[str | None]) -> None:
    url = server.url(name)
    with retry.override_retries(attempts=1), om.Model("server:m", base_url=url) as model:
        assert model.chat(_with_reasoning()).text == TEXT
        assert model.chat(_with_reasoning()).text == TEXT
    names = [
        next((key for key in ("reasoning_content", "reasoning") if key in body["messages"][1]), None)
        for body in _bodies(server, url)
    ]
    assert names == [*sent, sent[-1]]


@fault(Fault("thinks-aloud", "answers with reasoning and takes it back in that field only"))
def _thinks(wire: Wire, request: Request) -> None:
    if _holds(json.loads(request.body), "reasoning_content"):
        wire.answer({"detail": "reasoning_content"}, 400)
    else:
        wire.answer(completion({"role": "assistant", "content": TEXT, "reasoning": "so"}))


def test_the_name_in_an_answer_is_the_name_in_the_next_request(server: FaultServer) -> None:
    url = server.url("thinks-aloud")
    with om.Model("server:m", base_url=url) as model:
        assert model.chat("x").reasoning == "so"
        model.chat(_with_reasoning())
    assert len(server.seen(url)) == 2


def test_other_spellings_of_ours_are_left_out(server: FaultServer) -> None:
    url = server.url("no-strict")
    shape = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
    model = om.Model("server:m", base_url=url)
    with retry.override_retries(attempts=1), model, pytest.raises(OpenModelsError) as caught:
        model.chat("x", schema=shape)
    assert caught.type is om.OutputInvalid  # the text is no JSON, but it has been answered
    assert [_holds(body, "strict") for body in _bodies(server, url)] == [True, False]
    url = server.url("one-penalty")
    with retry.override_retries(attempts=1), om.Model("server:m", base_url=url) as model:
        model.chat("x", repetition_penalty=1.5)
    assert "repetition_penalty" in _bodies(server, url)[-1]


@fault(Fault("no-named-tool", "knows no object as tool_choice, and 'any' instead of 'required'"))
def _no_named_tool(wire: Wire, request: Request) -> None:
    choice = json.loads(request.body)["tool_choice"]
    if choice != "any":
        wire.answer({"message": {"detail": [{"loc": ["body", "tool_choice"], "msg": "expected 'auto' or 'any'"}]}}, 422)
    else:
        call = {"id": "x", "type": "function", "function": {"name": "b", "arguments": "null"}}
        wire.answer(
            completion({"role": "assistant", "content": None, "tool_calls": [call]}, finish_reason="tool_calls")
        )


def test_a_demanded_tool_is_spelled_as_the_server_knows_it(server: FaultServer) -> None:
    tools = [{"name": name, "parameters": {"type": "object", "properties": {}}} for name in "ab"]
    url = server.url("no-named-tool")
    with retry.override_retries(attempts=1), om.Model("azure:m", base_url=url, api_key="k" * 9) as model:
        assert model.chat("x", tools=tools, tool_choice="b").tool_calls[0].arguments == {}
    last = _bodies(server, url)[-1]
    assert ([tool["function"]["name"] for tool in last["tools"]], last["tool_choice"]) == (["b"], "any")


@fault(Fault("new-limit", "wants max_completion_tokens"))
def _new_limit(wire: Wire, request: Request) -> None:
    if "max_tokens" in json.loads(request.body):
        wire.answer({"error": {"message": "Use 'max_completion_tokens' instead of 'max_tokens'."}}, 400)
    else:
        right(wire, request)


@pytest.mark.parametrize("reference", ["server:m", "hf:m"])
def test_the_limit_is_spelled_as_the_server_wants_it(server: FaultServer, reference: str) -> None:
    url = server.url("new-limit")
    with retry.override_retries(attempts=1), om.Model(reference, base_url=url) as model:
        assert model.chat("x", max_tokens=4).text == TEXT
        assert _bodies(server, url)[-1]["max_completion_tokens"] == 4
        # The older completions know the old name alone, which this server refuses.
        with pytest.raises(om.InvalidRequest, match="max_completion_tokens"):
            model.complete("x", max_tokens=4)
    assert "max_completion_tokens" not in _bodies(server, url)[-1]


@fault(Fault("two-doors", "a project that does not chat, on a resource that does"))
def _two_doors(wire: Wire, request: Request) -> None:
    if "/api/projects/" in request.path:
        wire.answer({"error": {"code": "404", "message": "Resource not found"}}, 404)
    else:
        right(wire, request)


@fault(Fault("no-door", "neither the project nor its resource"))
def _no_door(wire: Wire, request: Request) -> None:
    wire.answer({"error": {"code": "404", "message": "Resource not found"}}, 404)


def test_a_project_that_refuses_is_answered_by_its_resource(server: FaultServer) -> None:
    url = f"{server.url('two-doors').removesuffix('/v1')}/api/projects/p"
    with retry.override_retries(attempts=1), om.Model("azure:m", base_url=url, api_key="k" * 9) as model:
        assert model.chat("x").text == TEXT
        assert asyncio.run(model.achat("x")).text == TEXT
        assert "/api/projects" not in model.backend.describe()["address"]
    url = f"{server.url('no-door').removesuffix('/v1')}/api/projects/p"
    with retry.override_retries(attempts=1), om.Model("azure:m", base_url=url, api_key="k" * 9) as model:
        with pytest.raises(OpenModelsError, match=r"/api/projects/p"):
            model.chat("x")
        assert model.backend.describe()["address"].endswith("/api/projects/p/openai/v1")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": {"message": "M", "innererror": {"code": "C", "message": "why"}}}, "M: why"),
        (
            {"object": "error", "message": {"detail": [{"loc": ["body", "top_k"], "msg": "too big"}]}},
            "body.top_k: too big",
        ),
        (
            {"error": {"message": "from above", "metadata": {"raw": '{"error": {"message": "from below"}}'}}},
            "from below",
        ),
        ({"error": '{"detail": "inside"}'}, "inside"),
        ({"errors": {"top_p": ["must be below 1"]}, "title": "Invalid"}, "top_p: must be below 1"),
        ({"error": "Input is too wide", "error_type": "Validation"}, "Input is too wide"),
        ([{"error": {"message": "listed", "status": "INVALID_ARGUMENT"}}], "listed"),
        ({"Message": "capital"}, "capital"),
        ({"fault": {"faultstring": "gateway"}}, "gateway"),
        ({"error": "the key sk-0123456789abcdefghij is unknown"}, "the key […] is unknown"),
        ("plain words", "plain words"),
    ],
)
def test_reasons_are_read_in_every_shape(body: Any, words: str) -> None:
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    failure = status_errors.read_failed_response(422, {}, raw, host="h")
    assert words in failure.message
    assert words in status_errors.error_from_response(failure).cause


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"x-ratelimit-reset-requests": "1m2.5s", "x-ratelimit-remaining-requests": "0"}, 62.5),
        ({"x-ratelimit-reset-tokens": "250ms", "x-ratelimit-remaining-tokens": "0"}, 0.25),
        ({"x-ratelimit-reset-tokens": "6m0s", "x-ratelimit-remaining-tokens": "12"}, None),
        ({"x-ratelimit-reset": "1700000030"}, 30),
        ({"x-ratelimit-reset": "1700000030500"}, 30.5),
        ({"ratelimit-reset": "12"}, 12),
        ({"anthropic-ratelimit-requests-reset": "2023-11-14T22:13:45Z"}, 25),
        ({"x-ratelimit-reset": "soon"}, None),
        ({"retry-after": "4", "x-ratelimit-reset": "90"}, 4),
    ],
)
def test_the_end_of_a_rate_limit_is_read(headers: dict[str, str], seconds: float | None) -> None:
    assert status_errors.retry_after(headers, 1_700_000_000.0, limited=True) == (
        None if seconds is None else pytest.approx(seconds)
    )
    if "retry-after" not in headers:
        assert status_errors.retry_after(headers, 1_700_000_000.0) is None


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ({"type": "function", "function": {"name": "b"}}, "required"),
        ({"type": "tool", "name": "b"}, "required"),
        ({"type": "any"}, "required"),
        ({"type": "none"}, "none"),
    ],
)
def test_definitions_and_choices_of_other_clients_are_sent_whole(server: FaultServer, choice: Any, sent: str) -> None:
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    tools = [
        {"type": "function", "function": {"name": "b", "parameters": schema, "strict": True}},
        {"name": "a", "input_schema": schema},
    ]
    seen: list[Any] = []
    model = om.Model("server:m", base_url=server.url("ok"), on_request=seen.append)
    with retry.override_retries(attempts=1), model, contextlib.suppress(om.OutputInvalid):
        model.chat("x", tools=tools, tool_choice=choice)  # the server calls none
    body = model.backend.body(seen[0], "m")
    assert body["tool_choice"] == sent
    assert body["tools"][0]["function"]["strict"] is True
    assert "strict" not in body["tools"][-1]["function"] or len(body["tools"]) == 1
