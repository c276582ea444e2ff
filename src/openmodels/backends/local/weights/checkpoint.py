"""The files of a checkpoint, checked by names, config.json and headers."""

import json
import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from openmodels.backends.local.weights import task_detection
from openmodels.errors import LoadFailed, UnsafeWeights, UnsupportedFeature

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_TOKENIZER_FILES = re.compile(
    r"(tokenizer|tokenizer_config|vocab|tekken)\.json|vocab\.(txt|bpe)|(tokenizer|spiece|sentencepiece(\.bpe)?|tiktoken)\.model"
)
_OTHER_FILES = re.compile(
    r"(generation_config|special_tokens_map|added_tokens|chat_template)\.json"
    r"|merges\.txt|chat_template\.jinja|additional_chat_templates/[^/]+\.jinja|" + _TOKENIZER_FILES.pattern +
    # How sentence-transformers makes one vector out of the tokens' vectors, and what images become.
    r"|modules\.json|config_sentence_transformers\.json|sentence_[a-z0-9-]+_config\.json"
    r"|\d+_[A-Za-z]+/config\.json|\d+_Dense/model\.safetensors|(preprocessor|processor)_config\.json"
)
_UNPACKING_FACTORS = {"fp8": 2, "mxfp8": 2, "mxfp4": 3}
"""Methods whose weights transformers unpacks on a CPU, with the factor by which they grow at least (4 bits: 3)."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """The dtype and the number of elements of a tensor in a safetensors header."""

    dtype: str
    elements: int

    def size(self, width: int) -> int:
        """Return its bytes in memory where floating-point numbers take `width` bytes."""
        bits = 8 * width
        if self.dtype not in ("F64", "F32", "F16", "BF16"):
            named = re.search(r"\d+", self.dtype)  # "F8_E4M3" has 8 bits, "BOOL" too
            bits = int(named[0]) if named else 8
        return self.elements * bits // 8


def files_to_fetch(names: Collection[str], where: str) -> list[str]:
    """Return the files to fetch: weights, configuration, tokenizer and nothing else.

    With sharded weights only their index is named; `shards` reads the rest out of it.
    """
    weights = next((name for name in (WEIGHTS, INDEX) if name in names), None)
    if weights is None:
        refuse_pickles(names, where)
        raise _missing_weights(names, where)
    if "adapter_config.json" in names:
        raise LoadFailed(
            f"{where} holds a model and an adapter beside it (adapter_config.json), and only the model would run.",
            next_step="Merge the adapter into the model, or move its files away to run the model without it.",
        )
    if "config.json" not in names:
        raise LoadFailed(f"{where} has no config.json.", next_step="Choose a model in the transformers format.")
    return [weights, "config.json", *sorted(name for name in names if _OTHER_FILES.fullmatch(name))]


def check_use(names: Collection[str], config: Mapping[str, Any], where: str) -> None:
    """Check that this backend has a use for a model, and that it has a tokenizer."""
    kind = task_detection.classify_config(config, sentence_transformers="modules.json" in names)
    if kind.task == "other":
        task_detection.check_generates(kind)
    if not any(_TOKENIZER_FILES.fullmatch(name) for name in names):
        raise LoadFailed(
            f"{where} has no tokenizer.",
            next_step="Add tokenizer.json and tokenizer_config.json of the model that it was made from.",
        )


def refuse_pickles(names: Collection[str], where: str) -> None:
    """Raise UnsafeWeights if there are pickles; for places without safetensors."""
    if pickles := sorted(name for name in names if name.lower().endswith(_PICKLES)):
        raise UnsafeWeights(
            f"{where} has its weights only as pickles ({pickles[0]}), which can run code when loaded.",
            next_step="Use a safetensors version; or, if you trust its author, convert it: "
            "https://huggingface.co/spaces/safetensors/convert, or save_pretrained() of transformers.",
        )


def _missing_weights(names: Collection[str], where: str) -> LoadFailed:
    """Return the error for a place without safetensors, with what is there instead."""
    if ggufs := sorted(name for name in names if name.lower().endswith(".gguf")):
        shown = ", ".join(ggufs[:4]) + (", …" if len(ggufs) > 4 else "")
        return LoadFailed(f"{where} has only GGUF files.", next_step=f"Name one of them behind a '/': {shown}.")
    if any(PurePosixPath(name).name == "adapter_config.json" for name in names):
        return LoadFailed(f"{where} is an adapter, not a whole model.", next_step="Load its base model, or merge them.")
    return LoadFailed(f"{where} has no weights.", next_step=f"It needs {WEIGHTS}, or {INDEX} and its parts.")


def check_folder(folder: Path) -> dict[str, Any]:
    """Check that a folder has the files of a usable model; return its config.json."""
    where = f"The folder {folder.name or str(folder)!r}"
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError as error:
        raise LoadFailed(f"{where} cannot be read.", next_step="Check its permissions.") from error
    if not names:
        raise LoadFailed(f"{where} is empty.", next_step="Name a folder with config.json and .safetensors files.")
    files_to_fetch(names, where)
    config = read_json(folder / "config.json")
    check_use(names, config, where)
    return config


def is_complete(folder: Path) -> bool:
    """Return whether all files of a folder's index exist."""
    try:
        check_folder(folder)
        return all(file.is_file() for file in weight_files(folder))
    except (LoadFailed, UnsupportedFeature):
        return False


def read_json(file: Path) -> dict[str, Any]:
    """Return a JSON file's object, or raise LoadFailed."""
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise LoadFailed(f"{file.name} cannot be read as JSON.", next_step="Fetch the model again.") from error
    if not isinstance(content, dict):
        raise LoadFailed(
            f"{file.name} holds no JSON object.", next_step="Use that file of the model that this one was made from."
        )
    return content


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files that make up the model, existing or not."""
    if (folder / WEIGHTS).exists():
        return [folder / WEIGHTS]
    return [folder / name for name in shards(folder / INDEX)]


def shards(index: Path) -> list[str]:
    """Return the names of the files that an index lists, all in its own folder."""
    mapping = read_json(index).get("weight_map")
    names = sorted(set(map(str, mapping.values()))) if isinstance(mapping, Mapping) else []
    if not names or any("/" in name or "\\" in name or not name.endswith(".safetensors") for name in names):
        raise LoadFailed(f"{index.name} does not list safetensors files.", next_step="Fetch the model again.")
    return names


def check_config(config: Mapping[str, Any]) -> None:
    """Refuse a config.json that has code of a repository fetched and run."""
    if kernel := next(_hub_kernels(config), None):
        raise UnsafeWeights(
            f"config.json asks for code from the Hub ({kernel!r}) to compute attention.",
            next_step="Remove that entry from config.json to use the implementation of transformers.",
        )
    if config.get("auto_map"):
        # Imported late, and only for the few models that have this entry.
        from transformers import CONFIG_MAPPING

        if config.get("model_type") not in CONFIG_MAPPING:
            raise UnsafeWeights(
                f"The model type {config.get('model_type')!r} is not part of transformers: "
                "it needs Python code out of its own repository, which is never run.",
                next_step="Choose a model whose architecture transformers supports, or a newer transformers.",
            )


def unpacking_factor(config: Mapping[str, Any]) -> int:
    """Return how many times larger transformers makes packed weights on a CPU."""
    entry = config.get("quantization_config")
    method = entry.get("quant_method") if isinstance(entry, Mapping) else None
    return _UNPACKING_FACTORS.get(method, 1) if isinstance(method, str) else 1


def stored_dtype(config: Mapping[str, Any]) -> str | None:
    """Return the dtype that a config.json names, e.g. "bfloat16", or None."""
    nested = config.get("text_config")  # of multimodal models
    dtype = config.get("dtype") or config.get("torch_dtype")
    return str(dtype) if dtype else stored_dtype(nested) if isinstance(nested, Mapping) else None


def _hub_kernels(config: Any, *, named: bool = False) -> Iterator[str]:
    if isinstance(config, str) and named and "/" in config:
        yield config
    elif isinstance(config, Mapping):
        for key, value in config.items():
            yield from _hub_kernels(value, named=named or "_implementation" in str(key))


def read_tensors(file: Path) -> list[TensorInfo]:
    """Return the tensors of a safetensors file's header, checked against its size."""
    # Imported late: finding files that are already there must be cheap.
    from safetensors import SafetensorError, __version__, safe_open

    name = file.name
    try:
        with safe_open(file, framework="np") as opened:
            tensors = [opened.get_slice(key) for key in opened.keys()]  # noqa: SIM118 - it is no dict
            return [TensorInfo(tensor.get_dtype(), math.prod(tensor.get_shape())) for tensor in tensors]
    except OSError as error:
        raise LoadFailed(f"{name} is missing or cannot be read.", next_step="Fetch the model again.") from error
    except SafetensorError as error:
        reason = str(error).removeprefix("Error while deserializing header: ")[:200]  # it may quote the file
        if "unknown variant" in reason:
            raise LoadFailed(
                f"{name} stores a tensor in a type that safetensors {__version__} does not know: {reason}.",
                next_step="Try a newer safetensors, or another version of the model.",
            ) from error
        raise LoadFailed(
            f"{name} is incomplete or damaged: {reason}; the file has {file.stat().st_size:,} bytes.",
            next_step="Fetch the file again.",
        ) from error
