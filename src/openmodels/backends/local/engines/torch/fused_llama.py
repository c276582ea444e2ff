"""The forward pass of llama-like models with fewer, larger operations.

Small models on a CPU wait for the dispatch of operations, and for products of a few rows with small
matrices, more than for their arithmetic. Here a layer has about half of transformers' operations. On a
CPU its matrices are joined and laid out once as oneDNN wants them, which it else does in every call in
bfloat16; in float32 torch then takes another library, slower with few rows. Until the model's own are let
go the copy costs as much memory as they, so it is made only where that is plenty. Elsewhere the
weights are the model's own, whose mapped file processes share.

Whether the scores are the model's own is tried at load time, like everything else of a shared forward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import embedding, linear, rms_norm, silu
from transformers import LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM

from openmodels.backends.local.engines.torch.attention import Step
from openmodels.backends.local.weights import memory

_KNOWN = (LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM)
_LAID_OUT = (torch.bfloat16, torch.float32)
_SPARE = 4
"""How many times the matrices' size must be free for a copy of them."""

_Product = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True)
class _Layer:
    """What a layer does, each part for rows of shape (tokens, width).

    Attributes:
        before: The norm before attention.
        join: Returns queries, keys and values beside each other.
        out: Attention's output.
        after: The norm before the rest.
        rise: The gated rise.
        down: The way back.
    """

    before: _Product
    join: _Product
    out: _Product
    after: _Product
    rise: _Product
    down: _Product


class Fused:
    """Runs a model whose layers are known.

    Args:
        model: What `known` says yes to.

    Attributes:
        packs: Whether its matrices are laid out for oneDNN.
    """

    def __init__(self, model: Any) -> None:
        inner, config = model.model, model.config
        self._rotary = inner.rotary_emb
        self._tokens = inner.embed_tokens.weight
        self._size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self._queries, self._keys = config.num_attention_heads, config.num_key_value_heads
        self._end = _norm(inner.norm.weight, config.rms_norm_eps)
        parts = [part for part in model.modules() if isinstance(part, torch.nn.Linear)]
        self.packs = _may_pack([part.weight for part in parts])
        self._copied = parts if self.packs else []
        product = _packed if self.packs else _plain
        self._head = product(model.lm_head)
        self._layers = [
            _Layer(
                before=_norm(layer.input_layernorm.weight, config.rms_norm_eps),
                join=product(layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj),
                out=product(layer.self_attn.o_proj),
                after=_norm(layer.post_attention_layernorm.weight, config.rms_norm_eps),
                rise=_gated(product(layer.mlp.gate_proj, layer.mlp.up_proj)),
                down=product(layer.mlp.down_proj),
            )
            for layer in inner.layers
        ]

    def __call__(self, tokens: torch.Tensor, positions: torch.Tensor, step: Step, wanted: torch.Tensor) -> torch.Tensor:
        """Return the scores after the wanted tokens, shape (wanted, vocabulary).

        Args:
            tokens: The new tokens of all rows, shape (tokens,).
            positions: Their positions, shape (tokens,).
            step: Stores their keys and values and lets them see their rows.
            wanted: After which of them scores are wanted.
        """
        count, half = len(tokens), self._size // 2
        turning, queries = self._queries + self._keys, self._queries
        hidden = embedding(tokens, self._tokens)
        cos, sin = self._rotary(hidden[None], positions[None])
        cos, sin = cos[0, :, None], sin[0, :, None]
        # Turning a pair is one product with its swap where the sine has the sign already.
        sin = torch.cat((-sin[..., :half], sin[..., half:]), dim=-1)
        for number, layer in enumerate(self._layers):
            joined = layer.join(layer.before(hidden)).view(count, -1, self._size)
            turned = joined[:, :turning]
            swapped = torch.cat((turned[..., half:], turned[..., :half]), dim=-1)
            turned = (turned * cos).addcmul_(swapped, sin)
            seen = step.attend(number, turned[:, :queries], turned[:, queries:], joined[:, turning:], None)
            seen = seen.reshape(count, -1)
            if layer is self._layers[-1]:  # nobody reads the other tokens any more
                seen, hidden = seen[wanted], hidden[wanted]
            hidden = layer.out(seen).add_(hidden)
            hidden = layer.down(layer.rise(layer.after(hidden))).add_(hidden)
        return self._head(self._end(hidden))

    def let_go(self) -> None:
        """Give back the memory of the model's own matrices that were copied; it may be unable to run by itself then."""
        addresses = [part.weight.data_ptr() for part in self._copied]
        for part in self._copied:
            # A mapped file's can always be read again; the head's may be that of the tokens, which are still read.
            if part.weight.untyped_storage().resizable() and part.weight is not self._tokens:
                part.weight = torch.nn.Parameter(part.weight.to("meta"), requires_grad=False)
        self._copied = []
        memory.release_pages(addresses)


def known(model: Any) -> bool:
    """Return whether a model is one whose layers are known to the last detail."""
    config = model.config
    windows = getattr(config, "layer_types", None) or []
    return (
        type(model) in _KNOWN
        and config.hidden_act == "silu"
        and all(kind == "full_attention" for kind in windows)
        and not (type(model) is MistralForCausalLM and config.sliding_window)
    )


def _may_pack(weights: list[torch.Tensor]) -> bool:
    if any(weight.device.type != "cpu" or weight.dtype not in _LAID_OUT for weight in weights):
        return False
    there = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not (there and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        return False
    narrow = any(weight.dtype is torch.bfloat16 for weight in weights)
    if narrow and not torch.ops.mkldnn._is_mkldnn_bf16_supported():  # noqa: SLF001 - torch has no other name for it
        return False
    return _SPARE * sum(weight.nbytes for weight in weights) < memory.available()


def _norm(weight: torch.Tensor, eps: float) -> _Product:
    if weight.device.type != "cpu":
        return lambda rows: rms_norm(rows, weight.shape, weight, eps)
    # On a CPU torch composes it of a dozen operations; here are half of them, rounded where transformers rounds.
    least, share = torch.tensor(eps), 1 / len(weight)

    def norm(rows: torch.Tensor) -> torch.Tensor:
        size = torch.linalg.vector_norm(rows, dim=-1, keepdim=True, dtype=torch.float32)
        scale = torch.addcmul(least, size, size, value=share).rsqrt_()
        return torch.mul(rows, scale).to(rows.dtype).mul_(weight)

    return norm


def _packed(*parts: Any) -> _Product:
    """Return the product with some matrices beside each other, laid out for oneDNN."""
    joined = torch.cat([part.weight for part in parts])
    bias = None if parts[0].bias is None else torch.cat([part.bias for part in parts])
    weights = torch.ops.mkldnn._reorder_linear_weight(joined)  # noqa: SLF001 - as torch's own compiler does
    product = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001 - as above
    return lambda rows: product(rows, weights, bias, "none", [], "")


def _plain(*parts: Any) -> _Product:
    if len(parts) == 1:
        return lambda rows: linear(rows, parts[0].weight, parts[0].bias)
    return lambda rows: torch.cat([linear(rows, part.weight, part.bias) for part in parts], dim=-1)


def _gated(product: _Product) -> _Product:
    def rise(rows: torch.Tensor) -> torch.Tensor:
        gate, up = product(rows).chunk(2, dim=-1)
        return silu(gate).mul_(up)

    return rise
