"""What goes to Azure and comes from it, by Microsoft's published OpenAPI description; and the conformance suite."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import azure_stand_in as stand_in
import pytest
from test_azure_errors import ERRORS

import openmodels as om
from openmodels.testing import Conformance
from openmodels.testing.faults import KEY, FaultServer
from openmodels.testing.images import ImageTests
from openmodels.types.request import ChatRequest

described = pytest.mark.skipif(
    stand_in.description() is None,
    reason="Microsoft's description of the API is not beside the project, in ../shared/data/azure/spec/openai-v1.json",
)


@pytest.fixture
def model(server: FaultServer) -> Iterator[om.Model]:
    """A model at the stand-in."""
    with om.Model("azure:my-deployment", base_url=server.url("azure-v1"), api_key=KEY, timeout=10) as model:
        stand_in.checked.clear()
        yield model


OPTIONS: list[dict[str, Any]] = [
    {},
    {"temperature": 0, "top_p": 0.5, "max_tokens": 3, "stop": "END", "seed": 7},
    {"frequency_penalty": -1.5, "presence_penalty": 2, "stop": ["a", "b"]},
    {"extra": {"user": "me", "reasoning_effort": "low", "response_format": {"type": "json_object"}}},
]


@described
@pytest.mark.parametrize("options", OPTIONS)
def test_chat_is_as_described(model: om.Model, options: dict[str, Any]) -> None:
    talk = [om.system("be brief"), om.user("one two"), om.assistant("three"), om.user("four five")]
    assert model.chat(talk, **options).text == "four five"
    assert asyncio.run(model.achat(talk, **options)).text == "four five"
    with model.stream(talk, **options) as stream:
        assert "".join(delta.text for delta in stream) == "four five"
    assert stream.reply.usage.input_tokens == 7
    assert stand_in.checked == {"request": 3, "answer": 2, "chunk": 5}


@described
def test_embeddings_and_the_list_are_as_described(model: om.Model) -> None:
    assert model.embed(["one two", "three"], dimensions=1).vectors.tolist() == [[7.0], [5.0]]
    assert asyncio.run(model.aembed("one")).vectors.tolist() == [[3.0, 1.0]]
    assert model.backend.list_deployments() == asyncio.run(model.backend.alist_deployments()) == ["azure-v1"]
    assert stand_in.checked == {"request": 4, "answer": 4}


@described
def test_tool_turns_are_as_described(model: om.Model) -> None:
    call = om.ToolCall(id="a", name="weather", arguments={"city": "Oslo"}, raw='{"city": "Oslo"}')
    talk = [
        om.user("weather?"),
        om.Message(role="assistant", tool_calls=(call,)),
        om.Message(role="tool", content="rain", tool_call_id="a"),
    ]
    backend = model.backend
    request = ChatRequest(messages=tuple(talk))
    request_sent = backend._prepare_chat(request, "my-deployment").http_request
    stand_in.check_request("POST", "/v1/chat/completions", {"api-key": KEY}, request_sent.body)


@described
@pytest.mark.parametrize("spoiled", [{"temperature": 3}, {"messages": []}, {"model": None}, {"top_k": 3}])
def test_what_is_not_as_described_is_seen(spoiled: dict[str, Any]) -> None:
    body = {"model": "x", "messages": [{"role": "user", "content": "hi"}], **spoiled}
    with pytest.raises(stand_in.Breach):
        stand_in.check_request("POST", "/v1/chat/completions", {"api-key": KEY}, json.dumps(body).encode())
    with pytest.raises(stand_in.Breach):
        stand_in.check_answer("POST", "/v1/chat/completions", 200, {"id": "x", "choices": []})
    with pytest.raises(stand_in.Breach):
        stand_in.check_chunk({"id": "x", "choices": []})


@described
@pytest.mark.parametrize("name", ["no-deployment", "too-long", "throttled-ms", "no-address", "bad-key"])
def test_the_errors_that_tests_use_are_as_described(name: str) -> None:
    status, body, *_ = ERRORS[name]
    stand_in.check_answer("POST", "/v1/chat/completions", status, body)


class TestAzure(Conformance):
    """The suite against the stand-in: of Azure's own behaviour it shows what the description fixes."""

    reference = "azure:my-deployment"
    samples = False
    gaps = dict.fromkeys(
        ("test_deadline_ends_the_call[chat]", "test_deadline_ends_the_call[achat]"),
        "a plain answer arrives whole: when time is up, nothing of it is there",
    )

    @pytest.fixture
    def model(self, server: FaultServer) -> Iterator[om.Model]:
        with om.Model(self.reference, base_url=server.url("azure-v1"), api_key=KEY) as model:
            yield model

    @pytest.fixture
    def slow_model(self, server: FaultServer) -> Iterator[om.Model]:
        with om.Model(self.reference, base_url=server.url("azure-v1-slow"), api_key=KEY) as model:
            yield model

    @pytest.fixture
    def working(self) -> Callable[[], int]:
        return lambda: stand_in.working["azure-v1-slow"]


class _SameDialect(ImageTests):
    """The other backends of the dialect: images are spelled as Microsoft's description of OpenAI's API has them."""

    samples = False
    reference: str

    @pytest.fixture
    def model(self, server: FaultServer) -> Iterator[om.Model]:
        with om.Model(self.reference, base_url=server.url("azure-v1"), headers={"api-key": KEY}) as model:
            yield model


class TestServerImages(_SameDialect):
    reference = "server:my-deployment"


class TestHfImages(_SameDialect):
    reference = "hf:my-deployment"
