"""What a process takes to run any model, beside its weights and cache.

The constants were measured on Linux with torch 2.13, transformers 5.24 and llama.cpp of 2026-10; see
benchmarks/fit.py.
"""

from __future__ import annotations

from pathlib import Path

LIBRARIES = 415 * 10**6
"""Bytes of the interpreter, torch, transformers and this package."""
LLAMACPP_LIBRARIES = 60 * 10**6
"""Bytes of the interpreter and llama.cpp."""
LLAMACPP_RUNTIME = 38 * 10**6
"""Bytes of llama.cpp's vocabulary, threads and work space."""
GPU_CONTEXT = 500 * 10**6
"""Bytes of a GPU's own memory that its driver and the libraries for computing take for a process."""
RUNTIME = 20 * 10**6
"""Bytes of tokenizer, threads and work space of matrix products."""


def count_libraries(kind: str, *, is_gguf: bool) -> int:
    """Return the bytes of interpreter and libraries on a device.

    `kind` is "cpu", "cuda" or "mps".
    """
    if kind == "cuda":
        return GPU_CONTEXT
    return LLAMACPP_LIBRARIES if is_gguf else LIBRARIES


def count_runtime(kind: str, *, is_gguf: bool) -> int:
    """Return the bytes of tokenizer, threads and kernels on a device."""
    if kind == "cuda":
        return 0
    return LLAMACPP_RUNTIME if is_gguf else RUNTIME


def cpu_has_bfloat16() -> bool:
    """Return whether this CPU multiplies bfloat16 matrices, without torch."""
    try:
        words = set(Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").split())
    except OSError:
        return False
    return not words.isdisjoint({"bf16", "avx512_bf16", "amx_tile"})
