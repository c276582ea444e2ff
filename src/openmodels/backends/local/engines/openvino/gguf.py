"""A GGUF file whose weights OpenVINO reads as they are."""

from __future__ import annotations

from pathlib import Path

import gguf
from gguf import GGMLQuantizationType as Kind, GGUFValueType

_EXACT = frozenset({Kind.F32, Kind.F16, Kind.BF16, Kind.Q4_0, Kind.Q8_0})
"""What OpenVINO keeps as it is. Blocks with a minimum (Q4_1, Q4_K) it stores with a zero point that is rounded to a
whole number: of 170 short questions SmolLM2 in Q4_1 then answers 114 right, and 137 in llama.cpp."""


def is_exact(file: Path) -> bool:
    """Return whether OpenVINO keeps all weights of a file as they are."""
    return all(tensor.tensor_type in _EXACT for tensor in gguf.GGUFReader(file).tensors)


def write_exact(file: Path, target: Path) -> None:
    """Write a copy of a GGUF file with the tensors that OpenVINO rounds in Q8_0."""
    reader = gguf.GGUFReader(file)
    writer = gguf.GGUFWriter(target, str(reader.fields["general.architecture"].contents()))
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
            continue
        kind, *inner = field.types
        writer.add_key_value(name, field.contents(), kind, inner[-1] if kind is GGUFValueType.ARRAY else None)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    for tensor in reader.tensors:
        data, kind = tensor.data, tensor.tensor_type
        if kind not in _EXACT:
            data, kind = gguf.quantize(gguf.dequantize(data, kind), Kind.Q8_0), Kind.Q8_0
        writer.add_tensor(tensor.name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
