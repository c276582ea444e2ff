"""The model types whose caches are known, and defaults of their configs."""

from __future__ import annotations

_ATTENTION = """
afmoe apertus arcee aria_text baichuan bart biogpt bitnet blenderbot blenderbot-small bloom codegen cohere cohere2
cohere2_moe ctrl cwm dbrx deepseek diffllama dots1 emu3_text_model ernie4_5 ernie4_5_moe exaone exaone4 falcon
flex_olmo gemma gemma2 gemma3 gemma3_text gemma3n_text glm glm4 glm4_moe gpt2 gpt_bigcode gpt_neo gpt_neox
gpt_neox_japanese gpt_oss gptj granite granitemoe granitemoeshared helium hunyuan_v1_dense hunyuan_v1_moe internlm2
internlm3 llama llama4_text marian mbart minicpm minimax_m2 ministral ministral3 mistral mixtral mllama
mllama_text_model mpt mvp nanochat nemotron olmo olmo2 olmo3 olmoe opt pegasus persimmon phi phi3 phimoe plbart qwen
qwen2 qwen2_moe qwen2_vl qwen2_vl_text qwen2_5_vl qwen2_5_vl_text qwen3 qwen3_moe qwen3_vl_text seed_oss
smollm3 solar_open stablelm starcoder2 t5 mt5 umt5 vaultgemma whisper xglm
"""
_LATENT = "deepseek_v2 deepseek_v3 deepseek_v32 glm4_moe_lite glm_moe_dsa kimi_k2 longcat_flash minicpm3 youtu"
_STATES = """
bamba falcon_h1 falcon_mamba granitemoehybrid jamba lfm2 lfm2_moe mamba mamba2 nemotron_h olmo_hybrid
qwen3_5_text qwen3_5_moe_text qwen3_next recurrent_gemma zamba2
"""
KNOWN = frozenset(f"{_ATTENTION} {_LATENT} {_STATES}".split())
"""Model types for which the rules of `fit_cache` were compared with the caches of transformers."""

SLIDING_PATTERNS = {
    "afmoe": 4, "cohere2": 4, "gemma2": 2, "gemma3": 6, "gemma3_text": 6, "gemma3n_text": 5, "gpt_oss": 2, "olmo3": 4,
    "vaultgemma": 2,
}  # fmt: skip
"""Where every so many layers one has no window, by model type, for configs that leave it out."""
