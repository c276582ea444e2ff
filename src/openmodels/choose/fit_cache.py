"""What a model keeps of a sequence, by its config: keys, values, states.

The rules go by the names of settings, which families share, and not by models. `KNOWN` holds the model types for which
they were compared with the cache objects of transformers; the config of another type may use a name for something else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

from openmodels.choose.fit_types import KNOWN, SLIDING_PATTERNS


class Bounds(NamedTuple):
    """Two figures between which an unknown number lies."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class LayerCache:
    """What one layer keeps of one sequence, in numbers.

    Attributes:
        kind: "full", "sliding", "latent", "recurrent", "hybrid", "cross" or "none".
        per_token: Numbers of one token in the model's dtype.
        window: Tokens that are kept at most; None keeps all.
        state: Numbers in the model's dtype that do not depend on the length.
        state32: The same in float32.
    """

    kind: str
    per_token: int = 0
    window: int | None = None
    state: int = 0
    state32: int = 0

    def count_bytes(self, tokens: int, width: int) -> int:
        """Return the bytes of one sequence with numbers of `width` bytes."""
        kept = tokens if self.window is None else min(tokens, self.window)
        return (self.per_token * kept + self.state) * width + 4 * self.state32


@dataclass(frozen=True, slots=True)
class CacheLayout:
    """What all layers keep of one sequence.

    Attributes:
        layers: The layers of the decoder.
        cross: Numbers of one token of an encoder's output, over all layers.
        encoder_tokens: Tokens of the encoder's output; None where it is as long as the context.
        source: What the encoder reads, for the assumptions.
    """

    layers: tuple[LayerCache, ...]
    cross: int = 0
    encoder_tokens: int | None = None
    source: str = "text"

    def count_bytes(self, tokens: int, batch: int, width: int) -> int:
        """Return the bytes of `batch` sequences of so many tokens."""
        encoded = tokens if self.encoder_tokens is None else self.encoder_tokens
        decoder = sum(layer.count_bytes(tokens, width) for layer in self.layers)
        return batch * (decoder + self.cross * encoded * width)

    def describe(self) -> str:
        """Return the layers by kind: "10 full, 52 sliding (1,024 tokens)"."""
        groups: dict[str, int] = {}
        for layer in self.layers:
            name = layer.kind + (f" ({layer.window:,} tokens)" if layer.window else "")
            groups[name] = groups.get(name, 0) + 1
        return ", ".join(f"{count} {name}" for name, count in groups.items())


def decoder_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the decoder of text, with the defaults of its class."""
    part: dict[str, Any] = dict(config)
    for _ in range(3):
        names = ("text_config", "llm_config", "language_config", "thinker_config", "decoder")
        nested = next((part[name] for name in names if isinstance(part.get(name), Mapping)), None)
        if nested is None:
            return _add_defaults(part)
        # Some families keep shared settings outside.
        inherited = {key: part[key] for key in ("model_type",) if key in part}
        part = inherited | dict(nested)
    return _add_defaults(part)


@cache
def _defaults() -> dict[str, dict[str, Any]]:
    table: dict[str, dict[str, Any]] = json.loads(
        Path(__file__).with_name("config_defaults.json").read_text(encoding="utf-8")
    )
    return table


_ALIASES = (
    {"num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers", "num_decoder_layers"},
    {"num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads", "decoder_attention_heads"},
    {"num_key_value_heads", "num_kv_heads", "n_head_kv"},
    {"hidden_size", "n_embd", "d_model"},
    {"head_dim", "attention_head_dim", "d_kv"},
    {"max_position_embeddings", "n_positions", "n_ctx"},
)
"""Names of one setting, of which a config states one."""


def _add_defaults(part: dict[str, Any]) -> dict[str, Any]:
    """Add what a config leaves out since its class in transformers says the same.

    transformers writes only what differs from the class for the parts of a multimodal model.
    """
    settings = _defaults().get(str(part.get("model_type")), {})
    stated = part.keys() | {name for names in _ALIASES if names & part.keys() for name in names}
    return part | {name: value for name, value in settings.items() if name not in stated}


def read_layout(config: Mapping[str, Any]) -> CacheLayout | None:
    """Return what a model keeps of a sequence; None for an unknown architecture."""
    text = _Settings(decoder_config(config))
    if text.model_type not in KNOWN or text.layer_count is None:
        return None
    try:
        kinds = _layer_kinds(text)
        layers = tuple(_layer(text, index, kind) for index, kind in enumerate(kinds))
    except _Unreadable:
        return None
    shared = text.number("num_kv_shared_layers") or 0
    if shared:
        layers = (*layers[:-shared], *(LayerCache("none") for _ in layers[-shared:]))
    cross, encoder_tokens, source = _cross_attention(text, config)
    return CacheLayout(layers, cross, encoder_tokens, source)


def bound_cache(config: Mapping[str, Any], tokens: int, batch: int, width: int) -> Bounds | None:
    """Return the bounds of a cache in bytes; None where no setting bounds it.

    The least is that of a model without such a cache. The most is that of full attention in every layer, each query
    head with a key and a value of its own.
    """
    text = _Settings(decoder_config(config))
    heads, size = text.heads, text.head_size()
    widths = [heads * size if heads and size else 0, text.hidden or 0]
    if text.layer_count is None or not max(widths):
        return None
    return Bounds(0, 2 * text.layer_count * max(widths) * tokens * batch * width)


def first_number(settings: Mapping[str, Any], *names: str) -> int | None:
    """Return the first of some settings that is a positive whole number, if any."""
    return next((value for name in names if type(value := settings.get(name)) is int and 0 < value < 2**40), None)


class _Unreadable(Exception):
    """A setting that the rules need is missing or has another form."""


class _Settings:
    """A decoder's settings by the names that families give them."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values
        self.model_type = str(values.get("model_type"))
        self.layer_count = self.number(
            "num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers", "num_decoder_layers"
        )
        if self.model_type in ("t5", "mt5", "umt5", "switch_transformers"):  # whose num_layers may be the encoder's
            self.layer_count = self.number("num_decoder_layers", "num_layers")
        elif "decoder_layers" in values:
            self.layer_count = self.number("decoder_layers")
        if self.model_type == "longcat_flash":  # whose layers have two attentions each
            self.layer_count = 2 * (self.number("num_layers") or 0) or None
        if self.layer_count is None:
            listed = self.texts("layer_types") or self.texts("layers_block_type")
            self.layer_count = len(listed) if listed else None
        self.heads = self.number(
            "decoder_attention_heads",
            "num_attention_heads",
            "n_head",
            "n_heads",
            "num_heads",
            "attention_heads",
            "decoder_num_heads",
        )
        self.hidden = self.number("hidden_size", "n_embd", "d_model", "dim", "decoder_hidden_size")

    def number(self, *names: str) -> int | None:
        """Return the first of some settings that is a positive whole number."""
        return first_number(self.values, *names)

    def numbers(self, name: str) -> list[int] | None:
        """Return a setting that is a list of numbers."""
        value = self.values.get(name)
        if not isinstance(value, Sequence) or isinstance(value, str) or not value:
            return None
        return [item for item in value if type(item) is int]

    def texts(self, name: str) -> list[str] | None:
        """Return a setting that is a list of texts."""
        value = self.values.get(name)
        if not isinstance(value, Sequence) or isinstance(value, str) or not value:
            return None
        return [str(item) for item in value]

    def need(self, *names: str) -> int:
        """Return what `number` does, or raise."""
        value = self.number(*names)
        if value is None:
            raise _Unreadable(names[0])
        return value

    def head_size(self) -> int | None:
        """Return the numbers of one head's key."""
        names = ("head_dim", "attention_head_dim", "attention_head_size", "kv_channels", "d_kv", "d_head")
        stated = self.number(*names, "hidden_size_per_head")
        if stated is None and self.hidden and self.heads:
            stated = self.hidden // self.heads
        return stated

    def kv_heads(self, layer: int) -> int | None:
        """Return the heads of keys and values in a layer."""
        per_layer = self.numbers("num_key_value_heads") or self.numbers("num_key_value_heads_per_layer")
        if per_layer:
            return per_layer[min(layer, len(per_layer) - 1)]
        nested = self.values.get("attn_config")
        if isinstance(nested, Mapping) and (count := _Settings(nested).number("kv_n_heads")):
            return count
        if self.values.get("multi_query") is True and not self.values.get("new_decoder_architecture"):
            return 1
        if self.values.get("multi_query_attention") is True:
            return self.number("multi_query_group_num")
        return self.number("num_key_value_heads", "num_kv_heads", "n_head_kv", "kv_n_heads") or self.heads


_KINDS = {
    **dict.fromkeys(("full_attention", "attention", "global", "full", "global_attention", "*"), "full"),
    **dict.fromkeys(("sliding_attention", "local", "sliding", "swa", "sliding_window", "local_attention"), "sliding"),
    "chunked_attention": "chunked",
    **dict.fromkeys(
        ("linear_attention", "mamba", "mamba2", "recurrent", "conv", "short_conv", "rglru", "linear", "M"), "recurrent"
    ),
    **dict.fromkeys(("deepseek_sparse_attention", "indexed_attention"), "indexed"),
    "hybrid": "hybrid",
    **dict.fromkeys(("moe", "mlp", "-", "E"), "none"),
}
"""What the entries of lists of layers mean."""


def _layer_kinds(text: _Settings) -> list[str]:
    count = text.layer_count or 0
    names = text.texts("layer_types") or text.texts("layers_block_type") or _pattern(text, count)
    if names is None:
        return _derived_kinds(text, count)
    if not set(names) <= _KINDS.keys() or len(names) < count:
        raise _Unreadable("layer_types")
    kinds = [_KINDS[name] for name in names[:count]]
    # RecurrentGemma has no attention but over a window.
    return ["sliding" if kind == "full" else kind for kind in kinds] if text.number("attention_window_size") else kinds


def _pattern(text: _Settings, count: int) -> list[str] | None:
    """Return the layers by a pattern that is repeated, or written as one text."""
    if isinstance(written := text.values.get("hybrid_override_pattern"), str) and written:
        return list(written)
    if blocks := text.texts("block_types"):
        return [blocks[index % len(blocks)] for index in range(count)]
    return None


def _derived_kinds(text: _Settings, count: int) -> list[str]:
    """Return the layers by settings that count or name those of another kind."""
    every = range(count)
    values = text.values
    if period := text.number("attn_layer_period"):
        offset = values.get("attn_layer_offset", 0)
        return ["full" if index % period == offset else "recurrent" for index in every]
    if text.model_type in _HYBRIDS_BY_INDEX:
        places = text.numbers(_HYBRIDS_BY_INDEX[text.model_type]) or []
        kind = "hybrid" if text.model_type.startswith("zamba") else "full"
        return [kind if index in places else "recurrent" for index in every]
    if interval := text.number("full_attention_interval"):
        return ["recurrent" if (index + 1) % interval else "full" for index in every]
    if kinds := text.numbers("attn_type_list"):
        return ["full" if kind else "recurrent" for kind in kinds[:count]]
    if text.model_type in _ALL_HYBRID:
        return ["hybrid"] * count
    if text.model_type in _ALL_RECURRENT:
        return ["recurrent"] * count
    return _windowed_kinds(text, count)


_HYBRIDS_BY_INDEX = {
    "bamba": "attn_layer_indices",
    "lfm2": "full_attn_idxs",
    "lfm2_moe": "full_attn_idxs",
    "zamba2": "hybrid_layer_ids",
}
_ALL_HYBRID = frozenset({"falcon_h1"})
_ALL_RECURRENT = frozenset({"mamba", "mamba2", "falcon_mamba"})
_DEFAULT_INTERVALS = {"qwen3_next": 4, "qwen3_5_text": 4, "qwen3_5_moe_text": 4}


def _windowed_kinds(text: _Settings, count: int) -> list[str]:
    values, every = text.values, range(count)
    if text.number("index_head_dim"):
        return ["indexed"] * count
    if interval := _DEFAULT_INTERVALS.get(text.model_type):
        return ["recurrent" if (index + 1) % interval else "full" for index in every]
    if text.number("attention_chunk_size"):
        uses_rope = text.numbers("no_rope_layers")
        interval = text.number("no_rope_layer_interval") or 4
        rope = uses_rope or [int((index + 1) % interval != 0) for index in every]
        return ["chunked" if rope[index] else "full" for index in every]
    if text.number("sliding_window", "attention_window_size") is None or values.get("use_sliding_window") is False:
        return ["full"] * count
    pattern = values.get("sliding_window_pattern", values.get("_sliding_window_pattern"))
    if isinstance(pattern, str) and pattern:
        last = "full" if pattern[-1] != "L" else "sliding"
        return [
            last if index == count - 1 else ("sliding" if pattern[index % len(pattern)] == "L" else "full")
            for index in every
        ]
    period = pattern if type(pattern) is int else SLIDING_PATTERNS.get(text.model_type)
    if period is not None:
        return ["sliding" if period and (index + 1) % period else "full" for index in every]
    first = values.get("max_window_layers")
    # Qwen's windows begin at a layer; elsewhere a window is every layer's.
    begin = first if type(first) is int else 0
    return ["sliding" if index >= begin else "full" for index in every]


def _layer(text: _Settings, index: int, kind: str) -> LayerCache:
    if kind == "none":
        return LayerCache("none")
    state, state32 = _state(text) if kind in ("recurrent", "hybrid") else (0, 0)
    if kind == "recurrent":
        return LayerCache("recurrent", state=state, state32=state32)
    window = None
    if kind == "sliding":
        window = text.need("sliding_window", "attention_window_size")
    elif kind == "chunked":
        window = text.need("attention_chunk_size")
    rank, rope = text.number("kv_lora_rank"), text.number("qk_rope_head_dim")
    if rank and rope:
        # The latent is kept once, and keys and values are made from it.
        indexer = text.number("index_head_dim") or 0 if kind == "indexed" else 0
        return LayerCache("latent", rank + rope + indexer, window)
    kind = "sliding" if kind == "chunked" else "full" if kind == "indexed" else kind
    heads, key = text.kv_heads(index), text.head_size()
    prefix = "swa_" if kind == "sliding" else ""
    if kind == "full" and (size := text.number("global_head_dim")):
        key = size
    if kind == "full" and text.values.get("attention_k_eq_v") and (count := text.number("num_global_key_value_heads")):
        heads = count
    if prefix:
        heads, key = text.number("swa_num_key_value_heads") or heads, text.number("swa_head_dim") or key
    value = text.number(f"{prefix}v_head_dim") or (text.number("v_head_dim") if not prefix else None) or key
    if heads is None or key is None or value is None:
        raise _Unreadable("num_attention_heads")
    return LayerCache(kind, heads * (key + value), window, state, state32)


# transformers keeps states in float32, since what one step loses stays lost, and convolutions in the model's dtype.
def _state(text: _Settings) -> tuple[int, int]:
    """Return the numbers of a layer's state in the model's dtype and in float32."""
    hidden = text.hidden or 0
    if kernel := text.number("conv_L_cache"):
        return hidden * kernel, 0
    if value_heads := text.number("linear_num_value_heads"):
        keys = text.need("linear_num_key_heads") * text.need("linear_key_head_dim")
        size = text.need("linear_value_head_dim")
        conv = (2 * keys + value_heads * size) * text.need("linear_conv_kernel_dim")
        return conv, value_heads * text.need("linear_key_head_dim") * size
    if width := text.number("lru_width") or (hidden if "conv1d_width" in text.values else None):
        return width * (text.need("conv1d_width") - 1), width
    size = text.need("mamba_d_state", "ssm_state_size", "state_size")
    kernel = text.need("mamba_d_conv", "conv_kernel", "conv_kernel_size")
    inner = text.number("mamba_d_ssm", "mamba_intermediate_size")
    heads, width = (
        text.number("mamba_n_heads", "n_mamba_heads", "mamba_num_heads"),
        text.number("mamba_d_head", "mamba_headdim", "mamba_head_dim"),
    )
    if text.model_type == "mamba2":
        heads, width = text.need("num_heads"), text.need("head_dim")
    if inner is None and heads and width:
        inner = heads * width
    inner = inner or text.number("intermediate_size" if text.model_type in _ALL_RECURRENT else "")
    inner = inner or int((text.number("mamba_expand", "expand") or 2) * hidden)
    groups = text.number("mamba_n_groups", "mamba_ngroups", "n_groups")
    if heads is None or text.model_type in ("zamba", "jamba"):
        return inner * kernel, inner * size  # the first Mamba: one state for each channel
    conv = (inner + 2 * (groups or 1) * size) * kernel
    return conv, heads * (width or ceil(inner / heads)) * size


def _cross_attention(text: _Settings, config: Mapping[str, Any]) -> tuple[int, int | None, str]:
    """Return an encoder's output: numbers of a token, tokens, and what it reads."""
    heads, size = text.kv_heads(0), text.head_size()
    if layers := text.numbers("cross_attention_layers"):
        vision = config.get("vision_config")
        image = _Settings(_add_defaults(dict(vision)) if isinstance(vision, Mapping) else {})
        side, patch = image.number("image_size"), image.number("patch_size")
        if side and patch and heads and size:
            tokens = ((side // patch) ** 2 + 1) * (image.number("max_num_tiles") or 1)
            return 2 * len(layers) * heads * size, tokens, "one image"
        return 0, None, "text"
    if not config.get("is_encoder_decoder") or not text.layer_count or not heads or not size:
        return 0, None, "text"
    source = text.number("max_source_positions")
    is_audio = source is not None and text.number("num_mel_bins", "input_feat_per_channel") is not None
    return 2 * text.layer_count * heads * size, source if is_audio else None, "audio" if is_audio else "text"
