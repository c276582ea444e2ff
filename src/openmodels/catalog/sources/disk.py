"""Models on this disk: in the Hugging Face cache, and in folders the user names."""

import os
import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any, TypeVar

from openmodels import files
from openmodels.catalog.query import Query
from openmodels.catalog.record import Ids, ModelRecord, Provenance
from openmodels.catalog.sources import hub_records
from openmodels.catalog.sources.base import Catalog, register
from openmodels.errors import InvalidRequest, ModelNotFound
from openmodels.hub.card import parse_front_matter

_Value = TypeVar("_Value")
_LARGEST_HEADER = 64 * 2**20
_LARGEST_CARD = 2**20
_LARGEST_CONFIG = 16 * 2**20
_MOST_DIMENSIONS = 64
_DAMAGED = (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, MemoryError)


@register
class DiskCatalog(Catalog):
    """Lists the models on this disk; works without a network.

    Args:
        cache: The Hugging Face cache; default where huggingface_hub keeps it.
        folders: Folders of models, or models; default those in OPENMODELS_MODEL_FOLDERS.
    """

    name = "cache"
    title = "this disk"
    description = "the Hugging Face cache and folders on this disk"
    precedence = 1000
    is_local = True

    def __init__(self, cache: Path | None = None, folders: list[Path] | None = None) -> None:
        super().__init__()
        from huggingface_hub import constants

        self.cache = cache or Path(os.environ.get("HF_HUB_CACHE") or constants.HF_HUB_CACHE)
        named = os.environ.get("OPENMODELS_MODEL_FOLDERS", "")
        self.folders = [Path(name) for name in named.split(os.pathsep) if name] if folders is None else folders

    def search(self, query: Query) -> Iterator[ModelRecord]:
        """Yield all models."""
        del query
        for path, hub_id in self._model_folders():
            try:
                record, problems = _read(path, hub_id, path.stat().st_mtime_ns)
            except _DAMAGED as error:
                # One damaged model must not hide the others.
                self.skipped.append(f"{path}: {str(error)[:200]}")
                continue
            self.skipped += [f"{path}: {problem}" for problem in problems]
            yield record

    def get(self, model_id: str) -> ModelRecord:
        """Return a model by its hub id or folder."""
        for record in self.search(Query()):
            if model_id.lower() in ((record.ids.hub or "").lower(), (record.local or "").lower()):
                return record
        folder = f"models--{model_id.replace('/', '--')}".lower()
        damaged = next((text for text in self.skipped if folder in text.lower() or model_id in text), None)
        if damaged:
            raise ModelNotFound(f"{model_id} is on this disk, but damaged: {damaged}", next_step="Fetch it again.")
        raise ModelNotFound(f"{model_id} is not on this disk.", next_step="Check the spelling, or go online.")

    @classmethod
    def owns(cls, model_id: str) -> bool:
        """Return whether an id is a folder's path."""
        return model_id.startswith(("/", ".", "~")) or model_id[1:3] == ":\\"

    @classmethod
    def ids_of(cls, model_id: str) -> dict[str, str]:
        """Return no id: the record's `local` is the folder."""
        del model_id
        return {}

    def _model_folders(self) -> Iterator[tuple[Path, str | None]]:
        for repo in sorted(self.cache.glob("models--*")):
            try:
                snapshot = _snapshot(repo)
            except (OSError, ValueError) as error:
                self.skipped.append(f"{repo}: {error}")
                continue
            if snapshot:
                yield snapshot, repo.name.removeprefix("models--").replace("--", "/", 1)
        for folder in self.folders:
            try:
                inside = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
                models = [path for path in (folder, *inside) if _is_model(path)]
            except (OSError, ValueError) as error:
                self.skipped.append(f"{folder}: {error}")
                continue
            yield from ((path, None) for path in models)


def _snapshot(repo: Path) -> Path | None:
    snapshots = repo / "snapshots"
    try:
        main = files.read_bounded(repo / "refs" / "main", largest=1000).decode(errors="replace").strip()
    except InvalidRequest:
        main = ""
    if re.fullmatch(r"\w[\w.-]{0,99}", main, re.ASCII) and (snapshots / main).is_dir():
        return snapshots / main
    revisions = [path for path in snapshots.iterdir() if path.is_dir()] if snapshots.is_dir() else []
    return max(revisions, key=lambda path: path.stat().st_mtime, default=None)


def _is_model(folder: Path) -> bool:
    return (folder / "config.json").is_file() or any(folder.glob("*.gguf"))


@lru_cache(maxsize=1024)
def _read(folder: Path, hub_id: str | None, changed: int) -> tuple[ModelRecord, tuple[str, ...]]:
    """Return the record of the model in a folder, and the problems of damaged files."""
    del changed  # part of the key: a changed folder is read again
    problems: list[str] = []

    def read_or(read: Callable[[Path], _Value], file: Path, default: _Value) -> _Value:
        try:
            return read(file)
        except InvalidRequest as error:
            problems.append(error.cause)
            return default

    listing = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    weights = [file for file in listing if file.suffix == ".safetensors"]
    config: dict[str, Any] = read_or(_config, folder / "config.json", {})
    row: dict[str, Any] = {
        "id": hub_id or "folder",
        "config": config,
        "cardData": _front_matter(folder / "README.md"),
        "siblings": [
            {"rfilename": path.relative_to(folder).as_posix(), "size": path.stat().st_size} for path in listing
        ],
        "safetensors": {"total": sum(read_or(_count_parameters, path, 0) for path in weights)},
    }
    as_of = _day(max((file.stat().st_mtime for file in listing), default=folder.stat().st_mtime))
    record = hub_records.build_record(row, as_of, source=DiskCatalog.name)
    update = {
        "ids": Ids(hub=hub_id),
        "local": str(folder),
        "author": record.author if hub_id else None,
        "provenance": {**record.provenance, "local": Provenance(source=DiskCatalog.name, as_of=as_of)},
    }
    return record.model_copy(update=update), tuple(problems)


def _count_parameters(file: Path) -> int:
    """Return the parameters of a safetensors file, from its header."""
    # Not by huggingface_hub, which multiplies shapes of any length, nor by safetensors, which is an extra.
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if not 0 < length <= _LARGEST_HEADER:
            raise InvalidRequest(f"{file.name} has no header of the safetensors format.")
        header = files.parse_json(opened.read(length), f"The header of {file.name}")
    if not isinstance(header, dict):
        raise InvalidRequest(f"The header of {file.name} is damaged.")
    count = 0
    for name, tensor in header.items():
        shape = tensor.get("shape") if isinstance(tensor, dict) else None
        if name == "__metadata__":
            continue
        if not isinstance(shape, list) or len(shape) > _MOST_DIMENSIONS or not all(map(_is_size, shape)):
            raise InvalidRequest(f"The header of {file.name} is damaged.")
        count += prod(shape)
    return count


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**62


def _config(file: Path) -> dict[str, Any]:
    config = files.read_json(file, largest=_LARGEST_CONFIG) if file.is_file() else {}
    if not isinstance(config, dict):
        raise InvalidRequest(f"{file.name} holds no JSON object.")
    return config


def _front_matter(file: Path) -> dict[str, Any]:
    try:
        with file.open(encoding="utf-8", errors="replace") as opened:
            return parse_front_matter(opened.read(_LARGEST_CARD))
    except OSError:
        return {}


def _day(stamp: float) -> date:
    return datetime.fromtimestamp(stamp, UTC).date()
