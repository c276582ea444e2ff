"""Models that are on this disk: in the Hugging Face cache, and in folders the user names."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, date, datetime
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

from openmodels.catalog import hub_rows
from openmodels.catalog.query import Query
from openmodels.catalog.record import Ids, ModelRecord
from openmodels.errors import ModelNotFound

_LARGEST_HEADER = 64 * 2**20
_LARGEST_CARD = 2**20


class CacheCatalog:
    """Lists what is here; works without a network.

    Args:
        cache: The Hugging Face cache; default where huggingface_hub keeps it.
        folders: Folders of models, or models; default those in OPENMODELS_MODEL_FOLDERS.
    """

    name = "cache"

    def __init__(self, cache: Path | None = None, folders: list[Path] | None = None) -> None:
        from huggingface_hub import constants

        self.cache = cache or Path(os.environ.get("HF_HUB_CACHE") or constants.HF_HUB_CACHE)
        named = os.environ.get("OPENMODELS_MODEL_FOLDERS", "")
        self.folders = folders if folders is not None else [Path(one) for one in named.split(os.pathsep) if one]
        self.skipped: list[str] = []

    def search(self, query: Query) -> Iterator[ModelRecord]:
        """Yield all models that are here."""
        del query
        for path, hub_id in self._found():
            try:
                yield _read(path, hub_id, path.stat().st_mtime_ns)
            except (OSError, ValueError) as error:
                self.skipped.append(f"{path}: {str(error)[:200]}")

    def get(self, model_id: str) -> ModelRecord:
        """Return a model by its hub id or folder.

        Raises:
            ModelNotFound: It is not here.
        """
        for record in self.search(Query()):
            if model_id.lower() in ((record.ids.hub or "").lower(), (record.local or "").lower()):
                return record
        raise ModelNotFound(f"{model_id} is not on this disk.", next_step="Check the spelling, or go online.")

    def _found(self) -> Iterator[tuple[Path, str | None]]:
        for repo in sorted(self.cache.glob("models--*")):
            if snapshot := _snapshot(repo):
                yield snapshot, repo.name.removeprefix("models--").replace("--", "/", 1)
        for folder in self.folders:
            inside = [folder, *sorted(one for one in folder.iterdir() if one.is_dir())] if folder.is_dir() else []
            yield from ((one, None) for one in inside if _is_model(one))


def _snapshot(repo: Path) -> Path | None:
    snapshots = repo / "snapshots"
    try:
        main = (repo / "refs" / "main").read_text().strip()
    except OSError:
        main = ""
    if main and (snapshots / main).is_dir():
        return snapshots / main
    there = [one for one in snapshots.iterdir() if one.is_dir()] if snapshots.is_dir() else []
    return max(there, key=lambda one: one.stat().st_mtime, default=None)


def _is_model(folder: Path) -> bool:
    return (folder / "config.json").is_file() or any(folder.glob("*.gguf"))


@lru_cache(maxsize=1024)
def _read(folder: Path, hub_id: str | None, changed: int) -> ModelRecord:
    del changed  # part of the key: a changed folder is read again
    listed = [one for one in sorted(folder.rglob("*")) if one.is_file()]
    row: dict[str, Any] = {
        "id": hub_id or "folder",
        "config": _json(folder / "config.json"),
        "cardData": _front_matter(folder / "README.md"),
        "siblings": [{"rfilename": one.relative_to(folder).as_posix(), "size": one.stat().st_size} for one in listed],
        "safetensors": {"total": sum(_counted(one) for one in listed if one.suffix == ".safetensors")},
    }
    as_of = _day(max((one.stat().st_mtime for one in listed), default=folder.stat().st_mtime))
    record = hub_rows.record(row, as_of, source="cache")
    ids = Ids(hub=hub_id)
    return record.model_copy(update={"ids": ids, "local": str(folder), "author": record.author if hub_id else None})


def _counted(file: Path) -> int:
    """Return the parameters of a safetensors file, from its header."""
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if not 0 < length <= _LARGEST_HEADER:
            return 0
        try:
            header = json.loads(opened.read(length))
        except ValueError:
            return 0
    shapes = (tensor.get("shape") for name, tensor in header.items() if name != "__metadata__")
    return sum(prod(shape) for shape in shapes if isinstance(shape, list))


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _front_matter(file: Path) -> dict[str, Any]:
    from openmodels.catalog.cards import front_matter

    try:
        with file.open(encoding="utf-8", errors="replace") as opened:
            return front_matter(opened.read(_LARGEST_CARD))
    except OSError:
        return {}


def _day(stamp: float) -> date:
    return datetime.fromtimestamp(stamp, UTC).date()
