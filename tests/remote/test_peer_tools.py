"""The same tools through `server`, `hf` and `azure` to a real llama.cpp server, and in this process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

import openmodels as om
from openmodels.testing import SURFACES, Driver
from openmodels.testing.faults import KEY
from openmodels.testing.tools import ToolTests

pytestmark = pytest.mark.weights

Fruit = Literal["apple", "pear"]


def weather(city: Literal["Oslo", "Rome"], *, tomorrow: bool) -> str:
    """Look up the weather of a city."""
    return f"{city}: clear{' tomorrow' if tomorrow else ''}"


class Order(BaseModel):
    """Order something."""

    what: Fruit
    count: Annotated[int, Field(ge=1, le=9)]


def pack(items: Annotated[list[Order], Field(min_length=1, max_length=2)], note: Literal["fragile", "naïve ☃"]) -> int:
    """Pack some orders."""
    return sum(item.count for item in items) + len(note)


TOOLS = [weather, Order, pack]
PROMPTS = {"weather": "What is the weather in Oslo?", "Order": "I want two apples.", "pack": "Pack two apples."}
# The small model was never taught to call: without a push it talks, which llama.cpp allows before a call, and
# with one it would call again and again.
PUSHED = {"extra": {"logit_bias": [["<tool_call>", 50.0]]}, "stop": "</tool_call>"}


@pytest.fixture(params=["server", "hf", "azure", "local"])
def model(request: pytest.FixtureRequest) -> Iterator[om.Model]:
    if request.param == "local":
        yield request.getfixturevalue("calling_smol")
        return
    address = request.getfixturevalue("llamacpp_calling_server")
    with om.Model(f"{request.param}:smollm2", base_url=f"{address}/v1", api_key=KEY) as model:
        yield model


def options(model: om.Model) -> dict[str, Any]:
    return {"temperature": 0, "max_tokens": 120} | ({} if model.backend.name == "local" else PUSHED)


@pytest.mark.parametrize("surface", SURFACES)
def test_each_is_called_as_its_schema_says(model: om.Model, surface: str) -> None:
    for tool in TOOLS:
        name = om.tool(tool).name
        answer = Driver(model, surface)(PROMPTS[name], tools=[tool], tool_choice="required", **options(model))
        (call, *_) = answer.reply.tool_calls
        assert (call.name, call.errors) == (name, ())
        assert answer.reply.finish_reason == "tool_calls"
        assert "<tool_call>" not in answer.reply.text
        result = om.tool(tool).run(call)
        assert result.error is None
        assert isinstance(result.value, {"weather": str, "Order": Order, "pack": int}[name])


def test_one_of_all_is_called(model: om.Model) -> None:
    reply = model.chat(PROMPTS["weather"], tools=TOOLS, tool_choice="required", **options(model))
    assert reply.tool_calls[0].errors == ()


def test_what_is_called_is_run_and_told(model: om.Model) -> None:
    try:
        run = model.run_tools(PROMPTS["weather"], [weather], tool_choice="required", max_rounds=2, **options(model))
    except om.ToolRoundsExceeded as error:
        run = error.run  # pushed, the model calls again
    (result,) = run.rounds[0].results
    assert result.message.text.partition(":")[0] in {"Oslo", "Rome"}
    assert run.messages[2] == result.message
    assert len(run.rounds) == 2


def test_a_cut_call_is_an_error(model: om.Model) -> None:
    with pytest.raises(om.OutputInvalid) as caught:
        model.chat(PROMPTS["weather"], tools=[weather], tool_choice="required", **{**options(model), "max_tokens": 5})
    assert caught.value.reply.finish_reason == "length"
    assert all(call.arguments is None for call in caught.value.reply.tool_calls)


def test_a_wrong_tool_is_refused_before_any_request(model: om.Model) -> None:
    with pytest.raises(om.InvalidRequest, match="tools: "):
        model.chat("hi", tools=[int])


class _Calls(ToolTests):
    """The suite over a server that calls."""

    reference: str

    @pytest.fixture
    def model(self, llamacpp_calling_server: str) -> Iterator[om.Model]:
        with om.Model(self.reference, base_url=f"{llamacpp_calling_server}/v1", api_key=KEY) as model:
            yield model

    def calm(self, model: om.Model, **more: Any) -> dict[str, Any]:
        return super().calm(model, **{**more, **PUSHED})


class TestServerCalls(_Calls):
    reference = "server:smollm2"


class TestHfCalls(_Calls):
    reference = "hf:smollm2"
