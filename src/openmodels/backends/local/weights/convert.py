"""Conversion of a GGUF file to a folder of safetensors.

Transformers takes over ten seconds at every start to read GGUF; loading the converted folder takes a tenth of it.
"""

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
from openmodels.backends.local.weights import disk_space, gguf_header, memory, task_detection
from openmodels.errors import LoadFailed, OpenModelsError

_LOCAL = {"trust_remote_code": False, "local_files_only": True}


def gguf_to_safetensors(file: Path, folder: Path, dtype: str = "auto") -> None:
    """Write a GGUF file's weights, configuration and tokenizer to an empty folder."""
    # The chat template is stored as text and not rendered.
    header = gguf_header.read_header(file)
    task_detection.check_gguf(file.name, header)
    torch_dtype = torch.bfloat16 if dtype == "auto" else getattr(torch, dtype)
    size = header.elements * torch_dtype.itemsize
    # A tensor is unpacked as float32 before it becomes narrower.
    memory.check_memory(size + header.largest * torch.float32.itemsize)
    disk_space.check_disk(folder, size)
    # Without this, transformers would leave weights packed where it fetches a kernel for them.
    gguf_config = getattr(transformers, "GgufConfig", None)
    quantization = {} if gguf_config is None else {"quantization_config": gguf_config(dequantize=True)}
    with _reading(file, header):
        _save_tokenizer(file, folder)
        model, report = AutoModelForCausalLM.from_pretrained(
            file.parent,
            gguf_file=file.name,
            dtype=torch_dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # the report names them
            **_LOCAL,
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


def _check_all_used(name: str, header: gguf_header.GgufHeader, model: Any) -> None:
    """Check that a model holds every number of a GGUF file."""
    # transformers drops tensors that it has no name for.
    used = sum(weights.numel() for weights in model.parameters())
    if header.read_number("nextn_predict_layers") or used == header.elements:
        return
    factors = " (factors of the rotary embedding among them)" if header.has_rope_factors else ""
    raise LoadFailed(
        f"transformers does not take over {name} whole: its tensors hold {header.elements:,} numbers{factors}, the "
        f"model made of them {used:,}.",
        next_step="Use engine='llamacpp', which reads the file itself, or the model's safetensors version.",
    )


def gguf_tokenizer(file: Path, folder: Path, header: gguf_header.GgufHeader) -> None:
    """Write the tokenizer and configuration for engines that read the weights."""
    with _reading(file, header):
        _save_tokenizer(file, folder)
    generation = GenerationConfig()
    _set_eos_token_ids(generation, header)
    generation.save_pretrained(folder)
    config = {"model_type": header.architecture, "max_position_embeddings": header.read_number("context_length")}
    config |= {"vocab_size": header.embeddings} if header.embeddings else {}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def _save_tokenizer(file: Path, folder: Path) -> None:
    AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, **_LOCAL).save_pretrained(folder)


def _set_eos_token_ids(generation: Any, header: gguf_header.GgufHeader) -> None:
    """Add the ends of turns and messages, which transformers leaves out."""
    listed = [header.read_token_id(name) for name in ("eos", "eot", "eom")]
    if eos_token_ids := list(dict.fromkeys(token for token in listed if token is not None)):
        generation.eos_token_id = eos_token_ids if len(eos_token_ids) > 1 else eos_token_ids[0]


@contextmanager
def _reading(file: Path, header: gguf_header.GgufHeader) -> Generator[None, None, None]:
    """Let transformers parse a file once; raise its errors as our own."""

    class PlainReader(gguf.GGUFReader):  # type: ignore[misc]
        """A reader over a plain array: slicing a memmap is half of the parsing time."""

        @property
        def data(self) -> Any:
            return self._plain

        @data.setter
        def data(self, mapped: Any) -> None:
            self._plain = mapped.view(np.ndarray)

    # transformers looks them up in the package `gguf` at each use, so they can be replaced for a while.
    originals = gguf.GGUFReader, gguf.get_tensor_name_map, modeling.tqdm
    gguf.GGUFReader = functools.lru_cache(PlainReader)
    modeling.tqdm = functools.partial(modeling.tqdm, disable=not sys.stderr.isatty(), leave=False)
    gguf.get_tensor_name_map = functools.lru_cache(gguf.get_tensor_name_map)
    try:
        with exclusive_loading():
            yield
    except OpenModelsError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise out_of_memory() from error
        first_line = str(error).partition("\n")[0].rstrip(".")
        raise LoadFailed(
            f"transformers cannot read {file.name} (architecture {header.architecture!r}): "
            f"{type(error).__name__}: {first_line}.",
            next_step="Use the model's safetensors version, or run the file in another engine.",
        ) from error
    finally:
        gguf.GGUFReader, gguf.get_tensor_name_map, modeling.tqdm = originals
