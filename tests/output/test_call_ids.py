"""Ids of tool calls: each once, and in the receiver's form."""

from __future__ import annotations

import pytest

from openmodels.output import call_ids
from openmodels.types.messages import Message, ToolCall


def conversation(*ids, answers=None):
    """Return a conversation with one call of each id and its result."""
    turns = [Message(role="user", content="x")]
    for number, identity in enumerate(ids):
        call = ToolCall(id=identity, name="f", arguments={}, raw="{}")
        turns.append(Message(role="assistant", tool_calls=(call,)))
        turns.append(Message(role="tool", content=str(number), tool_call_id=identity))
    return turns


@pytest.mark.parametrize("model", ["mistral-large-latest", "mistralai/Ministral-8B", "open-mixtral-8x7b"])
def test_models_of_mistral_take_nine_letters_or_digits(model):
    read = call_ids.rewrite_ids(
        conversation("call_abcdefghijklmnop", "functions.f:1", "", "A1b2C3d4E"), call_ids.find_id_format(model)
    )
    ids = [call.id for turn in read for call in turn.tool_calls]
    assert all(len(identity) == 9 and identity.isalnum() for identity in ids)
    assert len(set(ids)) == 4
    assert ids[3] == "A1b2C3d4E"
    assert ids == [turn.tool_call_id for turn in read if turn.role == "tool"]


def test_an_id_that_fits_stays():
    turns = conversation("call_1", "toolu_01-X")
    assert call_ids.rewrite_ids(turns, "general") == tuple(turns)


def test_the_same_id_twice_becomes_two_in_the_order_of_the_results():
    twice = tuple(ToolCall(id="c", name=name, arguments={}, raw="{}") for name in "ab")
    turns = [Message(role="assistant", tool_calls=twice)]
    turns += [Message(role="tool", content=name, tool_call_id="c") for name in "ab"]
    read = call_ids.rewrite_ids([*turns, *turns], "general")
    calls = [call.id for turn in read for call in turn.tool_calls]
    assert len(set(calls)) == 4
    assert [turn.tool_call_id for turn in read if turn.role == "tool"] == calls


def test_a_conversation_is_written_the_same_way_each_time():
    turns = conversation("functions.f:0", "x" * 99)
    assert call_ids.rewrite_ids(turns, "nine") == call_ids.rewrite_ids(turns, "nine")
    assert call_ids.rewrite_ids(turns, call_ids.find_id_format("moonshotai/Kimi-K2")) == tuple(turns)
