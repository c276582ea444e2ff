"""What a user sees of an error: a short traceback, in a script and in a notebook."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import traceback

import pytest

import openmodels as om

DEAD = {"base_url": "http://127.0.0.1:9/v1", "max_retries": 0}


def deepest(error):
    return traceback.extract_tb(error.__traceback__)[-1].filename


@pytest.fixture
def model():
    return om.Model("server:m", **DEAD)


CALLS = {
    "chat": lambda model: model.chat("Hi"),
    "complete": lambda model: model.complete("Hi"),
    "embed": lambda model: model.embed(["Hi"]),
    "rerank": lambda model: model.rerank("Hi", ["a"]),
    "stream": lambda model: list(model.stream("Hi")),
    "an argument of a stream": lambda model: model.stream("Hi", temperature=-1),
    "an argument of a map": lambda model: model.map(["Hi"], concurrency=0),
    "run_tools": lambda model: model.run_tools("Hi", [str]),
    "achat": lambda model: asyncio.run(model.achat("Hi")),
    "send": lambda model: om.Conversation(model).send("Hi"),
    "Model": lambda _: om.Model("nothing:m"),
    "search": lambda _: om.search("llama", limit=-1),
    "info": lambda _: om.info(""),
    "family": lambda _: om.family(""),
    "openness": lambda _: om.openness("a/b", profile="mine"),
    "Image": lambda _: om.Image(b"no picture"),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_traceback_ends_at_the_callers_line(model, name):
    with pytest.raises(om.OpenModelsError) as caught:
        CALLS[name](model)
    shown = traceback.extract_tb(caught.value.__traceback__)
    assert not [frame for frame in shown if "openmodels" in frame.filename.replace(__file__, "")]


def test_what_an_error_is_chained_to_is_one_line(model):
    with pytest.raises(om.ConnectionFailed) as caught:
        model.chat("Hi")
    cause = caught.value.__cause__
    assert isinstance(cause, ConnectionRefusedError)
    assert traceback.format_exception(cause) == [f"ConnectionRefusedError: {cause}\n"]


def test_every_frame_is_kept_on_request(model, monkeypatch):
    monkeypatch.setenv("OPENMODELS_TRACEBACK", "full")
    with pytest.raises(om.ConnectionFailed) as caught:
        model.chat("Hi")
    assert "openmodels" in deepest(caught.value)


def test_a_script_ends_in_ten_lines():
    code = f"import openmodels as om\nreply = om.Model('server:m', **{DEAD!r}).chat('Hi')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ, "NO_COLOR": "1"}
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) <= 10
    assert "Check that the server runs there." in done.stderr


def test_a_notebook_shows_the_line_and_the_message(model):
    with pytest.raises(om.ConnectionFailed) as caught:
        model.chat("Hi")
    line, message = caught.value._render_traceback_()
    assert line.endswith('model.chat("Hi")')
    assert message == f"ConnectionFailed: {caught.value}"
