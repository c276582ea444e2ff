"""Answers of many architectures in float32, token by token those of transformers' own `generate`.

Each model is a tiny random one. Requests follow each other, long and short, cancelled and constrained, since what one
leaves behind on the model would show in the next.
"""

from __future__ import annotations

import asyncio

import pytest
import torch
from tiny import tiny_tokenizer
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, GenerationConfig

import openmodels as om
from openmodels.backends.local.engines.torch import engine, running_sequence
from openmodels.backends.local.engines.torch.unbatched_model import UnbatchedModel

SIZES = {
    "vocab_size": 259,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "bos_token_id": 257,
    "eos_token_id": 258,
    "pad_token_id": 258,
}
LONG_ROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0, 1.1, 1.2, 1.3],
    "long_factor": [3.0, 5.0, 7.0, 9.0],
    "original_max_position_embeddings": 560,
}
RECURRENT = {"state_size": 4, "conv_kernel": 3, "expand": 2, "time_step_rank": 3}
HYBRID = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_n_groups": 1, "mamba_d_state": 8, "mamba_chunk_size": 32}
EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
LINEAR = {"linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8}

# Name, model type, what its config changes, and how a model alone is fed: None where its requests share passes.
ARCHITECTURES = [
    ("llama", "llama", {}, None),
    ("qwen3", "qwen3", {"head_dim": 8}, None),
    ("gpt2", "gpt2", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 2048}, None),
    ("mistral", "mistral", {"sliding_window": 100, "head_dim": 8}, "chunks"),
    ("gemma2", "gemma2", {"sliding_window": 60, "head_dim": 8}, "chunks"),
    ("phi3", "phi3", {"rope_parameters": LONG_ROPE, "original_max_position_embeddings": 560}, "chunks"),
    ("longrope", "llama", {"rope_parameters": LONG_ROPE}, "chunks"),
    (
        "dynamic",
        "llama",
        {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 3.0}},
        "chunks",
    ),
    ("bloom", "bloom", {"n_layer": 2, "n_head": 4}, "chunks"),
    ("mamba", "mamba", RECURRENT, "whole"),
    ("falcon_mamba", "falcon_mamba", RECURRENT, "whole"),
    ("mamba2", "mamba2", {"num_heads": 4, "head_dim": 16, "n_groups": 1, "state_size": 8, "chunk_size": 32}, "chunks"),
    (
        "recurrent_gemma",
        "recurrent_gemma",
        {"lru_width": 32, "attention_window_size": 90, "head_dim": 8, "num_hidden_layers": 3},
        "whole",
    ),
    ("bamba", "bamba", {**HYBRID, "attn_layer_indices": [1]}, "chunks"),
    ("granitemoehybrid", "granitemoehybrid", {**HYBRID, **EXPERTS, "layer_types": ["mamba", "attention"]}, "chunks"),
    (
        "qwen3_next",
        "qwen3_next",
        {**LINEAR, **EXPERTS, "head_dim": 8, "layer_types": ["linear_attention", "full_attention"]},
        "chunks",
    ),
    ("lfm2", "lfm2", {"layer_types": ["conv", "full_attention"]}, "chunks"),
    ("rwkv", "rwkv", {"attention_hidden_size": 32, "context_length": 2048}, "whole"),
]


def build(model_type, changes, folder):
    """Write a random model whose answers depend on all that it reads, and return it."""
    config = CONFIG_MAPPING[model_type](**(SIZES | changes))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(11)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        for name, weights in model.named_parameters():
            if weights.ndim == 2 and "A_log" not in name:
                embeds = any(part in name for part in ("embed", "wte", "word_embeddings"))
                weights.normal_(0, 0.5 if embeds else 1.5 / weights.shape[-1] ** 0.5)
    model.generation_config = GenerationConfig(bos_token_id=257, eos_token_id=258, pad_token_id=258)
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def agree(computed, model, prompt, count):
    """Check tokens against `generate`, up to where two tokens are as good as each other."""
    with torch.inference_mode():
        made = model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            do_sample=False,
            max_new_tokens=count,
            return_dict_in_generate=True,
            output_logits=True,
        )
    expected = made.sequences[0, len(prompt) :].tolist()
    for at, (token, due) in enumerate(zip(computed, expected, strict=False)):
        best = made.logits[at][0].topk(2).values
        if float(best[0] - best[1]) < 1e-3:
            return
        assert token == due, f"token {at} of {count} behind {len(prompt)}"
    assert len(computed) == len(expected)


@pytest.fixture
def running(monkeypatch):
    """The sequences that the engine began, in order."""
    begun = []

    class Recorded(running_sequence.RunningSequence):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            begun.append(self)

    monkeypatch.setattr(engine, "RunningSequence", Recorded)
    return begun


def text(length, number=1):
    return "".join(chr(97 + (number * place * place + 3 * place) % 26) for place in range(length))


@pytest.mark.parametrize(
    ("model_type", "changes", "fed"), [row[1:] for row in ARCHITECTURES], ids=[row[0] for row in ARCHITECTURES]
)
def test_requests_one_after_the_other_get_the_tokens_of_generate(model_type, changes, fed, tmp_path, running):
    folder = build(model_type, changes, tmp_path / "model")
    with om.Model(f"local:{folder}", dtype="float32") as model:
        facts = model.load().backend.describe()
        assert (facts["alone"] is None) == (fed is None)
        assert (facts["whole_prompt"] is not None) == (fed == "whole")
        assert facts["recompute"] is None
        for length in (600, 9, 1):
            model.complete(text(length), temperature=0, max_tokens=30)
        with model.stream(text(530, 5), temperature=0, max_tokens=30) as stream:
            next(iter(stream))
        model.complete(text(40, 7), temperature=0, max_tokens=30)

        async def together():
            prompts = (text(length, 3) for length in (30, 565, 5))
            await asyncio.gather(*(model.acomplete(prompt, temperature=0, max_tokens=12) for prompt in prompts))

        asyncio.run(together())
    reference = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    runner = UnbatchedModel(reference, torch.device("cpu"))
    counts = [*3 * [30], None, 30, *3 * [12]]
    assert len(running) == len(counts)
    for done, count in zip(running, counts, strict=True):
        if count is not None:
            runner.restore()
            prompt = done.tokens[: done.prompt_length]
            agree(done.tokens[done.prompt_length :], reference, prompt, count)
