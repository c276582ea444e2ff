"""The forward pass of fewer operations: when its matrices are laid out, what it keeps, and how many tokens it takes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, strategies as st
from tiny import tiny_llama, tiny_tokenizer
from transformers import LlamaForCausalLM

import openmodels as om
from openmodels.backends.local.engines.torch import loader
from openmodels.backends.local.engines.torch.model_runner import ModelRunner, rounded_down, rounded_up


@pytest.mark.parametrize("tied", [True, False])
def test_of_laid_out_matrices_one_copy_is_kept_and_the_scores_are_the_same(tmp_path, tied):
    whole = tiny_llama(tmp_path / "whole", tie_word_embeddings=tied)
    LlamaForCausalLM.from_pretrained(whole, dtype=torch.bfloat16).save_pretrained(tmp_path / "half")
    tiny_tokenizer().save_pretrained(tmp_path / "half")
    loaded = loader.load(tmp_path / "half", device="cpu", dtype="float32")
    tokens = list(range(21))
    with torch.inference_mode():
        due = loaded.model(torch.tensor([tokens])).logits[0]
    model_runner = ModelRunner(loaded)
    assert model_runner._fused.is_packed
    matrices = [part.weight for part in loaded.model.modules() if isinstance(part, torch.nn.Linear)]
    kept = {id(matrix) for matrix in matrices if matrix.device.type == "cpu"}
    assert kept == ({id(loaded.model.model.embed_tokens.weight)} if tied else set())
    slots = [model_runner.kv_cache.allocate(64) for _ in range(2)]
    got, begins = model_runner.execute([(slots[0], tokens, 21), (slots[1], tokens[:2], 1)])
    assert torch.allclose(got[begins[0] : begins[0] + 21], due, atol=1e-5)
    assert torch.allclose(got[begins[1]], due[1], atol=1e-5)
    assert len(got) == 22


def test_bfloat16_runs_where_onednn_does_not_compute_with_it(tmp_path, monkeypatch):
    folder = tiny_llama(tmp_path / "tiny")
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    with om.Model(f"local:{folder}", dtype="bfloat16") as model:
        assert model.complete("abc", max_tokens=3).usage.output_tokens <= 3
        assert model.backend._engine.scheduler.runner._fused.is_packed is False


@given(st.integers(0, 10_000))
def test_numbers_of_tokens_are_few_and_near(tokens):
    above, below = rounded_up(tokens), rounded_down(tokens)
    assert below <= tokens <= above
    assert rounded_up(above) == above == rounded_down(above)
    assert rounded_up(below) == below == rounded_down(below)
    assert 4 * (above - tokens) < max(tokens, 4)
    assert 4 * (tokens - below) < max(tokens, 4)


def test_up_to_1024_tokens_there_are_36_numbers():
    assert len({rounded_up(tokens) for tokens in range(1, 1025)}) == 36
