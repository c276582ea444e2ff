"""Free memory, compared with what a model's weights need."""

import ctypes
import mmap
import sys
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from openmodels.errors import DoesNotFit

if TYPE_CHECKING:
    import torch

_HEADROOM = 256 * 10**6  # bytes for activations and the first tokens' cache, on top of the weights


def check_memory(weights: int, device: "torch.device | None" = None) -> None:
    """Raise DoesNotFit where weights of so many bytes do not fit; a GPU has its own."""
    free = available(device)
    where = f"memory on {device}" if device is not None and device.type == "cuda" else "memory"
    if weights + _HEADROOM > free:
        raise DoesNotFit(
            f"The model needs {gigabytes(weights + _HEADROOM)} of {where}, {gigabytes(free)} are available.",
            next_step="Choose a smaller or quantised model, close other programs, or run it at a provider ('hf:…').",
        )


def check_any_memory(weights: int, *, unpacked: int) -> None:
    """Raise DoesNotFit where weights fit neither here nor on a GPU.

    They have `weights` bytes, and become `unpacked` bytes where no GPU computes with them.
    """
    try:
        check_memory(unpacked)
    except DoesNotFit:
        # Imported late: torch takes a second to come, and most models fit.
        import torch

        gpus = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
        if not gpus:
            raise
        check_memory(weights, max(gpus, key=available))


def available(device: "torch.device | None" = None) -> int:
    """Return the bytes that a GPU, or else system and cgroup, leave to this process."""
    if device is not None and device.type == "cuda":
        import torch

        return torch.cuda.mem_get_info(device)[0]
    cgroups = _cgroup_left(Path("/sys/fs/cgroup"), Path("/proc/self/cgroup"))
    return max(0, min([int(psutil.virtual_memory().available), *cgroups]))


def release_pages(addresses: Collection[int]) -> None:
    """Drop the pages of the mapped files that hold some addresses, on Linux."""
    # Reading them again gives the same bytes from the file. A mapping that was written to is left alone, since its
    # changes are not in a file.
    if sys.platform != "linux":
        return
    free = ctypes.CDLL(None).madvise
    try:
        mappings = psutil.Process().memory_maps(grouped=False)
    except (OSError, psutil.Error):  # some sandboxes hide them: then the pages stay, which only costs memory
        return
    for mapping in mappings:
        begin, end = (int(side, 16) for side in mapping.addr.split("-"))
        if mapping.path.startswith("/") and not mapping.anonymous and any(begin <= at < end for at in addresses):
            free(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), mmap.MADV_DONTNEED)


def return_freed() -> None:
    """Return freed memory between used parts of the heap to the system."""
    # That is 250 of 1,080 MB after loading SmolLM2. Other allocators than glibc's do it by themselves.
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)


def gigabytes(count: int) -> str:
    """Return a number of bytes as text, e.g. "1.3 GB" (10^9 bytes)."""
    return f"{count / 1e9:,.1f} GB"


def _cgroup_left(mount: Path, membership: Path) -> list[int]:
    """Return the bytes that each memory limit up to the root cgroup leaves."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return []
    left = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            base, limit, usage = mount, "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            base, limit, usage = mount / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        cgroup = base / path.lstrip("/")
        # Inside a container the path is the host's and does not exist: the mount itself is then our group.
        for group in (cgroup, *cgroup.parents) if cgroup.exists() else (base,):
            left += _left(group, limit, usage)
            if group == base:
                break
    return left


def _left(group: Path, limit: str, usage: str) -> list[int]:
    try:
        cap = (group / limit).read_text().strip()
        used = int((group / usage).read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return []
    # File pages that were not used lately count as usage, but are given back on demand.
    spare = int(stat.get("total_inactive_file", stat.get("inactive_file", 0)))
    return [] if cap == "max" else [int(cap) - used + spare]
