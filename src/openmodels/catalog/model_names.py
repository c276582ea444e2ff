"""What a model's name says: its words, its size, and whether it is a conversion of another model."""

from __future__ import annotations

import re
from functools import lru_cache

_PIECES = re.compile(r"[^\W_]+(?:\.\d+[^\W_]*)*")
_RUNS = re.compile(r"\d+(?:\.\d+)*|[^\W\d_]+")
_SIZE = re.compile(r"(?:\d+x)?\d+(?:\.\d+)?[bmk]t?|[a-z]\d+(?:\.\d+)?b?|\d+bit|\d+e", re.ASCII)
_SIZE_AT_END = re.compile(r"(?<=[^\W\d_])\d+(?:\.\d+)?[bm]$", re.ASCII)
_VERSION = re.compile(r"^[vV](?=\d)")
_CAMEL = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_PARAMETERS = re.compile(r"(?<![a-z0-9.])(?:(\d{1,3})x)?(\d{1,4}(?:\.\d{1,3})?)([bm])(?![a-z0-9])", re.ASCII)
_ACTIVE = re.compile(r"(?<![a-z0-9])a(\d{1,3}(?:\.\d{1,2})?)b(?![a-z0-9])", re.ASCII)
_UNIT = {"m": 10**6, "b": 10**9}

_CONVERSIONS = """
gguf ggml gptq awq exl2 exl3 mlx bnb onnx openvino ov gptqmodel autoround autogptq hqq aqlm imatrix i1 ggmlv3
4bit 8bit 6bit 5bit 3bit 2bit int4 int8 fp8 nf4 nvfp4 mxfp4 w4a16 w8a8 w8a16 q2 q3 q4 q5 q6 q8 quantized
"""
CONVERSION = frozenset(_CONVERSIONS.split())
"""Words in names and tags that mark a conversion of another model's weights."""

NOISE = frozenset({"hf", "v", "model", "base", "pretrained", "pt", "the", "preview", "it", "official"})
"""Words that do not tell one model of a family from another."""


@lru_cache(maxsize=16_384)
def words(name: str) -> tuple[str, ...]:
    """Return the words of a name in lower case, without repetition.

    "SmolLM2-135M" gives smollm, 2, 135m and smol; "BioMistral" biomistral, bio and mistral;
    "Llama-3.1" llama, 3.1 and 3.
    """
    found: dict[str, None] = {}
    for piece in _PIECES.findall(name):
        piece = _VERSION.sub("", piece)  # noqa: PLW2901 - "v0.1" and "0.1" are the same word
        low = piece.lower()
        if _SIZE.fullmatch(low):
            found[low] = None
            continue
        if tail := _SIZE_AT_END.search(low):
            found[tail.group()] = None
            piece, low = piece[: tail.start()], low[: tail.start()]  # noqa: PLW2901 - the rest of the same piece
        for run in _RUNS.findall(piece):
            _add(run, found)
    return tuple(found)


def _add(run: str, found: dict[str, None]) -> None:
    low = run.lower()
    if low == "v":
        return
    found[low] = None
    if low[0].isdigit():
        major = low.partition(".")[0]
        if major not in {low, "0"}:
            found[major] = None
    elif len(low) > 5 and not run.islower():
        parts = [part.lower() for part in _CAMEL.findall(run)]
        if len(parts) > 1:
            found.update((part, None) for part in parts if len(part) > 2)


def size(name: str) -> tuple[int | None, int | None]:
    """Return the parameters that a name states: total and active. "8x7B" states neither."""
    low = name.lower().replace("_", "-")
    active = _ACTIVE.search(low)
    stated = [found for found in _PARAMETERS.finditer(low) if not found[1]]
    total = max((round(float(found[2]) * _UNIT[found[3]]) for found in stated), default=None)
    return total, round(float(active[1]) * 10**9) if active else None


def is_conversion(name: str) -> bool:
    """Return whether a name says that the weights are another model's, converted."""
    return not CONVERSION.isdisjoint(words(name)) or not CONVERSION.isdisjoint(name.lower().split("-"))


def core(name: str) -> frozenset[str]:
    """Return the words that tell a model from the others of its family."""
    return frozenset(words(name.rpartition("/")[2])) - NOISE
