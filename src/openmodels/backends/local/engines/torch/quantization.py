"""A check that transformers can run quantised weights, before they are read."""

from collections.abc import Mapping
from typing import Any

import torch
from transformers.quantizers.auto import AutoHfQuantizer

from openmodels.errors import LoadFailed, MissingExtra, UnsupportedFeature

_PACKAGES = {
    "aqlm": "aqlm[cpu,gpu]",
    "awq": "gptqmodel",
    "eetq": "kernels",
    "fbgemm_fp8": "fbgemm-gpu",
    "gptq": "optimum gptqmodel",
    "higgs": "flute-kernel",
    "mxfp8": "kernels",
    "quanto": "optimum-quanto",
    "quark": "amd-quark",
    "spqr": "spqr_quant[gpu]",
}
"""The packages that transformers needs, by method, where they are not named like it; its own messages name them too."""
_VLLM = frozenset({"awq", "gptq", "bitsandbytes", "compressed-tensors", "fp8", "fbgemm_fp8", "modelopt", "torchao"})
_ENTRIES = ("quantization_config", "compression_config", "quantization")
_OTHER = "a version of the model in its own precision, or a GGUF file of it"


def check(config: Mapping[str, Any], device: torch.device) -> bool:
    """Check that a device runs a quantisation; return whether it dequantises."""
    nested = config.get("text_config")
    parts = (config, nested if isinstance(nested, Mapping) else {})
    entry = next((part[name] for part in parts for name in _ENTRIES if part.get(name) is not None), None)
    if entry is None:
        return False
    if not isinstance(entry, Mapping):
        raise LoadFailed(
            "config.json: quantization_config is no object.",
            next_step="Use the config.json that the weights were saved with.",
        )
    method = _read_method(entry)
    try:
        known = AutoHfQuantizer.supports_quant_method(dict(entry))
    except (ValueError, TypeError):  # it names no method, or something that cannot be one
        known = False
    if not known:
        raise UnsupportedFeature(
            f"The weights are quantised with {method!r}, which transformers does not know.", next_step=f"Use {_OTHER}."
        )
    device_map = None if device.type == "cpu" else {"": device}
    try:
        quantizer = AutoHfQuantizer.from_config(dict(entry), pre_quantized=True)
        quantizer.validate_environment(device_map=device_map, weights_only=True)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        others = _OTHER + (", or engine='vllm' on a GPU" if method in _VLLM else "")
        if isinstance(error, ImportError):
            raise MissingExtra(
                f"The weights are quantised with {method!r}, and transformers needs a package for it: {reason}.",
                next_step=f"Run: pip install {_PACKAGES.get(method, method)}; or use {others}.",
            ) from error
        raise UnsupportedFeature(
            f"The weights are quantised with {method!r}, which transformers does not run on {device.type!r} here: "
            f"{reason}.",
            next_step=f"Use {others}.",
        ) from error
    return bool(getattr(quantizer.quantization_config, "dequantize", False))


def _read_method(entry: Mapping[str, Any]) -> str:
    if entry.get("load_in_4bit") or entry.get("load_in_8bit"):
        return "bitsandbytes"
    if isinstance(method := entry.get("quant_method"), str):
        return method
    return "mlx" if {"group_size", "bits"} <= entry.keys() else "an unnamed method"
