"""Where a model is to run: this machine, measured, or another one."""

from __future__ import annotations

import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from openmodels.catalog.query import free_memory
from openmodels.errors import InvalidRequest, MissingExtra
from openmodels.settings import install_hint

_OTHER = re.compile(r"(cpu|cuda|mps):(\d+(?:\.\d+)?)\s*([kmgt])(i?)b?", re.IGNORECASE)
_HERE = re.compile(r"auto|cpu|mps|cuda(?::\d+)?", re.IGNORECASE)
_PROBE_BYTES = 2**26
"""Bytes that each thread reads to measure the memory's bandwidth: more than a core's caches hold."""
_PROBE_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Device:
    """Where a model is to run.

    Attributes:
        kind: "cpu", "cuda" or "mps".
        name: What the caller wrote.
        available: Bytes of memory for the model.
        bandwidth: Bytes of memory read in a second, measured here; None for another machine.
        is_here: Whether it is this machine.
        torch_device: Its name in torch, where it is here.
        basis: Where `available` comes from.
    """

    kind: str
    name: str
    available: int
    bandwidth: float | None
    is_here: bool
    torch_device: str
    basis: str


def read_device(name: Any) -> Device:
    """Return a device by its name.

    Raises:
        InvalidRequest: The name is not understood.
        NotConfigured: This machine has no such device.
        MissingExtra: Measuring it needs a package that is not installed.
    """
    text = name.strip() if isinstance(name, str) else ""
    if other := _OTHER.fullmatch(text):
        unit = (1024 if other[4] else 1000) ** " kmgt".index(other[3].lower())
        available = int(float(other[2]) * unit)
        if available <= 0:
            raise _unknown(name)
        return Device(other[1].lower(), text, available, None, False, "", f"{text}, taken as given")
    if not _HERE.fullmatch(text):
        raise _unknown(name)
    kind = text.lower()
    if kind == "auto":
        kind = _accelerator() or "cpu"
    if kind != "cpu":
        return _gpu(kind, text)
    return Device("cpu", text, free_memory("device"), _cpu_bandwidth(), True, "cpu", "memory free on this machine now")


def _unknown(name: Any) -> InvalidRequest:
    return InvalidRequest(
        f"device: {str(name)[:100]!r} is not understood.",
        next_step='Write "auto", "cpu", "cuda", "cuda:0" or "mps" for this machine, "cuda:24GB" for another.',
    )


def _accelerator() -> str | None:
    """Return the name of a GPU that torch would take, or None.

    torch takes seconds to import, so it is asked only where a driver is there.
    """
    has_driver = any(Path(path).exists() for path in ("/dev/nvidiactl", "/dev/nvidia0", "/dev/kfd", "/dev/dxg"))
    if not has_driver and sys.platform not in ("darwin", "win32"):
        return None
    try:
        from openmodels.backends.local.engines.torch.device import choose_device
    except ModuleNotFoundError:
        return None
    chosen = str(choose_device("auto"))
    return None if chosen == "cpu" else chosen


def _gpu(kind: str, text: str) -> Device:
    try:
        from openmodels.backends.local.engines.torch import device as devices
        from openmodels.backends.local.weights import memory
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"device: {text!r} needs the package {error.name!r}, which is not installed.",
            next_step=f'Run: {install_hint("local")}; or name its memory, as in "cuda:24GB".',
        ) from error
    chosen = devices.choose_device(kind)
    free = memory.available(chosen)
    bandwidth = devices.measure_bandwidth(chosen)
    return Device(chosen.type, text, free, bandwidth, True, str(chosen), f"memory free on {chosen} now")


@lru_cache(maxsize=1)
def _cpu_bandwidth() -> float:
    """Return the bytes that all processors together read from memory in a second."""
    import os

    import numpy as np

    try:
        threads = len(os.sched_getaffinity(0))
    except AttributeError:
        threads = os.cpu_count() or 1
    threads = min(threads, 16)
    data = np.ones((threads, _PROBE_BYTES // 8))
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(np.sum, data))
        seconds = []
        for _ in range(_PROBE_ROUNDS):
            started = time.perf_counter()
            list(pool.map(np.sum, data))
            seconds.append(time.perf_counter() - started)
    return data.nbytes / min(seconds)
