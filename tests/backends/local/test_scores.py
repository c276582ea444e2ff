"""`score` on the torch engine: the log-probabilities are those of transformers, whatever shares the forward pass."""

from __future__ import annotations

import asyncio
import math
import random
import threading

import pytest
import torch
from tiny import save_random, tiny_llama, tiny_tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

import openmodels as om
from openmodels.backends.local.engines.torch import scheduler, scoring

PROMPT = "The quick brown fox jumps over the lazy dog, and then "
CONTINUATIONS = ["it sleeps.", "it", "runs away from the dog", "日本語", "x"]


def own_logprobs(theirs, prompt, continuation):
    """The log-probability of each token, by a forward pass of transformers over all of it."""
    tokens = torch.tensor([prompt + continuation])
    with torch.inference_mode():
        logits = theirs(tokens).logits[0].float().log_softmax(-1)
    rows = logits[len(prompt) - 1 : -1]
    return rows.gather(1, torch.tensor(continuation)[:, None])[:, 0].tolist()


def random_texts(count, seed):
    draw = random.Random(seed)
    alphabet = "abcdefghij klmnop qrstuvwxyz ÄÖÜ 日本語 .,!?\n"
    return ["".join(draw.choices(alphabet, k=draw.randint(1, 60))) for _ in range(count)]


@pytest.fixture(scope="module")
def theirs(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def tokenizer(folder):
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(params=["shared", "single"])
def either(request, model, single):
    return model if request.param == "shared" else single


class TestNumbers:
    def test_are_those_of_transformers(self, either, theirs, tokenizer):
        texts = random_texts(240, seed=1)  # 30 prompts with 7 continuations each
        for prompt, *continuations in zip(*(iter(texts),) * 8, strict=True):
            scores = either.score(prompt, continuations)
            ids = tokenizer(prompt)["input_ids"]
            for continuation, score in zip(continuations, scores, strict=True):
                due = own_logprobs(theirs, ids, tokenizer(continuation, add_special_tokens=False)["input_ids"])
                assert score.text == continuation
                assert [token.logprob for token in score.tokens] == pytest.approx(due, abs=1e-4)
                assert score.logprob == pytest.approx(sum(due), abs=1e-3)
                assert score.token_count == len(due)

    def test_minus_the_sum_is_the_loss(self, model, theirs, tokenizer):
        (score,) = model.score(PROMPT, ["it sleeps."])
        prompt = tokenizer(PROMPT)["input_ids"]
        ids = torch.tensor([prompt + tokenizer("it sleeps.", add_special_tokens=False)["input_ids"]])
        labels = ids.clone()
        labels[0, : len(prompt)] = -100
        with torch.inference_mode():
            loss = float(theirs(ids, labels=labels).loss)
        assert -score.logprob / score.token_count == pytest.approx(loss, abs=1e-5)

    def test_half_precision_is_close(self, folder, tokenizer):
        theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
        with om.Model(f"local:{folder}", dtype="bfloat16") as model:
            scores = model.score(PROMPT, CONTINUATIONS)
        for score in scores:
            ids = tokenizer(score.text, add_special_tokens=False)["input_ids"]
            due = own_logprobs(theirs, tokenizer(PROMPT)["input_ids"], ids)
            assert [token.logprob for token in score.tokens] == pytest.approx(due, abs=0.05)

    def test_tokens_have_text_number_and_rank(self, either, theirs, tokenizer):
        prompt = tokenizer(PROMPT)["input_ids"]
        with torch.inference_mode():
            best = int(theirs(torch.tensor([prompt])).logits[0, -1].argmax())
        texts = [*map(chr, range(32, 127)), "ab"]
        scores = either.score(PROMPT, texts)
        for text, score in zip(texts, scores, strict=True):
            assert [token.text for token in score.tokens] == list(text)
            assert [token.id for token in score.tokens] == tokenizer(text, add_special_tokens=False)["input_ids"]
            assert score.tokens[0].is_likeliest == (score.tokens[0].id == best)
            if score.token_count == 1:
                assert score.is_greedy == score.tokens[0].is_likeliest

    def test_all_next_tokens_add_up_to_one(self, model, tokenizer):
        texts = [chr(code) for code in range(32, 127)]
        scores = model.score(PROMPT, texts)
        assert sum(math.exp(score.logprob) for score in scores) < 1 + 1e-4

    def test_messages_are_rendered(self, either, theirs, tokenizer):
        messages = [{"role": "user", "content": "Hello"}]
        (score,) = either.score(messages, ["Good day"])
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False)
        due = own_logprobs(theirs, ids, tokenizer("Good day", add_special_tokens=False)["input_ids"])
        assert [token.logprob for token in score.tokens] == pytest.approx(due, abs=1e-4)


class TestSharing:
    def test_long_continuations_take_several_steps(self, either, theirs, tokenizer, monkeypatch):
        monkeypatch.setattr(scoring, "_MAX_BRANCHED", 7)
        monkeypatch.setattr(scheduler, "PREFILL", 16)
        continuations = ["short", "one that is longer than a step", "x", "another that is longer than a step"]
        for score in either.score(PROMPT, continuations):
            ids = tokenizer(score.text, add_special_tokens=False)["input_ids"]
            due = own_logprobs(theirs, tokenizer(PROMPT)["input_ids"], ids)
            assert [token.logprob for token in score.tokens] == pytest.approx(due, abs=1e-4)

    def test_the_prompt_is_computed_once(self, model):
        prompt = "A prompt of more than sixty-four tokens, " * 4
        model.score(prompt, ["a"])
        outcomes = []
        with om.Model(model.backend, on_reply=outcomes.append) as again:
            again.score(prompt + "and then", ["b", "cd"])
        assert outcomes[0].usage.cached_tokens >= len(prompt) - 1

    def test_answers_beside_it_change_nothing(self, model):
        alone = model.score(PROMPT, CONTINUATIONS)
        results = []

        def work(number):
            if number % 2:
                model.chat("Tell me", max_tokens=40, temperature=0)
            else:
                results.append(model.score(PROMPT, CONTINUATIONS))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for scores in results:
            assert [score.logprob for score in scores] == pytest.approx([s.logprob for s in alone], abs=1e-3)
        assert len(results) == 4

    def test_little_memory_is_enough(self, folder, theirs, tokenizer):
        with om.Model(f"local:{folder}", dtype="float32", max_kv_gb=1e-6) as model:
            scores = model.score(PROMPT, CONTINUATIONS * 20)
        for score in scores[:5]:
            ids = tokenizer(score.text, add_special_tokens=False)["input_ids"]
            due = own_logprobs(theirs, tokenizer(PROMPT)["input_ids"], ids)
            assert [token.logprob for token in score.tokens] == pytest.approx(due, abs=1e-4)

    def test_async_gives_the_same(self, either):
        assert asyncio.run(either.ascore(PROMPT, CONTINUATIONS)) == either.score(PROMPT, CONTINUATIONS)


class TestRefusals:
    def test_what_is_too_long(self, either):
        with pytest.raises(om.ContextTooLong, match=r"prompt has \d+ tokens"):
            either.score("a" * 5000, ["b"])
        with pytest.raises(om.ContextTooLong, match=r"continuations\[1\] has 4090 tokens behind a prompt of 10"):
            either.score("a" * 10, ["b", "c" * 4090])
        with pytest.raises(om.ContextTooLong, match=r"continuations\[0\] has more than"):
            either.score("a", ["c" * 100_000])
        assert len(either.score("a" * 10, ["c" * 4086])[0].tokens) == 4086

    @pytest.mark.parametrize("continuations", [[], [""], ["a", ""], "text", [5], None])
    def test_wrong_continuations(self, model, continuations):
        with pytest.raises(om.InvalidRequest, match="continuations"):
            model.score(PROMPT, continuations)

    def test_an_unknown_entry_of_extra(self, model):
        with pytest.raises(om.UnsupportedFeature, match="'speed'"):
            model.score(PROMPT, ["a"], extra={"speed": 1})

    def test_no_chat_template(self, tmp_path):
        with om.Model(f"local:{tiny_llama(tmp_path, chat_template=None)}") as base:
            assert base.score("a", ["b"])[0].token_count == 1
            with pytest.raises(om.UnsupportedFeature, match="chat template"):
                base.score([om.user("a")], ["b"])

    def test_the_deadline(self, model):
        with pytest.raises(om.DeadlineExceeded):
            model.score("a" * 4000, ["b" * 90] * 2000, timeout=0.05)
        assert model.score("a", ["b"])

    def test_a_cancelled_call_ends(self, model):
        async def cancel():
            task = asyncio.create_task(model.ascore("a" * 4000, ["b" * 90] * 2000))
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(cancel())
        assert model.score("a", ["b"])

    def test_a_closed_model_interrupts_and_opens_again(self, folder):
        model = om.Model(f"local:{folder}", dtype="float32").load()
        caught = []

        def work():
            try:
                model.score("a" * 4000, ["b" * 90] * 2000)
            except om.StreamInterrupted as error:
                caught.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        while not model.backend._engine.running:
            pass
        model.close()
        thread.join()
        assert len(caught) == 1
        assert model.score("a", ["b"])
        model.close()


class TestOtherModels:
    @pytest.mark.parametrize("name", ["mamba", "gpt_neo"])
    def test_models_that_run_alone(self, tmp_path, name):
        from transformers import GPTNeoConfig, GPTNeoForCausalLM, MambaConfig, MambaForCausalLM

        tokenizer = tiny_tokenizer()
        if name == "mamba":
            config = MambaConfig(vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, state_size=4)
            theirs = MambaForCausalLM(config)
        else:
            config = GPTNeoConfig(
                vocab_size=len(tokenizer),
                hidden_size=16,
                num_layers=2,
                num_heads=2,
                attention_types=[[["global", "local"], 1]],
                window_size=8,
                max_position_embeddings=256,
            )
            theirs = GPTNeoForCausalLM(config)
        theirs.eval()
        save_random(theirs, tmp_path)
        tokenizer.save_pretrained(tmp_path)
        with om.Model(f"local:{tmp_path}", dtype="float32") as model:
            model.load()
            assert model.backend.describe()["alone"]
            for score in model.score(PROMPT, CONTINUATIONS):
                ids = tokenizer(score.text, add_special_tokens=False)["input_ids"]
                due = own_logprobs(theirs, tokenizer(PROMPT)["input_ids"], ids)
                assert [token.logprob for token in score.tokens] == pytest.approx(due, abs=1e-3)

    def test_damaged_weights_are_no_numbers(self, tmp_path):
        folder = tiny_llama(tmp_path)
        theirs = AutoModelForCausalLM.from_pretrained(folder)
        with torch.no_grad():
            theirs.model.embed_tokens.weight[tiny_tokenizer()("!")["input_ids"]] = math.nan
        theirs.save_pretrained(folder)
        with om.Model(f"local:{folder}", dtype="float32") as model:
            with pytest.raises(om.LoadFailed, match="finite"):
                model.score("a", ["bcd", "b!d"])
            assert model.score("a", ["bcd"])
