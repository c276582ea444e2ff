"""A cycle ends the answer of every engine; what must have a form, and whoever switches it off, is left alone."""

import asyncio
import json

import pytest

import openmodels as om
from openmodels.backends.local import repetition
from openmodels.backends.local.engines.openvino import engine as openvino
from openmodels.backends.local.output_processor import TextOutputProcessor
from openmodels.backends.local.repetition import REPEATED, RepetitionDetector
from openmodels.errors import InvalidRequest
from openmodels.types.reply import Delta
from openmodels.types.request import ChatRequest

SONG = "row, row, row your boat, gently down the stream, " * 12
"""A text that a small model continues in the same way, by a wide margin."""


SHORT = 64


@pytest.fixture(params=["smol", "exact_smol", "openvino_smol", "llamacpp_smol"])
def engine(request, monkeypatch):
    """The default model in bfloat16 and float32 with transformers, and in the other engines; ends shorter cycles."""
    monkeypatch.setattr(repetition, "REPEATED", SHORT)
    monkeypatch.setattr(openvino, "REPEATED", SHORT)
    return request.getfixturevalue(request.param)


def assert_ended_early(reply):
    assert reply.finish_reason == "repetition"
    assert reply.text.count("gently down the stream") > 3
    # A server that is left in its answer does not say what it has used.
    if reply.usage.output_tokens is not None:
        assert SHORT < reply.usage.output_tokens < SHORT + 150


def test_a_cycle_ends_every_kind_of_call(engine):
    assert_ended_early(engine.complete(SONG, temperature=0, max_tokens=1500))

    async def both():
        return await asyncio.gather(
            engine.acomplete(SONG, temperature=0, max_tokens=1500), engine.acomplete("One, two,", max_tokens=5)
        )

    song, other = asyncio.run(both())
    assert_ended_early(song)
    assert other.finish_reason in ("length", "stop")
    # The engine is free again.
    assert engine.complete("One, two,", max_tokens=3, timeout=60).text


def test_an_answer_that_ends_before_is_whole(engine):
    reply = engine.complete(SONG, temperature=0, max_tokens=SHORT)
    assert (reply.finish_reason, reply.usage.output_tokens) == ("length", SHORT)


def test_switched_off_an_answer_goes_on(folder):
    with om.Model(f"local:{folder}", dtype="float32", repetition_stop=False) as model:
        reply = model.complete("aaaa", temperature=0, max_tokens=2500)
        assert reply.finish_reason in ("length", "stop")
        assert model.backend.describe()["repetition_stop"] is False


@pytest.mark.parametrize("options", [{}, {"deterministic": True}, {"max_batch": 1}])
def test_both_ways_of_transformers_end_it_at_the_same_token(folder, options):
    with om.Model(f"local:{folder}", dtype="float32", **options) as model:
        replies = [model.complete("aaaa", temperature=0, max_tokens=3000, n=2), model.complete("aaaa", temperature=0)]
        answers = [replies[0], *replies[0].alternatives, replies[1]]
        assert len({(reply.finish_reason, reply.text) for reply in answers}) == 1
        assert answers[0].finish_reason == "repetition"
        detector = RepetitionDetector()
        ends = [detector.add(letter) for letter in answers[0].text]
        assert not any(ends[:REPEATED])


@pytest.mark.parametrize("form", [{"pattern": "(la ){600}"}, {"schema": list[int]}, {"grammar": 'start: "ab"~300'}])
def test_an_answer_of_a_demanded_form_is_never_ended(smol, form):
    reply = None
    try:
        reply = smol.chat("Write it.", temperature=0, max_tokens=1300, **form)
    except om.OutputInvalid as error:
        reply = error.reply
    assert reply.finish_reason in ("stop", "length")
    if "pattern" in form:
        assert reply.text == "la " * 600


def test_the_option_is_checked():
    with pytest.raises(InvalidRequest, match="repetition_stop"):
        om.Model(om.DEFAULT_MODEL, repetition_stop="no")


class TestTextOutputProcessor:
    """What the servers' engines do with a stream of text."""

    def read(self, deltas, *, repetition_stop=True):
        processor = TextOutputProcessor(ChatRequest(prompt="x"), repetition_stop=repetition_stop)
        out = []
        for delta in deltas:
            out.append(processor.add(delta))
            if processor.is_cycle:
                break
        return out

    def test_a_cycle_of_text_ends_it(self):
        out = self.read(Delta(text=f" word{n % 7}") for n in range(5000))
        assert out[-1].finish_reason == "repetition"
        assert [delta.finish_reason for delta in out[:-1]] == [None] * (len(out) - 1)
        assert REPEATED < len(out) < REPEATED + 64

    def test_a_cycle_of_reasoning_ends_it(self):
        out = self.read(Delta(reasoning=f" hmm{n % 3}") for n in range(5000))
        assert out[-1].finish_reason == "repetition"

    def test_without_a_detector_and_with_text_that_changes_it_goes_on(self):
        cycle = [Delta(text="la ") for _ in range(2000)]
        assert self.read([*cycle, Delta(finish_reason="length")], repetition_stop=False)[-1].finish_reason == "length"
        changing = [Delta(text=f"{n}, ") for n in range(2000)]
        assert self.read([*changing, Delta(finish_reason="stop")])[-1].finish_reason == "stop"

    def test_the_servers_own_reason_stands(self):
        deltas = [*(Delta(text="la ") for _ in range(REPEATED)), Delta(text="la ", finish_reason="length")]
        assert self.read(deltas)[-1].finish_reason == "length"


def test_a_journal_keeps_the_reason(smol, tmp_path):
    file = tmp_path / "answers.jsonl"
    with smol.map([SONG], method="complete", save=file, temperature=0, max_tokens=1500) as run:
        (item,) = run
    assert item.reply.finish_reason == "repetition"
    assert json.loads(file.read_text().splitlines()[-1])["reply"]["finish_reason"] == "repetition"
    with smol.map([SONG], method="complete", save=file, temperature=0, max_tokens=1500) as again:
        assert [item.reply.finish_reason for item in again] == ["repetition"]
