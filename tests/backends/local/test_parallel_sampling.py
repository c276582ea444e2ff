"""`n` and `logprobs` with the real default model: each answer is what it would be alone."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from openmodels.backends.local.deltas import DeltaJoiner
from openmodels.backends.local.engines.torch import loader
from openmodels.errors import OutOfMemory
from openmodels.testing import SURFACES, Driver, wait_until
from openmodels.types.reply import Delta


@pytest.mark.parametrize("surface", SURFACES)
def test_each_answer_is_that_of_its_seed(exact_smol, surface):
    # Cooler than 1: among very unlikely tokens a draw may be so close that the last bit decides.
    options = {"temperature": 0.7, "max_tokens": 6}
    answer = Driver(exact_smol, surface)("Name a fruit.", n=3, seed=11, logprobs=0, **options)
    alone = [exact_smol.chat("Name a fruit.", seed=11 + index, logprobs=0, **options) for index in range(3)]
    replies = [answer.reply, *answer.reply.alternatives]
    assert [reply.text for reply in replies] == [reply.text for reply in alone]
    for reply, other in zip(replies, alone, strict=True):
        assert [entry.token for entry in reply.logprobs] == [entry.token for entry in other.logprobs]
        assert [entry.logprob for entry in reply.logprobs] == pytest.approx(
            [entry.logprob for entry in other.logprobs], abs=1e-2
        )
    assert answer.reply.usage.input_tokens == alone[0].usage.input_tokens
    assert answer.reply.usage.output_tokens == sum(reply.usage.output_tokens for reply in alone)
    if answer.deltas:
        assert {delta.index for delta in answer.deltas} == {0, 1, 2}


def test_leaving_stops_every_answer(smol):
    with smol.stream("Write a very long story.", n=3) as stream:
        next(stream)
    engine = smol.backend._engine
    wait_until(lambda: not engine._running and not engine._waiting)


def test_logprobs_are_the_models(exact_smol):
    reply = exact_smol.complete("The capital of France is", temperature=0, max_tokens=4, logprobs=3)
    loaded = loader.load(Path(exact_smol.backend.describe()["path"]), dtype="float32")
    tokens = loaded.tokenizer("The capital of France is")["input_ids"]
    assert len(reply.logprobs) == 4
    for entry in reply.logprobs:
        with torch.inference_mode():
            scores = loaded.model(torch.tensor([tokens])).logits[0, -1].float().log_softmax(-1)
        best = scores.topk(3)
        assert [value for _, value in entry.top] == pytest.approx(best.values.tolist(), abs=1e-3)
        assert entry.top[0] == (entry.token, entry.logprob)
        tokens.append(int(best.indices[0]))
    assert "".join(entry.token for entry in reply.logprobs) == reply.text


class TestWhereNobodyReadsAlong:
    WORDS = ("The ", "sea ", "is ", "wide.")

    def given(self, deadline, *more):
        out = []
        gathered = DeltaJoiner(out.append, deadline)
        for word in self.WORDS:
            gathered(Delta(text=word))
        for item in more:
            gathered(item)
        return out

    @pytest.mark.parametrize("deadline", [None, time.monotonic() + 10**6], ids=["none", "far"])
    def test_an_answer_comes_in_one(self, deadline):
        assert self.given(deadline) == []
        (whole,) = self.given(deadline, Delta(finish_reason="stop"))
        assert (whole.text, whole.finish_reason) == ("The sea is wide.", "stop")

    def test_what_had_come_comes_before_an_error(self):
        error = OutOfMemory("None left.")
        whole, last = self.given(None, error)
        assert whole.text == "The sea is wide."
        assert last is error

    def test_near_its_deadline_it_comes_in_pieces(self, monkeypatch):
        clock = iter([100.0, 100.05, 100.15, 100.2, 100.3, 100.35])
        monkeypatch.setattr(time, "monotonic", lambda: next(clock))
        pieces = self.given(100.5)
        assert "".join(piece.text for piece in pieces) == "The sea is "
