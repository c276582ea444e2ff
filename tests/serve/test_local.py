"""A model that runs here, asked by real clients; loaded once for all tests."""

from __future__ import annotations

import json
import time

import anthropic
import openai
import pytest
from openai.types.chat import ChatCompletion
from running_server import KEY, running

import openmodels as om

pytestmark = pytest.mark.weights
ASK = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture(scope="module")
def local(exact_smol, minilm):
    with running({"smol": exact_smol, "minilm": om.Model(f"local:{minilm}")}) as server:
        yield server


@pytest.fixture(scope="module")
def client(local):
    with openai.OpenAI(base_url=f"{local.address}/v1", api_key=KEY, max_retries=0) as client:
        yield client


def test_the_same_answer_as_in_process(client, exact_smol):
    direct = exact_smol.chat(ASK, temperature=0, max_tokens=8)
    options = {"model": "smol", "messages": ASK, "temperature": 0, "max_tokens": 8}
    answer = client.chat.completions.create(**options, logprobs=True, top_logprobs=1)
    ChatCompletion.model_validate(answer.model_dump(mode="json", exclude_unset=True))
    assert answer.choices[0].message.content == direct.text
    assert answer.usage.prompt_tokens == direct.usage.input_tokens
    assert "".join(each.token for each in answer.choices[0].logprobs.content) == direct.text
    with client.chat.completions.create(**options, stream=True) as chunks:
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == direct.text


def test_a_form_that_it_cannot_break(client):
    schema = {"type": "object", "properties": {"yes": {"type": "boolean"}}, "required": ["yes"]}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    answer = client.chat.completions.create(model="smol", messages=ASK, response_format=form, max_tokens=64)
    assert type(json.loads(answer.choices[0].message.content)["yes"]) is bool
    response = client.responses.create(
        model="smol", input="Yes?", text={"format": {**form["json_schema"], "type": "json_schema"}}
    )
    assert "yes" in json.loads(response.output_text)


def test_messages_with_a_limit_beyond_the_context(local):
    with anthropic.Anthropic(base_url=local.address, api_key=KEY, max_retries=0) as client:
        counted = client.messages.count_tokens(model="smol", messages=ASK).input_tokens
        with client.messages.stream(
            model="smol", max_tokens=32_000, messages=ASK, stop_sequences=["."], extra_body={"temperature": 0}
        ) as events:
            answer = events.get_final_message()
    assert counted == answer.usage.input_tokens + answer.usage.cache_read_input_tokens
    assert "Paris" in answer.content[0].text


def test_vectors(client, minilm):
    with om.Model(f"local:{minilm}") as model:
        vector = model.embed("hello").vectors[0].tolist()
    assert client.embeddings.create(model="minilm", input="hello").data[0].embedding == pytest.approx(vector, abs=1e-5)


def test_what_it_is(client):
    entry = client.models.retrieve("smol")
    assert entry.max_model_len >= 2048
    assert entry.capabilities["chat"] is True


def test_a_client_that_leaves_frees_it(client, local):
    with client.chat.completions.create(model="smol", messages=ASK, stream=True, temperature=0) as chunks:
        next(iter(chunks))
    end = time.monotonic() + 3
    while local.app.state.admission.active:
        assert time.monotonic() < end
        time.sleep(0.01)
