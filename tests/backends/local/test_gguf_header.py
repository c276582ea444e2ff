"""The reader of GGUF headers: whatever bytes it gets, a header or an error of ours, and at once."""

import struct
import time

import gguf
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from tiny import tiny_gguf

from openmodels import errors
from openmodels.backends.local.engines.llamacpp import engine
from openmodels.backends.local.engines.openvino import model
from openmodels.backends.local.weights import gguf_header, memory, task_detection

TEXT, ARRAY, U32, F32 = 8, 9, 4, 6


def text(value):
    return struct.pack("<Q", len(value)) + value


def header(pairs=(), tensors=(), *, version=3):
    """A file of nothing but a header, and room behind it."""
    body = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(pairs))
    body += b"".join(text(key) + struct.pack("<I", kind) + value for key, kind, value in pairs)
    for name, shape, kind, offset in tensors:
        body += text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape) + struct.pack("<IQ", kind, offset)
    return body + bytes(256)


def read(folder, content):
    (folder / "m.gguf").write_bytes(content)
    return gguf_header.read_header(folder / "m.gguf")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("headers")


class TestHostile:
    CASES = {
        "five dimensions": header(tensors=[(b"t", [1] * 5, 0, 0)]),
        "a hundred thousand dimensions": header(tensors=[(b"t", [2**64 - 1] * 100_000, 0, 0)]),
        "a product beyond 64 bits": header(tensors=[(b"t", [2**40, 2**40], 0, 0)]),
        "rows that are no whole blocks": header(tensors=[(b"t", [33, 32], 2, 0)]),
        "a type of the future": header(tensors=[(b"t", [32], 999, 0)]),
        "two tensors of one name": header(tensors=[(b"t", [1], 0, 0), (b"t", [1], 0, 32)]),
        "two entries of one name": header([(b"a", U32, struct.pack("<I", 1))] * 2),
        "two arrays of one name": header([(b"a", ARRAY, struct.pack("<IQ", U32, 0))] * 2),
        "nested arrays": header([(b"a", ARRAY, struct.pack("<IQ", ARRAY, 1) * 5000)]),
        "an array of an unknown type": header([(b"a", ARRAY, struct.pack("<IQ", 77, 1))]),
        "an array beyond the end": header([(b"a", ARRAY, struct.pack("<IQ", U32, 2**61))]),
        "texts beyond the end": header([(b"a", ARRAY, struct.pack("<IQ", TEXT, 2**62))]),
        "a value of an unknown type": header([(b"a", 200, b"")]),
        "alignment 3": header([(b"general.alignment", U32, struct.pack("<I", 3))]),
        "alignment 0": header([(b"general.alignment", U32, struct.pack("<I", 0))]),
        "alignment a number with a point": header([(b"general.alignment", F32, struct.pack("<f", 64.0))]),
        "alignment true": header([(b"general.alignment", 7, b"\1")]),
        "as many parts as letters": header([(b"split.count", TEXT, text(b"3"))]),
        "negative parts": header([(b"split.count", 11, struct.pack("<q", -4))]),
        "version 1": header(version=1),
        "another byte order": header(version=3 << 24),
        "a key without end": b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**63) + bytes(64),
        "tensors without end": b"GGUF" + struct.pack("<IQQ", 3, 2**62, 0) + bytes(64),
    }

    @pytest.mark.parametrize("name", CASES)
    def test_refused(self, folder, name):
        begun = time.process_time()
        with pytest.raises(errors.LoadFailed) as caught:
            read(folder, self.CASES[name])
        assert caught.value.next_step
        assert time.process_time() - begun < 2

    def test_millions_of_empty_texts_take_no_minutes(self, folder):
        count = 2**21
        content = header([(b"tokenizer.ggml.tokens", ARRAY, struct.pack("<IQ", TEXT, count) + bytes(8 * count))])
        begun = time.process_time()
        assert read(folder, content).tokens == count
        assert time.process_time() - begun < 10

    @settings(max_examples=150, deadline=None)
    @given(st.binary(max_size=300))
    def test_any_bytes(self, folder, tail):
        for content in (b"GGUF\3\0\0\0" + tail + bytes(24), header([(b"k", ARRAY, tail)]), header([(tail, U32, tail)])):
            try:
                assert read(folder, content).elements >= 0
            except errors.LoadFailed as error:
                assert error.next_step

    @settings(max_examples=60, deadline=None)
    @given(st.data())
    def test_a_changed_file(self, folder, data):
        whole = tiny_gguf(folder / "whole.gguf").read_bytes()
        place = data.draw(st.integers(4, 3000))
        change = data.draw(st.binary(min_size=1, max_size=16))
        try:
            read(folder, whole[:place] + change + whole[place + len(change) :])
        except errors.LoadFailed as error:
            assert error.next_step


NUMBERS = st.one_of(st.integers(-(2**63), 2**64 - 1), st.booleans(), st.text(max_size=3), st.floats(), st.none())
NAMES = ("context_length", "block_count", "embedding_length", "attention.head_count", "attention.head_count_kv")


@given(st.dictionaries(st.sampled_from([*NAMES, "attention.key_length", "pooling_type"]), NUMBERS))
def test_arithmetic_on_any_numbers(values):
    found = {f"falcon.{name}": value for name, value in values.items()} | {"general.architecture": "falcon"}
    parsed = gguf_header.GgufHeader(found, 7)
    try:
        tokens = engine._kv_tokens(parsed, engine._read_context(parsed))
        assert 1 <= tokens < 2**31
    except errors.LoadFailed:
        context = values.get("context_length")
        assert type(context) is not int or not 0 < context < 2**31
    assert task_detection.classify_gguf(parsed).task in ("generate", "other")


def written(file, *, rename=lambda name: name, more=(), entries=lambda writer: None):
    """A tiny GGUF file with other tensors' names, more tensors or more entries."""
    original = gguf.GGUFWriter.add_tensor
    with pytest.MonkeyPatch.context() as patch:

        def add(self, name, data, *rest, **named):
            if (other := rename(name)) is not None:
                original(self, other, data, *rest, **named)

        def write(self, *rest, **named):
            entries(self)
            for name, data in more:
                original(self, name, data)
            return finish(self, *rest, **named)

        finish = gguf.GGUFWriter.write_header_to_file
        patch.setattr(gguf.GGUFWriter, "add_tensor", add)
        patch.setattr(gguf.GGUFWriter, "write_header_to_file", write)
        return tiny_gguf(file)


class TestContradictions:
    def test_more_layers_than_tensors(self, tmp_path):
        file = written(tmp_path / "m.gguf", rename=lambda name: None if name.startswith("blk.0") else name)
        assert gguf_header.read_header(file).blocks == 0  # nothing to compare
        file = written(tmp_path / "m.gguf", rename=lambda name: name.replace("blk.0", "blk.3"))
        with pytest.raises(errors.LoadFailed, match=r"1 layers .*make up 4"):
            gguf_header.read_header(file)

    def test_more_tokens_than_rows(self, tmp_path):
        rows = np.zeros((100, 32), np.float32)
        file = written(
            tmp_path / "m.gguf",
            rename=lambda name: None if name.startswith("token_embd") else name,
            more=[("token_embd.weight", rows)],
        )
        with pytest.raises(errors.LoadFailed, match=r"260 tokens.*100 rows"):
            gguf_header.read_header(file)

    def test_rotary_factors_are_not_left_out(self, tmp_path):
        file = written(tmp_path / "m.gguf", more=[("rope_freqs.weight", np.ones(8, np.float32))])
        parsed = gguf_header.read_header(file)
        assert parsed.has_rope_factors
        with pytest.raises(errors.LoadFailed, match="rotary"):
            model.check_architecture("m.gguf", parsed)


def test_an_entry_that_names_no_token_is_none():
    parsed = gguf_header.GgufHeader(
        {"tokenizer.ggml.eos_token_id": 260, "tokenizer.ggml.bos_token_id": True}, 1, 0, 260
    )
    assert parsed.read_token_id("eos") is parsed.read_token_id("bos") is None


def test_the_size_of_the_cache(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda *_: 4 * 10**9)
    found = {"general.architecture": "llama", "llama.context_length": 100, "llama.block_count": 10}
    found |= {"llama.attention.head_count": 4, "llama.embedding_length": 64, "llama.attention.head_count_kv": 2}
    assert engine._kv_tokens(gguf_header.GgufHeader(found, 1), 100) == 400
    assert engine._kv_tokens(gguf_header.GgufHeader(found, 1), 10**9) == 10**9 // (4 * 10 * 2 * 16)
