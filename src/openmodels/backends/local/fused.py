"""The forward pass of llama-like models with fewer, larger operations.

Small models on a CPU wait for the dispatch of operations more than for their arithmetic: transformers
needs about forty for a layer, this needs about half of that. The weights are the model's own, and
stay where they are, so that processes still share the mapped file. Whether the scores are the model's
own is tried at load time, like everything else of a shared forward pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import embedding, linear, rms_norm, silu
from transformers import LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM

from openmodels.backends.local.attention import Step

_KNOWN = (LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM)


_Weights = tuple[torch.Tensor, torch.Tensor | None]


@dataclass(frozen=True, slots=True)
class _Layer:
    before: torch.Tensor
    query: _Weights
    key: _Weights
    value: _Weights
    out: _Weights
    after: torch.Tensor
    gate: _Weights
    up: _Weights
    down: _Weights


class Fused:
    """Runs a model whose layers are known.

    Args:
        model: What `known` says yes to.
    """

    def __init__(self, model: Any) -> None:
        inner, config = model.model, model.config
        self._rotary = inner.rotary_emb
        self._tokens = inner.embed_tokens.weight
        self._eps = config.rms_norm_eps
        self._size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self._end, self._head = inner.norm.weight, (model.lm_head.weight, model.lm_head.bias)
        self._layers = [
            _Layer(
                before=layer.input_layernorm.weight,
                query=_weights(layer.self_attn.q_proj),
                key=_weights(layer.self_attn.k_proj),
                value=_weights(layer.self_attn.v_proj),
                out=_weights(layer.self_attn.o_proj),
                after=layer.post_attention_layernorm.weight,
                gate=_weights(layer.mlp.gate_proj),
                up=_weights(layer.mlp.up_proj),
                down=_weights(layer.mlp.down_proj),
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
        size, count, eps = self._size, len(tokens), self._eps
        hidden = embedding(tokens, self._tokens)
        cos, sin = self._rotary(hidden[None], positions[None])
        cos, sin = cos[0, :, None], sin[0, :, None]
        half = size // 2
        # Turning a pair is one product with its swap where the sine has the sign already.
        sin = torch.cat((-sin[..., :half], sin[..., half:]), dim=-1)
        width = hidden.shape[-1]
        for number, layer in enumerate(self._layers):
            seen = rms_norm(hidden, (width,), layer.before, eps)
            turned = [linear(seen, *layer.query).view(count, -1, size), linear(seen, *layer.key).view(count, -1, size)]
            for at, part in enumerate(turned):
                swapped = torch.cat((part[..., half:], part[..., :half]), dim=-1)
                turned[at] = torch.addcmul(part * cos, swapped, sin)
            value = linear(seen, *layer.value).view(count, -1, size)
            found = step.attend(number, turned[0], turned[1], value, None)
            hidden = hidden + linear(found.reshape(count, -1), *layer.out)
            seen = rms_norm(hidden, (width,), layer.after, eps)
            hidden = hidden + linear(silu(linear(seen, *layer.gate)) * linear(seen, *layer.up), *layer.down)
        return linear(rms_norm(hidden[wanted], (width,), self._end, eps), *self._head)


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


def _weights(part: Any) -> _Weights:
    return part.weight, part.bias
