"""What llama.cpp keeps of a sequence, read from the header of a GGUF file.

The names of the entries are those of https://github.com/ggml-org/ggml/blob/master/docs/gguf.md and of llama.cpp's
src/llama-arch.cpp. Keys and values are float16, states float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from openmodels.choose.fit_cache import Bounds, CacheLayout, LayerCache

if TYPE_CHECKING:
    from openmodels.backends.local.weights.gguf_header import GgufHeader

WIDTH = 2
"""Bytes of a number in llama.cpp's cache."""

_ATTENTION = """
arcee baichuan bitnet bloom codeshell cohere2 command-r dbrx deepseek deepseek2 dots1 ernie4_5 ernie4_5-moe exaone
exaone4 falcon gemma gemma2 gemma3 glm4 glm4moe gpt-oss gpt2 gptneox granite granitemoe hunyuan-dense hunyuan-moe
internlm2 jais llama minicpm minicpm3 mpt nemotron olmo olmo2 olmoe orion phi2 phi3 phimoe plamo qwen qwen2 qwen2moe
qwen2vl qwen3 qwen3moe refact seed_oss smollm3 stablelm starcoder starcoder2 xverse
"""
_STATES = "falcon-h1 granitehybrid jamba lfm2 mamba mamba2 nemotron_h plamo2"
_KNOWN = frozenset(f"{_ATTENTION} {_STATES}".split())
_PATTERNS = {"cohere2": 4, "exaone4": 4, "gemma2": 2, "gemma3": 6, "gpt-oss": 2}
"""Where every so many layers one has no window, by architecture (src/llama-model.cpp)."""


def read_gguf_layout(header: GgufHeader) -> CacheLayout | None:
    """Return what llama.cpp keeps of a sequence; None for an unknown architecture."""
    layers = _layer_count(header)
    if header.architecture not in _KNOWN or layers is None:
        return None
    kinds = [_layer(header, index) for index in range(layers)]
    return None if None in kinds else CacheLayout(tuple(layer for layer in kinds if layer is not None))


def bound_gguf_cache(header: GgufHeader, tokens: int, batch: int) -> Bounds | None:
    """Return the least and the most bytes of a cache; None where nothing bounds it."""
    layers, width = _layer_count(header), header.read_number("embedding_length")
    heads, size = header.read_number("attention.head_count"), header.read_number("attention.key_length")
    widest = max(width or 0, (heads or 0) * (size or 0))
    return Bounds(0, 2 * layers * widest * tokens * batch * WIDTH) if layers and widest else None


def _layer_count(header: GgufHeader) -> int | None:
    blocks = header.read_number("block_count")
    return blocks - (header.read_number("nextn_predict_layers") or 0) if blocks else None


def _layer(header: GgufHeader, index: int) -> LayerCache | None:
    read = header.read_number
    state = _state(header)
    heads = _per_layer(header, "attention.head_count", index)
    kv_heads = _per_layer(header, "attention.head_count_kv", index)
    kv_heads = heads if kv_heads is None else kv_heads
    if header.architecture in ("mamba", "mamba2") or kv_heads == 0:
        # Layers of a multi-layer perceptron have no entry of their own: they count as states, which are small.
        return None if state is None else LayerCache("recurrent", state32=state)
    if rank := read("attention.kv_lora_rank"):
        return LayerCache("latent", rank + (read("rope.dimension_count") or 0))
    width = read("embedding_length")
    if not heads or not kv_heads or not width:
        return None
    key, value = read("attention.key_length") or width // heads, read("attention.value_length") or width // heads
    numbers = kv_heads * (key + value)
    if header.architecture == "falcon-h1":
        return None if state is None else LayerCache("hybrid", numbers, state32=state)
    window = read("attention.sliding_window")
    pattern = header.metadata.get(f"{header.architecture}.attention.sliding_window_pattern")
    period = pattern if type(pattern) is int else _PATTERNS.get(header.architecture or "")
    slides = (
        bool(pattern[index]) if isinstance(pattern, tuple) and index < len(pattern) else period and (index + 1) % period
    )
    return LayerCache("sliding", numbers, window) if window and slides else LayerCache("full", numbers)


def _per_layer(header: GgufHeader, name: str, index: int) -> int | None:
    value = header.metadata.get(f"{header.architecture}.{name}")
    if isinstance(value, tuple):
        return int(value[index]) if index < len(value) else None
    return value if type(value) is int and value >= 0 else None


def _state(header: GgufHeader) -> int | None:
    read = header.read_number
    if length := read("shortconv.l_cache"):
        return (length - 1) * (read("embedding_length") or 0)
    kernel, inner, size = read("ssm.conv_kernel"), read("ssm.inner_size"), read("ssm.state_size")
    if not kernel or not inner or not size:
        return None
    groups = read("ssm.group_count") or 0
    return (kernel - 1) * (inner + 2 * groups * size) + size * inner
