"""The data: what a request accepts, and what it refuses before any work."""

from __future__ import annotations

import math
import traceback

import pytest
from hypothesis import given, strategies as st
from pydantic import ValidationError

import openmodels as om
from openmodels.types.messages import ToolCall
from openmodels.types.options import OPTION_NAMES
from openmodels.types.request import ChatRequest, ResponseFormat

HELLO = (om.user("hello"),)
INTEGERS = ("top_k", "max_tokens", "seed")
REALS = ("temperature", "top_p", "frequency_penalty", "presence_penalty", "repetition_penalty")
NUMBERS = st.one_of(
    st.integers(),
    st.floats(allow_nan=True),
    st.booleans(),
    st.just(10**400),
    st.just(-(10**5000)),
    st.text(),
    st.none(),
)


@given(option=st.sampled_from(INTEGERS + REALS), value=NUMBERS)
def test_number_is_taken_as_it_is_or_refused_by_name(option, value):
    model = om.Model("echo:")
    try:
        model.chat("hello", **{option: value})
    except om.InvalidRequest as error:
        assert option in str(error)
        assert value is not None
    else:
        kept = getattr(model.backend.requests[0], option)
        assert kept == value
        assert kept is None or (math.isfinite(kept) and not isinstance(kept, bool))


@given(content=st.text(alphabet=st.characters(codec=None, exclude_categories=()), min_size=1))
def test_text_is_kept_to_the_letter_or_is_no_text(content):
    try:
        message = om.user(content)
    except ValidationError:
        with pytest.raises(UnicodeEncodeError):
            content.encode()
    else:
        assert message.content == content
        assert message.content.encode()


@given(
    messages=st.recursive(
        st.one_of(st.none(), st.integers(), st.binary(), st.text(), st.floats()),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["role", "content", "tool_calls", "x"]), inner, max_size=3)
        ),
        max_leaves=6,
    )
)
def test_any_object_is_a_prompt_or_an_invalid_request(messages):
    model = om.Model("echo:")
    try:
        reply = model.chat(messages)
    except om.InvalidRequest as error:
        assert error.reference == "echo:"
        assert model.backend.requests == []
    else:
        assert reply.text == model.backend.requests[0].messages[-1].content


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"role": "user"}, "content is empty"),
        ({"role": "assistant"}, "content is empty"),
        ({"role": "robot", "content": "x"}, "role"),
        ({"role": "user", "content": b"x"}, "content"),
        ({"role": "user", "content": "x", "colour": "red"}, "colour"),
        ({"role": "user", "content": "x", "tool_call_id": "1"}, "tool_call_id"),
        ({"role": "tool", "content": "x"}, "tool_call_id"),
        (
            {"role": "user", "content": "x", "tool_calls": [{"id": "1", "name": "f", "arguments": {}, "raw": "{}"}]},
            "tool_calls",
        ),
    ],
)
def test_message_refuses(fields, fault):
    with pytest.raises(ValidationError, match=fault):
        om.Message(**fields)


def test_message_may_be_empty_beside_tool_calls():
    call = ToolCall(id="1", name="f", arguments={}, raw="{}")
    assert om.Message(role="assistant", tool_calls=(call,)).content == ""
    assert om.Message(role="tool", tool_call_id="1").content == ""


def test_data_is_frozen():
    with pytest.raises(ValidationError):
        om.user("hello").content = "x"
    with pytest.raises(ValidationError):
        ChatRequest(messages=HELLO).stop = ("x",)


def test_options_are_those_the_caller_set():
    assert ChatRequest(messages=HELLO).options == frozenset()
    request = ChatRequest(messages=HELLO, temperature=0, stop="x", extra={}, seed=0)
    assert request.options == {"temperature", "stop", "seed"}
    assert request.stop == ("x",)
    shapes = {"schema", "choices", "pattern", "grammar"}
    assert set(OPTION_NAMES) - shapes <= set(ChatRequest.model_fields)
    assert set(om.CallOptions.__annotations__) == {*OPTION_NAMES, "timeout", "max_retries", "retries"}
    for kind in shapes:
        assert ChatRequest(messages=HELLO, output=ResponseFormat(kind=kind)).options == {kind}


def test_request_needs_something_to_answer():
    for nothing in ({}, {"messages": ()}, {"prompt": ""}):
        with pytest.raises(ValidationError, match="empty"):
            ChatRequest(**nothing)


@pytest.mark.parametrize("content", ["{} \ud800", ["{}"]])
def test_no_prompt_in_a_traceback(content):
    secret = "a private thing"
    said = content.format(secret) if isinstance(content, str) else [secret]
    with pytest.raises(om.InvalidRequest) as caught:
        om.Model("echo:").chat([{"role": "user", "content": said}, {"role": "robot", "content": secret}])
    assert secret not in "".join(traceback.format_exception(caught.value))


def test_reply_shows_itself():
    reply = om.Reply(text="<b>", model="m", finish_reason="stop", usage=om.Usage(input_tokens=3, output_tokens=4))
    assert str(reply) == "<b>"
    assert "&lt;b&gt;" in reply._repr_html_()
    assert "3 → 4 tokens" in reply._repr_html_()
    assert "<b>" not in om.Reply(text="<b>")._repr_html_()
    assert reply.message == om.assistant("<b>")
    with pytest.raises(ValueError, match="empty"):
        _ = om.Reply().message
    assert "raw" not in om.Reply(raw=object()).model_dump()
