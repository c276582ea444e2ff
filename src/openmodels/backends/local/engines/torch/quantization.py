"""A check that transformers can run quantised weights, before they are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from transformers.quantizers.auto import AutoHfQuantizer

from openmodels.errors import LoadFailed, MissingExtra, UnsupportedFeature

_PACKAGES = {
    "aqlm": "aqlm[cpu,gpu]",
    "auto-round": "auto-round",
    "awq": "gptqmodel",
    "bitsandbytes": "bitsandbytes",
    "compressed-tensors": "compressed-tensors",
    "eetq": "kernels",
    "fbgemm_fp8": "fbgemm-gpu",
    "fp_quant": "fp_quant",
    "gptq": "optimum gptqmodel",
    "higgs": "flute-kernel",
    "hqq": "hqq",
    "mxfp8": "kernels",
    "quanto": "optimum-quanto",
    "quark": "amd-quark",
    "sinq": "sinq",
    "spqr": "spqr_quant[gpu]",
    "torchao": "torchao",
    "vptq": "vptq",
}
"""The packages that transformers needs, by method; its own messages name them too."""
_VLLM = frozenset({"awq", "gptq", "bitsandbytes", "compressed-tensors", "fp8", "fbgemm_fp8", "modelopt", "torchao"})
_OTHER = "a version of the model in its own precision, or a GGUF file of it"


def check(config: Mapping[str, Any], device: torch.device) -> bool:
    """Check that transformers runs the quantisation; return whether it dequantises.

    Args:
        config: The model's config.json.
        device: Where the model will run.

    Returns:
        Whether the weights become ordinary ones in memory.

    Raises:
        LoadFailed: The entry of config.json is not an object.
        MissingExtra: A package that transformers needs for it is not installed.
        UnsupportedFeature: transformers does not know the method, or not on this device.
    """
    entry = _entry(config)
    if entry is None:
        return False
    if not isinstance(entry, Mapping):
        raise LoadFailed(
            "config.json: quantization_config is no object.",
            next_step="Use the config.json that the weights were saved with.",
        )
    method = _method(entry)
    try:
        known = AutoHfQuantizer.supports_quant_method(dict(entry))
    except (ValueError, TypeError):  # it names no method, or something that cannot be one
        known = False
    if not known:
        raise UnsupportedFeature(
            f"The weights are quantised with {method!r}, which transformers does not know.",
            next_step=f"Use {_OTHER}.",
        )
    device_map = None if device.type == "cpu" else {"": device}
    try:
        quantizer = AutoHfQuantizer.from_config(dict(entry), pre_quantized=True)
        quantizer.validate_environment(device_map=device_map, weights_only=True)
    except ImportError as error:
        package = _PACKAGES.get(method, method)
        raise MissingExtra(
            f"The weights are quantised with {method!r}, and transformers needs a package for it: "
            f"{_first_line(error)}.",
            next_step=f"Run: pip install {package}; or use {_elsewhere(method)}.",
        ) from error
    except Exception as error:
        raise UnsupportedFeature(
            f"The weights are quantised with {method!r}, which transformers does not run on {device.type!r} here: "
            f"{_first_line(error)}.",
            next_step=f"Use {_elsewhere(method)}.",
        ) from error
    return bool(getattr(quantizer.quantization_config, "dequantize", False))


def _entry(config: Mapping[str, Any]) -> Any:
    nested = config.get("text_config")
    for part in (config, nested if isinstance(nested, Mapping) else {}):
        for name in ("quantization_config", "compression_config", "quantization"):
            if part.get(name) is not None:
                return part[name]
    return None


def _method(entry: Mapping[str, Any]) -> str:
    if entry.get("load_in_4bit") or entry.get("load_in_8bit"):
        return "bitsandbytes"
    if isinstance(method := entry.get("quant_method"), str):
        return method
    return "mlx" if {"group_size", "bits"} <= entry.keys() else "an unnamed method"


def _elsewhere(method: str) -> str:
    return _OTHER + (", or engine='vllm' on a GPU" if method in _VLLM else "")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")
