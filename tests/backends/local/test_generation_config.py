"""A model's own generation_config: the same text as transformers' `generate`, or a name in `describe()`."""

from __future__ import annotations

import json
import logging

import pytest
import torch
from tiny import save_random, tiny_llama
from transformers import AutoModelForCausalLM, GenerationConfig, LlamaConfig, LlamaForCausalLM

import openmodels as om
from openmodels.backends.local import generation_config
from openmodels.backends.local.engines.torch.sampling import Sampler
from openmodels.backends.local.prompt.prepare import SamplingParams
from openmodels.errors import LoadFailed
from openmodels.types.request import ChatRequest

PROMPT = "some words, some words"
LENGTH = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tiny_llama(tmp_path_factory.mktemp("configured"))
    config = LlamaConfig.from_pretrained(folder)
    save_random(LlamaForCausalLM(config), folder)
    return folder


def own_text(folder, **fields):
    (folder / generation_config.FILE).write_text(json.dumps({"eos_token_id": 258, **fields}))
    with om.Model(f"local:{folder}", dtype="float32") as model:
        reply = model.complete(PROMPT, temperature=0, max_tokens=LENGTH)
        return reply, model.backend._engine.loaded


def their_text(loaded):
    loaded.model.generation_config.max_length = None
    ids = loaded.tokenizer(PROMPT, return_tensors="pt")["input_ids"]
    made = loaded.model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=LENGTH, pad_token_id=258
    )
    return made[0, ids.shape[1] :].tolist()


FIELDS = {
    "suppress_tokens": list(range(40, 120)),
    "begin_suppress_tokens": list(range(200)),
    "bad_words_ids": [[token] for token in range(60, 200)] + [[3, 4], [5, 6, 7]],
    "no_repeat_ngram_size": 2,
    "repetition_penalty": 1.7,
    "encoder_repetition_penalty": 1.6,
    "encoder_no_repeat_ngram_size": 2,
    "min_new_tokens": 17,
    "min_length": 36,
    "forced_eos_token_id": 258,
    "forced_bos_token_id": 7,
    "exponential_decay_length_penalty": [3, 1.8],
    "sequence_bias": [[[65], 9.0], [[66, 67], -5.0]],
    "renormalize_logits": True,
    "remove_invalid_values": True,
}


@pytest.mark.parametrize("field", FIELDS)
def test_the_greedy_text_is_that_of_generate(folder, field):
    fields = {field: FIELDS[field]}
    if field in ("min_new_tokens", "min_length", "exponential_decay_length_penalty"):
        fields["eos_token_id"] = list(range(128, 259))
    fields |= {"repetition_penalty": 1.3} if field == "sequence_bias" else {}
    reply, loaded = own_text(folder, **fields)
    theirs = their_text(loaded)
    ends = {258, *(fields.get("eos_token_id") or ())}
    written = [token for token in theirs if token not in ends]
    # Bytes at the end that are no whole character are not given out.
    assert reply.text == loaded.tokenizer.decode(written, skip_special_tokens=True).rstrip("\ufffd")
    assert reply.usage.output_tokens == len(theirs)
    assert (reply.finish_reason == "stop") == (theirs[-1] in ends)
    assert generation_config.not_honoured(loaded.model.generation_config, generation_config.TRANSFORMERS) == []


CUTS = {
    "do_sample alone": {},
    "min_p": {"min_p": 0.3},
    "typical_p": {"typical_p": 0.5},
    "epsilon_cutoff": {"epsilon_cutoff": 0.05},
    "eta_cutoff": {"eta_cutoff": 0.05},
    "top_h": {"top_h": 0.4},
    "several": {"temperature": 0.7, "top_k": 20, "top_p": 0.8, "min_p": 0.05, "typical_p": 0.9},
    "cut and penalty": {"repetition_penalty": 1.5, "min_p": 0.1, "suppress_tokens": [1, 2]},
}


@pytest.mark.parametrize("name", CUTS)
def test_samples_are_drawn_from_the_distribution_of_generate(folder, name):
    config = GenerationConfig(do_sample=True, eos_token_id=258, **CUTS[name])
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    prompt = [5, 6, 7, 5]
    processors = model._get_logits_processor(
        model._prepare_generation_config(config)[0], input_ids_seq_length=len(prompt), device="cpu"
    )
    raw = torch.randn(259, generator=torch.Generator().manual_seed(3)) * 2
    wanted = processors(torch.tensor([prompt]), raw[None].clone())[0].softmax(-1)
    params = SamplingParams.from_request(ChatRequest(prompt="x", seed=1), config)
    sampler = Sampler(params, config, prompt, 259, torch.device("cpu"), max_new_tokens=9, eos_token_ids=[258])
    counts = torch.zeros(259)
    for seed in range(3000):
        sampler._generator.manual_seed(seed)
        counts[sampler._draw(sampler._penalise(sampler._masked(raw, None)), sampler._generator)] += 1
    assert set(counts.nonzero().flatten().tolist()) <= set((wanted > 0).nonzero().flatten().tolist())
    assert (counts / 3000 - wanted).abs().max() < 0.05


def test_the_caller_comes_before_the_config():
    own = GenerationConfig(do_sample=True, temperature=0.4, top_k=7, min_p=0.2)
    sampling = SamplingParams.from_request(ChatRequest(prompt="x", temperature=0.9, top_k=3), own)
    assert (sampling.temperature, sampling.top_k, sampling.min_p) == (0.9, 3, 0.2)
    greedy = GenerationConfig(top_k=7, min_p=0.2)
    sampling = SamplingParams.from_request(ChatRequest(prompt="x", temperature=0.9), greedy)
    assert (sampling.temperature, sampling.top_k, sampling.min_p) == (0.9, 0, 0.0)


def test_stop_strings_and_lengths_of_the_config(folder):
    reply, loaded = own_text(folder)
    text = reply.text
    stop = next(letter for letter in text if letter.isascii() and letter.isprintable())
    cut, _ = own_text(folder, stop_strings=[stop])
    assert (cut.text, cut.finish_reason) == (text.split(stop)[0], "stop")
    size = len(loaded.tokenizer(PROMPT)["input_ids"])
    for fields in ({"max_new_tokens": 6}, {"max_length": size + 6}):
        (folder / generation_config.FILE).write_text(json.dumps({"eos_token_id": 258, **fields}))
        with om.Model(f"local:{folder}", dtype="float32") as model:
            assert model.complete(PROMPT, temperature=0).usage.output_tokens == 6
            # A prompt that is longer than what the config says is answered all the same.
            assert model.complete(PROMPT * 2, temperature=0, max_tokens=8).text


def test_what_is_not_honoured_is_named(folder, caplog):
    fields = {"num_beams": 4, "penalty_alpha": 0.6, "guidance_scale": 1.5, "house_style": "loud", "length_penalty": 2.0}
    (folder / generation_config.FILE).write_text(json.dumps({"eos_token_id": 258, **fields}))
    with caplog.at_level(logging.WARNING, logger="openmodels"), om.Model(f"local:{folder}", dtype="float32") as model:
        model.load()
        model.complete(PROMPT, temperature=0, max_tokens=2)
        named = model.backend.describe()["not_honoured"]
    assert named == ["guidance_scale", "house_style", "num_beams", "penalty_alpha"]
    (record,) = [record for record in caplog.records if generation_config.FILE in record.getMessage()]
    assert "num_beams" in record.getMessage()


def test_a_wrong_field_is_a_typed_error(folder):
    with pytest.raises(LoadFailed, match="no_repeat_ngram_size"):
        own_text(folder, no_repeat_ngram_size=-3)


def test_the_form_of_an_answer_comes_before_what_the_config_suppresses(folder):
    (folder / generation_config.FILE).write_text(json.dumps({"eos_token_id": 258, "suppress_tokens": list(range(256))}))
    with om.Model(f"local:{folder}", dtype="float32") as model:
        assert model.complete(PROMPT, choices=["yes", "no"], temperature=0).text in {"yes", "no"}


def test_a_folder_without_the_file_says_its_ends_in_its_config(folder, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": [3, 4]}))
    assert generation_config.read_config(tmp_path).eos_token_id == [3, 4]
    (tmp_path / generation_config.FILE).write_text("{")
    with pytest.raises(LoadFailed, match="cannot be read"):
        generation_config.read_config(tmp_path)
