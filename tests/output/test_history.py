"""Conversations as OpenAI's API and client hold them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

import openmodels as om
from openmodels.core import request
from openmodels.output import history
from openmodels.types.messages import Message, read_arguments

CALL = {"id": "call_7", "type": "function", "function": {"name": "weather", "arguments": '{"town": "Bern"}'}}


class Dumped(SimpleNamespace):
    """An object of another client, which pydantic's method turns into a dict."""

    def model_dump(self):
        return dict(vars(self))


def test_calls_and_results_of_the_api_are_read():
    turn = {
        "role": "assistant",
        "content": None,
        "tool_calls": [CALL],
        "refusal": None,
        "audio": None,
        "annotations": [],
    }
    turns = request.read_messages(["Weather?", turn, {"role": "tool", "tool_call_id": "call_7", "content": "rain"}])
    assert turns[1].tool_calls[0].arguments == {"town": "Bern"}
    assert turns[2] == Message(role="tool", content="rain", tool_call_id="call_7")


def test_objects_of_another_client_are_read():
    call = Dumped(id="c", type="function", function=Dumped(name="f", arguments="", parsed_arguments=None))
    for turn in (
        Dumped(role="assistant", content=None, tool_calls=[call]),
        {"role": "assistant", "tool_calls": [call]},
    ):
        assert request.read_messages(["Hi", turn])[1].tool_calls[0].name == "f"


@pytest.mark.parametrize(
    ("turn", "role", "content"),
    [
        ({"role": "developer", "content": "Brief."}, "system", "Brief."),
        (
            {"role": "system", "content": [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}]},
            "system",
            "A\nB",
        ),
        ({"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}, "user", "Hi"),
        ({"role": "assistant", "content": [{"type": "output_text", "text": "a", "annotations": []}]}, "assistant", "a"),
        ({"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}, "assistant", "No."),
        ({"role": "assistant", "content": None, "refusal": "I cannot."}, "assistant", "I cannot."),
        ({"type": "message", "id": "msg_1", "status": "completed", "role": "user", "content": "x"}, "user", "x"),
    ],
)
def test_roles_and_parts(turn, role, content):
    (message,) = request.read_messages([turn])
    assert (message.role, message.content) == (role, content)


def test_reasoning_is_kept_under_each_of_its_names():
    for name in ("reasoning", "reasoning_content", "reasoning_text", "thinking"):
        assert request.read_messages([{"role": "assistant", "content": "4", name: "2+2"}])[0].reasoning == "2+2"
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "2+2"}]}, {"type": "text", "text": "4"}]
    (message,) = request.read_messages([{"role": "assistant", "content": parts}])
    assert (message.reasoning, message.text) == ("2+2", "4")


def test_the_form_before_tool_calls_is_read():
    turns = [
        "Time?",
        {"role": "assistant", "content": None, "function_call": {"name": "now", "arguments": "{}"}},
        {"role": "function", "name": "now", "content": "12"},
    ]
    _, calling, answering = request.read_messages(turns)
    assert calling.tool_calls[0].id == answering.tool_call_id


def test_results_without_ids_answer_the_calls_in_their_order():
    calls = [{"function": {"name": name, "arguments": {}}} for name in ("a", "b", "a")]
    results = [
        {"role": "tool", "content": "1"},
        {"role": "tool", "tool_name": "a", "content": "3"},
        {"role": "tool", "content": "2"},
    ]
    _, asked, *answered = request.read_messages(["x", {"role": "assistant", "tool_calls": calls}, *results])
    ids = [call.id for call in asked.tool_calls]
    assert len(set(ids)) == 3
    assert [turn.tool_call_id for turn in answered] == [ids[0], ids[2], ids[1]]


@pytest.mark.parametrize(
    ("turn", "name"),
    [
        ({"role": "assistant", "content": "x", "audio": {"id": "a1"}}, "audio"),
        ({"role": "user", "content": "x", "cache_control": {"type": "ephemeral"}}, "cache_control"),
        ({"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {"type": "e"}}]}, "cache_control"),
        ({"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "x"}}]}, "input_audio"),
        ({"role": "assistant", "tool_calls": [{"id": "1", "type": "custom", "custom": {"name": "f"}}]}, "custom"),
        ({"role": "assistant", "content": "x", "prefix": True}, "prefix"),
    ],
)
def test_a_field_with_a_meaning_is_refused_by_its_name(turn, name):
    with pytest.raises(om.InvalidRequest, match=rf"messages\[0\].*{name}"):
        request.read_messages([turn])


def test_messages_of_ours_are_left_alone():
    message = om.user("x")
    assert history.read_turns([message]) == (message,)
    assert request.read_messages([Message.model_validate(message.model_dump())]) == (message,)


@pytest.mark.parametrize(
    ("written", "arguments"),
    [
        (None, {}),
        ("", {}),
        (" null ", {}),
        ("{}", {}),
        ({"a": 1}, {"a": 1}),
        ('{"a": 1}', {"a": 1}),
        ('"{\\"a\\": 1}"', {"a": 1}),
        ('"null"', {}),
        ("[]", {}),
        ("[1]", None),
        ('"word"', None),
        ('{"a": ', None),
        (7, None),
    ],
)
def test_arguments_are_read_as_servers_write_them(written, arguments):
    assert read_arguments(written) == arguments
