"""Scores that are no finite numbers: an error of the request that has them, and of no other, on every path."""

from __future__ import annotations

import asyncio

import pytest
import torch
from test_embedder import tiny_encoder
from tiny import tiny_llama, tiny_tokenizer
from transformers import BertConfig, BertForSequenceClassification, LlamaForCausalLM

import openmodels as om
from openmodels.backends.local.engines.torch import draft_tokens
from openmodels.backends.local.engines.torch.loader import LoadedModel
from openmodels.backends.local.engines.torch.model_runner import ModelRunner

GOOD = "the tide comes in and goes out again, " * 4
BAD = GOOD[:70] + "Q" + GOOD[70:]
OPTIONS = {"temperature": 0, "max_tokens": 12}


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """A model in which the letter Q is no number."""
    folder = tiny_llama(tmp_path_factory.mktemp("damaged"), max_position_embeddings=2048, tie_word_embeddings=False)
    model = LlamaForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.model.embed_tokens.weight[tiny_tokenizer().convert_tokens_to_ids("Q")] = float("nan")
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_request_without_numbers_fails_and_the_others_are_as_before(damaged, deterministic):
    with om.Model(f"local:{damaged}", dtype="float32", deterministic=deterministic) as model:
        assert (model.load().backend.describe()["alone"] is None) != deterministic
        prompts = [GOOD[at:] for at in range(5)]
        before = [model.complete(prompt, **OPTIONS).text for prompt in prompts]

        async def together():
            asked = [*prompts[:3], BAD, "Q", *prompts[3:]]
            return await asyncio.gather(
                *(model.acomplete(prompt, **OPTIONS) for prompt in asked), return_exceptions=True
            )

        for _ in range(3):
            replies = asyncio.run(together())
            failed = [reply for reply in replies if isinstance(reply, om.LoadFailed)]
            assert [error.cause.startswith("The model's scores are not finite") for error in failed] == [True, True]
            assert [reply.text for reply in replies if reply not in failed] == before
        # Nothing of a failed request is kept for one that begins like it.
        assert model.complete(BAD[:70] + "q", **OPTIONS).usage.output_tokens == 12


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0.9, "seed": 1},
        {"temperature": 0.9, "top_p": 0.5, "seed": 1},
        {"temperature": 1.0, "top_k": 5, "seed": 1},
        {"temperature": 0, "repetition_penalty": 1.2},
        {"temperature": 0, "frequency_penalty": 0.5},
        {"temperature": 0, "choices": ["yes", "no"]},
        {"temperature": 0, "pattern": "[0-9]{3}"},
        {"temperature": 0, "logprobs": 3},
    ],
    ids="-".join,
)
def test_every_way_to_choose_a_token_refuses_what_is_no_number(damaged, options):
    with om.Model(f"local:{damaged}", dtype="float32") as model:
        with pytest.raises(om.LoadFailed, match="not finite"):
            model.complete(BAD, max_tokens=5, **options)
        with pytest.raises(om.LoadFailed, match="not finite"), model.stream(BAD, max_tokens=5, **options) as stream:
            list(stream)


def test_a_model_of_no_numbers_says_so(damaged, tmp_path):
    model = LlamaForCausalLM.from_pretrained(damaged)
    with torch.no_grad():
        model.model.norm.weight.fill_(float("inf"))
    model.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    with om.Model(f"local:{tmp_path}", dtype="float32") as opened, pytest.raises(om.LoadFailed, match="not finite"):
        opened.chat("Hi")


def test_places_of_a_failed_row_hold_numbers_again(damaged):
    tokenizer = tiny_tokenizer()
    model = LlamaForCausalLM.from_pretrained(damaged)
    model_runner = ModelRunner(LoadedModel(model, tokenizer, torch.device("cpu"), torch.float32, 99))
    slot = model_runner.kv_cache.allocate(40)
    scores, _ = model_runner.execute([(slot, tokenizer("abcQ")["input_ids"], 1)])
    assert not scores.isfinite().all()
    assert not all(layer.isfinite().all() for layer in (*slot.bucket.keys, *slot.bucket.values))
    model_runner.kv_cache.zero(slot, 0, 4)
    assert all(layer.isfinite().all() for layer in (*slot.bucket.keys, *slot.bucket.values))


def test_a_guess_without_numbers_is_only_a_wrong_guess(damaged, monkeypatch):
    with om.Model(f"local:{damaged}", dtype="float32", deterministic=True) as model:
        expected = [model.complete(prompt, **OPTIONS).text for prompt in (GOOD, GOOD[3:])]
    guess = tiny_tokenizer()("QaQ")["input_ids"]
    monkeypatch.setattr(draft_tokens.Drafter, "propose", lambda *_, **__: list(guess))
    with om.Model(f"local:{damaged}", dtype="float32") as model:

        async def together():
            return await asyncio.gather(*(model.acomplete(prompt, **OPTIONS) for prompt in (GOOD, GOOD[3:])))

        assert [model.complete(GOOD, **OPTIONS).text, model.complete(GOOD[3:], **OPTIONS).text] == expected
        assert [reply.text for reply in asyncio.run(together())] == expected


def test_vectors_without_numbers_are_an_error(tmp_path):
    folder = tiny_encoder(tmp_path)
    from transformers import BertModel

    model = BertModel.from_pretrained(folder)
    with torch.no_grad():
        model.encoder.layer[-1].output.LayerNorm.weight.fill_(float("nan"))
    model.save_pretrained(folder)
    with om.Model(f"local:{folder}") as opened, pytest.raises(om.LoadFailed, match="vectors are not finite"):
        opened.embed(["a text"])


def test_a_ranking_without_numbers_is_an_error(tmp_path):
    tokenizer = tiny_tokenizer()
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_labels=1,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = BertForSequenceClassification(config)
    with torch.no_grad():
        model.classifier.bias.fill_(float("inf"))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with om.Model(f"local:{tmp_path}") as opened, pytest.raises(om.LoadFailed, match="scores are not finite"):
        opened.rerank("which?", ["this", "that"])
