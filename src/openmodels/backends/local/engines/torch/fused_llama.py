"""The forward pass of llama-like models with fewer, larger operations.

A small model on a CPU waits for the dispatch of operations, and for products of a few rows with small matrices, more
than for arithmetic. Here a layer has about half of transformers' operations. Whether its scores are those of the
model itself is tried at load time, like every shared forward pass (see `ModelRunner`): over 44 chat prompts in bfloat16
they are 1.3 % of their length from those of float32, where transformers' own are 1.4 %.

vLLM's kernels for CPUs make 32 answers at once about 1.4 times as fast. Kernels of our own would need a compiler, or a
wheel for each system.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import embedding, linear, rms_norm, silu
from transformers import LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM

from openmodels.backends.local.engines.torch.attention import ForwardContext
from openmodels.backends.local.weights import memory

_MODEL_CLASSES = (LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM)
_PACKED_DTYPES = (torch.bfloat16, torch.float32)
_FREE_FACTOR = 4
"""How many times the matrices' size must be free for a copy, which processes do not share as they do a mapped file."""

_Product = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True)
class _Layer:
    """The parts of a layer, each for rows of shape (tokens, width).

    `qkv_proj` returns queries, keys and values beside each other; `gate_up_proj` includes the activation.
    """

    input_norm: _Product
    qkv_proj: _Product
    o_proj: _Product
    post_attention_norm: _Product
    gate_up_proj: _Product
    down_proj: _Product


class FusedLlama:
    """Runs an `is_supported` model; if `is_packed`, with matrices for oneDNN."""

    def __init__(self, model: Any) -> None:
        inner, config = model.model, model.config
        self._rotary = inner.rotary_emb
        self._embeddings = inner.embed_tokens.weight
        self._head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self._num_heads, self._num_kv_heads = config.num_attention_heads, config.num_key_value_heads
        self._final_norm = _make_norm(inner.norm.weight, config.rms_norm_eps)
        linears = [part for part in model.modules() if isinstance(part, torch.nn.Linear)]
        self.is_packed = _can_pack([part.weight for part in linears])
        self._copied = linears if self.is_packed else []
        product = _pack if self.is_packed else _use_unpacked
        self._lm_head = product(model.lm_head)
        self._layers = [
            _Layer(
                input_norm=_make_norm(layer.input_layernorm.weight, config.rms_norm_eps),
                qkv_proj=product(layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj),
                o_proj=product(layer.self_attn.o_proj),
                post_attention_norm=_make_norm(layer.post_attention_layernorm.weight, config.rms_norm_eps),
                gate_up_proj=_add_gate(product(layer.mlp.gate_proj, layer.mlp.up_proj)),
                down_proj=product(layer.mlp.down_proj),
            )
            for layer in inner.layers
        ]

    def __call__(
        self, token_ids: torch.Tensor, position_ids: torch.Tensor, context: ForwardContext, wanted: torch.Tensor
    ) -> torch.Tensor:
        """Return the scores after the wanted tokens, shape (wanted, vocabulary)."""
        count, half = len(token_ids), self._head_size // 2
        queries, rotated_heads = self._num_heads, self._num_heads + self._num_kv_heads
        hidden = embedding(token_ids, self._embeddings)
        cos, sin = self._rotary(hidden[None], position_ids[None])
        cos, sin = cos[0, :, None], sin[0, :, None]
        # With the sign in the sine, rotating queries and keys is one product with their swapped halves.
        sin = torch.cat((-sin[..., :half], sin[..., half:]), dim=-1)
        for number, layer in enumerate(self._layers):
            qkv = layer.qkv_proj(layer.input_norm(hidden)).view(count, -1, self._head_size)
            rotated = qkv[:, :rotated_heads]
            swapped = torch.cat((rotated[..., half:], rotated[..., :half]), dim=-1)
            rotated = (rotated * cos).addcmul_(swapped, sin)
            output = context.attend(
                number, rotated[:, :queries], rotated[:, queries:], qkv[:, rotated_heads:], None
            ).reshape(count, -1)
            if layer is self._layers[-1]:  # the other tokens have done their part: their keys and values are stored
                output, hidden = output[wanted], hidden[wanted]
            hidden = layer.o_proj(output).add_(hidden)
            hidden = layer.down_proj(layer.gate_up_proj(layer.post_attention_norm(hidden))).add_(hidden)
        return self._lm_head(self._final_norm(hidden))

    def release_weights(self) -> None:
        """Free the model's own copy of the packed matrices."""
        # The model may be unable to run by itself afterwards. A process then does not hold them twice: 1,506 -> 1,244
        # MB with 16 chats in bfloat16.
        addresses = [part.weight.data_ptr() for part in self._copied]
        for part in self._copied:
            # A mapped file's pages can always be read again. The head's matrix may be the token table: that stays.
            if part.weight.untyped_storage().resizable() and part.weight is not self._embeddings:
                part.weight = torch.nn.Parameter(part.weight.to("meta"), requires_grad=False)
        self._copied = []
        memory.release_pages(addresses)


def is_supported(model: Any) -> bool:
    """Return whether every detail of a model's layers is known."""
    config = model.config
    layer_types = getattr(config, "layer_types", None) or []
    return (
        type(model) in _MODEL_CLASSES
        and config.hidden_act == "silu"
        and all(kind == "full_attention" for kind in layer_types)
        and not (type(model) is MistralForCausalLM and config.sliding_window)
    )


def _can_pack(weights: list[torch.Tensor]) -> bool:
    """Return whether to copy matrices into oneDNN's layout."""
    # In bfloat16 `torch.nn.functional.linear` lays them out again in every call. In float32 it takes MKL, which on an
    # AMD CPU with AVX2 alone is slower with few rows: 22.6 -> 17.0 s for 32 answers at once, 6.4 -> 4.8 s for one.
    # Without AMX, bfloat16 matrices would be faster in float32 (30 layers: 324 -> 187 ms for 256 tokens, 48 -> 38 ms
    # for 32, but 10 -> 17 ms for 4); beside those in bfloat16 they would take 0.5 GB more, above a padded batch's peak.
    if any(weight.device.type != "cpu" or weight.dtype not in _PACKED_DTYPES for weight in weights):
        return False
    available = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not (available and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        return False
    has_bfloat16 = any(weight.dtype is torch.bfloat16 for weight in weights)
    if has_bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():  # noqa: SLF001 - torch has no other name for it
        return False
    return _FREE_FACTOR * sum(weight.nbytes for weight in weights) < memory.available()


def _make_norm(weight: torch.Tensor, eps: float) -> _Product:
    """Return an RMS norm that rounds where that of transformers does."""
    # Rounded at its end alone it is not nearer to float32, and the two likeliest first tokens of the default model's
    # answer to "What is the capital of France?" became equal, of which the wrong one won.
    if weight.device.type != "cpu":
        return lambda rows: rms_norm(rows, weight.shape, weight, eps)
    # On a CPU torch composes it of a dozen operations; these are half of them.
    epsilon, mean_factor = torch.tensor(eps), 1 / len(weight)

    def norm(rows: torch.Tensor) -> torch.Tensor:
        size = torch.linalg.vector_norm(rows, dim=-1, keepdim=True, dtype=torch.float32)
        scale = torch.addcmul(epsilon, size, size, value=mean_factor).rsqrt_()
        return torch.mul(rows, scale).to(rows.dtype).mul_(weight)

    return norm


def _pack(*parts: Any) -> _Product:
    """Return the product with matrices beside each other, laid out for oneDNN."""
    joined = torch.cat([part.weight for part in parts])
    bias = None if parts[0].bias is None else torch.cat([part.bias for part in parts])
    weights = torch.ops.mkldnn._reorder_linear_weight(joined)  # noqa: SLF001 - as torch's own compiler does
    product = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001 - as above
    return lambda rows: product(rows, weights, bias, "none", [], "")


def _use_unpacked(*parts: Any) -> _Product:
    """Return the product with matrices beside each other, from the model's weights."""
    # Nothing is copied, so processes go on sharing the mapped file.
    if len(parts) == 1:
        return lambda rows: linear(rows, parts[0].weight, parts[0].bias)
    return lambda rows: torch.cat([linear(rows, part.weight, part.bias) for part in parts], dim=-1)


def _add_gate(product: _Product) -> _Product:
    def gate_up(rows: torch.Tensor) -> torch.Tensor:
        gate, up = product(rows).chunk(2, dim=-1)
        return silu(gate).mul_(up)

    return gate_up
