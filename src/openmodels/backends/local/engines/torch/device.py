"""The device and the dtype that a model runs with."""

import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from openmodels.backends.local.weights import checkpoint
from openmodels.errors import InvalidRequest, NotConfigured

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(name: str) -> torch.device:
    """Return the device for "auto", "cpu", "cuda", "cuda:1" or "mps"."""
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return accelerator if accelerator is not None and accelerator.type in ("cuda", "mps") else torch.device("cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda", "mps"):
        raise InvalidRequest(
            f"device: expected 'auto', 'cpu', 'cuda', 'cuda:N' or 'mps', not {name!r}.",
            next_step=f"Here there is: {', '.join(_list_devices())}.",
        )
    if (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()) or (
        device.type == "mps" and not torch.backends.mps.is_available()
    ):
        is_cpu_build = device.type == "cuda" and torch.version.cuda is None and torch.version.hip is None
        reason = "is not there: the installed torch is built for CPUs only" if is_cpu_build else "is not there"
        raise NotConfigured(
            f"device: {name!r} {reason}.", next_step=f"Use device='auto'; here there is: {', '.join(_list_devices())}."
        )
    return device


def choose_dtype(name: str, device: torch.device, config: Mapping[str, Any], *, exact: bool = False) -> torch.dtype:
    """Return the dtype to load with.

    "auto" is, on a CPU, bfloat16 where it computes with that and float32 elsewhere: float16 is a
    hundred times slower there, though many checkpoints are stored in it. On a GPU it is the
    checkpoint's own, float16 for a checkpoint in float32. With `exact` it is float32 on a CPU, and elsewhere wherever
    the checkpoint is.
    """
    if name != "auto":
        if name not in _DTYPES:
            raise InvalidRequest(
                f"dtype: expected 'auto', {', '.join(map(repr, _DTYPES))}, not {name!r}.",
                next_step="'auto' takes the one that this device is fast at.",
            )
        if name == "float16" and device.type == "cpu":
            raise InvalidRequest(
                "dtype: 'float16' is a hundred times slower than other dtypes on a CPU.",
                next_step="Use 'bfloat16' or 'float32', or leave it at 'auto'.",
            )
        return _DTYPES[name]
    if device.type == "cpu":
        return torch.bfloat16 if cpu_has_bfloat16() and not exact else torch.float32
    stored = _DTYPES.get(str(checkpoint.stored_dtype(config)), torch.float32)
    if (
        stored is torch.bfloat16
        and device.type == "cuda"
        and not torch.cuda.is_bf16_supported(including_emulation=False)
    ):
        return torch.float16
    return torch.float16 if stored is torch.float32 and not exact else stored


def cpu_has_bfloat16() -> bool:
    """Return whether this CPU multiplies bfloat16 matrices natively."""
    if platform.machine().lower() in ("aarch64", "arm64"):
        try:
            return " bf16" in Path("/proc/cpuinfo").read_text()
        except OSError:
            return False
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())  # noqa: SLF001


def measure_bandwidth(device: torch.device) -> float:
    """Return the bytes of a device's own memory that it reads or writes in a second."""
    data = torch.ones(2**26, dtype=torch.float32, device=device)
    copied = torch.empty_like(data)
    seconds = []
    for _ in range(4):  # the first one compiles
        torch.accelerator.synchronize(device)
        started = time.perf_counter()
        copied.copy_(data)
        torch.accelerator.synchronize(device)
        seconds.append(time.perf_counter() - started)
    return 2 * data.nbytes / min(seconds)


def _list_devices() -> list[str]:
    cuda = [f"cuda:{index} ({torch.cuda.get_device_name(index)})" for index in range(torch.cuda.device_count())]
    return ["cpu", *cuda, *(["mps"] if torch.backends.mps.is_available() else [])]
