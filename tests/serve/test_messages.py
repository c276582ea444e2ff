"""`/v1/messages`, asked by the real `anthropic` client."""

from __future__ import annotations

import base64
import json
from io import BytesIO

import anthropic
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from pydantic import TypeAdapter
from running_server import KEY

ASK = [{"role": "user", "content": "Say hello."}]
TOOLS = [
    {
        "name": name,
        "description": "The weather.",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }
    for name in ("weather", "tides")
]


@pytest.fixture(scope="module")
def messages_client(server):
    with anthropic.Anthropic(base_url=server.address, api_key=KEY, max_retries=0) as client:
        yield client


def ask(messages_client, text="Say hello.", **options):
    options = {"max_tokens": 50, **options}
    answer = messages_client.messages.create(model="fake", messages=[{"role": "user", "content": text}], **options)
    return Message.model_validate(answer.model_dump(mode="json", exclude_unset=True))


class TestAnswers:
    def test_text_and_usage(self, messages_client, backend):
        sampling = {"temperature": 0.5, "top_k": 3, "top_p": 0.9}
        answer = ask(messages_client, extra_body=sampling, stop_sequences=["a"], system="Be brief.")
        assert [block.text for block in answer.content] == ["Hello world"]
        assert (answer.stop_reason, answer.model) == ("end_turn", "fake")
        usage = answer.usage
        assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (5, 2, 3)
        request = backend.requests[-1]
        assert (request.temperature, request.top_k, request.top_p, request.stop) == (0.5, 3, 0.9, ("a",))
        assert (request.messages[0].role, request.messages[0].text) == ("system", "Be brief.")
        assert ask(messages_client, max_tokens=2).stop_reason == "max_tokens"

    def test_a_bearer_token(self, server):
        with anthropic.Anthropic(base_url=server.address, auth_token=KEY, max_retries=0) as client:
            assert ask(client).content
        with (
            anthropic.Anthropic(base_url=server.address, api_key="wrong", max_retries=0) as client,
            pytest.raises(anthropic.AuthenticationError) as caught,
        ):
            ask(client)
        assert caught.value.body["error"]["type"] == "authentication_error"

    def test_thinking(self, messages_client):
        thinking, text = ask(messages_client, "think", thinking={"type": "enabled", "budget_tokens": 1024}).content
        assert (thinking.type, thinking.thinking, text.text) == ("thinking", "Let me think.", "Hello world")

    def test_a_form(self, messages_client, backend):
        schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
        answer = ask(messages_client, output_config={"format": {"type": "json_schema", "schema": schema}})
        assert json.loads(answer.content[0].text)["name"] == "Oslo"
        assert backend.requests[-1].output.json_schema["required"] == ["name"]

    def test_an_image(self, messages_client, backend):
        from PIL import Image

        file = BytesIO()
        Image.new("RGB", (4, 4)).save(file, "PNG")
        source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(file.getvalue()).decode()}
        answer = ask(messages_client, [{"type": "image", "source": source}, {"type": "text", "text": "What?"}])
        assert answer.content[0].text == "Hello 1 images"
        local = {"type": "url", "url": "https://127.0.0.1/a.png"}
        with pytest.raises(anthropic.BadRequestError):
            ask(messages_client, [{"type": "image", "source": local}])


class TestStreams:
    def test_events(self, messages_client):
        events = []
        with messages_client.messages.create(
            model="fake", max_tokens=9, messages=[{"role": "user", "content": "think"}], stream=True
        ) as stream:
            for event in stream:
                TypeAdapter(RawMessageStreamEvent).validate_python(event.model_dump(mode="json", exclude_unset=True))
                events.append(event)
        kinds = [event.type for event in events]
        block = ["content_block_start", "content_block_delta", "content_block_stop"]
        assert kinds[:4] == ["message_start", *block]
        assert kinds[4:6] == block[:2]
        assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
        assert [event.index for event in events if event.type == "content_block_start"] == [0, 1]
        assert events[-2].delta.stop_reason == "end_turn"
        assert events[-2].usage.output_tokens == 3

    def test_the_helper_of_the_client(self, messages_client):
        with messages_client.messages.stream(
            model="fake", max_tokens=9, messages=[{"role": "user", "content": "two"}], tools=TOOLS
        ) as stream:
            message = stream.get_final_message()
        assert [block.type for block in message.content] == ["thinking", "text", "tool_use", "tool_use"]
        assert message.content[3].input == {"city": "Oslo"}
        assert message.stop_reason == "tool_use"

    def test_a_failure_in_the_middle(self, messages_client):
        with (
            pytest.raises(anthropic.APIStatusError, match="It went wrong"),
            messages_client.messages.stream(
                model="fake", max_tokens=9, messages=[{"role": "user", "content": "fail ServerFailed later"}]
            ) as stream,
        ):
            stream.get_final_message()


class TestTools:
    def test_a_call_and_its_result(self, messages_client, backend):
        answer = ask(messages_client, "two", tools=TOOLS, tool_choice={"type": "any"})
        assert backend.requests[-1].tool_choice == "required"
        calls = [block for block in answer.content if block.type == "tool_use"]
        results = [
            {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "4 degrees"}]}
            for call in calls
        ]
        results[1] |= {"is_error": True, "content": "closed"}
        history = [
            {"role": "user", "content": "two"},
            {"role": "assistant", "content": [block.model_dump() for block in answer.content]},
            {"role": "user", "content": [*results, {"type": "text", "text": "Well?"}]},
        ]
        messages_client.messages.create(model="fake", max_tokens=9, messages=history)
        messages = backend.requests[-1].messages
        assert [message.role for message in messages] == ["user", "assistant", "tool", "tool", "user"]
        assert messages[1].reasoning == "I need a tool."
        assert [message.text for message in messages[2:]] == ["4 degrees", "Error: closed", "Well?"]

    def test_at_most_one(self, messages_client):
        answer = ask(
            messages_client, "two", tools=TOOLS, tool_choice={"type": "auto", "disable_parallel_tool_use": True}
        )
        assert [block.name for block in answer.content if block.type == "tool_use"] == ["weather"]

    def test_demanded_by_name(self, messages_client, backend):
        ask(messages_client, tools=TOOLS, tool_choice={"type": "tool", "name": "weather"})
        assert backend.requests[-1].tool_choice == "weather"


def test_tokens_are_counted(messages_client, http):
    assert messages_client.messages.count_tokens(model="echo", messages=ASK, system="Be brief.").input_tokens == 4
    assert messages_client.messages.count_tokens(model="fake", messages=ASK, tools=TOOLS).input_tokens == 7


def test_what_claude_code_sends(http, backend):
    text = {"type": "text", "cache_control": {"type": "ephemeral"}}
    body = {
        "model": "fake",
        "max_tokens": 32000,
        "messages": [
            {
                "role": "user",
                "content": [{**text, "text": "<system-reminder>x</system-reminder>"}, {**text, "text": "hi"}],
            }
        ],
        "system": [{**text, "text": "You are Claude Code."}, {**text, "text": "More."}],
        "tools": [
            {**TOOLS[0], "eager_input_streaming": True, "cache_control": {"type": "ephemeral"}},
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 8},
        ],
        "metadata": {"user_id": "user_1"},
        "thinking": {"type": "adaptive"},
        "output_config": {"effort": "high"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "temperature": 1,
        "stream": True,
    }
    headers = {"anthropic-version": "2023-06-01", "anthropic-beta": "claude-code-20250219,oauth-2025-04-20"}
    answer = http.post("/v1/messages?beta=true", json=body, headers=headers)
    assert answer.status_code == 200
    assert "event: message_stop" in answer.text
    ignored = "context_management, metadata, output_config.effort, thinking, tools.web_search"
    assert answer.headers["openmodels-ignored"] == ignored
    request = backend.requests[-1]
    assert [tool.name for tool in request.tools] == ["weather"]
    assert request.messages[0].text == "You are Claude Code.\nMore."


WRONG = [
    {"max_tokens": 0},
    {"max_tokens": None},
    {"messages": [{"role": "robot", "content": "x"}]},
    {"messages": [{"role": "user", "content": [{"type": "video"}]}]},
    {"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]},
    {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "file"}}]}]},
    {"messages": [{"role": "user", "content": []}]},
    {"messages": [*ASK, {"role": "assistant", "content": "Well"}]},
    {"messages": [{"role": "assistant", "content": [{"type": "tool_use"}]}, *ASK]},
    {"tools": [{"name": "a b", "input_schema": {}}]},
    {"tool_choice": {"type": "any"}},
    {"system": [{"type": "image"}]},
    {"mcp_servers": [{"url": "http://127.0.0.1"}]},
    {"output_config": {"format": {"type": "xml"}}},
    {"stop_sequence": ["x"]},
    {"top_k": -1},
]


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
def test_hostile_bodies(http, path):
    from test_safety import HOSTILE

    wrong = [json.dumps({"model": "fake", "max_tokens": 5, "messages": ASK, **fields}).encode() for fields in WRONG]
    for body in [*HOSTILE, *(wrong if path == "/v1/messages" else [])]:
        answer = http.post(path, content=body)
        assert 400 <= answer.status_code < 500, body[:200]
        assert answer.json()["type"] == "error"
        assert answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        ("ContextTooLong", 400, "invalid_request_error"),
        ("ModelNotFound", 404, "not_found_error"),
        ("RateLimited", 429, "rate_limit_error"),
        ("ServerFailed", 502, "api_error"),
        ("DoesNotFit", 503, "overloaded_error"),
    ],
)
def test_errors_of_models(messages_client, error, status, kind):
    with pytest.raises(anthropic.APIStatusError) as caught:
        ask(messages_client, f"fail {error}")
    assert caught.value.status_code == status
    assert caught.value.body["error"]["type"] == kind
    assert "It went wrong. Do something." in caught.value.body["error"]["message"]


def test_the_list_of_models(messages_client):
    assert {model.id for model in messages_client.models.list()} == {"fake", "echo"}
