"""The header of a GGUF file, checked before anything is built from it.

The format is described at https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. The readers of
`gguf`, transformers and llama.cpp trust the counts in a header; a damaged file would keep them busy for
hours. This reader takes a header as data from a stranger: every count has a limit, and every fault is one
of our errors.
"""

import importlib.metadata
import math
import mmap
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gguf import GGML_QUANT_SIZES

from openmodels.errors import LoadFailed

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_MAX_ENTRIES = 2**22  # entries of all arrays of text together: eight times today's largest vocabulary with its merges
_MAX_PAIRS = 2**16
_MAX_TENSORS = 2**17
_MAX_TEXT = 2**24  # bytes of one text: sixteen times the longest chat template seen
_MAX_NAME = 2**16
_MAX_KEPT = 2**12  # whole numbers of an array that are kept: some models have one for each layer
_MAX_DIMENSIONS = 4  # llama.cpp's GGML_MAX_DIMS
_MAX_ELEMENTS = 2**63
MAX_NUMBER = 2**31 - 1  # the largest length, count or width that an engine's 32-bit counters hold
_FETCH_AGAIN = "Fetch the file again."
_BLOCK = re.compile(r"blk\.(\d{1,6})\.")


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What the header of a GGUF file holds."""

    metadata: dict[str, Any]  # its entries; of the arrays, those of few whole numbers
    elements: int  # the number of elements of all its tensors; `largest` is that of the largest
    blocks: int = 0  # the number of layers that its tensors make up
    tokens: int = 0  # the number of tokens of its vocabulary; 0 where it holds none
    embeddings: int = 0  # the number of rows of its embedding table; 0 where it holds none
    largest: int = 0
    has_rope_factors: bool = False  # whether it holds factors of the rotary embedding, as long contexts need
    tensor_bytes: int = 0  # the bytes of its tensors, and `expert_bytes` of those that belong to experts
    expert_bytes: int = 0

    @property
    def architecture(self) -> str | None:
        """The name of its architecture, or None where it names none."""
        name = self.metadata.get("general.architecture")
        return name if isinstance(name, str) and name else None

    def read_number(self, name: str) -> int | None:
        """Return a positive number of the architecture's entries, or None."""
        value = self.metadata.get(f"{self.architecture}.{name}")
        return value if type(value) is int and 0 < value <= MAX_NUMBER else None

    def read_token_id(self, name: str) -> int | None:
        """Return the id of a special token, e.g. "eos", or None where it has none."""
        value = self.metadata.get(f"tokenizer.ggml.{name}_token_id")
        return value if type(value) is int and 0 <= value < (self.tokens or MAX_NUMBER) else None


def read_header(file: Path) -> GgufHeader:
    """Return the header of a GGUF file, checked against its size and its tensors."""
    try:
        size = file.stat().st_size
        with file.open("rb") as opened:
            _check_magic(file.name, opened.read(4), size)
            with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
                header = _parse(data, file.name, size)
    except OSError as error:
        raise LoadFailed(f"{file.name} cannot be read.", next_step="Check the file and its permissions.") from error
    if header is None:
        raise LoadFailed(f"{file.name} ends within its own header.", next_step=_FETCH_AGAIN)
    return header


def parse_start(data: bytes, name: str, size: int) -> GgufHeader | None:
    """Return the header in a file's first bytes; None where it goes beyond them.

    The file is called `name` and has `size` bytes.
    """
    _check_magic(name, data[:4], size)
    return _parse(data, name, size)


def _check_magic(name: str, start: bytes, size: int) -> None:
    if start != b"GGUF" or size < 24:
        raise LoadFailed(f"{name} is no GGUF file.", next_step="Check what the file is, or fetch it again.")


def _parse(data: mmap.mmap | bytes, name: str, size: int) -> GgufHeader | None:
    """Return a checked header, or None where the data ends within it."""
    try:
        header, promised = _HeaderReader(data).read()
    except struct.error:
        return None
    except ValueError as error:
        raise LoadFailed(f"The header of {name} is damaged: {error}.", next_step=_FETCH_AGAIN) from error
    except KeyError as error:
        raise LoadFailed(
            f"{name} stores a tensor in a type that gguf {importlib.metadata.version('gguf')} does not know ({error}).",
            next_step="Try a newer gguf (pip install -U gguf), or another quantisation of the model.",
        ) from error
    # Of several parts, each promises only its own bytes, so this comes before the size.
    _check_parts(name, header)
    if promised > size:
        raise LoadFailed(
            f"{name} is incomplete: its header promises {promised:,} bytes, the file has {size:,}.",
            next_step=_FETCH_AGAIN,
        )
    _check_tensors(name, header)
    return header


def _check_parts(name: str, header: GgufHeader) -> None:
    parts = header.metadata.get("split.count", 1)
    if type(parts) is not int or not 0 <= parts <= _MAX_PAIRS:
        raise LoadFailed(f"The header of {name} is damaged: its number of parts is none.", next_step=_FETCH_AGAIN)
    if parts > 1:
        raise LoadFailed(
            f"{name} is one part of {parts}, and the backend 'local' reads models of one file.",
            next_step="Join them with: llama-gguf-split --merge FIRST OUTPUT",
        )


def _check_tensors(name: str, header: GgufHeader) -> None:
    """Check that the layers and the vocabulary of a header are those of its tensors."""
    # Engines that trust the header leave layers out silently, or read beyond the embedding table.
    blocks, beside = header.read_number("block_count"), header.read_number("nextn_predict_layers") or 0
    if header.metadata.get("general.type", "model") != "model":
        return
    # The layers of multi-token prediction are counted by some converters and not by others.
    if header.blocks and blocks and not blocks - beside <= header.blocks <= blocks + beside:
        raise LoadFailed(
            f"{name} contradicts itself: its header counts {blocks} layers (block_count), its tensors make up "
            f"{header.blocks}.",
            next_step="Use another file of the model: this one was cut or edited when it was made.",
        )
    if header.embeddings and header.tokens > header.embeddings:
        raise LoadFailed(
            f"{name} contradicts itself: its vocabulary has {header.tokens:,} tokens, its embedding table "
            f"{header.embeddings:,} rows.",
            next_step="Use another file of the model: tokens were added to this one without resizing the table.",
        )


class _HeaderReader:
    """Reads a header value by value; running over the end raises struct.error."""

    def __init__(self, data: mmap.mmap | bytes) -> None:
        self.data = data
        self.place = 4
        self.entries = 0
        self.lengths: dict[str, int] = {}

    def read(self) -> tuple[GgufHeader, int]:
        """Return the header, and how many bytes it promises the file to have."""
        version = self.read_scalar("I")
        if version not in (2, 3):
            raise ValueError(f"version {version} is not supported")
        tensors, pairs = self.read_count(_MAX_TENSORS), self.read_count(_MAX_PAIRS)
        metadata: dict[str, Any] = {}
        for _ in range(pairs):
            key = self.read_string(_MAX_NAME)
            value = self.read_value(key, self.read_scalar("I"))
            if key in metadata:
                raise ValueError("an entry stands in it twice")
            metadata[key] = value
        shapes: dict[str, list[int]] = {}
        sizes_in_bytes: dict[str, int] = {}
        end = 0
        for _ in range(tensors):
            name, shape, offset, length = self.read_tensor()
            shapes[name], sizes_in_bytes[name], end = shape, length, max(end, offset + length)
        if len(shapes) < tensors:
            raise ValueError("two tensors have one name")
        alignment = metadata.get("general.alignment", 32)
        if type(alignment) is not int or not 1 <= alignment <= 2**20 or alignment & (alignment - 1):
            raise ValueError("its alignment is no power of two")
        sizes = [math.prod(shape) for shape in shapes.values()]
        blocks = [int(match[1]) for match in map(_BLOCK.match, shapes) if match]
        table = shapes.get("token_embd.weight", [])
        header = GgufHeader(
            metadata,
            elements=sum(sizes),
            blocks=max(blocks, default=-1) + 1,
            tokens=self.lengths.get("tokenizer.ggml.tokens", 0),
            embeddings=table[1] if len(table) == 2 else 0,
            largest=max(sizes, default=0),
            has_rope_factors=any(name.startswith(("rope_freqs", "rope_factors")) for name in shapes),
            tensor_bytes=sum(sizes_in_bytes.values()),
            expert_bytes=sum(length for name, length in sizes_in_bytes.items() if "_exps." in name),
        )
        start = -(-self.place // alignment) * alignment
        return header, start + end if tensors else self.place

    def read_tensor(self) -> tuple[str, list[int], int, int]:
        """Return a tensor's name, shape, offset and bytes."""
        name = self.read_string(_MAX_NAME)
        shape = [int(self.read_scalar("Q")) for _ in range(self.read_count(_MAX_DIMENSIONS, "I"))]
        kind, offset = self.read_scalar("I"), self.read_scalar("Q")
        block, block_bytes = GGML_QUANT_SIZES[kind]  # KeyError: `read_header` says that gguf does not know it
        if (count := math.prod(shape)) >= _MAX_ELEMENTS or count % block or (shape and shape[0] % block):
            raise ValueError("a tensor's shape is not plausible")
        return name, shape, offset, count // block * block_bytes

    def read_scalar(self, code: str) -> Any:
        (value,) = struct.unpack_from(f"<{code}", self.data, self.place)
        self.place += struct.calcsize(f"<{code}")
        return value

    def read_count(self, limit: int, code: str = "Q") -> int:
        number = int(self.read_scalar(code))
        if number > limit:
            raise ValueError(f"a count of {number:,} is not plausible")
        return number

    def read_string(self, limit: int) -> str:
        length = int(self.read_scalar("Q"))
        if self.place + length > len(self.data):
            raise struct.error("a length points beyond the end of the file")
        if length > limit:
            raise ValueError(f"a text of {length:,} bytes is not plausible")
        return str(self.read_scalar(f"{length}s"), errors="replace")

    def read_value(self, key: str, kind: int) -> Any:
        if kind == _STRING:
            return self.read_string(_MAX_TEXT)
        if kind == _ARRAY:
            return self.read_array(key)
        if kind not in _SCALARS:
            raise ValueError(f"it holds a value of the unknown type {kind}")
        return self.read_scalar(_SCALARS[kind])

    def read_array(self, key: str) -> tuple[int, ...] | None:
        """Step over an array; return one of few whole numbers, as one for each layer."""
        inner, count = self.read_scalar("I"), int(self.read_scalar("Q"))
        self.lengths[key] = count
        if inner == _STRING:
            self.entries += count
            if self.entries > _MAX_ENTRIES:
                raise ValueError(f"a count of {count:,} is not plausible")
            # A loop of its own: a vocabulary has hundreds of thousands, and calls take most of the time.
            length_at, place, size = struct.Struct("<Q").unpack_from, self.place, len(self.data)
            for _ in range(count):
                place += 8 + length_at(self.data, place)[0]
                if place > size:
                    raise struct.error("a length points beyond the end of the file")
            self.place = place
        elif inner in _SCALARS:
            if count <= _MAX_KEPT and _SCALARS[inner] not in "fd":
                return tuple(int(self.read_scalar(_SCALARS[inner])) for _ in range(count))
            self.place += count * struct.calcsize("<" + _SCALARS[inner])
            if self.place > len(self.data):
                raise struct.error("an array points beyond the end of the file")
        else:
            raise ValueError(f"it holds an array of the unknown type {inner}")
        return None
