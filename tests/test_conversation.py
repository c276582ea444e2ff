"""Conversations: history grows by whole answers and by nothing else."""

from __future__ import annotations

import asyncio
import json
import os
import traceback

import pytest
from hypothesis import given, strategies as st

import openmodels as om
from openmodels.testing import SURFACES, Driver


def said(talk):
    return [(turn.role, turn.content) for turn in talk.messages]


@pytest.mark.parametrize("surface", SURFACES)
def test_history_grows_by_question_and_answer(surface):
    model = om.Model("echo:")
    talk = om.Conversation(model, system="be brief")
    say = Driver(talk, surface)
    assert say("one").reply.text == "one"
    assert say(om.user("two"), max_tokens=5).reply.text == "two"
    assert said(talk) == [("user", "one"), ("assistant", "one"), ("user", "two"), ("assistant", "two")]
    sent = [(turn.role, turn.content) for turn in model.backend.requests[-1].messages]
    assert sent == [("system", "be brief"), *said(talk)[:3]]
    assert model.backend.requests[-1].max_tokens == 5


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize(
    "failure", [om.ServerFailed("No.", retryable=False), LookupError("a bug"), KeyboardInterrupt()]
)
def test_failed_call_changes_nothing(surface, failure):
    talk = om.Conversation(om.Model("echo:", script=["one", ["half ", failure], "two"]))
    say = Driver(talk, surface)
    say("first")
    before = list(talk.messages)
    with pytest.raises(type(failure)):
        say("second")
    assert talk.messages == before
    say("second")
    assert said(talk)[2:] == [("user", "second"), ("assistant", "two")]


@pytest.mark.parametrize("surface", SURFACES)
def test_wrong_call_changes_nothing(surface):
    talk = om.Conversation(om.Model("echo:"))
    for content, options in (("", {}), (5, {}), ("\ud800", {}), ("x", {"temperature": -1}), ("x", {"tempo": 1})):
        with pytest.raises(om.InvalidRequest):
            Driver(talk, surface)(content, **options)
    assert talk.messages == []
    assert talk.model.backend.requests == []


@pytest.mark.parametrize("error", [None, LookupError("mine")])
def test_left_stream_changes_nothing(error):
    talk = om.Conversation(om.Model("echo:"))

    def leave():
        with talk.stream("one two three") as stream:
            next(stream)
            if error:
                raise error

    async def aleave():
        async with talk.astream("one two three") as stream:
            await anext(stream)
            if error:
                raise error

    for way in (leave, lambda: asyncio.run(aleave())):
        if error:
            with pytest.raises(LookupError):
                way()
        else:
            way()
    assert talk.messages == []
    assert talk.model.backend.closed == 2


def test_model_is_swapped_in_mid_talk():
    first, second = om.Model("echo:first"), om.Model("echo:second")
    talk = om.Conversation(first)
    talk.send("one")
    talk.model = second
    assert talk.send("two").model == "second"
    assert [turn.content for turn in second.backend.requests[0].messages] == ["one", "one", "two"]
    assert "echo:second" in repr(talk)
    assert "one" not in repr(talk)


def test_instruction_can_change_and_is_no_part_of_the_history():
    talk = om.Conversation(om.Model("echo:"), system="first")
    talk.send("one")
    talk.system = None
    talk.send("two")
    talk.system = "third"
    talk.send("three")
    starts = [request.messages[0] for request in talk.model.backend.requests]
    assert starts == [om.system("first"), om.user("one"), om.system("third")]
    assert all(turn.role != "system" for turn in talk.messages)


@pytest.mark.parametrize("system", ["", 5, "\ud800", ["x"]])
def test_wrong_instruction_is_an_invalid_request(system):
    with pytest.raises(om.InvalidRequest, match=r"messages\[0\]"):
        om.Conversation(om.Model("echo:"), system=system).send("one")


@pytest.mark.parametrize("surface", SURFACES)
def test_empty_answer_changes_nothing(surface):
    talk = om.Conversation(om.Model("echo:", script=[[om.Delta(finish_reason="stop")], "two"]))
    say = Driver(talk, surface)
    assert say("one").reply.text == ""
    assert talk.messages == []
    say("again")
    assert said(talk) == [("user", "again"), ("assistant", "two")]


@given(
    system=st.none() | st.text(st.characters(codec="utf-8"), min_size=1),
    turns=st.lists(st.text(st.characters(codec="utf-8"), min_size=1), max_size=4),
)
def test_saved_talk_comes_back(tmp_path_factory, system, turns):
    path = tmp_path_factory.mktemp("talk") / "talk.json"
    talk = om.Conversation(om.Model("echo:"), system=system)
    for turn in turns:
        talk.send(turn)
    talk.save(path)
    again = om.Conversation.restore(path, talk.model)
    assert again.system == system
    assert again.messages == talk.messages


def test_tool_calls_come_back(tmp_path):
    call = om.ToolCall(id="1", name="f", arguments={"x": 1}, raw='{"x": 1}')
    talk = om.Conversation(om.Model("echo:"))
    talk.messages = [
        om.user("x"),
        om.Message(role="assistant", tool_calls=(call,)),
        om.Message(role="tool", tool_call_id="1"),
    ]
    talk.save(tmp_path / "talk.json")
    assert om.Conversation.restore(tmp_path / "talk.json", talk.model).messages == talk.messages


def test_what_cannot_be_saved_leaves_the_file(tmp_path):
    path = tmp_path / "talk.json"
    talk = om.Conversation(om.Model("echo:"), system="fine")
    talk.save(path)
    before = path.read_bytes()
    talk.system = "\ud800"
    with pytest.raises(om.InvalidRequest, match="surrogate"):
        talk.save(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"system": null}',
        '{"system": null, "messages": 5}',
        '{"system": 5, "messages": []}',
        '{"system": null, "messages": [{"role": "robot", "content": "private"}]}',
        '{"system": null, "messages": [{"role": "user", "content": 5}]}',
    ],
)
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "talk.json"
    path.write_text(content)
    with pytest.raises(om.InvalidRequest, match=r"talk\.json is no saved conversation") as caught:
        om.Conversation.restore(path, om.Model("echo:"))
    assert "private" not in "".join(traceback.format_exception(caught.value))


def test_saved_file_is_plain_json(tmp_path):
    talk = om.Conversation(om.Model("echo:"), system="kurz")
    talk.send("grüß dich")
    talk.save(tmp_path / "talk.json")
    text = (tmp_path / "talk.json").read_text(encoding="utf-8")
    assert "grüß dich" in text
    assert json.loads(text)["messages"][0] == {"role": "user", "content": "grüß dich"}


def test_a_full_disk_leaves_the_talk_saved_before(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    talk = om.Conversation(om.Model("echo:"))
    talk.send("first")
    talk.save(tmp_path / "talk.json")
    talk.send("second")
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(om.WriteFailed, match=r"talk\.json cannot be written: No space"):
            talk.save(tmp_path / "talk.json")
    assert len(om.Conversation.restore(tmp_path / "talk.json", talk.model).messages) == 2


_PIPES = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are of Unix")


@pytest.mark.parametrize("name", ["", "a\0b", pytest.param("pipe", marks=_PIPES)])
def test_what_is_no_plain_file_is_refused(tmp_path, name):
    if name == "pipe":
        os.mkfifo(tmp_path / name)
    with pytest.raises(om.InvalidRequest, match="is not a plain file"):
        om.Conversation.restore(tmp_path / name, om.Model("echo:"))
