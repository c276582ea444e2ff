"""Answers of OpenVINO that are wanted whole: read at their end, yet never lost before it."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

import openmodels as om
from openmodels.backends.local.engines import openvino
from openmodels.backends.local.engines.openvino import OpenvinoEngine, _Job
from openmodels.testing import wait_until
from openmodels.types import ChatRequest


@pytest.mark.parametrize("options", [{"temperature": 0}, {"temperature": 0.9, "seed": 5}])
@pytest.mark.parametrize("end", [{"max_tokens": 40}, {"max_tokens": 400}, {"max_tokens": 40, "stop": ["of"]}])
def test_a_whole_answer_is_what_a_stream_gives(openvino_smol, options, end):
    whole = openvino_smol.chat("What is the capital of France?", **options, **end)
    with openvino_smol.stream("What is the capital of France?", **options, **end) as stream:
        pieces = [delta for delta in stream if delta.text]
    assert len(pieces) > 1
    assert (whole.text, whole.finish_reason) == (stream.reply.text, stream.reply.finish_reason)
    assert whole.usage.output_tokens == stream.reply.usage.output_tokens


@pytest.mark.parametrize(
    ("fields", "whole"),
    [({}, True), ({"stream": True}, False), ({"stop": ("end",)}, False), ({"deadline": 0.0}, False)],
)
def test_who_looks_at_an_answer_before_its_end(fields, whole):
    job = _Job(ChatRequest(**{"prompt": "x", "stream": False} | fields), lambda item: None)
    assert job.whole is whole


def test_closing_the_model_gives_out_what_there_is():
    with om.Model(om.DEFAULT_MODEL, engine="openvino") as model:
        engine, caught = model.load().backend._engine, []

        def ask() -> None:
            try:
                model.chat("Tell a long story about a lighthouse.", temperature=0, max_tokens=4000)
            except om.StreamInterrupted as error:
                caught.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        wait_until(lambda: any(job.handle is not None and job.handle.can_read() for job in engine._running), 30)
        model.close()
        thread.join()
        assert caught[0].partial.text


@pytest.mark.parametrize("failure", [RuntimeError("broken"), ValueError("unreadable")])
def test_a_pipeline_that_gives_nothing_out_still_ends_its_callers(failure):
    def fail():
        raise failure

    engine, out = OpenvinoEngine(lambda deadline: None), []
    job = _Job(ChatRequest(prompt="x"), out.append)
    job.answer, job.handle = SimpleNamespace(finished=False), SimpleNamespace(can_read=fail, cancel=lambda: None)
    engine._running.append(job)
    engine._end(om.StreamInterrupted("closed"))
    assert [type(item) for item in out] == [om.StreamInterrupted]
    assert engine.running == 0


def test_calls_on_their_way_join_before_the_next_step(monkeypatch):
    engine = OpenvinoEngine(lambda deadline: None)
    first, *coming = (_Job(ChatRequest(prompt=text), lambda item: None) for text in "abc")

    def wait_for(predicate, seconds):
        engine._waiting.extend(coming[:1])
        del coming[:1]
        return predicate()

    monkeypatch.setattr(engine, "_prepared", lambda job, request: None)
    monkeypatch.setattr(engine, "_join", lambda job, request: None)
    monkeypatch.setattr(openvino, "_GATHERING", 30.0)
    monkeypatch.setattr(engine._wake, "wait_for", wait_for)
    engine._waiting.append(first)
    engine._admit()
    assert (engine.running, coming) == (3, [])
