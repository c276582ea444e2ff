"""Answers that share forward passes, on a tiny random model in float32: nobody's text depends on the others'."""

import asyncio
import gc
import json
import random
import threading

import psutil
import pytest
import torch
from tiny import tiny_llama

import openmodels as om
from openmodels.backends.local.engines.torch import fused_llama, loader

WORDS = "The sea is a wide and salty place where ships go to and fro all day long. "


def prompt(number, words=None):
    """Return a prompt of its own for each number, 3 to 1,000 tokens long."""
    chooser = random.Random(number)
    return "".join(chooser.choice("abcdefgh .") for _ in range(words or chooser.choice((3, 20, 150, 300, 1000))))


def sampling(number):
    chooser = random.Random(-number)
    kind = chooser.choice(
        (
            {"temperature": 0.0},
            {"temperature": 0.0, "frequency_penalty": 0.5},
            {"temperature": 1.0, "seed": number},
            {"temperature": 0.8, "top_p": 0.9, "seed": number},
            {"temperature": 1.0, "top_k": 20, "repetition_penalty": 1.1, "seed": number},
        )
    )
    return {**kind, "max_tokens": chooser.randint(1, 60)}


def test_the_check_at_load_time_lets_llama_share_forward_passes(model, single):
    assert model.backend.describe()["alone"] is None
    assert model.backend.describe()["max_batch"] > 8
    assert single.backend.describe()["max_batch"] == 1
    assert "deterministic" in single.backend.describe()["alone"]


def test_texts_are_the_same_alone_and_among_others_that_come_go_and_are_cancelled(model, single):
    numbers = range(24)
    alone = [single.complete(prompt(number), **sampling(number)).text for number in numbers]

    async def ask(number):
        # The next ones join while these are in the middle of their answers.
        for _ in range(number % 5):
            await model.acomplete("x", max_tokens=1)
        return (await model.acomplete(prompt(number), **sampling(number))).text

    async def give_up(number):
        async with model.astream(prompt(100 + number), max_tokens=50, temperature=1.0) as stream:
            async for _ in stream:
                break

    async def together():
        texts, _ = await asyncio.gather(
            asyncio.gather(*(ask(number) for number in numbers)),
            asyncio.gather(*(give_up(number) for number in range(12))),
        )
        return texts

    assert asyncio.run(together()) == alone


def test_a_row_that_outgrows_its_place_goes_on(model, single):
    options = {"max_tokens": 600, "temperature": 1.0, "seed": 3}
    assert model.complete("abc", **options).text == single.complete("abc", **options).text


def test_a_prefix_hit_changes_no_text_and_says_what_it_saved(model, single):
    start = prompt(7, words=500)
    model.complete(start + "one", max_tokens=5, temperature=0)
    for seed in (None, 4):
        options = {"max_tokens": 30, "temperature": 0.0 if seed is None else 1.0, "seed": seed}
        again = model.complete(start + "two", **options)
        assert again.usage.cached_tokens >= 500
        fresh = single.complete(start + "two", **options)
        assert (fresh.usage.cached_tokens, fresh.text) == (0, again.text)


def test_guessed_tokens_change_no_text(model, single, monkeypatch):
    """A repeated phrase makes guesses; tokens that follow them are chosen as without."""
    computed = []
    model_runner = model.backend._engine.scheduler.runner
    execute = model_runner.execute
    monkeypatch.setattr(model_runner, "execute", lambda work: computed.append([w[2] for w in work]) or execute(work))
    for seed in range(6):
        options = {"max_tokens": 80, "temperature": (0.0, 0.3, 1.0)[seed % 3], "seed": seed}
        assert model.complete(WORDS * 4, **options).text == single.complete(WORDS * 4, **options).text
    assert any(wanted > 1 for step in computed for wanted in step), "nothing was guessed"


@pytest.fixture(scope="module")
def smaller(tmp_path_factory):
    """A model of the same vocabulary that hardly ever guesses right."""
    return tiny_llama(tmp_path_factory.mktemp("smaller"), max_position_embeddings=4096, num_hidden_layers=1)


@pytest.mark.parametrize("which", ["folder", "smaller"])
def test_a_draft_model_changes_no_text(request, folder, single, which, monkeypatch):
    """A draft that is always right, and one that never is: the same texts, in fewer steps or not."""
    draft = request.getfixturevalue(which)
    with om.Model(f"local:{folder}", dtype="float32", draft=f"local:{draft}") as model:
        assert model.load().backend.describe()["draft"] == f"local:{draft}"
        steps = []
        model_runner = model.backend._engine.scheduler.runner
        execute = model_runner.execute
        monkeypatch.setattr(model_runner, "execute", lambda work: steps.append(work[0][2]) or execute(work))
        for seed in range(6):
            options = {"max_tokens": 60, "temperature": (0.0, 0.3, 1.0)[seed % 3], "seed": seed}
            assert model.complete(prompt(seed), **options).text == single.complete(prompt(seed), **options).text
        steps.clear()
        answer = model.complete(prompt(7), max_tokens=60, temperature=0)
        if which == "folder":
            assert len(steps) < answer.usage.output_tokens / 2

        async def together():
            return await asyncio.gather(*(model.acomplete(prompt(n), max_tokens=20, temperature=0) for n in range(3)))

        texts = [reply.text for reply in asyncio.run(together())]
    assert texts == [single.complete(prompt(n), max_tokens=20, temperature=0).text for n in range(3)]


def test_a_draft_of_another_vocabulary_is_refused(folder, tmp_path):
    other = tiny_llama(tmp_path / "other")
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    tokenizer["added_tokens"][0]["content"] = "<|other|>"
    tokenizer["model"]["vocab"].pop("<|endoftext|>", None)
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(om.InvalidRequest, match="vocabulary"):
        om.Model(f"local:{folder}", draft=f"local:{other}").load()
    with pytest.raises(om.InvalidRequest, match="draft"):
        om.Model(f"local:{folder}", draft="hf:org/model")
    with pytest.raises(om.UnsupportedFeature, match="'draft'"):
        om.Model(f"local:{folder}", draft=f"local:{other}", engine="openvino")


def test_little_memory_makes_answers_wait_but_says_the_same(folder, single):
    numbers = [number for number in range(40) if len(prompt(number)) >= 150][:8]
    alone = [single.complete(prompt(number), max_tokens=200, temperature=1.0, seed=number).text for number in numbers]
    with om.Model(f"local:{folder}", dtype="float32", max_kv_gb=0.00015) as small:
        batch = small.load().backend._engine.scheduler
        computed = []
        execute = batch.runner.execute
        batch.runner.execute = lambda work: (
            computed.append(sum(len(w[1]) - max(0, w[2] - 1) for w in work)) or execute(work)
        )

        async def together():
            asked = [small.acomplete(prompt(n), max_tokens=200, temperature=1.0, seed=n) for n in numbers]
            return await asyncio.gather(*asked)

        replies = asyncio.run(together())
    assert [reply.text for reply in replies] == alone
    needed = sum(reply.usage.input_tokens + reply.usage.output_tokens - 1 for reply in replies)
    assert sum(computed) > needed, "nobody made room"


def test_no_more_run_at_once_than_was_asked_for(folder):
    with om.Model(f"local:{folder}", dtype="float32", max_batch=2) as model:
        model.load()
        model_runner = model.backend._engine.scheduler.runner
        most = []
        execute = model_runner.execute
        model_runner.execute = lambda work: most.append(len(work)) or execute(work)

        async def together():
            await asyncio.gather(*(model.acomplete("abc", max_tokens=10) for _ in range(7)))

        asyncio.run(together())
    assert max(most) == 2


@pytest.mark.parametrize("options", [{"max_batch": 0}, {"max_batch": 1.5}, {"max_batch": True}, {"max_kv_gb": "2"}])
def test_a_limit_that_is_none_is_refused(folder, options):
    with pytest.raises(om.InvalidRequest, match=next(iter(options))):
        om.Model(f"local:{folder}", **options)


def test_two_thousand_requests_with_random_cancels_leave_nothing_behind(folder):
    threads = set(threading.enumerate())
    chooser = random.Random(0)
    process = psutil.Process()
    ended = []

    async def one(model, number):
        async with model.astream(
            prompt(number, words=chooser.randint(1, 80)), max_tokens=chooser.randint(1, 12), temperature=1.0
        ) as stream:
            patience = chooser.choice((0, 1, 3, 100))
            async for _ in stream:
                patience -= 1
                if patience < 0:
                    break
            ended.append(number)

    async def run(model, numbers):
        turn = asyncio.Semaphore(48)

        async def wait(number):
            async with turn:
                await one(model, number)

        await asyncio.gather(*(wait(number) for number in numbers))

    with om.Model(f"local:{folder}", dtype="float32") as model:
        model.load()
        asyncio.run(run(model, range(500)))
        gc.collect()
        before = process.memory_info().rss
        asyncio.run(run(model, range(500, 2000)))
        gc.collect()
        model.complete("x", max_tokens=1)
        assert process.memory_info().rss - before < 30e6
        engine = model.backend._engine
        with engine.between_steps:
            assert (list(engine._waiting), [job for job in engine._running if not job.queued.is_cancelled]) == ([], [])
        model.complete("x", max_tokens=1)
        with engine.between_steps:
            assert (engine.scheduler.kv_cache.buckets, engine.scheduler.kv_cache.used_bytes) == ({}, 0)
    assert len(ended) == 2000
    assert set(threading.enumerate()) <= threads


def test_without_fewer_operations_the_texts_are_the_same(folder, single, monkeypatch):
    """Where the scores of the shorter forward pass differ, transformers' own remains; and it says the same."""
    monkeypatch.setattr(fused_llama.FusedLlama, "__call__", lambda *_: torch.zeros(1, 259))
    with om.Model(f"local:{folder}", dtype="float32") as model:
        assert model.load().backend._engine.scheduler.runner._fused is None
        assert model.backend.describe()["alone"] is None
        for number in range(3):
            options = sampling(number)
            assert model.complete(prompt(number), **options).text == single.complete(prompt(number), **options).text


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_fewer_operations_give_the_models_scores(folder, dtype):
    with om.Model(f"local:{folder}", dtype=dtype) as model:
        model_runner = model.load().backend._engine.scheduler.runner
        assert model_runner._fused is not None
        tokens = list(range(40))
        with torch.inference_mode():
            due = loader.load(folder, dtype=dtype).model(torch.tensor([tokens])).logits[0, -1].float()
        slot = model_runner.kv_cache.allocate(64)
        got, _ = model_runner.execute([(slot, tokens, 1)])
        model_runner.kv_cache.release(slot)
    error = float((got[0].float() - due).norm() / due.norm())
    assert error < (1e-5 if dtype == "float32" else 0.05)
