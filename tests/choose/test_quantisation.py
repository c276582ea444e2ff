"""`om.quantisation_loss`: what a quantised version of a model loses on prompts."""

import asyncio
import json
import math

import pytest

import openmodels as om
from openmodels.choose.quantisation import _Measurement

torch = pytest.importorskip("torch", reason="the losses of local models need torch")
from tiny import save_random, tiny_llama  # noqa: E402 - they import torch
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

PROMPTS = ["The river runs through the valley and", "A list of three metals: iron,"]


def test_a_model_loses_nothing_against_itself(exact_smol):
    loss = om.quantisation_loss(exact_smol, exact_smol, PROMPTS, max_tokens=4)
    assert loss.kl == pytest.approx(0, abs=1e-6)
    assert loss.agreement == 1
    assert loss.same_answers == loss.prompts == 2
    assert loss.perplexity == pytest.approx(loss.base_perplexity, rel=1e-5)
    assert loss.base_bytes > 10**8
    assert loss.base_bytes == loss.variant_bytes
    assert max(map(len, str(loss).splitlines())) <= 80
    assert loss._repr_html_().count("<table>") == 1


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A random model, and the same with noise in its weights."""
    base, noisy = (tiny_llama(tmp_path_factory.mktemp(name)) for name in ("base", "noisy"))
    model = AutoModelForCausalLM.from_pretrained(base)
    save_random(model, base)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(5)
        for weights in model.parameters():
            weights.add_(0.05 * torch.randn_like(weights))
    model.save_pretrained(noisy)
    return base, noisy


def test_figures_are_those_of_transformers_over_the_whole_vocabulary(folders):
    with (
        om.Model(f"local:{folders[0]}", dtype="float32") as base,
        om.Model(f"local:{folders[1]}", dtype="float32") as noisy,
    ):
        loss = om.quantisation_loss(base, noisy, PROMPTS[:1], max_tokens=12)
        answers = [model.complete(PROMPTS[0], temperature=0, max_tokens=12).text for model in (base, noisy)]
    tokenizer = AutoTokenizer.from_pretrained(folders[0])
    prompt = tokenizer(PROMPTS[0])["input_ids"]
    tokens = tokenizer(answers[0], add_special_tokens=False)["input_ids"]
    logprobs = []
    for folder in folders:
        theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        with torch.inference_mode():
            logits = theirs(torch.tensor([prompt + tokens])).logits[0, len(prompt) - 1 : -1]
        logprobs.append(logits.log_softmax(-1))
    kl = (logprobs[0].exp() * (logprobs[0] - logprobs[1])).sum(-1).mean().item()
    assert loss.tokens == len(tokens)
    assert loss.kl == pytest.approx(kl, rel=1e-3)
    assert loss.kl > 1e-3
    assert loss.missing_mass == 0
    assert loss.agreement == (logprobs[0].argmax(-1) == logprobs[1].argmax(-1)).float().mean().item()
    assert loss.same_answers == (answers[0] == answers[1])
    for row, stated in zip(logprobs, (loss.base_perplexity, loss.perplexity), strict=True):
        assert stated == pytest.approx(math.exp(-row.gather(1, torch.tensor(tokens)[:, None]).mean().item()), rel=1e-3)
    assert "at least" not in str(loss)


def test_other_tokens_of_the_same_number_are_refused(folders, tmp_path):
    swapped = tiny_llama(tmp_path / "swapped")
    file = swapped / "tokenizer.json"
    content = json.loads(file.read_text())
    ids = content["model"]["vocab"]
    ids["q"], ids["z"] = ids["z"], ids["q"]  # in no prompt
    file.write_text(json.dumps(content))
    with pytest.raises(om.InvalidRequest, match="other tokens"):
        om.quantisation_loss(f"local:{folders[0]}", f"local:{swapped}", PROMPTS, max_tokens=2)


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
