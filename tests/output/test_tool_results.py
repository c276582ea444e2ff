"""What tools return: any value survives, is shown as text, and an error belongs to where it arose."""

from __future__ import annotations

import asyncio
import datetime as dt
import decimal
import json
import pathlib
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image as Pil
from pydantic import BaseModel, TypeAdapter

import openmodels as om
from openmodels.backends.base import Backend
from openmodels.output import tool_results
from openmodels.types.messages import Message, ToolCall
from openmodels.types.reply import Delta, Reply

CALL = ToolCall(id="1", name="f", arguments={}, raw="{}")


class Row(BaseModel):
    price: int


@dataclass
class Point:
    x: float


def returned(value):
    def f():
        return value

    return om.tool(f).run(CALL)


CIRCLE: list = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"plain \xc3\xbc", "plain ü"),
        (b"GIF89a\x00\xff", "[8 bytes of binary data, image/gif]"),
        (bytearray(b"\xfe\xff\x00"), "[3 bytes of binary data]"),
        ("half \udcff", "half \\udcff"),
        ({"raw": b"\xff\xfe"}, '{"raw":"__4="}'),
        (np.arange(3), "[0,1,2]"),
        (np.float32(0.5), "0.5"),
        (np.array([np.nan, 1.0]), "[NaN,1.0]"),
        (float("inf"), "Infinity"),
        (Point(1.5), '{"x":1.5}'),
        (Row(price=3), '{"price":3}'),
        (dt.date(2026, 5, 1), '"2026-05-01"'),
        (pathlib.PurePosixPath("/a/b"), '"/a/b"'),
        (decimal.Decimal("1.10"), '"1.10"'),
        ({7}, "[7]"),
        (None, "null"),
    ],
)
def test_every_value_is_kept_and_shown(value, text):
    result = returned(value)
    assert result.error is None
    assert result.value is value
    assert result.message.text == text


@pytest.mark.parametrize("value", [CIRCLE, {"key": "half \udcff"}, lambda: 1, object, (1 + 2j), {(1, 2): 3}])
def test_what_json_does_not_know_has_some_text(value):
    result = returned(value)
    assert result.value is value
    assert result.message.text
    assert "Error" not in result.message.text


def test_a_value_that_cannot_be_shown_is_kept():
    class Sulky:
        def __str__(self):
            raise RuntimeError("no")

        __repr__ = __str__

    value = Sulky()
    result = returned(value)
    assert result.value is value
    assert isinstance(result.error, Exception)
    assert "the result, of the type Sulky, cannot be sent" in result.message.text


def test_a_huge_result_is_cut_and_says_so():
    result = returned("x" * 3_000_000)
    assert len(result.value) == 3_000_000
    assert len(result.message.text) < tool_results.LONGEST + 200
    assert "cut off" in result.message.text


class TestWhereItArose:
    def test_arguments_that_do_not_fit(self):
        def f(count: int) -> int:
            return count

        call = CALL.model_copy(update={"arguments": {"count": "many"}})
        assert "the arguments do not fit: count" in om.tool(f).run(call).message.text

    @pytest.mark.parametrize(
        "check", [lambda: Row(price="x"), lambda: TypeAdapter(int).validate_python("y")], ids=["model", "adapter"]
    )
    def test_a_failed_validation_inside_the_tool_is_its_own(self, check):
        def f(item: str = "tea"):
            return check()

        async def g(item: str = "tea"):
            return check()

        for function in (f, g):
            tool = om.tool(function, name="f")
            for result in (tool.run(CALL), asyncio.run(tool.arun(CALL))):
                assert result.message.text.startswith("Error: ValidationError: ")
                assert "arguments" not in result.message.text

    def test_defaults_and_types_reach_the_function(self):
        def f(at: dt.date, *, many: int = 2) -> str:
            return f"{at.year} {many}"

        call = CALL.model_copy(update={"arguments": {"at": "2026-01-01"}})
        assert om.tool(f).run(call).value == "2026 2"


class TestGenerators:
    def test_what_they_yield_becomes_a_list(self):
        def f():
            yield from "ab"

        async def g():
            yield 1
            yield 2

        assert om.tool(f).run(CALL).value == ["a", "b"]
        assert asyncio.run(om.tool(f).arun(CALL)).value == ["a", "b"]
        assert om.tool(g, name="f").run(CALL).message.text == "[1,2]"
        assert asyncio.run(om.tool(g, name="f").arun(CALL)).value == [1, 2]

    def test_an_endless_one_ends(self, monkeypatch):
        monkeypatch.setattr(tool_results, "MOST_ITEMS", 5)

        def f():
            while True:
                yield 1

        assert om.tool(f).run(CALL).value == [1] * 5


class Caller(Backend):
    """Calls the tool once, then answers with the number of images that it was shown."""

    name = "caller"
    options = frozenset({"tools"})

    def run(self, request):
        if request.messages[-1].role == "user" and len(request.messages) == 1:
            yield Delta(tool_calls=(CALL,), finish_reason="tool_calls")
        else:
            yield Delta(text=str(sum(len(message.images) for message in request.messages)), finish_reason="stop")


class Seeing(Caller):
    features = frozenset({"chat", "images"})


class TestImages:
    def look(self):
        return Pil.new("RGB", (4, 2), "blue")

    def test_one_is_shown_in_the_next_message(self):
        run = om.Model(Seeing("m")).run_tools("look", [om.tool(self.look, name="f")])
        assert run.text == "1"
        assert [message.role for message in run.messages] == ["user", "assistant", "tool", "user", "assistant"]
        assert run.rounds[0].results[0].value.size == (4, 2)

    def test_a_model_that_reads_only_text_is_told_so(self):
        run = om.Model(Caller("m")).run_tools("look", [om.tool(self.look, name="f")])
        assert run.text == "0"
        assert "reads only text" in run.messages[2].text

    def test_what_stands_beside_an_image_is_kept_for_a_model_that_reads_only_text(self):
        def f():
            return [self.look(), "a caption"]

        run = om.Model(Caller("m")).run_tools("look", [om.tool(f)])
        image, caption = json.loads(run.messages[2].text)
        assert "reads only text" in image
        assert caption == "a caption"

    def test_several_of_a_list(self):
        def f():
            return ["left and right", self.look(), om.Image(self.look())]

        result = om.tool(f).run(CALL)
        assert len(result.images) == 2
        assert "left and right" in result.message.text
        assert len(result.message.text) < 200


def test_a_reply_has_no_part_in_it():
    assert isinstance(returned(Reply(text="x")).message, Message)
