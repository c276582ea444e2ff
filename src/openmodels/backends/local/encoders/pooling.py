"""Pooling: one vector of a text from those of its tokens.

`modules.json` lists what follows the encoder: pooling, dense layers, normalisation. The formulas are
those of sentence-transformers 6.2, so that the vectors are the same.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from openmodels.backends.local.weights import checkpoint
from openmodels.errors import LoadFailed, UnsupportedFeature

Stage = Callable[[Tensor], Tensor]

_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""The fields of folders before sentence-transformers 6; several are concatenated in this order."""

_ACTIVATIONS = {kind.__name__: kind for kind in (nn.Identity, nn.Tanh, nn.ReLU, nn.GELU, nn.SiLU, nn.Sigmoid)}


@dataclass(frozen=True, slots=True)
class PoolingHead:
    """The step from the vectors of tokens to one vector of a text."""

    modes: tuple[str, ...] = ("mean",)  # names of pooling modes, whose vectors are concatenated
    include_prompt: bool = True  # whether the tokens of a prompt count
    stages: tuple[Stage, ...] = ()  # functions of the pooled vectors, of shape (texts, dimensions), in order
    is_normalized: bool = False  # whether the vectors are scaled to length 1

    def __call__(self, tokens: Tensor, mask: Tensor, prompt: int) -> Tensor:
        """Return vectors of shape (texts, dimensions).

        Args:
            tokens: Vectors of shape (texts, tokens, dimensions).
            mask: 1 for a token and 0 for padding, of shape (texts, tokens).
            prompt: How many tokens at the beginning of each text are a prompt.
        """
        counted = mask if self.include_prompt or not prompt else _without(mask, prompt)
        vectors = torch.cat([_pool(mode, tokens, counted, mask) for mode in self.modes], dim=-1)
        for stage in self.stages:
            vectors = stage(vectors)
        return vectors


def read_head(folder: Path, device: torch.device, dtype: torch.dtype) -> PoolingHead:
    """Return the head of a folder: without modules.json, the mean of the tokens.

    Raises:
        LoadFailed: A file is missing or damaged.
        UnsupportedFeature: It describes something else than pooling, dense layers and normalisation.
    """
    head = PoolingHead()
    if not (folder / "modules.json").exists():
        return head
    for name, place in read_modules(folder)[1:]:
        if name == "Pooling":
            config = checkpoint.read_json(place / "config.json")
            head = PoolingHead(_read_modes(config), config.get("include_prompt") is not False)
        elif name == "Dense":
            head = replace(head, stages=(*head.stages, _load_dense(place, device, dtype)), is_normalized=False)
        elif name == "Normalize":
            head = replace(head, stages=(*head.stages, nn.functional.normalize), is_normalized=True)
        else:
            raise UnsupportedFeature(
                f"modules.json lists a {name!r}, which the backend 'local' does not have for 'embed'.",
                next_step="Choose a model of an encoder, pooling, dense layers and normalisation.",
            )
    return head


def read_modules(folder: Path) -> list[tuple[str, Path]]:
    """Return the modules of modules.json, as the last part of their type and folder.

    Raises:
        LoadFailed: The file is damaged, or names folders outside of this one.
        UnsupportedFeature: The first module is not a Transformer in the folder itself.
    """
    try:
        listed = json.loads((folder / "modules.json").read_bytes())
        entries = [(str(row["type"]).rpartition(".")[2], str(row["path"])) for row in listed]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise LoadFailed("modules.json cannot be read.", next_step="Fetch the model again.") from error
    if not entries or any("/" in place or "\\" in place or place.startswith(".") for _, place in entries):
        raise LoadFailed("modules.json does not list modules.", next_step="Fetch the model again.")
    if entries[0][0] != "Transformer" or entries[0][1]:
        raise UnsupportedFeature(
            f"modules.json begins with {entries[0][0]!r} in {entries[0][1]!r}, not with a Transformer in the folder.",
            next_step="Choose a model whose config.json and weights are in its first folder.",
        )
    return [(name, folder / place) for name, place in entries]


def _read_modes(config: Mapping[str, Any]) -> tuple[str, ...]:
    configured = config.get("pooling_mode") or [mode for flag, mode in _FLAGS.items() if config.get(flag)] or ["mean"]
    modes = (configured,) if isinstance(configured, str) else tuple(map(str, configured))
    if unknown := set(modes) - set(_FLAGS.values()):
        raise UnsupportedFeature(f"The backend 'local' does not know the pooling {min(unknown)!r} for 'embed'.")
    return modes


def _load_dense(place: Path, device: torch.device, dtype: torch.dtype) -> Stage:
    config = checkpoint.read_json(place / "config.json")
    activation = str(config.get("activation_function", "Tanh")).rpartition(".")[2]
    simple = {config.get("module_input_name"), config.get("module_output_name")} <= {None, "sentence_embedding"}
    if activation not in _ACTIVATIONS or not simple or config.get("use_residual"):
        raise UnsupportedFeature(f"{place.name} is no plain dense layer, and 'embed' of 'local' knows no other.")
    if not (place / checkpoint.WEIGHTS).exists():
        checkpoint.refuse_pickles([file.name for file in place.iterdir()], place.name)
    checkpoint.read_tensors(place / checkpoint.WEIGHTS)
    weights = load_file(place / checkpoint.WEIGHTS)
    try:
        weight, bias = weights["linear.weight"], weights.get("linear.bias")
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
        layer.load_state_dict({"weight": weight} | ({} if bias is None else {"bias": bias}))
    except (KeyError, RuntimeError, IndexError) as error:
        raise LoadFailed(f"{place.name} holds no dense layer.", next_step="Fetch the model again.") from error
    return nn.Sequential(layer, _ACTIVATIONS[activation]()).to(device, dtype).eval()


def _without(mask: Tensor, prompt: int) -> Tensor:
    # Padding may stand before the text, so the prompt begins at the first token that is not padding.
    begin = mask.to(torch.int32).argmax(dim=1, keepdim=True) + prompt
    return mask * (torch.arange(mask.shape[1], device=mask.device) >= begin)


def _pool(mode: str, tokens: Tensor, counted: Tensor, mask: Tensor) -> Tensor:
    width = torch.float32 if tokens.dtype in (torch.float16, torch.bfloat16) else tokens.dtype
    # Sums of many tokens in half precision would round most of them away.
    weights = counted.unsqueeze(-1).to(width)
    if mode == "max":
        return tokens.masked_fill(weights == 0, float("-inf")).max(dim=1).values
    if mode in ("cls", "lasttoken"):
        at = counted.to(torch.int32)
        first = at.argmax(dim=1) if mode == "cls" else at.shape[1] - 1 - at.flip(1).argmax(dim=1)
        return tokens[torch.arange(len(tokens), device=tokens.device), first]
    if mode == "weightedmean":
        place = torch.arange(1, mask.shape[1] + 1, device=mask.device) - mask.to(torch.int32).argmax(1, keepdim=True)
        weights = weights * place.unsqueeze(-1)
    length = weights.sum(dim=1).clamp(min=1e-9)
    return ((tokens * weights).sum(dim=1) / (length.sqrt() if mode == "mean_sqrt_len_tokens" else length)).to(
        tokens.dtype
    )
