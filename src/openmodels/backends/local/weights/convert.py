"""Conversion of a GGUF file to a folder of safetensors.

Transformers takes over ten seconds at every start to read GGUF; loading the converted folder takes a tenth of it.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, modeling_gguf_pytorch_utils as modeling

from openmodels.backends.local.engines.torch import checkpoint_check
from openmodels.backends.local.engines.torch.loader import exclusive_loading, is_out_of_memory, out_of_memory
from openmodels.backends.local.weights import gguf_header, memory, model_kind
from openmodels.errors import LoadFailed, OpenModelsError


def gguf_to_safetensors(file: Path, folder: Path, dtype: str = "auto") -> None:
    """Write a GGUF file's weights, configuration and tokenizer to a folder.

    The chat template is stored as text and not rendered.

    Args:
        file: The .gguf file.
        folder: An empty folder.
        dtype: What the weights become: "float32", "float16" or "bfloat16"; "auto" is bfloat16.

    Raises:
        LoadFailed: The file is damaged, or transformers does not know its architecture or all of its tensors.
        UnsupportedFeature: The model of the file does not generate text.
        DoesNotFit: Its weights are too large for the memory or for the folder's disk.
        OutOfMemory: Memory ran out all the same.
    """
    header = gguf_header.read(file)
    model_kind.check_gguf(file.name, header)
    torch_dtype = torch.bfloat16 if dtype == "auto" else getattr(torch, dtype)
    size = header.elements * torch_dtype.itemsize
    # A tensor is unpacked as float32 before it becomes narrower.
    memory.check_memory(size + header.largest * torch.float32.itemsize)
    memory.check_disk(folder, size)
    # Without this, transformers would leave weights packed where it fetches a kernel for them.
    gguf_config = getattr(transformers, "GgufConfig", None)
    quantization = {} if gguf_config is None else {"quantization_config": gguf_config(dequantize=True)}
    try:
        with exclusive_loading(), _parse_once():
            tokenizer = AutoTokenizer.from_pretrained(
                file.parent, gguf_file=file.name, trust_remote_code=False, local_files_only=True
            )
            model, report = AutoModelForCausalLM.from_pretrained(
                file.parent,
                gguf_file=file.name,
                dtype=torch_dtype,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # the report names them
                **quantization,
            )
            checkpoint_check.check(model, report, encoder=False)
            _check_all_used(file.name, header, model)
            # transformers takes the model for a quantised one, and those it does not save.
            model.hf_quantizer = None
            if hasattr(model.config, "quantization_config"):
                del model.config.quantization_config
            _set_eos_token_ids(model.generation_config, header)
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
    except OpenModelsError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise out_of_memory() from error
        raise _unreadable(file, header, error) from error


def _check_all_used(name: str, header: gguf_header.GgufHeader, model: Any) -> None:
    """Check that a model holds every number of a GGUF file.

    transformers drops tensors that it has no name for.

    Raises:
        LoadFailed: Numbers are missing, so that the model would not be that of the file.
    """
    used = sum(weights.numel() for weights in model.parameters())
    if header.number("nextn_predict_layers") or used == header.elements:
        return
    factors = " (factors of the rotary embedding among them)" if header.has_rope_factors else ""
    raise LoadFailed(
        f"transformers does not take over {name} whole: its tensors hold {header.elements:,} numbers{factors}, the "
        f"model made of them {used:,}.",
        next_step="Use engine='llamacpp', which reads the file itself, or the model's safetensors version.",
    )


def gguf_tokenizer(file: Path, folder: Path, header: gguf_header.GgufHeader) -> None:
    """Write the tokenizer, template and configuration of a GGUF file to a folder.

    It serves engines that read the weights themselves.

    Raises:
        LoadFailed: transformers does not know the tokenizer.
    """
    try:
        with exclusive_loading(), _parse_once():
            tokenizer = AutoTokenizer.from_pretrained(
                file.parent, gguf_file=file.name, trust_remote_code=False, local_files_only=True
            )
            tokenizer.save_pretrained(folder)
    except Exception as error:
        raise _unreadable(file, header, error) from error
    generation = GenerationConfig()
    _set_eos_token_ids(generation, header)
    generation.save_pretrained(folder)
    facts = {"model_type": header.architecture, "max_position_embeddings": header.number("context_length")}
    facts |= {"vocab_size": header.embeddings} if header.embeddings else {}
    (folder / "config.json").write_text(json.dumps(facts), encoding="utf-8")


def _unreadable(file: Path, header: gguf_header.GgufHeader, error: Exception) -> LoadFailed:
    first_line = str(error).partition("\n")[0].rstrip(".")
    return LoadFailed(
        f"transformers cannot read {file.name} (architecture {header.architecture!r}): "
        f"{type(error).__name__}: {first_line}.",
        next_step="Use the model's safetensors version, or run the file in another engine.",
    )


def _set_eos_token_ids(generation: Any, header: gguf_header.GgufHeader) -> None:
    """Add the ends of turns and messages, which transformers leaves out."""
    listed = [header.token(name) for name in ("eos", "eot", "eom")]
    if eos_token_ids := list(dict.fromkeys(token for token in listed if token is not None)):
        generation.eos_token_id = eos_token_ids if len(eos_token_ids) > 1 else eos_token_ids[0]


@contextmanager
def _parse_once() -> Generator[None, None, None]:
    """Let transformers parse the file and map its names once.

    It looks both up in the package `gguf` at each use, so they can be replaced for a while.
    """

    class PlainReader(gguf.GGUFReader):  # type: ignore[misc]
        """A reader over a plain array: slicing a memmap is half of the parsing time."""

        @property
        def data(self) -> Any:
            return self._plain

        @data.setter
        def data(self, mapped: Any) -> None:
            self._plain = mapped.view(np.ndarray)

    originals = gguf.GGUFReader, gguf.get_tensor_name_map, modeling.tqdm
    gguf.GGUFReader = functools.lru_cache(PlainReader)
    modeling.tqdm = functools.partial(modeling.tqdm, disable=not sys.stderr.isatty(), leave=False)
    gguf.get_tensor_name_map = functools.lru_cache(gguf.get_tensor_name_map)
    try:
        yield
    finally:
        gguf.GGUFReader, gguf.get_tensor_name_map, modeling.tqdm = originals
