"""Guessed tokens among many answers: only where they pay, and no text depends on them."""

import asyncio
from types import SimpleNamespace

import pytest
import torch

import openmodels as om
from openmodels.backends.local.engines.torch import scheduler as batches
from openmodels.backends.local.engines.torch.attention import ForwardContext
from openmodels.backends.local.engines.torch.draft_tokens import Drafter
from openmodels.backends.local.engines.torch.step_tuning import StepTimes
from openmodels.types.request import ChatRequest

ROWS = 8
WORDS = "The sea is a wide and salty place where ships go to and fro all day long. "


@pytest.fixture(scope="module")
def texts(single):
    return [single.complete(question(number), **options(number)).text for number in range(ROWS)]


def question(number):
    return f"{number}: " + WORDS * (2 + number % 3)


def options(number):
    return {"max_tokens": 60, "temperature": (0.0, 0.3)[number % 2], "seed": number}


def ask_all(model, monkeypatch):
    """Return all texts, and for each step of more answers than may always guess, the tokens of every row."""
    steps = []
    model_runner = model.backend._engine.scheduler.runner
    execute = model_runner.execute
    monkeypatch.setattr(
        model_runner, "execute", lambda work: steps.append([len(tokens) for _, tokens, _ in work]) or execute(work)
    )

    async def together():
        asked = (model.acomplete(question(number), **options(number)) for number in range(ROWS))
        return [reply.text for reply in await asyncio.gather(*asked)]

    told = asyncio.run(together())
    answering = [step for step in steps if len(step) > batches._FEW_SEQUENCES and max(step) < 30]
    assert answering
    return told, answering


def test_many_answers_guess_where_a_guess_is_cheap_and_say_the_same(model, texts, monkeypatch):
    monkeypatch.setattr(StepTimes, "estimate", lambda *_: (1.0, 1e-4))
    told, steps = ask_all(model, monkeypatch)
    assert told == texts
    assert any(max(step) > 1 for step in steps), "nothing was guessed"
    assert any(min(step) == 1 < max(step) for step in steps), "no row had to be padded"


@pytest.mark.parametrize("known", [(1.0, 1.0), (0.0, 0.0)])
def test_many_answers_do_not_guess_where_a_guess_is_dear_or_its_price_unknown(model, texts, monkeypatch, known):
    monkeypatch.setattr(StepTimes, "estimate", lambda *_: known)
    told, steps = ask_all(model, monkeypatch)
    assert told == texts
    assert {max(step) for step in steps} == {1}


def test_what_a_step_finds_comes_in_one_piece(folder):
    with om.Model(f"local:{folder}", dtype="float32", draft=f"local:{folder}") as model:
        request = ChatRequest(prompt="abc", max_tokens=60, temperature=0.0)
        deltas = list(model.load().backend.run(request))
        tokens = deltas[-1].usage.output_tokens
        assert tokens > 20
        assert len(deltas) < tokens / 2
        assert "".join(delta.text for delta in deltas) == model.complete("abc", max_tokens=60, temperature=0).text


def test_rows_that_differ_a_little_share_attention_and_see_what_they_see_alone(model):
    model_runner = model.backend._engine.scheduler.runner
    kv_cache = model_runner.kv_cache
    sizes = [(40, 1), (60, 3), (20, 2), (90, 1), (10, 5)]
    slots = [kv_cache.allocate(100) for _ in sizes]
    for number, (slot, (known, _)) in enumerate(zip(slots, sizes, strict=True)):
        model_runner.execute([(slot, [number + at % 97 for at in range(known)], 1)])
        slot.length = known
    work = [(slot, list(range(1, fresh + 1)), fresh) for slot, (_, fresh) in zip(slots, sizes, strict=True)]
    assert len(ForwardContext(kv_cache, [(slot, len(tokens)) for slot, tokens, _ in work])._blocks) == 1
    assert len(ForwardContext(kv_cache, [(slots[0], 1), (slots[1], 150), (slots[2], 1)])._blocks) == 3
    scores, begins = model_runner.execute(work)
    for item, begin in zip(work, begins, strict=True):
        alone, _ = model_runner.execute([item])
        torch.testing.assert_close(scores[begin : begin + item[2]], alone, rtol=1e-4, atol=1e-5)
    for slot in slots:
        kv_cache.release(slot)


def test_how_often_guesses_are_right_is_learned_without_trying_them():
    tokens = [1, 2, 3, 4] * 8
    drafter = Drafter(tokens)
    for token in (1, 2, 3, 4) * 4:
        assert drafter.propose(4)[0] == token
        tokens.append(token)
    assert drafter.propose(4)
    sure = drafter.acceptance_rate
    assert sure > 0.85
    tokens.append(9)
    drafter.propose(4)
    assert drafter.acceptance_rate < sure


def test_a_smaller_model_is_asked_only_where_its_guess_is_tried():
    asked = []
    assistant = SimpleNamespace(propose=lambda tokens, count, cache: asked.append(count) or (None, [7] * count))
    drafter = Drafter([1, 2, 3, 4], assistant)
    assert (drafter.propose(2, use_model=False), asked) == ([], [])
    assert (drafter.propose(2), asked) == ([7, 7], [2])


def test_what_was_said_before_a_guess_failed_is_given_out():
    given = []

    def take(*_):
        if sequence.tokens[-1] == 5:
            raise ValueError("broken")
        sequence.tokens.append(5)

    slot = SimpleNamespace(length=3)
    sequence = SimpleNamespace(
        tokens=[1, 2, 3, 4],
        choose=take,
        emit=lambda: given.append(list(sequence.tokens)),
        output=SimpleNamespace(is_finished=False),
    )
    item = batches.ScheduledTokens(sequence, slot, [4, 5, 6], drafted=2)
    with pytest.raises(ValueError, match="broken"):
        batches.accept_scores(item, torch.zeros(3, 8), [5, 6, 7], [0.0, 0.0, 0.0], None)
    assert given == [[1, 2, 3, 4, 5]]
