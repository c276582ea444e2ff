"""What an answer must look like: read from types and schemas, checked, asked for again, read in part."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import pickle
from typing import Literal, NotRequired

import jsonschema_rs
import pydantic
import pytest
from hypothesis import given, strategies as st
from typing_extensions import TypedDict

import openmodels as om
from openmodels.openai_wire import encode
from openmodels.output import schema as schemas, structure
from openmodels.types.reply import Reply
from openmodels.types.request import ChatRequest
from output_types import TYPES, Journey, Person, Recipe, Town


@dataclasses.dataclass
class Point:
    x: int
    names: list[str] = dataclasses.field(default_factory=list)


class Row(TypedDict):
    a: int
    b: NotRequired[str]


def shape(value):
    return structure.make_validator({"schema": value})


LEAVES = st.one_of(
    st.builds(
        lambda low, high: {"type": "integer", "minimum": low, "maximum": low + high},
        st.integers(-9, 9),
        st.integers(0, 9),
    ),
    st.builds(lambda size: {"type": "string", "minLength": size}, st.integers(0, 5)),
    st.sampled_from(
        [{"type": "boolean"}, {"type": "null"}, {"enum": ["é", "日本", 3, None]}, {"const": {"k": [1]}}, {}]
    ),
)


def _object(properties, data, more):
    required = sorted(data & properties.keys())
    return {"type": "object", "properties": properties, "required": required, **more}


SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(
            _object,
            st.dictionaries(st.sampled_from("abé"), inner, max_size=3),
            st.sets(st.sampled_from("abé")),
            st.sampled_from([{}, {"additionalProperties": False}, {"additionalProperties": {"type": "null"}}]),
        ),
        st.builds(lambda item, count: {"type": "array", "items": item, "minItems": count}, inner, st.integers(0, 2)),
        st.builds(lambda parts: {"anyOf": parts}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda parts: {"allOf": parts}, st.lists(inner, min_size=1, max_size=2)),
    ),
    max_leaves=6,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abéc"), inner, max_size=3),
    max_leaves=8,
)


@given(SCHEMAS, JSON)
def test_closing_only_narrows(schema, value):
    closed = schemas.forbid_additional_properties(schema)
    assert not jsonschema_rs.is_valid(closed, value) or jsonschema_rs.is_valid(schema, value)


@given(SCHEMAS, JSON)
def test_no_valid_answer_is_shorter_than_the_shortest(schema, value):
    if jsonschema_rs.is_valid(schema, value):
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        assert len(text) >= schemas.min_text_length(schema)


@given(SCHEMAS, JSON)
def test_wrapping_is_undone_by_the_check(schema, value):
    wanted = shape(schema)
    if jsonschema_rs.is_valid(schema, value):
        assert wanted.check_reply(Reply(text=json.dumps(value), finish_reason="stop")).parsed == value
        if not schemas.is_object(schema):
            assert jsonschema_rs.is_valid(schemas.wrap_in_object(schema), {"answer": value})
            text = json.dumps({"answer": value})
            assert wanted.check_reply(Reply(text=text, finish_reason="stop")).parsed in (value, {"answer": value})
    else:
        with pytest.raises(om.OutputInvalid) as caught:
            wanted.check_reply(Reply(text=json.dumps(value), finish_reason="stop"))
        assert caught.value.errors


@given(JSON, st.booleans())
def test_partial_grows_into_the_value(value, ascii_only):
    wanted = shape({})
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert within(wanted.partial(text), value)
    for end in range(len(text)):
        assert within(wanted.partial(text[:end]), value)


def within(part, whole):
    """Say whether `part` is a beginning of `whole`."""
    if part is None:
        return True
    if isinstance(part, str):
        return isinstance(whole, str) and whole.startswith(part)
    if isinstance(part, list):
        return isinstance(whole, list) and len(part) <= len(whole) and all(map(within, part, whole))
    if isinstance(part, dict):
        if isinstance(whole, dict) and part.keys() <= whole.keys():
            return all(within(part[key], whole[key]) for key in part)
        return False
    if isinstance(whole, int) and not isinstance(whole, bool) and not isinstance(part, bool):
        return str(whole).startswith(str(part))
    return part == whole


@pytest.mark.parametrize("value", [*TYPES, Point, Row, Literal["a", "b"], list[int], dict[str, int], int, Point | Row])
def test_types_become_schemas_of_themselves(value):
    output = shape(value).output
    jsonschema_rs.meta.validate(output.json_schema)
    assert output.name
    assert schemas.min_text_length(output.json_schema) >= 1


def test_every_field_is_asked_for_but_only_needed_ones_are():
    assert shape(Point).output.json_schema["required"] == ["x", "names"]
    assert shape(Row).output.json_schema["required"] == ["a"]
    assert om.Model("echo:").chat('{"x": 1}', schema=Point).parsed == Point(1)


def test_kinds_of_parsed_values():
    def ask(text, value):
        return om.Model("echo:").chat(text, schema=value).parsed

    assert ask('{"name": "Ann", "age": 3}', Person) == Person(name="Ann", age=3)
    assert ask('{"a": 1}', Row) == {"a": 1}
    assert ask('"b"', Literal["a", "b"]) == "b"
    assert ask('{"answer": [1]}', list[int]) == [1]
    assert ask("[1]", pydantic.TypeAdapter(tuple[int, ...])) == (1,)
    assert ask('{"a": 2}', {"type": "object"}) == {"a": 2}


def test_error_names_places_and_keeps_the_reply():
    with pytest.raises(om.OutputInvalid) as caught:
        om.Model("echo:").chat(
            '{"title": "x", "steps": [{"do": "canary", "minutes": 0}], "table": [[1]]}', schema=Recipe
        )
    error = caught.value
    assert [one.partition(":")[0] for one in error.errors] == ["steps[0].minutes", "table[0]"]
    assert error.reply.text.startswith('{"title"')
    assert "canary" not in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert (again.errors, again.reply.text) == (error.errors, error.reply.text)


@pytest.mark.parametrize("value", ['{"a": "canary"}', '{"a": 1, "b": NaN}', "canary", "[" * 100_000, ""])
def test_schema_errors_do_not_quote_the_answer(value):
    wanted = shape({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})
    with pytest.raises(om.OutputInvalid) as caught:
        wanted.check_reply(Reply(text=value, finish_reason="stop"))
    assert "canary" not in str(caught.value)


def test_cut_off_answer_is_invalid_even_where_it_reads_well():
    with pytest.raises(om.OutputInvalid, match="max_tokens"):
        shape(int).check_reply(Reply(text="12", finish_reason="length"))
    assert shape(list[int]).check_reply(Reply(text="[12]", finish_reason="length")).parsed == [12]


@pytest.mark.parametrize("method", ["chat", "achat"])
def test_retries_show_the_faults_and_add_up(method):
    model = om.Model("echo:", script=["no", '{"name": "Ann"}', '{"name": "Ann", "age": 3}'])
    reply = getattr(model, method)("Who is there?", schema=Person, retries=2)
    reply = asyncio.run(reply) if method == "achat" else reply
    assert reply.parsed == Person(name="Ann", age=3)
    said = [request.messages for request in model.backend.requests]
    assert [len(one) for one in said] == [1, 3, 5]
    assert "age: Field required" in said[-1][-1].content
    assert said[-1][-2].content == '{"name": "Ann"}'
    assert reply.usage.output_tokens == 1 + 2 + 4


def test_last_failure_counts_every_round():
    model = om.Model("echo:", script=["no"])
    with pytest.raises(om.OutputInvalid) as caught:
        model.chat("hi", choices=["yes"], retries=2)
    assert caught.value.reply.usage.output_tokens == 3
    assert len(model.backend.requests) == 3


def test_cut_off_answer_is_not_asked_for_again():
    model = om.Model("echo:", script=["a b c"])
    with pytest.raises(om.OutputInvalid):
        model.chat("hi", pattern="a b c d", retries=2, max_tokens=2)
    assert len(model.backend.requests) == 1


def test_calls_of_tools_are_no_answer():
    call = om.ToolCall(id="1", name="look", arguments={}, raw="{}")
    assert shape(Person).check_reply(Reply(tool_calls=(call,), finish_reason="tool_calls")).parsed is None


def form(**options):
    asked = ChatRequest(messages=({"role": "user", "content": "x"},), output=structure.make_validator(options).output)
    return encode.encode_chat(asked, "m", encode.OPENAI_OPTIONS)["response_format"]["json_schema"]


def test_wire_form_is_strict_where_that_loses_nothing():
    assert form(schema=Point)["strict"]
    assert not form(schema=Person)["strict"]  # its limits are unknown to strict modes
    assert form(schema=Person)["schema"]["properties"]["age"]["maximum"] == 120
    assert not form(schema=dict[str, int])["strict"]
    assert form(choices=["a"])["schema"]["properties"]["answer"] == {"type": "string", "enum": ["a"]}
    assert form(schema=Town)["schema"]["type"] == "object"
    assert form(schema=Journey)["name"] == "Journey"
    assert form(schema=list[Person])["schema"]["$defs"].keys() == {"Person"}


def test_extra_cannot_set_what_schema_sets():
    model = om.Model("server:m", base_url="http://127.0.0.1:9")
    with pytest.raises(om.InvalidRequest, match="response_format"):
        model.chat("x", schema=Person, extra={"response_format": {"type": "text"}}, max_retries=0)


@pytest.mark.parametrize("option", [{"pattern": "a"}, {"grammar": "root ::= x"}])
@pytest.mark.parametrize("backend", ["server:m", "hf:m"])
def test_servers_have_no_common_pattern_or_grammar(backend, option):
    model = om.Model(backend, base_url="http://127.0.0.1:9")
    with pytest.raises(om.UnsupportedFeature, match=next(iter(option))):
        model.chat("x", **option)


@pytest.mark.parametrize(
    "options",
    [{"pattern": ""}, {"grammar": ""}, {"choices": [["yes"], ["no"]]}, {"choices": [{"a": 1}]}, {"choices": []}],
)
def test_a_form_that_is_none_is_refused(options):
    kind = next(iter(options))
    with pytest.raises(om.InvalidRequest, match=f"{kind}: "):
        om.Model("echo:").chat("hi", **options)
