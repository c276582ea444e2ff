"""The backend without a model, on which tests and documentation stand."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

import openmodels as om
from openmodels.testing import SURFACES, Driver

WORDS = st.text(alphabet="ab c\n", min_size=1, max_size=40)


@given(WORDS)
def test_repeats_the_last_message_to_the_letter(text):
    model = om.Model("echo:")
    assert model.chat(["first", om.assistant("x"), text]).text == text
    assert model.complete(text).text == text


@given(text=WORDS, stop=st.text(alphabet="ab c", min_size=1, max_size=4), limit=st.integers(1, 9))
def test_stop_string_and_limit_hold_together(text, stop, limit):
    model = om.Model("echo:")
    unstopped = model.chat(text, max_tokens=limit)
    reply = Driver(model, "stream")(text, stop=stop, max_tokens=limit).reply
    assert reply.text == unstopped.text.partition(stop)[0]
    assert reply.finish_reason == ("stop" if stop in unstopped.text else unstopped.finish_reason)


def test_words_are_its_tokens():
    reply = om.Model("echo:").chat([om.system("be brief"), "one two three four"], max_tokens=3)
    assert reply.text == "one two three"
    assert reply.finish_reason == "length"
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (6, 3)
    assert om.Model("echo:").chat("one two three", max_tokens=3).finish_reason == "stop"


def test_rest_is_the_models_name():
    assert om.Model("echo:").chat("x").model == "echo"
    assert om.Model("echo:parrot").chat("x").model == "parrot"
    assert om.Model("echo:parrot").backend.describe() == {"backend": "echo", "model": "parrot"}


@pytest.mark.parametrize("surface", SURFACES)
def test_script_plays_in_turn_and_again(surface):
    ask = Driver(
        om.Model("echo:", script=["one", ["t", "wo"], [om.Delta(text="three", finish_reason="stop")]]), surface
    )
    assert [ask("x").reply.text for _ in range(4)] == ["one", "two", "three", "one"]


def test_script_raises_what_it_holds():
    model = om.Model("echo:", script=[["half ", om.ContentFiltered("Blocked.")]])
    with pytest.raises(om.ContentFiltered) as caught:
        model.chat("x")
    assert caught.value.partial.text == "half "


def test_script_waits_no_longer_than_the_deadline():
    with pytest.raises(om.DeadlineExceeded) as caught:
        om.Model("echo:", script=[["half ", 3600.0, "an answer"]]).chat("x", timeout=0.05)
    assert caught.value.partial.text == "half "


@pytest.mark.parametrize("script", [[], "text", ()])
def test_script_is_a_list_of_answers(script):
    with pytest.raises(om.InvalidRequest, match="script"):
        om.Model("echo:", script=script)


def test_notes_what_was_asked_and_what_was_left():
    model = om.Model("echo:")
    with model.stream("one two", seed=5) as stream:
        next(stream)
    assert model.backend.closed == 1
    model.chat("whole")
    assert model.backend.closed == 1
    assert [request.seed for request in model.backend.requests] == [5, None]
