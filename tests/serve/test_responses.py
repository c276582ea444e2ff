"""`/v1/responses`, asked by the real `openai` client."""

from __future__ import annotations

import base64
import json
from io import BytesIO

import openai
import pydantic
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

TOOLS = [
    {
        "type": "function",
        "name": name,
        "description": "The weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        "strict": False,
    }
    for name in ("weather", "tides")
]
EVENT = TypeAdapter(ResponseStreamEvent)


def ask(client, prompt="Say hello.", **options):
    answer = client.responses.create(model="fake", input=prompt, **options)
    return Response.model_validate(answer.model_dump(mode="json", exclude_unset=True))


def stream(client, prompt="Say hello.", **options):
    with client.responses.create(model="fake", input=prompt, stream=True, **options) as events:
        read = [EVENT.validate_python(event.model_dump(mode="json", exclude_unset=True)) for event in events]
    assert [event.sequence_number for event in read] == list(range(len(read)))
    return read


class TestAnswers:
    def test_text_and_usage(self, client, backend):
        answer = ask(client, instructions="Be brief.", temperature=0.5, top_p=0.9, max_output_tokens=50)
        assert (answer.output_text, answer.status, answer.model) == ("Hello world", "completed", "fake")
        usage = answer.usage
        assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (7, 3, 10)
        assert (usage.input_tokens_details.cached_tokens, usage.output_tokens_details.reasoning_tokens) == (2, 1)
        request = backend.requests[-1]
        assert (request.temperature, request.top_p, request.max_tokens) == (0.5, 0.9, 50)
        assert [message.role for message in request.messages] == ["system", "user"]

    def test_one_that_was_cut_off(self, client):
        answer = ask(client, max_output_tokens=2)
        assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")
        assert stream(client, max_output_tokens=2)[-1].type == "response.incomplete"

    def test_reasoning(self, client):
        reasoning, message = ask(client, "think").output
        assert (reasoning.type, reasoning.content[0].text) == ("reasoning", "Let me think.")
        assert message.content[0].text == "Hello world"

    def test_logprobs(self, client):
        options = {"top_logprobs": 2, "include": ["message.output_text.logprobs"]}
        likely = ask(client, **options).output[0].content[0].logprobs
        assert [(each.token, len(each.top_logprobs)) for each in likely] == [("Hello", 2), (" world", 2)]
        deltas = [event for event in stream(client, **options) if event.type == "response.output_text.delta"]
        assert [event.logprobs[0].token for event in deltas] == ["Hello", " world"]

    def test_a_form(self, client, backend):
        class City(pydantic.BaseModel):
            name: str
            people: int

        answer = client.responses.parse(model="fake", input="x", text_format=City)
        assert answer.output_parsed == City(name="Oslo", people=700_000)
        assert backend.requests[-1].output.json_schema["properties"].keys() == {"name", "people"}
        assert json.loads(ask(client, text={"format": {"type": "json_object"}}).output_text)

    def test_an_image(self, client, backend):
        from PIL import Image

        file = BytesIO()
        Image.new("RGB", (4, 4)).save(file, "PNG")
        url = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
        parts = [{"type": "input_text", "text": "What?"}, {"type": "input_image", "image_url": url, "detail": "low"}]
        assert ask(client, [{"role": "user", "content": parts}]).output_text == "Hello 1 images"
        assert backend.requests[-1].messages[-1].images[0].detail == "low"
        parts[1]["image_url"] = "https://10.0.0.1/a.png"
        with pytest.raises(openai.BadRequestError):
            ask(client, [{"role": "user", "content": parts}])


class TestStreams:
    def test_events(self, client):
        events = stream(client, "think")
        kinds = [event.type.removeprefix("response.") for event in events]
        assert kinds[:4] == ["created", "in_progress", "output_item.added", "content_part.added"]
        assert kinds[4:8] == ["reasoning_text.delta", "reasoning_text.done", "content_part.done", "output_item.done"]
        assert kinds[-4:] == ["output_text.done", "content_part.done", "output_item.done", "completed"]
        assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == "Hello world"
        assert [item.type for item in events[-1].response.output] == ["reasoning", "message"]
        assert events[-1].response.usage.total_tokens == 10

    def test_the_helper_of_the_client(self, client):
        with client.responses.stream(model="fake", input="two", tools=TOOLS) as events:
            for _ in events:
                pass
            final = events.get_final_response()
        assert [item.type for item in final.output] == ["reasoning", "message", "function_call", "function_call"]

    def test_a_failure_in_the_middle(self, client):
        last = stream(client, "fail RateLimited later")[-1]
        assert (last.type, last.response.error.code) == ("response.failed", "rate_limit_exceeded")
        assert "It went wrong" in last.response.error.message


class TestTools:
    def test_a_call_and_its_result(self, client, backend):
        first = ask(client, "two", tools=TOOLS, tool_choice="required")
        calls = [item for item in first.output if item.type == "function_call"]
        assert [(call.name, json.loads(call.arguments)) for call in calls] == [
            ("weather", {"city": "Oslo"}),
            ("tides", {"city": "Oslo"}),
        ]
        results = [{"type": "function_call_output", "call_id": call.call_id, "output": "4 degrees"} for call in calls]
        ask(client, [{"role": "user", "content": "two"}, *(item.model_dump() for item in first.output), *results])
        messages = backend.requests[-1].messages
        assert [message.role for message in messages] == ["user", "assistant", "tool", "tool"]
        assert [call.name for call in messages[1].tool_calls] == ["weather", "tides"]

    def test_at_most_one(self, client):
        answer = ask(client, "two", tools=TOOLS, parallel_tool_calls=False)
        assert [item.name for item in answer.output if item.type == "function_call"] == ["weather"]

    def test_demanded_by_name(self, client, backend):
        ask(client, tools=TOOLS, tool_choice={"type": "function", "name": "weather"})
        assert backend.requests[-1].tool_choice == "weather"

    def test_one_that_takes_a_text(self, client, backend):
        grammar = {"type": "grammar", "syntax": "lark", "definition": "start: WORD"}
        tool = {"type": "custom", "name": "apply_patch", "description": "Patches.", "format": grammar}
        answer = client.responses.create(model="fake", input="x", tools=[tool])
        (call,) = (item for item in answer.output if item.type == "custom_tool_call")
        assert (call.name, call.input) == ("apply_patch", '{"city": "Oslo"}')
        spec = backend.requests[-1].tools[0]
        assert list(spec.parameters["properties"]) == ["input"]
        assert "start: WORD" in spec.description


def test_what_codex_sends(http, backend):
    text = {"type": "input_text", "text": "hi"}
    shell = {**TOOLS[0], "name": "shell"}
    body = {
        "model": "fake",
        "instructions": "You are Codex.",
        "input": [
            {"type": "message", "role": "developer", "content": [text]},
            {"type": "message", "role": "user", "content": [text, text]},
            {"type": "reasoning", "summary": [], "content": None, "encrypted_content": "abc"},
            {"type": "function_call", "name": "shell", "arguments": '{"city": "ls"}', "call_id": "c1"},
            {"type": "function_call_output", "call_id": "c1", "output": "ok"},
            {
                "type": "custom_tool_call",
                "name": "apply_patch",
                "input": "*** Begin",
                "call_id": "c2",
                "status": "completed",
            },
            {"type": "custom_tool_call_output", "call_id": "c2", "output": "done"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Done."}]},
            {"type": "message", "role": "user", "content": [text]},
        ],
        "tools": [shell, {"type": "custom", "name": "apply_patch", "format": {"type": "text"}}, {"type": "web_search"}],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "reasoning": {"effort": "medium", "summary": "auto"},
        "store": False,
        "stream": True,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "0199",
        "text": {"verbosity": "medium"},
        "client_metadata": {"x": "y"},
    }
    answer = http.post("/v1/responses", json=body, headers={"originator": "codex_cli_rs", "session_id": "1"})
    assert answer.status_code == 200
    assert "event: response.completed" in answer.text
    assert "tools.web_search" in answer.headers["openmodels-ignored"]
    request = backend.requests[-1]
    roles = ["system", "system", "user", "assistant", "tool", "assistant", "tool", "assistant", "user"]
    assert [message.role for message in request.messages] == roles
    assert [tool.name for tool in request.tools] == ["shell", "apply_patch"]


def test_open_responses_types(http):
    from openresponses_types import types

    body = {"model": "fake", "input": "two", "tools": TOOLS, "metadata": {"a": "b"}}
    types.ResponseResource.model_validate(http.post("/v1/responses", json=body).json())
    types.ResponseResource.model_validate(http.post("/v1/responses", json={"model": "fake", "input": "think"}).json())


WRONG = [
    {"input": None},
    {"input": []},
    {"input": [{"role": "robot", "content": "x"}]},
    {"input": [{"type": "video"}]},
    {"input": [{"type": "item_reference", "id": "x"}]},
    {"input": [{"type": "function_call", "name": "x"}]},
    {"input": [{"type": "function_call_output", "output": "x"}]},
    {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "x"}]}]},
    {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "x"}]}]},
    {"previous_response_id": "resp_1"},
    {"conversation": "c"},
    {"background": True},
    {"prompt": {"id": "p"}},
    {"tool_choice": "required"},
    {"text": {"format": {"type": "json_schema", "name": "x"}}},
    {"max_output_tokens": 0},
    {"max_tokens": 5},
]


def test_hostile_bodies(http):
    from test_safety import HOSTILE

    wrong = [json.dumps({"model": "fake", "input": "x", **fields}).encode() for fields in WRONG]
    for body in [*HOSTILE, *wrong]:
        answer = http.post("/v1/responses", content=body)
        assert 400 <= answer.status_code < 500, body[:200]
        assert answer.json()["error"]["message"]
