"""Grammars of answers: patterns, numbers and schemas mean what they say, or are refused with the reason."""

from __future__ import annotations

import json
import re
import time
from decimal import Decimal

import pytest
from hypothesis import given, strategies as st

import openmodels as om
from openmodels.output.grammar import numbers, regex
from openmodels.output.grammar.expression import NEVER, Rule, any_text_except, in_json, text
from openmodels.output.grammar.json_schema import from_schema
from openmodels.output.grammar.notation import gbnf, lark, regular_expression, write_grammar
from openmodels.output.grammar.validation import Validator, matcher
from openmodels.types.request import ResponseFormat


def matches(expression, value):
    return expression != NEVER and re.fullmatch(python(regular_expression(expression)), value) is not None


def python(pattern):
    """Write long escapes as Python reads them."""
    return re.sub(r"\\u\{([0-9a-f]+)\}", lambda item: f"\\U{int(item[1], 16):08x}", pattern)


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        (r"\d{2}-\w", ["07-_", "99-Z"], ["٠٧-a", "07-é", "7-a"]),
        (r"a\sb", ["a b", "a\tb"], ["a\u00a0b", "ab"]),
        (r"[^\s]\S", ["xy"], ["x\u2003", " x"]),
        (r"^(ab|c)+?$", ["abc", "cab"], ["", "abd"]),
        (r"^x$|^yz$", ["x", "yz"], ["xyz"]),
        (r"(?i)straße", ["STRAßE", "straße"], ["strasse"]),
        (r"(?s).\.", ["\n."], ["\n,"]),
        (r".", ["é", "\U0001f680"], ["\n", "\u2028"]),
        (r"\p{Lu}\P{L}", ["Ä7"], ["ä7", "ÄÄ"]),
        (r"\u00e9\x41\u{1F680}\t", ["éA\U0001f680\t"], ["éA"]),
        (r"[a\-\]^]{3,}", ["a-]", "^^^^"], ["aa", "b--"]),
        (r"a{,}b{x", ["a{,}b{x"], ["ab"]),
        (r"(?P<year>[0-9]{4})(?:/(?<m>1[0-2]|[1-9]))?", ["1999", "2024/12"], ["2024/13"]),
    ],
)
def test_a_pattern_means_what_it_says(pattern, yes, no):
    check = matcher(pattern)
    assert [check(value) for value in (*yes, *no)] == [True] * len(yes) + [False] * len(no)
    anywhere = regex.search(pattern)
    assert all(matches(anywhere, value) for value in yes)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (r"\bx", "word boundaries"),
        (r"(?!x)y", "look-around"),
        (r"(?<=x)y", "look-around"),
        (r"(x)\1", "references"),
        (r"(?P<n>x)(?P=n)", "of this kind"),
        (r"x++", "possessive"),
        (r"(?m)x", "flag 'm'"),
        (r"a^b", "middle"),
        (r"x{,3}", "different engines"),
        (r"[]x]", "escape the bracket"),
        (r"[[:digit:]]", "write the ranges"),
        (r"x{9,2}", "allows nothing"),
        (r"(x", "not closed"),
        (r"x)", "no opening"),
        (r"*x", "nothing to repeat"),
        (r"\ud83d", "surrogate"),
        (r"\p{Nonsense}", "not known"),
        ("(" * 400 + "x" + ")" * 400, "deep"),
        ("x" * 20_000, "10,000"),
        ("((x{90}){90}){90}", "50,000"),
        ("x{9999999999}", "50,000"),
    ],
)
def test_a_pattern_without_a_grammar_is_refused_with_the_reason(pattern, reason):
    with pytest.raises(om.InvalidRequest, match=f"pattern: .*({reason})"):
        om.Model("echo:").chat("x", pattern=pattern)
    if len(pattern) < 100:
        output = ResponseFormat(kind="schema", json_schema={"type": "string", "pattern": pattern})
        with pytest.raises(om.UnsupportedFeature, match=r"'some engine'.*pattern"):
            write_grammar(output, "lark", "some engine")


@pytest.mark.parametrize("pattern", ["(b|b?)+c", "(b*)*c", "(b|bb)+c$", "([a-z]+)+[0-9]"])
def test_matching_takes_linear_time(pattern):
    began = time.process_time()
    assert not matcher(pattern)("b" * 4_000)
    assert Validator({"pattern": pattern}).find_errors("b" * 4_000)
    assert time.process_time() - began < 2


WHOLE = st.integers(-(10**22), 10**22) | st.integers(-1200, 1200)


@given(WHOLE, st.integers(0, 10**21) | st.integers(0, 3000), WHOLE)
def test_whole_numbers_between_limits(low, width, value):
    expression = numbers.build_integer(low, low + width)
    for number in (value, low, low + width, low - 1, low + width + 1):
        assert matches(expression, str(number)) == (low <= number <= low + width)
    assert not matches(expression, "-0")
    assert not matches(expression, f"0{low + width}")


@given(st.integers(-900, 900), st.integers(0, 900), st.sampled_from([3, 8, 25, 60, 500]))
def test_multiples_between_limits(low, width, step):
    expression = numbers.build_integer(low, low + width, step)
    for number in range(low - 2, low + width + 3):
        inside = low <= number <= low + width and number % step == 0
        assert matches(expression, str(number)) == inside


@given(st.decimals(-2000, 2000, places=3), st.decimals(0, 30, places=2), st.decimals(-2000, 2000, places=2))
def test_numbers_between_limits(low, width, value):
    expression = numbers.build_decimal(low, low + width, above=True, below=False)
    for number in (value, low, low + width, low + Decimal("0.001"), low + width + Decimal("0.001")):
        if matches(expression, str(number)):
            assert low < number <= low + width
    if width:
        assert matches(expression, str(low + width))


def test_limits_of_many_digits_are_moved_inwards():
    assert matches(numbers.build_integer(10**50, None), str(7 * 10**50))
    assert not matches(numbers.build_integer(10**50, None), str(10**50 - 1))
    expression = numbers.build_decimal(None, Decimal("1e308"), above=False, below=True)
    assert matches(expression, "123456789.5")
    assert matches(numbers.build_decimal(Decimal(0), Decimal("1e-7"), above=True, below=False), "0.00000004")


@given(st.lists(st.text('ab"\\\n😀', max_size=3), max_size=4, unique=True), st.text('ab"\\\n😀', max_size=4))
def test_texts_but_some(words, value):
    if "" in words or words:
        assert matches(any_text_except(words), value) == (value not in words)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=8))
def test_a_text_is_written_as_json_writes_it(value):
    assert matches(in_json(text(value)), om_json(value))


def om_json(value):
    return json.dumps(value, ensure_ascii=False)[1:-1]


REFUSED = {
    "uniqueItems": {"type": "array", "items": {"type": "integer"}, "uniqueItems": True},
    "oneOf": {"oneOf": [{"type": "string", "maxLength": 5}, {"type": "string", "minLength": 4}]},
    "not": {"type": "integer", "not": {"multipleOf": 3}},
    "if": {"type": "object", "if": {"required": ["a"]}, "then": {"required": ["b"]}},
    "contains": {"type": "array", "items": {"type": "integer"}, "contains": {"const": 7}, "maxItems": 9},
    "minProperties": {"type": "object", "additionalProperties": {"type": "null"}, "minProperties": 2},
    "multipleOf": {"type": "integer", "multipleOf": 13},
    "patternProperties": {"type": "object", "patternProperties": {"^a": {}, "b$": {"type": "null"}}},
    r"\$dynamicRef": {"$dynamicRef": "#node"},
    r"\$ref": {"$ref": "https://example.org/schema.json"},
    "contentSchema": {
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": {"type": "array", "items": {"$ref": "#/properties/x"}},
        "properties": {"x": {"type": "array", "items": {"$ref": "#/properties/x"}}},
    },
}


@pytest.mark.parametrize("keyword", REFUSED)
def test_a_keyword_without_a_grammar_is_named_with_the_engine(keyword):
    output = ResponseFormat(kind="schema", json_schema=REFUSED[keyword])
    with pytest.raises(om.UnsupportedFeature, match=f"'some engine'.*{keyword}: "):
        write_grammar(output, "gbnf", "some engine")


def test_what_only_one_notation_can_say():
    schema = {"type": "string", "pattern": "^([a-z]{2}-)+$", "maxLength": 20}
    assert "&" in lark(from_schema(schema))
    with pytest.raises(om.UnsupportedFeature, match="maxLength"):
        gbnf(from_schema(schema), "other")
    bounded = {"type": "string", "pattern": "^x[0-9]+$", "maxLength": 5, "minLength": 3}
    assert "{2,4}" in gbnf(from_schema(bounded), "other")


def test_a_closed_part_does_not_see_what_its_neighbours_list():
    closed = [
        {"properties": {"a": {"enum": [1]}}, "unevaluatedProperties": False},
        {"properties": {"b": {"enum": [2]}}},
    ]
    grammar = from_schema({"type": "object", "allOf": closed})
    assert matches(grammar.start, '{"a":1}')
    assert not matches(grammar.start, '{"a":1,"b":2}')
    listed = [{"items": {"enum": ["a", "b"]}}, {"prefixItems": [True], "unevaluatedItems": False}]
    grammar = from_schema({"type": "array", "allOf": listed})
    assert matches(grammar.start, '["b"]')
    assert not matches(grammar.start, '["b","a"]')


@pytest.mark.parametrize(
    "demand", [{"dependentRequired": {"a": ["b"]}}, {"dependentSchemas": {"a": {"minProperties": 2}}}]
)
def test_a_free_name_that_demands_more_is_not_written(demand):
    grammar = from_schema({"type": "object", "additionalProperties": {"enum": [1]}, **demand})
    (body,) = {grammar.start, *grammar.rules.values()} - {Rule(each) for each in grammar.rules}
    assert matches(body, '{"c":1}')
    assert not matches(body, '{"a":1}')
    assert not matches(body, '{"c":1,"a":1}')


@pytest.mark.parametrize(
    "parts",
    [
        [{"prefixItems": [{"enum": ["a", 7]}]}, {"items": {"type": "string"}}],
        [
            {"prefixItems": [{"enum": ["a", 7]}], "items": {"type": "string"}},
            {"prefixItems": [{"enum": ["a"]}, {"minLength": 2}]},
        ],
        [{"items": {"type": "string"}}, {"items": [{"enum": ["a", 7]}], "additionalItems": {"const": "bc"}}],
    ],
)
def test_items_of_one_part_hold_for_the_first_items_of_another(parts):
    schema = {"allOf": [{"type": "array", "minItems": 2, "maxItems": 2}, *parts]}
    grammar = from_schema(schema)
    assert not grammar.rules
    for value in ('["a","bc"]', '["a",7]', '[7,"bc"]', "[7,7]"):
        assert matches(grammar.start, value) == (value == '["a","bc"]'), value


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "minimum": 5, "maximum": 4},
        {"enum": [1, 2], "type": "string"},
        {"allOf": [{"type": "string"}, {"type": "boolean"}]},
        {"type": "object", "properties": {"a": False}, "required": ["a"]},
        {"type": "string", "pattern": "^[a-z]{9}$", "maxLength": 3},
    ],
)
def test_a_schema_without_an_answer_is_refused(schema):
    with pytest.raises(om.InvalidRequest, match="no answer satisfies"):
        from_schema(schema)


def chain(count):
    """Return a schema whose every definition refers to the next one twice."""
    defs = {}
    for place in range(count):
        following = {"$ref": f"#/$defs/n{place + 1}"}
        defs[f"n{place}"] = {"oneOf": [following, {"not": following}]}
    return {"$ref": "#/$defs/n0", "$defs": {**defs, f"n{count}": {"type": "boolean"}}}


def nested(count):
    schema = {"type": "null"}
    for _ in range(count):
        schema = {"type": "object", "properties": {"k": schema}}
    return schema


@pytest.mark.parametrize(
    ("schema", "limit"),
    [(chain(30), "100,000"), (nested(3_000), "200"), ({"enum": list(range(300_000))}, "200,000")],
)
def test_limits_are_checked_before_the_act(schema, limit):
    began = time.process_time()
    with pytest.raises(om.InvalidRequest, match=f"schema: .*{limit}"):
        om.Model("echo:").chat("{}", schema=schema)
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("schema", "limit"),
    [
        ({"type": "array", "items": {"type": "integer"}, "minItems": 10**7}, "500,000"),
        ({"type": "string", "minLength": 10**8}, "500,000"),
        ({"enum": [f"v{place}" for place in range(30_000)]}, "20,000"),
    ],
)
def test_grammars_have_limits(schema, limit):
    with pytest.raises(om.InvalidRequest, match=limit):
        from_schema(schema)


def test_many_references_are_translated_once():
    alike = {f"d{place}": {"anyOf": [{"$ref": f"#/$defs/d{place + 1}"}, {"type": "null"}]} for place in range(40)}
    schema = {"$ref": "#/$defs/d0", "$defs": {**alike, "d40": {"type": "boolean"}}}
    assert len(gbnf(from_schema(schema), "any")) < 2_000


def test_a_costly_schema_is_still_checked():
    branches = [{"type": "object", "properties": {"a": {"const": place}}, "required": ["a"]} for place in range(1_500)]
    with pytest.raises(om.OutputInvalid, match="does not satisfy the schema"):
        om.Model("echo:").chat('{"a": -1}', schema={"anyOf": branches})
    assert om.Model("echo:").chat('{"a": 70}', schema={"anyOf": branches}).parsed == {"a": 70}
