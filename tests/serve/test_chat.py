"""`/v1/chat/completions` and `/v1/models`, asked by the real `openai` client."""

from __future__ import annotations

import base64
import json
from io import BytesIO

import openai
import pydantic
import pytest
from openai.types import Model as ListedModel
from openai.types.chat import ChatCompletion, ChatCompletionChunk

ASK = [{"role": "user", "content": "Say hello."}]
TOOLS = [
    {"type": "function", "function": {"name": name, "description": "The weather.", "parameters": schema}}
    for name, schema in (
        ("weather", {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}),
        ("tides", {"type": "object", "properties": {"city": {"type": "string"}}}),
    )
]


def check(kind, answer):
    """Check an answer against the types that OpenAI publishes, which its client itself does not."""
    return kind.model_validate(answer.model_dump(mode="json", exclude_unset=True))


def ask(client, text="Say hello.", **options):
    answer = client.chat.completions.create(model="fake", messages=[{"role": "user", "content": text}], **options)
    return check(ChatCompletion, answer)


def stream(client, text="Say hello.", **options):
    messages = [{"role": "user", "content": text}]
    with client.chat.completions.create(model="fake", messages=messages, stream=True, **options) as chunks:
        return [check(ChatCompletionChunk, chunk) for chunk in chunks]


class TestAnswers:
    def test_text_and_usage(self, client):
        answer = ask(client)
        assert answer.choices[0].message.content == "Hello world"
        assert answer.choices[0].finish_reason == "stop"
        assert answer.model == "fake"
        assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (7, 3, 10)
        assert answer.usage.prompt_tokens_details.cached_tokens == 2

    def test_options_reach_the_model(self, client, backend):
        ask(
            client,
            temperature=0.5,
            top_p=0.9,
            max_completion_tokens=50,
            stop=["a", "b"],
            seed=-1,
            frequency_penalty=0.1,
            presence_penalty=0.2,
            extra_body={"top_k": 5, "repetition_penalty": 1.1},
        )
        request = backend.requests[-1]
        assert (request.temperature, request.top_p, request.max_tokens) == (0.5, 0.9, 50)
        assert (request.stop, request.seed, request.top_k) == (("a", "b"), 2**63 - 1, 5)
        assert (request.frequency_penalty, request.presence_penalty, request.repetition_penalty) == (0.1, 0.2, 1.1)

    def test_reasoning_has_both_names(self, client):
        message = ask(client, "think").choices[0].message
        assert message.reasoning == message.reasoning_content == "Let me think."
        chunks = stream(client, "think")
        thoughts = [chunk.choices[0].delta.model_extra for chunk in chunks]
        assert {"reasoning": "Let me think.", "reasoning_content": "Let me think."} in thoughts

    def test_several_answers_with_logprobs(self, client):
        answer = ask(client, n=2, logprobs=True, top_logprobs=2)
        assert [choice.index for choice in answer.choices] == [0, 1]
        likely = answer.choices[1].logprobs.content
        assert [(each.token, each.logprob) for each in likely] == [("Hello", -0.5), (" world", -0.5)]
        assert [top.token for top in likely[0].top_logprobs] == ["Hello", "other"]

    def test_a_reason_without_a_word_on_the_wire(self, client):
        (choice,) = ask(client, "again").choices
        assert (choice.finish_reason, choice.stop_reason) == ("length", "repetition")

    def test_fields_that_clients_always_send(self, client, http):
        body = {"model": "fake", "messages": ASK, "user": "u", "store": True, "metadata": {"a": "b"}, "tools": []}
        body |= {"service_tier": "auto", "parallel_tool_calls": True, "logit_bias": {}, "reasoning_effort": "low"}
        body |= {"temperature": None, "stream_options": None, "n": 1, "tool_choice": "auto", "modalities": ["text"]}
        answer = http.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200
        assert answer.headers["openmodels-ignored"] == "metadata, reasoning_effort, service_tier, store, user"

    def test_the_only_model_needs_no_name(self, http):
        answer = http.post("/v1/chat/completions", json={"messages": ASK})
        assert answer.status_code == 400
        assert "Served are: fake, echo" in answer.json()["error"]["message"]


class TestStreams:
    def test_chunks_join_to_the_answer(self, client):
        chunks = stream(client, stream_options={"include_usage": True})
        assert chunks[0].choices[0].delta.role == "assistant"
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "Hello world"
        assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
        assert chunks[-1].choices == []
        assert chunks[-1].usage.total_tokens == 10
        assert len({chunk.id for chunk in chunks}) == 1

    def test_no_usage_unless_asked(self, client):
        assert all(chunk.usage is None and chunk.choices for chunk in stream(client))

    def test_several_answers(self, client):
        texts = {0: "", 1: ""}
        for chunk in stream(client, n=2, logprobs=True):
            for choice in chunk.choices:
                texts[choice.index] += choice.delta.content or ""
        assert set(texts.values()) == {"Hello world"}

    def test_a_failure_in_the_middle(self, client):
        with pytest.raises(openai.APIError, match="It went wrong") as caught:
            stream(client, "fail ServerFailed later")
        assert caught.value.code is None

    def test_the_helper_of_the_client(self, client):
        with client.chat.completions.stream(model="fake", messages=ASK) as events:
            kinds = [event.type for event in events]
            final = events.get_final_completion()
        assert "content.delta" in kinds
        assert final.choices[0].message.content == "Hello world"


class TestTools:
    def test_a_call_and_its_result(self, client, backend):
        answer = ask(client, "two", tools=TOOLS, tool_choice="auto")
        calls = answer.choices[0].message.tool_calls
        assert answer.choices[0].finish_reason == "tool_calls"
        assert [(call.function.name, json.loads(call.function.arguments)) for call in calls] == [
            ("weather", {"city": "Oslo"}),
            ("tides", {"city": "Oslo"}),
        ]
        history = [*ASK, answer.choices[0].message.model_dump(exclude_none=True)]
        history += [{"role": "tool", "tool_call_id": call.id, "content": "4 degrees"} for call in calls]
        client.chat.completions.create(model="echo", messages=history)
        client.chat.completions.create(model="fake", messages=history)
        assert [message.role for message in backend.requests[-1].messages] == ["user", "assistant", "tool", "tool"]
        assert backend.requests[-1].messages[1].reasoning == "I need a tool."

    def test_streamed(self, client):
        with client.chat.completions.stream(
            model="fake", messages=[{"role": "user", "content": "two"}], tools=TOOLS
        ) as events:
            for _ in events:
                pass
            calls = events.get_final_completion().choices[0].message.tool_calls
        assert [call.function.name for call in calls] == ["weather", "tides"]

    @pytest.mark.parametrize("read", [ask, stream])
    def test_at_most_one(self, client, read):
        result = read(client, "two", tools=TOOLS, parallel_tool_calls=False)
        messages = [result.choices[0].message] if read is ask else [chunk.choices[0].delta for chunk in result]
        assert [call.function.name for message in messages for call in message.tool_calls or ()] == ["weather"]

    def test_demanded_by_name(self, client, backend):
        choice = {"type": "function", "function": {"name": "tides"}}
        with pytest.raises(openai.UnprocessableEntityError):
            ask(client, tools=TOOLS, tool_choice=choice)
        assert backend.requests[-1].tool_choice == "tides"

    def test_some_allowed(self, client, backend):
        allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "tides"}}]}
        ask(client, tools=TOOLS, tool_choice={"type": "allowed_tools", "allowed_tools": allowed})
        assert [tool.name for tool in backend.requests[-1].tools] == ["tides"]
        assert backend.requests[-1].tool_choice == "required"


class City(pydantic.BaseModel):
    name: str
    people: int


class TestForms:
    def test_a_schema(self, client, backend):
        parsed = client.chat.completions.parse(model="fake", messages=ASK, response_format=City)
        assert parsed.choices[0].message.parsed == City(name="Oslo", people=700_000)
        assert backend.requests[-1].output.json_schema["properties"].keys() == {"name", "people"}

    def test_any_object(self, client):
        assert json.loads(ask(client, response_format={"type": "json_object"}).choices[0].message.content)

    def test_an_answer_of_another_form(self, client):
        schema = {"type": "object", "properties": {"name": {"type": "integer"}}}
        form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
        with pytest.raises(openai.UnprocessableEntityError, match="does not satisfy") as caught:
            ask(client, response_format=form)
        assert caught.value.code == "output_invalid"
        with pytest.raises(openai.APIError, match="does not satisfy"):
            stream(client, response_format=form)

    def test_one_that_was_cut_off_is_given(self, client):
        schema = {"type": "object", "properties": {"other": {"type": "string"}}, "required": ["other"]}
        form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        assert ask(client, "short", response_format=form).choices[0].finish_reason == "length"
        assert stream(client, "short", response_format=form)[-1].choices[0].finish_reason == "length"


class TestImages:
    def test_data_reaches_the_model(self, client, backend):
        from PIL import Image

        file = BytesIO()
        Image.new("RGB", (4, 4)).save(file, "PNG")
        url = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
        content = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": url}}]
        answer = client.chat.completions.create(model="fake", messages=[{"role": "user", "content": content}])
        assert answer.choices[0].message.content == "Hello 1 images"
        assert backend.requests[-1].messages[-1].images[0].data == file.getvalue()

    @pytest.mark.parametrize(
        "url",
        [
            *("http://example.com/a.png", "https://127.0.0.1/a.png", "https://[::1]/a.png", "file:///etc/passwd"),
            *("https://169.254.169.254/latest", "https://10.1.2.3/a", "https://user@example.com/", "ftp://a/b", ""),
            *("https://[::ffff:127.0.0.1]/", "https://0x7f000001/", "https://localhost/"),
        ],
    )
    def test_an_address_that_is_not_public(self, client, backend, url):
        count = len(backend.requests)
        content = [{"type": "image_url", "image_url": {"url": url}}]
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(model="fake", messages=[{"role": "user", "content": content}])
        assert len(backend.requests) == count

    def test_a_model_without_images(self, client):
        content = [{"type": "image_url", "image_url": {"url": "https://127.0.0.1/a.png"}}]
        with pytest.raises(openai.BadRequestError, match="takes no 'images'"):
            client.chat.completions.create(model="echo", messages=[{"role": "user", "content": content}])


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        ("ContextTooLong", 400, "context_length_exceeded"),
        ("ModelNotFound", 404, "model_not_found"),
        ("AuthenticationFailed", 424, "upstream_authentication"),
        ("GatedModel", 424, "upstream_access"),
        ("RateLimited", 429, "rate_limit_exceeded"),
        ("QuotaExceeded", 429, "insufficient_quota"),
        ("ServerFailed", 502, None),
        ("ConnectionFailed", 502, None),
        ("DoesNotFit", 503, "load_failed"),
        ("DeadlineExceeded", 504, "deadline_exceeded"),
    ],
)
@pytest.mark.parametrize("streams", [False, True])
def test_errors_of_models(client, error, status, code, streams):
    with pytest.raises(openai.APIStatusError) as caught:
        (stream if streams else ask)(client, f"fail {error}")
    assert caught.value.status_code == status
    assert caught.value.code == code
    assert "It went wrong. Do something." in caught.value.message
    if status == 429:
        assert caught.value.response.headers["retry-after"] == "3"


def test_a_defect_shows_nothing(client, caplog):
    with pytest.raises(openai.InternalServerError) as caught:
        ask(client, "crash")
    assert "secret" not in caught.value.message
    assert "ZeroDivisionError at" in caplog.text
    assert "secret" not in caplog.text


def test_models(client, http):
    models = {model.id: check(ListedModel, model) for model in client.models.list()}
    assert models.keys() == {"fake", "echo"}
    assert client.models.retrieve("echo").id == "echo"
    entry = http.get("/v1/models").json()["data"][0]
    assert entry["architecture"] == {"input_modalities": ["text", "image"], "output_modalities": ["text"]}
    assert entry["providers"][0]["supports_tools"] is True
    with pytest.raises(openai.NotFoundError, match="Served are"):
        client.models.retrieve("other")
    with pytest.raises(openai.NotFoundError, match="Did you mean 'echo'"):
        client.chat.completions.create(model="ecko", messages=ASK)
