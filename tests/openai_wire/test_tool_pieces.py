"""Tool calls as servers send them: whole or in pieces, with or without ids and indexes."""

from __future__ import annotations

from typing import Any

import pytest

from openmodels.openai_wire.choices import ChoiceDecoder, ToolCallAssembler

BARE = {"function": {"name": "stop", "arguments": ""}}
EMPTY = {"function": {"name": "stop", "arguments": "{}"}}
OBJECT = {"id": "", "function": {"name": "stop", "arguments": {}}}


def _calls(*deltas: list[dict[str, Any]], whole: bool = False) -> list[tuple[str, dict[str, Any] | None]]:
    assembler = ToolCallAssembler()
    for pieces in deltas:
        assembler.add(pieces, is_message=whole)
    calls = assembler.calls()
    assert len({call.id for call in calls}) == len(calls)
    assert all(call.id for call in calls)
    return [(call.name, call.arguments) for call in calls]


@pytest.mark.parametrize("call", [BARE, EMPTY, OBJECT], ids=["bare", "empty", "object"])
def test_the_same_call_twice_stays_two(call: dict[str, Any]) -> None:
    assert _calls([call, call], whole=True) == [("stop", {})] * 2
    assert _calls([call, call]) == [("stop", {})] * 2
    assert _calls([call], [call]) == [("stop", {})] * 2


def test_the_same_id_twice_becomes_two_ids() -> None:
    first = {"index": 0, "id": "call_0", "function": {"name": "a", "arguments": "{}"}}
    second = {"index": 1, "id": "call_0", "function": {"name": "b", "arguments": "{}"}}
    assert _calls([first], [second]) == [("a", {}), ("b", {})]
    assert _calls([first, second], whole=True) == [("a", {}), ("b", {})]


def test_pieces_without_an_index_continue_the_last_call() -> None:
    pieces = [[BARE], [{"function": {"arguments": '{"x"'}}], [{"function": {"arguments": ": 1}"}}], [BARE]]
    assert _calls(*pieces) == [("stop", {"x": 1}), ("stop", {})]


@pytest.mark.parametrize("arguments", ["null", "", "{}", {}, None, '"{}"', "[]"])
def test_no_arguments_however_they_are_written(arguments: Any) -> None:
    assert _calls([{"id": "1", "function": {"name": "f", "arguments": arguments}}]) == [("f", {})]


def test_the_form_before_tool_calls() -> None:
    choice = ChoiceDecoder(0)
    choice.feed({"delta": {"function_call": {"name": "f", "arguments": '{"a": '}}}, "delta")
    choice.feed({"delta": {"function_call": {"arguments": "2}"}}, "finish_reason": "function_call"}, "delta")
    assert [(call.name, call.arguments) for call in choice.finish().tool_calls] == [("f", {"a": 2})]


@pytest.mark.parametrize(
    ("content", "text", "reasoning"),
    [
        ([], "", ""),
        (
            [{"type": "thinking", "thinking": [{"type": "text", "text": "so"}]}, {"type": "text", "text": "4"}],
            "4",
            "so",
        ),
        ([{"type": "reasoning", "text": "so"}, {"type": "output_text", "text": "4"}], "4", "so"),
        ([{"type": "refusal", "refusal": "No."}], "No.", ""),
        ([{"type": "reference", "reference_ids": [1]}, "4"], "4", ""),
        ("4", "4", ""),
    ],
)
@pytest.mark.parametrize("key", ["message", "delta"])
def test_contents_of_parts(content: Any, text: str, reasoning: str, key: str) -> None:
    delta = ChoiceDecoder(0).feed({key: {"content": content}}, key)
    assert (delta.text, delta.reasoning) == (text, reasoning) if delta else not text + reasoning


def test_reasoning_under_each_of_its_names() -> None:
    for name in ("reasoning", "reasoning_content", "reasoning_text", "thinking"):
        choice = ChoiceDecoder(0)
        assert choice.feed({"message": {"content": None, name: "so"}}, "message").reasoning == "so"
        assert choice.reasoning_field == name
