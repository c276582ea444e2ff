"""Answers of OpenVINO that are wanted whole: read at their end, yet never lost before it."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import gguf
import numpy as np
import pytest

import openmodels as om
from openmodels.backends.local.engine_protocol import EngineConfig
from openmodels.backends.local.engines.engine_loop import QueuedRequest
from openmodels.backends.local.engines.openvino import engine as openvino
from openmodels.backends.local.engines.openvino.engine import OpenvinoEngine, is_read_at_end
from openmodels.testing import wait_until
from openmodels.types.request import ChatRequest


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
    assert is_read_at_end(ChatRequest(**{"prompt": "x", "stream": False} | fields), 1) is whole


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
        wait_until(lambda: any(sequence.handle.can_read() for sequence in engine._running), 30)
        model.close()
        thread.join()
        assert caught[0].partial.text


@pytest.mark.parametrize("failure", [RuntimeError("broken"), ValueError("unreadable")])
def test_a_pipeline_that_gives_nothing_out_still_ends_its_callers(failure):
    def fail():
        raise failure

    engine, out = OpenvinoEngine(EngineConfig("x")), []
    handle = SimpleNamespace(cancel=lambda: None)
    queued = QueuedRequest(ChatRequest(prompt="x"), out.append)
    engine._running.append(SimpleNamespace(queued=queued, handle=handle, emit_unread=fail))
    engine._fail_all(om.StreamInterrupted("closed"))
    assert [type(item) for item in out] == [om.StreamInterrupted]
    assert engine.running == 0


def test_calls_on_their_way_join_before_the_next_step(monkeypatch):
    engine = OpenvinoEngine(EngineConfig("x"))
    first, *coming = (QueuedRequest(ChatRequest(prompt=text), lambda item: None) for text in "abc")

    def wait_for(predicate, seconds):
        engine._waiting.extend(coming[:1])
        del coming[:1]
        return predicate()

    engine._model = model = SimpleNamespace()
    monkeypatch.setattr(engine, "_prepare", lambda model, queued: SimpleNamespace(queued=queued))
    monkeypatch.setattr(engine, "_start", lambda model, sequence: None)
    monkeypatch.setattr(openvino, "_GATHERING", 30.0)
    monkeypatch.setattr(engine._wake, "wait_for", wait_for)
    engine._waiting.append(first)
    engine._admit(model)
    engine._model = None
    assert (engine.running, coming) == (3, [])


def test_weights_with_a_minimum_are_read_without_rounding_it(tmp_path):
    """OpenVINO rounds the zero points of such blocks; the copy that it reads has none and is as near as 8 bits are."""
    from openmodels.backends.local.engines.openvino import model as openvino_model

    generator = np.random.default_rng(3)
    source, target = tmp_path / "a.gguf", tmp_path / "b.gguf"
    writer = gguf.GGUFWriter(source, "llama")
    writer.add_context_length(64)
    writer.add_array("tokenizer.ggml.tokens", ["a", "b"])
    weights = {}
    for kind in (gguf.GGMLQuantizationType.Q4_1, gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.F32):
        data = generator.normal(0.3, 1, (4, 64)).astype(np.float32)
        weights[kind.name] = gguf.quantize(data, kind)
        writer.add_tensor(kind.name, weights[kind.name], raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert not openvino_model.is_lossless(source)
    openvino_model.requantize(source, target)
    assert openvino_model.is_lossless(target)
    read = gguf.GGUFReader(target)
    assert read.fields["llama.context_length"].contents() == 64
    assert read.fields["tokenizer.ggml.tokens"].contents() == ["a", "b"]
    tensors = {tensor.name: tensor for tensor in read.tensors}
    for name in ("Q8_0", "F32"):
        assert np.array_equal(tensors[name].data, weights[name])
    before = gguf.dequantize(weights["Q4_1"], gguf.GGMLQuantizationType.Q4_1)
    after = gguf.dequantize(tensors["Q4_1"].data, tensors["Q4_1"].tensor_type)
    assert np.abs(before - after).max() <= np.abs(before).max() / 250
