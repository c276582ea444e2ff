"""`om.quantisation_loss`: what a quantised version of a model loses on prompts."""

import asyncio
import math

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import openmodels as om
from openmodels.choose.quantisation import _Measurement

PROMPTS = ["The river runs through the valley and", "A list of three metals: iron,"]


def test_a_model_loses_nothing_against_itself(exact_smol):
    loss = om.quantisation_loss(exact_smol, exact_smol, PROMPTS, max_tokens=4)
    assert loss.kl == pytest.approx(0, abs=1e-6)
    assert loss.agreement == 1
    assert loss.perplexity == pytest.approx(loss.base_perplexity, rel=1e-5)
    assert loss.base_bytes > 10**8
    assert loss.base_bytes == loss.variant_bytes
    assert max(map(len, str(loss).splitlines())) <= 80
    assert loss._repr_html_().count("<table>") == 1


def test_figures_are_those_of_transformers(exact_smol, smol):
    loss = om.quantisation_loss(exact_smol, smol, PROMPTS[:1], max_tokens=3)
    path = exact_smol.backend.describe()["path"]
    tokenizer = AutoTokenizer.from_pretrained(path)
    answer = exact_smol.complete(PROMPTS[0], temperature=0, max_tokens=3).text
    prompt = tokenizer(PROMPTS[0])["input_ids"]
    tokens = tokenizer(answer, add_special_tokens=False)["input_ids"]
    logprobs = []
    for dtype in (torch.float32, getattr(torch, smol.backend.describe()["dtype"])):
        theirs = AutoModelForCausalLM.from_pretrained(path, dtype=dtype).eval()
        with torch.inference_mode():
            logits = theirs(torch.tensor([prompt + tokens])).logits[0, len(prompt) - 1 : -1]
        logprobs.append(logits.float().log_softmax(-1))
    kl = (logprobs[0].exp() * (logprobs[0] - logprobs[1])).sum(-1).mean().item()
    mean = logprobs[0].gather(1, torch.tensor(tokens)[:, None]).mean().item()
    assert loss.base_perplexity == pytest.approx(math.exp(-mean), rel=1e-3)
    assert 0 <= loss.kl <= kl * 1.5 + 2e-3
    assert 0 < loss.missing_mass < 1


def test_a_gguf_on_an_engine_that_only_scores(exact_smol, llamacpp_smol):
    loss = om.quantisation_loss(exact_smol, llamacpp_smol, PROMPTS[:1], max_tokens=2)
    answer = exact_smol.complete(PROMPTS[0], temperature=0, max_tokens=2).text
    scores = [model.score(PROMPTS[0], [answer])[0] for model in (exact_smol, llamacpp_smol)]
    assert loss.base_perplexity == pytest.approx(math.exp(-scores[0].logprob / scores[0].token_count), rel=1e-3)
    assert loss.perplexity == pytest.approx(math.exp(-scores[1].logprob / scores[1].token_count), rel=0.05)
    assert loss.kl > 0
    assert loss.variant_bytes < loss.base_bytes / 3
    assert "counts all but the answer's own token as one" in loss.notes[0]
    assert max(map(len, str(loss).splitlines())) <= 80


def test_the_bound_is_below_the_divergence():
    generator = torch.Generator().manual_seed(11)
    for _ in range(30):
        base, other = (torch.randn(200, generator=generator).mul(2).log_softmax(-1) for _ in range(2))
        measured = _Measurement(None, None)
        measured.add(*({str(at): float(row[at]) for at in row.topk(20).indices.tolist()} for row in (base, other)))
        full = float((base.exp() * (base - other)).sum())
        assert 0 <= measured.divergences[0] <= full
        exact = _Measurement(None, None)
        exact.add(*({str(at): float(value) for at, value in enumerate(row)} for row in (base, other)))
        assert exact.divergences[0] == pytest.approx(full, abs=1e-4)


def test_refusals_and_the_twin(exact_smol):
    for wrong in ([], [""], [7]):
        with pytest.raises(om.InvalidRequest, match="prompts"):
            om.quantisation_loss(exact_smol, exact_smol, wrong)
    with pytest.raises(om.InvalidRequest, match="max_tokens"):
        om.quantisation_loss(exact_smol, exact_smol, PROMPTS, max_tokens=0)
    with pytest.raises(om.InvalidRequest, match="other tokens"):
        om.quantisation_loss(exact_smol, "echo:", PROMPTS, max_tokens=2)
    assert asyncio.run(om.aquantisation_loss(exact_smol, exact_smol, PROMPTS[1], max_tokens=2)).agreement == 1
