"""Answers of every engine keep their form: random ways through the grammars, and tiny random models."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import fractions
import ipaddress
import json
import random
import uuid
from decimal import Decimal
from functools import cache
from typing import Annotated, Literal, NamedTuple

import jsonschema_rs
import llguidance
import pydantic as p
import pytest
from llguidance.hf import from_tokenizer
from tiny import tiny_gguf, tiny_llama, tiny_tokenizer
from typing_extensions import TypedDict

import openmodels as om
from openmodels.output import structure
from openmodels.output.grammar.notation import write_grammar
from openmodels.types.reply import Reply
from openmodels.types.request import ResponseFormat

DIGIT = {"type": "integer", "minimum": 0, "maximum": 9}
NULL, FLAG = {"type": "null"}, {"type": "boolean"}
SCHEMAS = {
    "pattern with quotes": {"type": "string", "pattern": '^\\\\"[A-F]{3}"\\\\$'},
    "pattern in part": {"type": "string", "pattern": "^(?:x|y$)", "maxLength": 1},
    "pattern and length": {"type": "string", "pattern": "^(?:[0-9]{2}:)+$", "minLength": 5, "maxLength": 10},
    "pattern and format": {"type": "string", "format": "date", "pattern": "-0[1-3]-"},
    "length": {"type": "string", "minLength": 2, "maxLength": 4},
    "long": {"type": "string", "minLength": 1200, "maxLength": 1201},
    "minimum": {"type": "number", "minimum": -2.75, "maximum": 3},
    "exclusive": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.05},
    "exclusive as a flag": {
        "$schema": "http://json-schema.org/draft-04/schema#",
        "type": "integer",
        "minimum": 7,
        "exclusiveMinimum": True,
        "maximum": 11,
    },
    "64 bits": {"type": "integer", "minimum": -(2**63), "exclusiveMaximum": 2**63},
    "more bits": {"type": "integer", "exclusiveMinimum": 2**70},
    "huge": {"type": "number", "maximum": 1e308},
    "multiples": {"type": "integer", "multipleOf": 9, "minimum": -50, "maximum": 500},
    "round multiples": {"type": "integer", "multipleOf": 40, "minimum": 1},
    "decimal multiples": {"type": "number", "multipleOf": 0.25, "minimum": 0, "maximum": 9},
    "items": {"type": "array", "items": DIGIT, "minItems": 2, "maxItems": 3},
    "prefix items": {"type": "array", "prefixItems": [NULL, FLAG], "items": DIGIT, "minItems": 1, "maxItems": 4},
    "unique items": {"type": "array", "items": {"enum": ["p", "q", 3]}, "uniqueItems": True, "minItems": 2},
    "contains": {"type": "array", "items": {"enum": [5, 6]}, "contains": {"const": 6}},
    "optional": {"type": "object", "properties": {"a": NULL, "b": FLAG, "c": NULL}, "required": ["b"]},
    "counted": {
        "type": "object",
        "properties": {"a": NULL, "b": FLAG, "c": NULL},
        "minProperties": 2,
        "maxProperties": 2,
    },
    "map": {
        "type": "object",
        "additionalProperties": FLAG,
        "minProperties": 1,
        "propertyNames": {"pattern": "^[a-c]$"},
    },
    "others": {
        "type": "object",
        "properties": {"k": NULL, "kk": NULL},
        "required": ["k"],
        "additionalProperties": DIGIT,
        "propertyNames": {"pattern": "^k+$", "maxLength": 4},
    },
    "names by pattern": {"type": "object", "patternProperties": {"^n[0-9]$": NULL}, "additionalProperties": False},
    "listed names": {"type": "object", "propertyNames": {"enum": ["u", "v"]}, "additionalProperties": FLAG},
    "not": {"type": "string", "not": {"enum": ["", "x", "xy"]}, "pattern": "^[xy]*$", "maxLength": 3},
    "not a type": {"type": ["null", "boolean", "string"], "not": {"type": "string"}},
    "if": {
        "type": "object",
        "properties": {"kind": {"enum": ["n", "f"]}, "value": {"type": ["integer", "boolean"]}},
        "required": ["kind", "value"],
        "if": {"properties": {"kind": {"const": "n"}}},
        "then": {"properties": {"value": DIGIT}},
        "else": {"properties": {"value": FLAG}},
    },
    "dependent": {
        "type": "object",
        "properties": {"a": NULL, "b": {"type": ["null", "boolean"]}},
        "dependentRequired": {"a": ["b"]},
        "dependentSchemas": {"a": {"properties": {"b": FLAG}}},
    },
    "oneOf": {
        "oneOf": [
            {"type": "object", "properties": {"of": {"const": 1}, "x": NULL}, "required": ["of"]},
            {"type": "object", "properties": {"of": {"const": 2}, "y": NULL}, "required": ["of", "y"]},
        ]
    },
    "anyOf": {"type": "integer", "anyOf": [{"minimum": 2, "maximum": 4}, {"minimum": 40, "maximum": 41}]},
    "allOf": {
        "allOf": [
            {"type": "object", "properties": {"n": {"type": "integer", "minimum": 3}}, "required": ["n"]},
            {"properties": {"n": {"maximum": 5}, "m": NULL}, "required": ["m"]},
        ]
    },
    "const": {"const": {"\x7f": ['\x02"\\/', 0.5, None, "😀 𝔘"]}},
    "enum": {"enum": ["\t", "ß", 7, "\u2029", False, None, [1], {"z": 1}], "not": {"type": "null"}},
    "reference": {"properties": {"r": {"$ref": "#/$defs/n", "maximum": 6}}, "required": ["r"], "$defs": {"n": DIGIT}},
    "recursion": {
        "$ref": "#/$defs/t",
        "$defs": {
            "t": {
                "type": "object",
                "properties": {"f": FLAG, "sub": {"anyOf": [NULL, {"$ref": "#/$defs/t"}]}},
                "required": ["f", "sub"],
            }
        },
    },
    "unevaluated": {"allOf": [{"properties": {"a": NULL}}], "properties": {"b": NULL}, "unevaluatedProperties": False},
    **{
        name: {"type": "string", "format": name}
        for name in ("date", "time", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri")
    },
}


class Mixed(enum.Enum):
    ONE = 1
    TEXT = "t"
    HALF = 0.5
    NOTHING = None


class Pair(NamedTuple):
    left: bool
    right: Annotated[int, p.Field(gt=-3, lt=3)]


class Aliased(p.BaseModel):
    deep: bool = p.Field(validation_alias=p.AliasPath("outer", "inner"))
    other: bool = p.Field(validation_alias=p.AliasPath("outer", "other"))
    second: int = p.Field(validation_alias=p.AliasPath("row", 1), ge=0, lt=5)
    either: bool = p.Field(validation_alias=p.AliasChoices("this", "that"))


class Circle(p.BaseModel):
    shape: Literal["circle"]
    radius: Annotated[Decimal, p.Field(gt=0, max_digits=5, decimal_places=3)]


class Square(p.BaseModel):
    shape: Literal["square"]
    side: Annotated[float, p.Field(gt=0, le=1)]


class Drawing(p.BaseModel):
    parts: list[Annotated[Circle | Square, p.Field(discriminator="shape")]] = p.Field(max_length=2)


class Partly(TypedDict, total=False):
    when: dt.date
    who: uuid.UUID


@dataclasses.dataclass
class Plain:
    at: dt.datetime
    tags: set[Literal["a", "b", "c"]] = dataclasses.field(default_factory=set)


KINDS = [
    *(Mixed, Pair, Aliased, Drawing, Partly, Plain, Decimal, fractions.Fraction, complex, dt.time, dt.timedelta),
    Annotated[Decimal, p.Field(max_digits=4)],
    Annotated[Decimal, p.Field(multiple_of=Decimal("0.5"), ge=0, le=4)],
    Annotated[dt.date, p.Field(gt=dt.date(1999, 12, 30), lt=dt.date(2000, 1, 3))],
    Annotated[dt.date, p.Field(ge=dt.date(1950, 6, 1))],
    Annotated[dt.datetime, p.Field(lt=dt.datetime(1990, 1, 1, tzinfo=dt.UTC))],
    *(p.PastDate, p.FutureDate, p.PastDatetime, p.FutureDatetime, p.AwareDatetime, p.NaiveDatetime),
    *(dict[Literal["x", "y"], bool], dict[int, bool], dict[uuid.UUID, None], dict[dt.date, None], dict[bool, None]),
    Annotated[set[Literal[1, 2, 3]], p.Field(min_length=2)],
    *(p.UUID4, p.UUID7, p.HttpUrl, p.AnyUrl, p.FileUrl, p.RedisDsn, p.PostgresDsn, p.WebsocketUrl),
    *(p.Base64Bytes, p.Base64Str, p.Base64UrlBytes, p.Base64UrlStr, Annotated[bytes, p.Field(max_length=3)]),
    *(ipaddress.IPv4Address, ipaddress.IPv6Address, ipaddress.IPv4Network, ipaddress.IPv6Interface, p.IPvAnyAddress),
    p.constr(strip_whitespace=True, min_length=2, max_length=4),
    p.constr(strip_whitespace=True, to_lower=True, min_length=1, max_length=2),
    p.constr(to_upper=True, max_length=3),
    *(p.conint(multiple_of=11, gt=0, lt=100), p.conint(strict=True, ge=2**65), Annotated[float, p.Field(lt=1e300)]),
    *(p.Json, p.Json[list[bool]], Literal[True, "no"], int | bool | None, p.SecretStr),
]


@cache
def byte_tokens():
    tokenizer = tiny_tokenizer()
    return tokenizer, from_tokenizer(tokenizer, len(tokenizer), eos_token=[tokenizer.eos_token_id])


def walk(output, seed):
    """Return a text that a grammar allows, chosen at random; a long one is closed where it may be."""
    tokenizer, tokens = byte_tokens()
    matcher = llguidance.LLMatcher(tokens, write_grammar(output, "lark", "transformers"), log_level=0)
    assert not matcher.get_error()
    chance, chosen = random.Random(seed), []
    while not matcher.is_stopped():
        allowed = [token for token, is_allowed in enumerate(matcher.compute_logit_bias()) if is_allowed]
        ends = [token for token in allowed if tokenizer.decode([token]) in ('"', "]", "}", ",", "<|im_end|>")]
        token = chance.choice(ends if ends and len(chosen) > 60 else allowed)
        if token == tokenizer.eos_token_id:
            break
        chosen.append(token)
        matcher.consume_token(token)
    return tokenizer.decode(chosen)


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_way_through_a_grammar_satisfies_its_schema(name):
    schema = SCHEMAS[name]
    output = ResponseFormat(kind="schema", json_schema=schema)
    validator = jsonschema_rs.validator_for(schema, validate_formats=True)
    for seed in range(8):
        text = walk(output, seed)
        assert validator.is_valid(json.loads(text)), text


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_way_through_a_grammar_is_read_as_its_type(kind):
    shape = structure.make_validator({"schema": kind})
    for seed in range(8):
        reply = Reply(text=walk(shape.output, seed), finish_reason="stop")
        shape.check_reply(reply)


def test_a_tool_of_such_types_takes_every_call():
    def book(
        day: p.FutureDate, price: Annotated[Decimal, p.Field(gt=0, decimal_places=2)], seats: dict[int, bool]
    ) -> str:
        return f"{day} {price} {len(seats)}"

    tool = om.tool(book)
    output = ResponseFormat(kind="schema", json_schema=tool.spec.parameters)
    for seed in range(8):
        text = walk(output, seed)
        call = om.ToolCall(id="1", name="book", arguments=json.loads(text), raw=text)
        assert tool.run(call).error is None, text


CHOICES = [("😀", "🤖 ok"), ("\x7f", "\x1b[1m"), ('"', "\\n"), ("two\nlines", "tab\tstop"), ("[^a]", "a|b", "(")]


@pytest.fixture(scope="module")
def tiny_models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    with (
        om.Model(f"local:{tiny_llama(folder / 'llama')}", dtype="float32") as transformers,
        om.Model(f"local:{tiny_gguf(folder / 'tiny.gguf')}", engine="llamacpp") as llamacpp,
    ):
        yield {"transformers": transformers, "llamacpp": llamacpp}


@pytest.mark.weights
@pytest.mark.parametrize("engine", ["transformers", "llamacpp"])
class TestEngines:
    @pytest.mark.parametrize("choices", CHOICES, ids=ascii)
    def test_choices(self, tiny_models, engine, choices):
        for seed in range(3):
            assert tiny_models[engine].chat("?", choices=choices, temperature=1, seed=seed).parsed in choices

    @pytest.mark.parametrize("pattern", [r"\d{2}\.\d", r"(?i)ok+?", r"[^\s\w]{2}", r"^\"\p{Lu}\"$"])
    def test_patterns(self, tiny_models, engine, pattern):
        for seed in range(3):
            reply = tiny_models[engine].chat("?", pattern=pattern, temperature=1, seed=seed, max_tokens=60)
            assert reply.parsed == reply.text

    def test_schemas_are_kept_to_or_refused(self, tiny_models, engine):
        refused = []
        for name, schema in SCHEMAS.items():
            try:
                reply = tiny_models[engine].chat("?", schema=schema, temperature=1, seed=1, max_tokens=250)
                assert jsonschema_rs.is_valid(schema, reply.parsed, validate_formats=True)
            except om.UnsupportedFeature as error:
                refused.append(name)
                assert engine in str(error)
            except om.OutputInvalid as error:
                assert error.reply.finish_reason == "length", (name, error.reply.text)
        both_at_once = ["pattern in part", "pattern and length", "pattern and format", "others", "not"]
        assert refused == ([] if engine == "transformers" else both_at_once)

    def test_a_character_that_an_engine_cannot_write_is_refused(self, tiny_models, engine):
        if engine == "transformers":
            assert tiny_models[engine].chat("?", choices=["a\0b"]).parsed == "a\0b"
        else:
            with pytest.raises(om.UnsupportedFeature, match="choices: NUL"):
                tiny_models[engine].chat("?", choices=["a\0b"])


@pytest.mark.weights
@pytest.mark.parametrize("name", ["pattern with quotes", "minimum", "const", "counted", "if", "others in order"])
def test_openvino_keeps_to_schemas(openvino_smol, name):
    named = {"type": "object", "properties": {'"a"': NULL, "é😀": FLAG, "": DIGIT}, "required": ['"a"', "é😀", ""]}
    schema = SCHEMAS.get(name, named)
    for seed in range(2):
        reply = openvino_smol.chat("Give an example.", schema=schema, temperature=1, seed=seed, max_tokens=80)
        assert jsonschema_rs.is_valid(schema, reply.parsed)
