"""From a GGUF file to a folder of bf16 safetensors, once; loading that folder takes a tenth of the time."""

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
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, modeling_gguf_pytorch_utils as modeling

from openmodels.backends.local import gguf_header, memory, model_kind
from openmodels.backends.local.loader import exclusive, is_out_of_memory, out_of_memory
from openmodels.errors import LoadFailed


def gguf_to_safetensors(file: Path, folder: Path) -> None:
    """Write a GGUF file's weights (as bf16), configuration, tokenizer and chat template to a folder.

    The chat template is stored as text and not rendered.

    Raises:
        LoadFailed: The file is damaged, or transformers does not know its architecture.
        DoesNotFit: Its weights are too large for the memory or for the folder's disk.
        OutOfMemory: Memory ran out all the same.
    """
    header = gguf_header.read(file)
    model_kind.check_gguf(file.name, header)
    size = header.elements * torch.bfloat16.itemsize
    memory.check_memory(size)
    memory.check_disk(folder, size)
    try:
        with exclusive(), _read_once():
            tokenizer = AutoTokenizer.from_pretrained(
                file.parent, gguf_file=file.name, trust_remote_code=False, local_files_only=True
            )
            model = AutoModelForCausalLM.from_pretrained(
                file.parent,
                gguf_file=file.name,
                dtype=torch.bfloat16,
                trust_remote_code=False,
                local_files_only=True,
            )
            # transformers takes the model for a quantised one, and those it does not save.
            model.hf_quantizer = None
            if hasattr(model.config, "quantization_config"):
                del model.config.quantization_config
            _end_at(model.generation_config, header)
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
    except Exception as error:
        if is_out_of_memory(error):
            raise out_of_memory() from error
        raise _unreadable(file, header, error) from error


def gguf_tokenizer(file: Path, folder: Path, header: gguf_header.Header) -> None:
    """Write a GGUF file's tokenizer, chat template, ends and context to a folder, for engines that read the weights.

    Raises:
        LoadFailed: transformers does not know the tokenizer.
    """
    try:
        with exclusive(), _read_once():
            tokenizer = AutoTokenizer.from_pretrained(
                file.parent, gguf_file=file.name, trust_remote_code=False, local_files_only=True
            )
            tokenizer.save_pretrained(folder)
    except Exception as error:
        raise _unreadable(file, header, error) from error
    generation = GenerationConfig()
    _end_at(generation, header)
    generation.save_pretrained(folder)
    facts = {"model_type": header.architecture, "max_position_embeddings": header.number("context_length")}
    facts |= {"vocab_size": header.embeddings} if header.embeddings else {}
    (folder / "config.json").write_text(json.dumps(facts), encoding="utf-8")


def _unreadable(file: Path, header: gguf_header.Header, error: Exception) -> LoadFailed:
    words = str(error).partition("\n")[0].rstrip(".")
    return LoadFailed(
        f"transformers cannot read {file.name} (architecture {header.architecture!r}): "
        f"{type(error).__name__}: {words}.",
        next_step="Use the model's safetensors version, or run the file in another engine.",
    )


def _end_at(generation: Any, header: gguf_header.Header) -> None:
    """Let generation stop at the ends of turns and messages too; transformers takes over the text's end only."""
    listed = [header.token(name) for name in ("eos", "eot", "eom")]
    if ends := list(dict.fromkeys(end for end in listed if end is not None)):
        generation.eos_token_id = ends if len(ends) > 1 else ends[0]


@contextmanager
def _read_once() -> Generator[None, None, None]:
    """Have transformers parse the file and build its name map once instead of hundreds of times.

    It looks both up in the package `gguf` at each use, so they can be replaced for a while.
    """

    class PlainReader(gguf.GGUFReader):  # type: ignore[misc]
        """A reader over a plain array: half of the parsing time goes into slicing a memmap."""

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
