"""Tools: what is made of functions, types and definitions, what of calls, and the loop around them."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import functools
import json
import threading
import time
from typing import Any, Literal

import pytest
from hypothesis import given, strategies as st
from pydantic import BaseModel, Field

import openmodels as om
from openmodels.output.tools import ToolCallValidator, make_tools
from openmodels.types.messages import ToolCall
from openmodels.types.reply import Delta
from openmodels.types.request import ChatRequest


class Unit(enum.Enum):
    C = "celsius"
    F = "fahrenheit"


def weather(city: str, days: int = 1, *, unit: Unit = Unit.C, note: Literal["a", "b"] | None = None) -> dict[str, Any]:
    """Look up the weather.

    It knows all cities.

    Args:
        city: The city's name,
            in English.
        days: How many days ahead.
        unit: Of the temperature.

    Returns:
        The forecast.
    """
    assert isinstance(unit, Unit)
    return {"city": city, "days": days, "unit": unit.name, "note": note}


async def slowly(city: str) -> str:
    await asyncio.sleep(0)
    return f"{city}!"


class Person(BaseModel):
    """A person."""

    name: str = Field(min_length=2)
    age: int | None = None


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


def call(name="weather", arguments=None, key="a1", **more):
    given = {} if arguments is None else arguments
    return ToolCall(id=key, name=name, arguments=arguments, raw=json.dumps(given), **more)


def calls(*many):
    """A script's step: an answer that asks for these calls."""
    return [Delta(tool_calls=many, finish_reason="tool_calls")]


class TestMaking:
    def test_a_function_is_described_by_its_signature_and_docstring(self):
        spec = om.tool(weather).spec
        assert (spec.name, spec.description) == ("weather", "Look up the weather.\n\nIt knows all cities.")
        properties = spec.parameters["properties"]
        assert properties["city"] == {"type": "string", "description": "The city's name, in English."}
        assert properties["days"] == {"type": "integer", "default": 1, "description": "How many days ahead."}
        assert spec.parameters["required"] == ["city"]
        assert "title" not in json.dumps(spec.parameters)

    @pytest.mark.parametrize(
        "text",
        [
            "Add.\n\n    Parameters\n    ----------\n    x : int\n        The number.\n",
            "Add.\n\n    :param x: The number.\n",
        ],
    )
    def test_other_styles_of_docstrings(self, text):
        def add(x: int) -> int:
            return x

        add.__doc__ = text
        spec = om.tool(add).spec
        assert spec.description == "Add."
        assert spec.parameters["properties"]["x"]["description"] == "The number."

    def test_decorators(self):
        @om.tool
        def one(x: int) -> int:
            return x + 1

        @om.tool(name="second", description="Two.")
        def two(x: int) -> int:
            return x + 2

        assert (one(1), two(1)) == (2, 3)
        assert (two.name, two.spec.description) == ("second", "Two.")
        assert repr(one) == "<Tool one(x)>"

    def test_methods_partials_and_coroutines(self):
        class Box:
            def size(self, of: str) -> int:
                return len(of)

        assert om.tool(Box().size).run(call("size", {"of": "abc"})).value == 3
        half = om.tool(functools.partial(weather, days=7), description="A week's weather.")
        assert half.name == "weather"
        assert half.run(call(arguments={"city": "Oslo"})).value["days"] == 7
        assert om.tool(slowly).run(call("slowly", {"city": "Oslo"})).value == "Oslo!"
        assert asyncio.run(om.tool(slowly).arun(call("slowly", {"city": "Oslo"}))).value == "Oslo!"

    def test_types_give_their_arguments_back_as_themselves(self):
        person = om.tool(Person)
        assert (person.name, person.spec.description) == ("Person", "A person.")
        assert person.read(call("Person", {"name": "Ada"})) == Person(name="Ada")
        assert om.tool(Point).read(call("Point", {"x": "1"})) == Point(1)
        assert om.tool(Point).spec.description == ""
        with pytest.raises(om.InvalidRequest, match="age"):
            person.read(call("Person", {"name": "Ada", "age": "old"}))

    @pytest.mark.parametrize("key", ["parameters", "input_schema", "inputSchema"])
    def test_definitions_of_other_makers(self, key):
        inner = {"name": "look", "description": "Look.", key: {"type": "object", "properties": {"at": {}}}}
        for source in (inner, {"type": "function", "function": inner}):
            spec = om.tool(source).spec
            assert (spec.name, spec.parameters["properties"]) == ("look", {"at": {}})
        with pytest.raises(om.InvalidRequest, match="no function"):
            om.tool(inner)()

    @pytest.mark.parametrize(
        ("source", "said"),
        [
            (lambda x: x, "name"),
            (print, "JSON Schema"),
            ({"name": "x", "parameters": {"type": "string"}}, "object"),
            ({"name": "x", "parameters": {"type": "object", "minProperties": "x"}}, "JSON Schema"),
            ({"type": "web_search"}, "name"),
            (int, "object"),
            (5, "int"),
        ],
    )
    def test_what_is_none_is_said(self, source, said):
        with pytest.raises(om.InvalidRequest, match=said) as caught:
            om.tool(source)
        assert "tools:" in caught.value.cause

    def test_same_names_are_refused(self):
        with pytest.raises(om.InvalidRequest, match="two tools"):
            make_tools([weather, om.tool(slowly, name="weather")])


class TestRunning:
    def test_arguments_become_what_the_hints_say(self):
        result = om.tool(weather).run(call(arguments={"city": "Oslo", "unit": "fahrenheit"}))
        assert result.value["unit"] == "F"
        assert json.loads(result.message.text) == result.value
        assert (result.message.role, result.message.tool_call_id) == ("tool", "a1")

    def test_wrong_arguments_and_failures_are_told(self):
        found = om.tool(weather).run(call(arguments={"town": "Oslo"}))
        assert found.error is not None
        assert "city: Missing required argument" in found.message.text

        def fail() -> None:
            raise LookupError("no such city")

        assert om.tool(fail).run(call("fail", {})).message.text == "Error: LookupError: no such city"
        assert asyncio.run(om.tool(fail).arun(call("fail", {}))).message.text == "Error: LookupError: no such city"

    @pytest.mark.parametrize(
        ("value", "text"),
        [("a", "a"), (None, "null"), ([1, 2.5], "[1,2.5]"), ({"a": {1}}, '{"a":[1]}'), (Unit.F, '"fahrenheit"')],
    )
    def test_values_become_text(self, value, text):
        def give() -> Any:
            return value

        assert om.tool(give).run(call("give", {})).message.text == text


class TestChecking:
    def check(self, one):
        request = ChatRequest(messages=({"role": "user", "content": "x"},), tools=(om.tool(weather).spec,))
        (found,) = ToolCallValidator(request).check_calls([one])
        return found.errors

    def test_right_calls_have_no_errors(self):
        assert self.check(call(arguments={"city": "Oslo", "unit": "celsius"})) == ()

    @pytest.mark.parametrize(
        ("one", "said"),
        [
            (call("wether", {}), "there is no tool 'wether'; there are: weather"),
            (call(arguments=None), "no JSON object"),
            (call(arguments={"city": "SECRET", "days": "many"}), "days: "),
            (call(arguments={}), "city"),
        ],
    )
    def test_wrong_ones_say_what_is_wrong(self, one, said):
        errors = "; ".join(self.check(one))
        assert said in errors
        assert "many" not in errors

    @given(st.dictionaries(st.text(max_size=4), st.none() | st.integers() | st.text(max_size=4), max_size=3))
    def test_no_arguments_crash_it(self, arguments):
        errors = self.check(call(arguments=arguments))
        assert errors or arguments["city"]

    @pytest.mark.parametrize(
        ("choice", "answer", "said"),
        [
            ("required", "text", "calls no tool"),
            ("weather", calls(call("slowly", {"city": "x"})), "calls 'slowly'"),
            ("none", calls(call(arguments={"city": "x"})), "calls 'weather'"),
        ],
    )
    def test_a_choice_that_is_not_honoured_is_an_error(self, choice, answer, said):
        model = om.Model("echo:", script=[answer])
        with pytest.raises(om.OutputInvalid, match=said) as caught:
            model.chat("x", tools=[weather, slowly], tool_choice=choice)
        assert caught.value.reply.finish_reason


class TestLoop:
    def test_calls_are_run_and_told_in_their_order(self):
        one, two = call(arguments={"city": "Oslo"}, key="a"), call("slowly", {"city": "Rome"}, key="b")
        model = om.Model("echo:", script=[calls(one, two), "Both are fine."])
        run = model.run_tools("How is it?", [weather, slowly])
        assert str(run) == "Both are fine."
        assert [message.role for message in run.messages] == ["user", "assistant", "tool", "tool", "assistant"]
        assert [result.call.name for result in run.rounds[0].results] == ["weather", "slowly"]
        assert run.pending == ()
        assert "Oslo" in run._repr_html_()
        assert model.backend.requests[1].messages == run.messages[:-1]

    def test_the_twin_does_the_same(self):
        one, two = call(arguments={"city": "Oslo"}, key="a"), call("slowly", {"city": "Rome"}, key="b")
        model = om.Model("echo:", script=[calls(one, two), "Both are fine."])
        run = asyncio.run(model.arun_tools("How is it?", [weather, slowly]))
        assert [result.message.text[:5] for result in run.rounds[0].results] == ['{"cit', "Rome!"]

    def test_calls_of_one_answer_run_at_once_or_here(self):
        meet = threading.Barrier(2, timeout=10)

        def wait(name: str) -> str:
            meet.wait()
            return name

        both = calls(call("wait", {"name": "a"}, key="a"), call("wait", {"name": "b"}, key="b"))
        assert om.Model("echo:", script=[both, "ok"]).run_tools("x", [wait]).text == "ok"

        def here() -> str:
            return threading.current_thread().name

        script = [calls(call("here", {}, key="a"), call("here", {}, key="b")), "ok"]
        run = om.Model("echo:", script=script).run_tools("x", [here], parallel=False)
        assert {result.value for result in run.rounds[0].results} == {threading.current_thread().name}

    def test_unknown_tools_and_wrong_arguments_are_told(self):
        script = [calls(call("whether", {}, key="a"), call(arguments={"days": 1}, key="b")), "ok"]
        run = om.Model("echo:", script=script).run_tools("x", [weather])
        texts = [result.message.text for result in run.rounds[0].results]
        assert "there is no tool 'whether'" in texts[0]
        assert "city" in texts[1]

    def test_a_tool_without_a_function_ends_the_run(self):
        model = om.Model("echo:", script=[calls(call("Person", {"name": "Ada"}))])
        run = model.run_tools("Who?", [Person])
        (pending,) = run.pending
        assert om.tool(Person).read(pending) == Person(name="Ada")
        assert len(model.backend.requests) == 1

    def test_a_limit_ends_it_with_what_was_done(self):
        model = om.Model("echo:", script=[calls(call(arguments={"city": "Oslo"}))])
        with pytest.raises(om.ToolRoundsExceeded) as caught:
            model.run_tools("x", [weather], max_rounds=3)
        run = caught.value.run
        assert len(run.rounds) == 3
        assert len(run.pending) == 1
        assert caught.value.reference == "echo:"

    def test_an_error_in_a_later_round_keeps_the_earlier_ones(self):
        script = [calls(call(arguments={"city": "Oslo"})), [om.ServerFailed("It is down.", retryable=False)]]
        with pytest.raises(om.ServerFailed) as caught:
            om.Model("echo:", script=script).run_tools("x", [weather])
        assert len(caught.value.run.rounds[0].results) == 1

    @pytest.mark.parametrize("twin", [False, True])
    def test_the_time_is_for_the_whole_run(self, twin):
        done = threading.Event()

        def wait(n: int) -> None:
            done.wait(10)

        async def await_(n: int) -> None:
            await asyncio.sleep(10)

        name, one = ("await_", await_) if twin else ("wait", wait)
        script = [calls(call(name, {"n": 1}, key="a"), call(name, {"n": 2}, key="b"))]
        model = om.Model("echo:", script=script)
        began = time.monotonic()

        def run() -> Any:
            if twin:
                return asyncio.run(model.arun_tools("x", [one], timeout=0.3))
            return model.run_tools("x", [one], timeout=0.3)

        with pytest.raises(om.DeadlineExceeded) as caught:
            run()
        done.set()
        assert time.monotonic() - began < 5
        assert len(caught.value.run.rounds) == 1

    def test_a_demand_is_for_the_first_answer(self):
        model = om.Model("echo:", script=[calls(call(arguments={"city": "Oslo"})), "ok"])
        model.run_tools("x", [weather], tool_choice="required")
        assert [request.tool_choice for request in model.backend.requests] == ["required", None]

    @pytest.mark.parametrize("options", [{"max_rounds": 0}, {"max_rounds": True}, {"n": 2}, {"timeout": -1}])
    def test_wrong_arguments_are_named(self, options):
        with pytest.raises(om.InvalidRequest, match=next(iter(options))) as caught:
            om.Model("echo:").run_tools("x", [weather], **options)
        assert caught.value.reference == "echo:"

    def test_usage_and_cost_add_up(self):
        script = [
            [
                Delta(
                    tool_calls=(call(arguments={"city": "x"}),),
                    finish_reason="tool_calls",
                    usage=om.Usage(input_tokens=3, output_tokens=2),
                    cost=0.5,
                )
            ],
            [Delta(text="ok", finish_reason="stop", usage=om.Usage(input_tokens=4, output_tokens=1), cost=0.25)],
        ]
        run = om.Model("echo:", script=script).run_tools("x", [weather])
        assert (run.usage.input_tokens, run.usage.output_tokens, run.cost) == (7, 3, 0.75)
