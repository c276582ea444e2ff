"""The files of a model that tell its size: config.json and headers of weights.

A header is a few kilobytes to megabytes at the start of a file. From the Hub only that part is fetched.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openmodels import files, model_reference, settings
from openmodels.backends.local.weights import checkpoint
from openmodels.backends.local.weights.checkpoint import TensorInfo
from openmodels.choose.fit_cache import first_number
from openmodels.errors import (
    ConnectionFailed,
    DeadlineExceeded,
    InvalidRequest,
    LoadFailed,
    MissingExtra,
    ModelNotFound,
    Offline,
)
from openmodels.hub import download
from openmodels.hub.client import HubClient
from openmodels.hub.model_page import ModelPage

if TYPE_CHECKING:
    from openmodels.backends.local.weights.gguf_header import GgufHeader

_CONFIG_BYTES = 4 * 2**20
_INDEX_BYTES = 64 * 2**20
_FIRST_READ = 2**18
"""Bytes that hold the header of most safetensors files."""
_GGUF_READ = 2**23
"""Bytes that hold the header of most GGUF files: a vocabulary is up to 10 MB."""
_LONGEST_HEADER = 100 * 10**6
"""The longest header that safetensors itself reads."""
_READERS = 8
_ONE_EXPERT = re.compile(r"\.experts\.\d+\.")
_EXPERT = re.compile(r"(?:^|\.)experts\.|_exps(?:\.|$)")


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """What a model's files say of its size.

    Attributes:
        name: How the model is called.
        config: Its config.json; empty for GGUF.
        tensors: Name, and dtype with number of elements, of every tensor in safetensors files.
        gguf: The header of a GGUF file, or None.
        file_bytes: The bytes of the files of weights.
        source: Where they were read, for the report.
        notes: What to say of them.
    """

    name: str
    config: Mapping[str, Any]
    tensors: Mapping[str, TensorInfo]
    gguf: GgufHeader | None = None
    file_bytes: int = 0
    source: str = ""
    notes: tuple[str, ...] = field(default=())

    def weight_bytes(self, width: int | None, *, unpacked: bool = False) -> int:
        """Return the bytes of the weights with floating-point numbers of `width` bytes.

        None takes them as they are stored. With `unpacked`, numbers of 8 and 4 bits become such floating-point numbers.
        """
        if self.gguf is not None:
            return self.gguf.tensor_bytes
        return sum(self._size(name, width, unpacked) for name in self._used())

    def active_bytes(self, width: int | None, *, unpacked: bool = False) -> int:
        """Return the bytes of the weights that one token reads."""
        used_part = expert_share(self.config)
        if self.gguf is not None:
            experts, used = (self.gguf.read_number(f"expert_{name}") for name in ("count", "used_count"))
            used_part = used / experts if experts and used else 1.0
            return int(self.gguf.tensor_bytes - (1 - used_part) * self.gguf.expert_bytes)
        total = 0.0
        for name in self._used():
            size = self._size(name, width, unpacked)
            if is_embedding(name) and not self.is_tied:
                continue  # one row of it
            total += size * used_part if _EXPERT.search(name) else size
        return int(total)

    def linear_bytes(self, width: int) -> int:
        """Return the bytes of all matrices, a shared token table as the output matrix."""
        names = [name for name in self._used() if not is_embedding(name) or self.is_tied]
        return sum(self.tensors[name].size(width) for name in names if not name.endswith(("norm.weight", ".bias")))

    def separate_expert_bytes(self, width: int | None) -> int:
        """Return the bytes of experts that the files hold one by one."""
        return sum(self._size(name, width, False) for name in self._used() if _ONE_EXPERT.search(name))

    def count_vocabulary(self, hidden: int) -> int:
        """Return the rows of the token table; 0 where there is none."""
        table = next((tensor for name, tensor in self.tensors.items() if is_embedding(name)), None)
        return table.elements // hidden if table and hidden else 0

    @property
    def is_tied(self) -> bool:
        """Whether the token table is the output matrix too."""
        return not any(name.endswith("lm_head.weight") for name in self._used())

    def _used(self) -> list[str]:
        tied = bool(self.config.get("tie_word_embeddings")) and any(map(is_embedding, self.tensors))
        return [name for name in self.tensors if not (tied and name.endswith("lm_head.weight"))]

    def _size(self, name: str, width: int | None, unpacked: bool) -> int:  # noqa: FBT001 - private
        tensor = self.tensors[name]
        if unpacked and width is not None:
            if tensor.dtype.startswith("F8"):
                return tensor.elements * width
            if name.endswith("_blocks") and tensor.dtype == "U8":
                return 2 * tensor.elements * width  # two numbers of 4 bits in a byte
            if name.endswith("_scales") and tensor.dtype == "U8":
                return 0
        return tensor.size(width) if width is not None else tensor.size(_WIDTHS.get(tensor.dtype, 1))


_WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}


def is_embedding(name: str) -> bool:
    """Return whether a tensor is the table of the tokens' vectors."""
    return name.endswith(
        ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight", "embeddings.weight")
    )


def expert_share(config: Mapping[str, Any]) -> float:
    """Return the part of the experts that a token uses; 1.0 where it has none."""
    nested = config.get("text_config")
    part = nested if isinstance(nested, Mapping) else config
    used = first_number(
        part,
        "num_experts_per_tok",
        "num_experts_per_token",
        "moe_topk",
        "top_k_experts",
        "experts_per_token",
        "moe_top_k",
    )
    count = first_number(part, "num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
    if isinstance(ffn := part.get("ffn_config"), Mapping):
        used, count = used or first_number(ffn, "moe_top_k"), count or first_number(ffn, "moe_num_experts")
    return min(1.0, used / count) if used and count else 1.0


def open_files(rest: str, revision: str | None, dtype: str) -> ModelFiles:
    """Return the files of a model on this disk or on the Hub.

    Args:
        rest: What stands behind "local:".
        revision: Branch, tag or commit on the Hub.
        dtype: The dtype of which a conversion of the default model is looked for.

    Raises:
        ModelNotFound: No such file, folder, repository or revision.
        GatedModel: The Hub shows its files only to those who accepted its terms.
        LoadFailed: Weights are missing or damaged.
        UnsafeWeights: There are only pickles.
        Offline: The files are not on this disk, and the Hub is out of reach.
    """
    text = rest.strip()
    if is_path(text):
        return _open_path(Path(os.path.expanduser(text)), text)  # noqa: PTH111 - never raises
    model = model_reference.parse_hub_id(text)
    revision = model.revision or revision
    if here := _find_here(model.repo, model.file, revision, dtype):
        opened = _open_path(here, text)
        return ModelFiles(text, opened.config, opened.tensors, opened.gguf, opened.file_bytes, f"this disk: {here}")
    return _HubFiles(model.repo, revision).open(model.file)


def is_path(rest: str) -> bool:
    """Return whether a text names something on this disk."""
    # As `locate.is_path`, which imports what reads weights.
    if rest.startswith((".", "/", "~")) or "\\" in rest or os.path.exists(rest):  # noqa: PTH110 - never raises
        return True
    return rest.lower().endswith(".gguf") and rest.count("/") < 2


def _find_here(repo: str, file: str | None, revision: str | None, dtype: str) -> Path | None:
    """Return the folder or file of a model in a cache, if it is complete."""
    if file is not None:
        return download.cached_file(repo, file, revision)
    config = download.cached_file(repo, "config.json", revision)
    if config is not None and checkpoint.is_complete(config.parent):
        return config.parent
    if f"local:{repo}" != settings.DEFAULT_MODEL or revision is not None:
        return None
    try:
        from openmodels.backends.local.weights import cache, default_model
    except ModuleNotFoundError:
        return None
    folders = [cache.converted_folder(default_model.SHA256, dtype), *cache.converted_folders(default_model.SHA256)]
    return next((folder for folder in folders if cache.is_intact(folder)), None)


def _open_path(path: Path, text: str) -> ModelFiles:
    if not os.path.exists(path):  # noqa: PTH110 - never raises
        raise ModelNotFound(f"There is no file or folder {text!r}.", next_step="Check the path.")
    if path.is_dir():
        return _open_folder(path, text)
    if path.suffix.lower() == ".gguf":
        return _of_gguf(text, partial(_read_start, path), path.stat().st_size, f"the file {path.name}")
    checkpoint.refuse_pickles([path.name], "The file")
    raise LoadFailed(
        f"{path.name!r} is not a model by itself.",
        next_step="Name the folder that holds config.json and the .safetensors files, or a .gguf file.",
    )


def _open_folder(folder: Path, text: str) -> ModelFiles:
    try:
        sizes = {file.name: file.stat().st_size for file in folder.iterdir() if file.is_file()}
    except OSError as error:
        raise LoadFailed(f"The folder {folder.name!r} cannot be read.", next_step="Check its permissions.") from error
    names = _weight_names(sizes, f"The folder {folder.name or text!r}", lambda name: (folder / name).read_bytes())
    config = checkpoint.read_json(folder / "config.json")
    for name in names:
        if name not in sizes:
            raise LoadFailed(f"{name} is missing.", next_step="Fetch the model again.")
    tensors: dict[str, TensorInfo] = {}
    for name in names:
        tensors |= read_safetensors(partial(_read_start, folder / name), name, sizes[name])
    return ModelFiles(text, config, tensors, None, sum(sizes[name] for name in names), f"the folder {folder}")


def _read_start(file: Path, size: int) -> bytes:
    with file.open("rb") as opened:
        return opened.read(size)


def _weight_names(sizes: Mapping[str, int], where: str, read: Callable[[str], bytes]) -> list[str]:
    """Return the safetensors files that make up a model."""
    weights = checkpoint.files_to_fetch(sizes, where)[0]
    if weights != checkpoint.INDEX:
        return [weights]
    mapping = files.parse_json(read(weights), weights, kind=LoadFailed).get("weight_map")
    names = sorted(set(map(str, mapping.values()))) if isinstance(mapping, Mapping) else []
    if not names or any("/" in name or not name.endswith(".safetensors") for name in names):
        raise LoadFailed(f"{weights} does not list safetensors files.", next_step="Fetch the model again.")
    return names


class _HubFiles:
    """The files of a repository on the Hub, read from their start."""

    def __init__(self, repo: str, revision: str | None) -> None:
        if settings.is_offline():
            raise download.offline_error(repo, "the network is switched off")
        self.repo, self.revision = repo, revision
        self.client = HubClient()

    def open(self, file: str | None) -> ModelFiles:
        try:
            page = ModelPage(self.client.get_model(self.repo, revision=self.revision))
            sizes = {entry.name: entry.size or 0 for entry in page.files}
            return self._open_gguf(file, sizes) if file else self._open_safetensors(sizes)
        except (ConnectionFailed, DeadlineExceeded) as error:
            if isinstance(error, Offline):
                raise
            raise download.offline_error(self.repo, f"the Hub is out of reach: {error.cause.rstrip('.')}") from error
        finally:
            self.client.close()

    def _open_gguf(self, file: str, sizes: Mapping[str, int]) -> ModelFiles:
        if file not in sizes:
            others = ", ".join(sorted(name for name in sizes if name.lower().endswith(".gguf"))[:6])
            raise ModelNotFound(f"{self.repo} has no file {file!r}.", next_step=f"Its GGUF files: {others or 'none'}.")
        return _of_gguf(f"{self.repo}/{file}", partial(self._start, file), sizes[file], "the file's header on the Hub")

    def _open_safetensors(self, sizes: Mapping[str, int]) -> ModelFiles:
        if any(name.lower().endswith(".gguf") for name in sizes) and not any(
            name in sizes for name in (checkpoint.WEIGHTS, checkpoint.INDEX)
        ):
            listed = sorted(name for name in sizes if name.lower().endswith(".gguf"))
            raise LoadFailed(
                f"{self.repo} has {len(listed)} GGUF files, of which one is run at a time.",
                next_step=f"Name one: {self.repo}/{listed[0]}" + (f", {listed[1]}" if listed[1:] else ""),
            )
        names = _weight_names(sizes, self.repo, partial(self._start, size=_INDEX_BYTES))
        config = files.parse_json(self._start("config.json", _CONFIG_BYTES), "config.json", kind=LoadFailed)
        if not isinstance(config, Mapping):
            raise LoadFailed("config.json holds no JSON object.", next_step="Choose another model.")
        with ThreadPoolExecutor(_READERS) as pool:
            headers = pool.map(
                lambda name: read_safetensors(partial(self._start, name), name, sizes.get(name, 0)), names
            )
            tensors = {name: tensor for header in headers for name, tensor in header.items()}
        total = sum(sizes.get(name, 0) for name in names)
        return ModelFiles(self.repo, config, tensors, None, total, "the files' headers on the Hub")

    def _start(self, file: str, size: int) -> bytes:
        return self.client.get_start(self.repo, file, size, revision=self.revision)


def read_safetensors(read: Callable[[int], bytes], name: str, size: int) -> dict[str, TensorInfo]:
    """Return the tensors of a safetensors file by its header.

    The format is described at https://huggingface.co/docs/safetensors. `read` returns the first bytes of the file,
    `size` is that of the whole file, 0 where it is not known.
    """
    start = read(_FIRST_READ)
    length = int.from_bytes(start[:8], "little")
    if len(start) < 8 or not 2 <= length <= _LONGEST_HEADER or (size and 8 + length > size):
        raise LoadFailed(f"{name} is no safetensors file, or damaged.", next_step="Fetch the file again.")
    if len(start) < 8 + length:
        start = read(8 + length)
    try:
        header = json.loads(start[8 : 8 + length])
        entries = {key: entry for key, entry in header.items() if key != "__metadata__"}
        tensors = {
            key: TensorInfo(str(entry["dtype"]), math.prod(map(int, entry["shape"]))) for key, entry in entries.items()
        }
        end = max((int(entry["data_offsets"][1]) for entry in entries.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise LoadFailed(f"The header of {name} is damaged.", next_step="Fetch the file again.") from error
    if size and 8 + length + end > size:
        raise LoadFailed(
            f"{name} is incomplete: its header promises {8 + length + end:,} bytes, the file has {size:,}.",
            next_step="Fetch the file again.",
        )
    return tensors


def _of_gguf(name: str, read: Callable[[int], bytes], size: int, source: str) -> ModelFiles:
    try:
        from openmodels.backends.local.weights import gguf_header
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"Reading a GGUF file needs the package {error.name!r}, which is not installed.",
            next_step=f"Run: {settings.install_hint('local')}",
        ) from error
    length = min(_GGUF_READ, size)
    while True:
        data = read(length)
        header = gguf_header.parse_start(data, Path(name).name, size)
        if header is not None:
            return ModelFiles(name, {}, {}, header, size, source)
        if length >= min(size, _LONGEST_HEADER):
            raise LoadFailed(f"{Path(name).name} ends within its own header.", next_step="Fetch the file again.")
        length = min(4 * length, size, _LONGEST_HEADER)


def check_reference(text: str) -> str:
    """Return what stands behind "local:", or raise InvalidRequest."""
    backend, colon, rest = text.partition(":")
    if not colon or "/" in backend or "\\" in backend or backend.startswith(".") or is_path(text):
        return text
    if backend == "local":
        return rest
    if backend == "hf":
        return rest.partition(":")[0]
    raise InvalidRequest(
        f"{text!r} runs elsewhere: there are no weights of it to measure.",
        next_step="Name a model of the Hub (org/model), a folder or a .gguf file.",
    )
