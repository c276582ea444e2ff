"""What a GGUF file says about itself, checked before anything is built from it.

The format is described at https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. The readers of
`gguf` and transformers trust the counts they find; a damaged file would keep them busy for hours.
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from openmodels.errors import LoadFailed

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_MOST = 2**22
"""Entries of a table or an array: sixteen times today's largest vocabulary."""


@dataclass(frozen=True, slots=True)
class Header:
    """A GGUF file's metadata (arrays left out) and the number of elements of all its tensors."""

    metadata: dict[str, Any]
    elements: int


def read(file: Path) -> Header:
    """Return the header of a GGUF file, checked against the file's size.

    Raises:
        LoadFailed: It is no GGUF file, damaged, incomplete, or one part of several.
    """
    again = "Fetch the file again."
    size = file.stat().st_size
    with file.open("rb") as opened:
        if opened.read(4) != b"GGUF" or size < 24:
            raise LoadFailed(f"{file.name} is no GGUF file.", next_step="Check what the file is, or fetch it again.")
        with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                header, promised = _Walk(data).header()
            except struct.error as error:
                raise LoadFailed(f"{file.name} ends within its own header.", next_step=again) from error
            except (ValueError, KeyError, OverflowError) as error:
                raise LoadFailed(f"The header of {file.name} is damaged: {error}.", next_step=again) from error
    if promised > size:
        raise LoadFailed(
            f"{file.name} is incomplete: its header promises {promised:,} bytes, the file has {size:,}.",
            next_step=again,
        )
    if (parts := header.metadata.get("split.count", 1)) > 1:
        raise LoadFailed(
            f"{file.name} is one part of {parts}.", next_step="Join them with: llama-gguf-split --merge FIRST OUTPUT"
        )
    return header


class _Walk:
    """Reads one value after the other; running over the end raises struct.error."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.place = 4

    def header(self) -> tuple[Header, int]:
        version = self.scalar("I")
        if version not in (2, 3):
            raise ValueError(f"version {version} is not supported")
        tensors, pairs = self.count(), self.count()
        metadata = {self.string(): self.value(self.scalar("I")) for _ in range(pairs)}
        elements, end = 0, 0
        for _ in range(tensors):
            self.string()
            count = math.prod(self.scalar("Q") for _ in range(self.count("I")))
            kind, offset = self.scalar("I"), self.scalar("Q")
            block, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
            elements += count
            end = max(end, offset + count // block * block_bytes)
        alignment = int(metadata.get("general.alignment") or 32)
        start = -(-self.place // alignment) * alignment
        return Header(metadata, elements), start + end if tensors else self.place

    def scalar(self, code: str) -> Any:
        (value,) = struct.unpack_from(f"<{code}", self.data, self.place)
        self.place += struct.calcsize(f"<{code}")
        return value

    def count(self, code: str = "Q") -> int:
        number = int(self.scalar(code))
        if number > _MOST:
            raise ValueError(f"a count of {number:,} is not plausible")
        return number

    def string(self) -> str:
        length = int(self.scalar("Q"))
        if length > len(self.data):
            raise struct.error("a length points beyond the end of the file")
        return str(self.scalar(f"{length}s"), errors="replace")

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            return self.scalar(_SCALARS[kind])
        inner, count = self.scalar("I"), self.count()
        if inner == _STRING:
            for _ in range(count):
                self.string()
        else:
            self.scalar(f"{count * struct.calcsize('<' + _SCALARS[inner])}s")
        return None
