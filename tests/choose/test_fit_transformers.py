"""The bytes of a cache against those of transformers' own cache objects after a forward pass."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytestmark = pytest.mark.weights

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from openmodels.choose.fit_cache import _defaults, read_layout  # noqa: E402 - below the import that may end this file

TOKENS, BATCH, WINDOW = 40, 2, 12
SIZES = {
    "vocab_size": 64, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 6, "num_attention_heads": 8,
    "num_key_value_heads": 2, "num_kv_heads": 2, "head_dim": 8, "n_embd": 64, "n_layer": 6, "n_head": 8, "d_model": 64,
    "n_heads": 8, "n_layers": 6, "max_position_embeddings": 256, "n_positions": 256, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2, "sliding_window": WINDOW, "attention_window_size": WINDOW,
    "attention_chunk_size": WINDOW, "num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2,
    "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32, "lru_width": 64,
}  # fmt: skip
MLA = {
    "head_dim": None, "num_key_value_heads": 8, "kv_lora_rank": 16, "q_lora_rank": 16, "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 12, "v_head_dim": 20, "n_routed_experts": 4, "n_group": 1, "topk_group": 1,
    "first_k_dense_replace": 1, "n_shared_experts": 1,
}  # fmt: skip
DELTA = {
    "linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 12,
}  # fmt: skip
MAMBA2 = {"mamba_n_heads": 16, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 2}
PLAIN = """
apertus arcee bloom cohere cohere2 diffllama ernie4_5 falcon gemma gemma2 gemma3_text glm4 gpt2 gpt_bigcode gpt_neox
gpt_oss granite helium lfm2 llama llama4_text ministral mistral mixtral mpt nemotron olmo2 olmo3 olmoe opt persimmon phi
phi3 qwen2_moe qwen3 qwen3_moe seed_oss smollm3 stablelm starcoder2 vaultgemma
"""
ARCHITECTURES: dict[str, dict[str, Any]] = {
    **{kind: {} for kind in PLAIN.split()},
    "qwen2": {"use_sliding_window": True, "max_window_layers": 3},
    "deepseek_v3": MLA,
    "deepseek_v2": MLA,
    "qwen3_next": DELTA,
    "qwen3_5_text": DELTA,
    "bamba": {**MAMBA2, "attn_layer_indices": [1, 4]},
    "jamba": {"attn_layer_period": 3, "attn_layer_offset": 1, "mamba_d_state": 8},
    "mamba": {"state_size": 8},
    "falcon_mamba": {"state_size": 8},
    "falcon_h1": {**MAMBA2, "mamba_d_ssm": 128},
}


def tiny(kind: str, changes: dict[str, Any]) -> Any:
    config = transformers.CONFIG_MAPPING[kind]
    renamed = config.attribute_map
    wanted = {name: value for name, value in {**SIZES, **changes}.items() if value is not None}
    known = {name: value for name, value in wanted.items() if name in config.__dataclass_fields__ or name in renamed}
    return config(**{name: value for name, value in known.items() if renamed.get(name) not in known})


def measured(cache: Any) -> int:
    """The bytes of all tensors of a cache's layers."""
    total = 0
    for layer in cache.layers:
        for name in ("keys", "values", "conv_states", "recurrent_states"):
            value = getattr(layer, name, None)
            parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
            total += sum(part.nbytes for part in parts if isinstance(part, torch.Tensor))
    return total


@pytest.mark.parametrize("kind", sorted(ARCHITECTURES))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_equals_the_cache_of_transformers(kind, dtype):
    config = tiny(kind, ARCHITECTURES[kind])
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
    with torch.inference_mode():
        output = model(torch.randint(3, 60, (BATCH, TOKENS)), use_cache=True)
    layout = read_layout({**json.loads(config.to_json_string()), "model_type": config.model_type})
    width = dtype.itemsize
    # transformers keeps the window without the token that is computed next.
    newest = sum(layer.per_token for layer in layout.layers if layer.window) * BATCH * width
    assert layout.count_bytes(TOKENS, BATCH, width) - newest == measured(
        output.get("cache", output.get("past_key_values"))
    )


def test_falcon_repeats_shared_keys_for_each_query_head():
    config = tiny("falcon", {"new_decoder_architecture": True})
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.inference_mode():
        output = model(torch.randint(3, 60, (BATCH, TOKENS)), use_cache=True)
    layout = read_layout({**json.loads(config.to_json_string()), "model_type": "falcon"})
    repeats = SIZES["num_attention_heads"] // SIZES["num_kv_heads"]
    assert measured(output["cache"]) == repeats * layout.count_bytes(TOKENS, BATCH, 4)


def test_the_defaults_of_classes_are_those_of_transformers():
    for kind, settings in _defaults().items():
        config = transformers.CONFIG_MAPPING[kind]
        config = getattr(config, "sub_configs", {}).get("text_config", config)
        fields = config.__dataclass_fields__
        for name, value in settings.items():
            stated = fields[name].default or getattr(config(), name)
            assert (list(stated) if isinstance(stated, tuple) else stated) == value, (kind, name)
