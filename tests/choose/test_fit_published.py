"""The cache of published models against figures derived by hand, each with its derivation.

`published_configs.json` holds facts of their config.json files, and where these were read.
"""

import json
from pathlib import Path

import pytest

from openmodels.choose.fit_cache import bound_cache, read_layout

PUBLISHED = json.loads((Path(__file__).parent / "published_configs.json").read_text(encoding="utf-8"))
KB8, KB32, KB128 = 8192, 32768, 131072
BF16 = 2


def cache(model, tokens, batch=1, width=BF16):
    return read_layout(PUBLISHED[model]["config"]).count_bytes(tokens, batch, width)


def test_deepseek_v3_keeps_one_latent_of_a_token():
    # 61 layers x (512 latent + 64 rotary) x 2 bytes = 70,272 bytes a token; the 62nd layer, which predicts a token
    # more, is not run. Keys and values of 128 heads of 128 + 64 and 128 would be 35 times as much.
    assert cache("deepseek-ai/DeepSeek-V3", 1) == 61 * (512 + 64) * 2 == 70_272
    assert cache("deepseek-ai/DeepSeek-V3", KB128, batch=2) == 2 * KB128 * 70_272


@pytest.mark.parametrize(
    ("model", "token"),
    [
        # 2 (key and value) x 32 layers x 8 heads x 4096/32 x 2 bytes
        ("meta-llama/Llama-3.1-8B", 2 * 32 * 8 * 128 * 2),
        # 2 x 80 x 8 x 8192/64 x 2
        ("meta-llama/Llama-3.1-70B", 2 * 80 * 8 * 128 * 2),
        # "sliding_window": null, and no fewer heads for its experts: 2 x 32 x 8 x 4096/32 x 2
        ("mistralai/Mixtral-8x7B-v0.1", 2 * 32 * 8 * 128 * 2),
        # 8 heads: new_decoder_architecture makes multi_query irrelevant. 2 x 60 x 8 x 8192/128 x 2
        ("tiiuae/falcon-40b", 2 * 60 * 8 * 64 * 2),
        # No grouped heads: 2 x 32 x 32 x 4096/32 x 2
        ("allenai/OLMo-2-1124-7B", 2 * 32 * 32 * 128 * 2),
    ],
)
def test_full_attention_grows_with_every_token(model, token):
    assert cache(model, 1) == token
    assert cache(model, KB8, batch=4, width=4) == 4 * KB8 * token * 2


def test_llama_in_round_figures():
    assert cache("meta-llama/Llama-3.1-8B", 1) == 131_072
    assert cache("meta-llama/Llama-3.1-70B", 1) == 327_680


def test_gemma_3_slides_in_five_of_six_layers():
    # 62 layers: every sixth is full, so 10, and 52 slide over 1,024 tokens. A token of a layer: 2 x 16 x 128 x 2 bytes.
    token = 2 * 16 * 128 * 2
    assert cache("google/gemma-3-27b-it", KB128) == token * (10 * KB128 + 52 * 1024)
    assert cache("google/gemma-3-27b-it", 1000) == token * 62 * 1000


def test_gpt_oss_slides_in_every_second_layer():
    # 36 layers, the first of each two slides over 128 tokens; a token of a layer is 2 x 8 x 64 x 2 bytes.
    token = 2 * 8 * 64 * 2
    assert cache("openai/gpt-oss-120b", KB128) == token * (18 * KB128 + 18 * 128)


def test_qwen3_next_keeps_states_in_three_of_four_layers():
    # 12 full layers with 2 heads of 256; 36 layers with a state of 32 heads of 128 x 128 numbers in float32, and the
    # last 4 columns of a convolution over 2 x 16 x 128 + 32 x 128 channels, as transformers keeps them.
    state = 32 * 128 * 128 * 4 + (2 * 16 * 128 + 32 * 128) * 4 * BF16
    assert cache("Qwen/Qwen3-Next-80B-A3B-Instruct", KB32) == 12 * 2 * 2 * 256 * KB32 * BF16 + 36 * state
    # The states do not grow.
    grown = cache("Qwen/Qwen3-Next-80B-A3B-Instruct", 2 * KB32) - cache("Qwen/Qwen3-Next-80B-A3B-Instruct", KB32)
    assert grown == 12 * 2 * 2 * 256 * KB32 * BF16


def test_mistral_slides_in_every_layer():
    # 32 layers over the last 4,096 tokens; a token is 2 x 32 x 8 x 128 x 2 bytes.
    token = 2 * 32 * 8 * 128 * 2
    assert cache("mistralai/Mistral-7B-v0.1", 4000) == 4000 * token
    assert cache("mistralai/Mistral-7B-v0.1", KB32) == 4096 * token


def test_phi_3_slides_in_every_layer():
    # 32 layers with 32 heads of 3072/32 over the last 2,047 tokens.
    token = 2 * 32 * 32 * 96 * 2
    assert cache("microsoft/Phi-3-mini-4k-instruct", 4096) == 2047 * token


def test_jamba_attends_in_every_eighth_layer():
    # Layers 4, 12, 20 and 28 have 8 heads of 128. The other 28 keep, for each of 2 x 4096 channels, a state of 16
    # numbers in float32 and 4 columns of a convolution.
    state = 2 * 4096 * 16 * 4 + 2 * 4096 * 4 * BF16
    assert cache("ai21labs/Jamba-v0.1", KB8) == 4 * 2 * 8 * 128 * KB8 * BF16 + 28 * state


def test_bamba_attends_in_three_layers():
    # Layers 9, 18 and 27 have 8 heads of 128. The other 29 keep 128 heads of 64 x 128 numbers in float32, and 4 columns
    # of a convolution over 8192 + 2 x 128 channels.
    state = 128 * 64 * 128 * 4 + (128 * 64 + 2 * 1 * 128) * 4 * BF16
    assert cache("ibm-ai-platform/Bamba-9B", KB8) == 3 * 2 * 8 * 128 * KB8 * BF16 + 29 * state


def test_an_unknown_architecture_has_bounds():
    config = {**PUBLISHED["meta-llama/Llama-3.1-8B"]["config"], "model_type": "made_up"}
    assert read_layout(config) is None
    # At most a key and a value of 4096 numbers in each layer, at least nothing.
    assert bound_cache(config, 100, 3, BF16) == (0, 2 * 32 * 4096 * 100 * 3 * 2)
    assert bound_cache({"model_type": "made_up"}, 100, 3, BF16) is None


@pytest.mark.parametrize(
    ("config", "tokens", "numbers"),
    [
        # transformers leaves out of the parts of a multimodal model what their class says. Gemma's head_dim of 256 is
        # not hidden_size / heads: 8 full layers and 40 of 1,024 tokens, each with 8 heads.
        (
            {"hidden_size": 3840, "num_attention_heads": 16, "num_hidden_layers": 48, "num_key_value_heads": 8,
             "sliding_window": 1024, "model_type": "gemma3_text"},
            KB8, 2 * 8 * 256 * (8 * KB8 + 40 * 1024),
        ),
        # 34 layers, of which every sixth is full; 4 heads of 256 by the class.
        (
            {"hidden_size": 2560, "num_hidden_layers": 34, "sliding_window": 1024, "model_type": "gemma3_text"},
            KB8, 2 * 4 * 256 * (5 * KB8 + 29 * 1024),
        ),
        # All by the class: 32 layers with 32 heads of 128.
        ({"max_position_embeddings": 4096, "model_type": "llama"}, 100, 100 * 2 * 32 * 32 * 128),
        # A window that the class has, and one that the config takes away.
        ({"model_type": "mistral", "num_hidden_layers": 40}, KB8, 4096 * 2 * 40 * 8 * 128),
        ({"model_type": "mistral", "sliding_window": None}, KB8, KB8 * 2 * 32 * 8 * 128),
    ],
)  # fmt: skip
def test_parts_leave_out_the_defaults_of_their_class(config, tokens, numbers):
    assert read_layout({"model_type": "some_vlm", "text_config": config}).count_bytes(tokens, 1, BF16) == numbers * BF16


@pytest.mark.parametrize(
    ("config", "numbers"),
    [
        # Multimodal, with the settings of the text outside: 28 layers with 4 heads of 3584/28.
        ({"model_type": "qwen2_5_vl", "hidden_size": 3584, "num_attention_heads": 28, "num_hidden_layers": 28,
          "num_key_value_heads": 4, "sliding_window": 32768, "use_sliding_window": False, "max_window_layers": 28},
         2 * 28 * 4 * 128),
        # An indexer's keys beside each latent.
        ({"model_type": "deepseek_v32", "num_hidden_layers": 61, "kv_lora_rank": 512, "qk_rope_head_dim": 64,
          "num_attention_heads": 128, "hidden_size": 7168, "index_head_dim": 128}, 61 * (512 + 64 + 128)),
        # Two attentions in each layer.
        ({"model_type": "longcat_flash", "num_layers": 28, "kv_lora_rank": 512, "qk_rope_head_dim": 64,
          "num_attention_heads": 64, "hidden_size": 6144}, 2 * 28 * (512 + 64)),
        ({"model_type": "xglm", "d_model": 1024, "attention_heads": 16, "num_layers": 24}, 2 * 24 * 1024),
    ],
)  # fmt: skip
def test_settings_by_other_names(config, numbers):
    assert read_layout(config).count_bytes(100_000, 1, BF16) == 100_000 * numbers * BF16


def test_every_config_names_its_source():
    assert len(PUBLISHED) >= 12
    assert all(entry["source"] for entry in PUBLISHED.values())
