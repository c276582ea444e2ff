"""The parsers of tool calls: canitoolcall's fixtures, split anywhere, and text that no model should write."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
from canitoolcall.fixtures import load_families, load_fixtures
from canitoolcall.results import Status
from hypothesis import given, strategies as st

from openmodels.output.tool_formats import detect, values
from openmodels.output.tool_formats.brackets import Llama, Mistral, Pythonic
from openmodels.output.tool_formats.channels import Harmony, KimiK3
from openmodels.output.tool_formats.gemma import FunctionGemma, Gemma
from openmodels.output.tool_formats.parser import ParsedChunk
from openmodels.output.tool_formats.sections import DeepSeekDsml, DeepSeekV3, DeepSeekV31, KimiK2
from openmodels.output.tool_formats.tags import Glm, Hermes, QwenXml
from openmodels.types.request import ToolSpec

_SPEC = importlib.util.spec_from_file_location("benchmark_tools", Path(__file__).parents[2] / "benchmarks" / "tools.py")
benchmark = importlib.util.module_from_spec(_SPEC)
sys.modules[_SPEC.name] = benchmark
_SPEC.loader.exec_module(benchmark)

FAMILIES, FIXTURES = load_families(), load_fixtures()
FLOORS = {
    "deepseek": 85,
    "gemma4": 47,
    "glm": 51,
    "gpt-oss": 51,
    "kimi": 49,
    "llama": 34,
    "mistral": 47,
    "qwen3-hermes": 50,
    "qwen3-xml": 54,
}
"""Fixtures that are fully right. The one that is not contradicts another one of Gemma's about a space."""

PARSERS = [
    DeepSeekDsml,
    DeepSeekV3,
    DeepSeekV31,
    FunctionGemma,
    Gemma,
    Glm,
    Harmony,
    Hermes,
    KimiK2,
    KimiK3,
    Llama,
    Mistral,
    Pythonic,
    QwenXml,
]

WEATHER = ToolSpec(
    name="weather",
    parameters={"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
)


def read(parser, *pieces, prompt=""):
    """What a parser makes of a text that comes in pieces, as comparable data."""
    reader = parser([WEATHER], prompt)
    whole = sum([*(reader.feed(piece) for piece in pieces), reader.finish()], ParsedChunk())
    return whole.text, whole.reasoning, [(call.name, call.arguments) for call in whole.calls], list(whole.broken)


@pytest.mark.parametrize("family", FAMILIES)
def test_fixtures_are_fully_right(family):
    chosen = [fixture for fixture in FIXTURES if fixture.family == family]
    right = [f.id for f in chosen if benchmark.judge(f, FAMILIES[family])[1] is Status.PASS]
    assert len(right) >= FLOORS[family], sorted({f.id for f in chosen} - set(right))


@given(st.data())
def test_fixtures_split_anywhere_give_the_same(data):
    fixture = data.draw(st.sampled_from(FIXTURES))
    text = fixture.raw_output[:2000]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    groups = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    family = FAMILIES[fixture.family]
    assert benchmark.parse(fixture, family, groups) == benchmark.parse(fixture, family, [text])


@pytest.mark.parametrize("parser", PARSERS)
@given(data=st.data())
def test_any_text_is_read_without_a_crash_and_the_same_however_it_is_split(parser, data):
    scraps = [
        *parser.markers(),
        '{"name": "weather", "arguments": {"city": "x"}}',
        "{",
        "}",
        '"',
        "\\",
        "[weather(",
        ")]",
    ]
    scraps += [
        "<function=",
        "<parameter=city>",
        "</function>",
        ">",
        "<arg_key>",
        "</arg_value>",
        " ",
        "\n",
        "weather",
        "é",
    ]
    scraps += ["to=functions.weather", "call:weather", "call", "argument ", '="', 'name="', "```json\n", ":", "[ARGS]"]
    parts = data.draw(st.lists(st.sampled_from(scraps), max_size=14))
    text = "".join(parts)
    assert read(parser, text) == read(parser, *parts) == read(parser, *text)


@pytest.mark.parametrize(
    ("parser", "text"),
    [
        (Hermes, '<tool_call>{"name": "weather", "arguments": {"city": "Par'),
        (Hermes, "<tool_call>not JSON</tool_call>"),
        (Hermes, '<tool_call>{"name": "weather", "arguments": {"city": "}}</tool_call>'),
        (QwenXml, "<tool_call><function=weather><parameter=city>Par"),
        (Glm, "<tool_call>weather<arg_key>city</arg_key><arg_value>Par"),
        (Mistral, '[TOOL_CALLS]weather[ARGS]{"city": "Par'),
        (Llama, '<|python_tag|>{"name": "weather", "parameters": {'),
        (Llama, '{"name": "weather", "parameters": {"city": "Par'),
        (Pythonic, "[weather(city='Par"),
        (Pythonic, "[weather(city=open('x'))]"),
        (Harmony, '<|channel|>commentary to=functions.weather<|message|>{"city": "Par'),
        (KimiK2, '<|tool_call_begin|>functions.weather:0<|tool_call_argument_begin|>{"city": "Par'),
        (KimiK3, '<|open|>call tool="weather" index="1"<|sep|><|open|>argument key="city" type="string"<|sep|>Par'),
        (DeepSeekV31, '<｜tool▁call▁begin｜>weather<｜tool▁sep｜>{"city": "Par'),
        (DeepSeekDsml, '<｜DSML｜invoke name="weather">\n<｜DSML｜parameter name="city" string="true">Par'),
        (Gemma, '<|tool_call>call:weather{city:<|"|>Par'),
        (FunctionGemma, "<start_function_call>call:weather{city:<escape>Par"),
    ],
)
def test_a_cut_or_malformed_call_is_a_finding(parser, text):
    said, reasoning, calls, broken = read(parser, "Well. " + text if parser not in {Llama, Pythonic, Harmony} else text)
    assert (reasoning, calls) == ("", [])
    assert "weather" not in said
    assert len(broken) == 1
    assert broken[0] in text or text.endswith(broken[0]) or "weather" in broken[0]


def test_nothing_is_evaluated():
    assert read(Pythonic, "[weather(city=__import__('os').getcwd())]")[2:] == (
        [],
        ["[weather(city=__import__('os').getcwd())]"],
    )


def test_reasoning_that_the_prompt_opened():
    assert read(Hermes, "Hm.</think>Yes.", prompt="<|im_start|>assistant\n<think>\n")[:2] == ("Yes.", "Hm.")
    assert read(Hermes, "Yes.", prompt="<|im_start|>assistant\n<think>\n\n</think>\n\n")[:2] == ("Yes.", "")


def test_olmo_writes_a_call_a_line():
    text = "<function_calls>\nweather(city='Paris')\nweather(city='Rome', days=2)\n</function_calls>"
    assert read(Pythonic, text) == (
        "",
        "",
        [("weather", {"city": "Paris"}), ("weather", {"city": "Rome", "days": 2})],
        [],
    )


def test_function_gemma():
    text = "<start_function_call>call:weather{city:<escape>Paris<escape>,days:2}<end_function_call>"
    assert read(FunctionGemma, text)[2] == [("weather", {"city": "Paris", "days": 2})]


def test_ids_suit_every_template():
    reader = Hermes()
    calls = reader.feed('<tool_call>{"name": "a"}</tool_call><tool_call>{"name": "a"}</tool_call>').calls
    assert len({call.id for call in calls}) == 2
    assert all(len(call.id) == 9 and call.id.isalnum() for call in calls)


@pytest.mark.parametrize(
    ("text", "schema", "value"),
    [
        ("3", {"type": "integer"}, 3),
        ("3.0", {"type": "integer"}, 3),
        ("3.5", {"type": "integer"}, "3.5"),
        ("3", {"type": "string"}, "3"),
        ("True", {"type": "boolean"}, True),
        ("null", {"anyOf": [{"type": "string"}, {"type": "null"}]}, None),
        ("null", {"type": "string"}, "null"),
        ("{'a': 1}", {"type": "object"}, {"a": 1}),
        ("[1", {"type": "array"}, "[1"),
        ("NaN", {"type": "number"}, "NaN"),
        ("7", {"enum": [1, 7]}, 7),
        ("7", {"enum": ["1", "7"]}, "7"),
        ("[" * 5000, {"type": "array"}, "[" * 5000),
    ],
)
def test_text_is_cast_to_what_the_schema_allows(text, schema, value):
    found = values.cast(text, schema)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("template", "parser"),
    [
        ('{{ \'<|python_tag|>\' }} Respond in the format {"name": function name, "parameters": …}', Llama),
        ("{{ '[TOOL_CALLS]' + call.function.name + '[ARGS]' }}", Mistral),
        ('within <tool_call></tool_call> XML tags:\n<tool_call>\n{"name": <function-name>}', Hermes),
        ("<tool_call>\n<function=example_function_name>\n<parameter=example_parameter_1>", QwenXml),
        ("<tool_call>{function-name}\n<arg_key>{arg-key-1}</arg_key>", Glm),
        ("[func_name1(params_name1=params_value1, params_name2=params_value2...), func_name2(params)]", Pythonic),
        ("{{ '<function_calls>' + call + '</function_calls>' }}", Pythonic),
        ("to=functions.{{ name }}<|channel|>commentary json<|message|>", Harmony),
        ("<|tool_call_begin|>{{ id }}<|tool_call_argument_begin|>", KimiK2),
        ('<|open|>message role="assistant"<|sep|>', KimiK3),
        ("'<｜tool▁call▁begin｜>' + tool['type'] + '<｜tool▁sep｜>' + name + '\\n' + '```json' + '\\n'", DeepSeekV3),
        ("'<｜tool▁call▁begin｜>'+ name + '<｜tool▁sep｜>' + arguments", DeepSeekV31),
        ("<｜DSML｜function_calls>", DeepSeekDsml),
        ("<|tool_call>call:", Gemma),
        ("<start_function_call>call:", FunctionGemma),
        ("<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>", None),
        ("", None),
    ],
)
def test_format_is_told_from_the_template(template, parser):
    assert detect.find_parser(template) is parser
