"""Checkpoints of the Hub: refused before any download, and fetched file by file."""

import re
from pathlib import Path

from openmodels.backends.local.weights import checkpoint, disk_space, memory
from openmodels.errors import ConnectionFailed, ModelNotFound, Offline, RateLimited, ServerFailed
from openmodels.hub import download

_COMMIT = re.compile(r"[0-9a-f]{40}")
_LISTING_SECONDS = 15.0
"""Seconds the Hub may take to describe a repository; a quarter of it where a cached copy would do."""
_UNREACHABLE = (Offline, ConnectionFailed, ServerFailed, RateLimited)  # errors after which a cached copy will do


def find_cached(repo: str, revision: str | None) -> Path | None:
    """Return the snapshot in the Hub's cache if it is complete, without the network."""
    config = download.cached_file(repo, "config.json", revision)
    return config.parent if config is not None and checkpoint.is_complete(config.parent) else None


def _list_files(
    repo: str, revision: str | None, deadline: float | None, copy: Path | None, patience: float | None = None
) -> dict[str, int] | Path:
    """Return the sizes of a repository's files, or the copy where it will do."""
    if copy and revision and _COMMIT.fullmatch(revision):
        return copy
    timeout = patience or (_LISTING_SECONDS / 4 if copy else _LISTING_SECONDS)
    try:
        return download.list_files(repo, revision, deadline, timeout)
    except _UNREACHABLE:
        if copy:
            return copy
        raise


def download_folder(
    repo: str, revision: str | None, deadline: float | None, *, patience: float | None = None, progress: bool = True
) -> Path:
    """Return a snapshot with all that a model needs, fetching what is missing.

    What is unsafe, of no use here or too large is refused before the download. The Hub may take `patience` seconds to
    answer at all. With `progress` a bar shows the download on a terminal.
    """
    sizes = _list_files(repo, revision, deadline, find_cached(repo, revision), patience)
    if isinstance(sizes, Path):
        return sizes
    names = checkpoint.files_to_fetch(sizes, repo)
    config = checkpoint.read_json(download.download_small_file(repo, "config.json", revision, deadline))
    checkpoint.check_config(config)
    checkpoint.check_use(sizes, config, repo)
    if names[0] == checkpoint.INDEX:
        names += checkpoint.shards(download.download_small_file(repo, checkpoint.INDEX, revision, deadline))
    _check_disk(repo, revision, {name: sizes.get(name, 0) for name in names})
    weights = sum(sizes.get(name, 0) for name in names if name.endswith(".safetensors"))
    # A float32 checkpoint may be loaded in half of its size; nothing else shrinks.
    least = weights // 2 if checkpoint.stored_dtype(config) == "float32" else weights
    memory.check_any_memory(least, unpacked=least * checkpoint.unpacking_factor(config))
    return download.download_files(repo, names, revision, deadline, progress=progress)


def download_gguf(repo: str, file: str, revision: str | None, deadline: float | None) -> Path:
    """Return one GGUF file, fetching only that; see `download_folder`."""
    sizes = _list_files(repo, revision, deadline, download.cached_file(repo, file, revision))
    if isinstance(sizes, Path):
        return sizes
    if file not in sizes:
        others = ", ".join(sorted(name for name in sizes if name.lower().endswith(".gguf"))[:6])
        raise ModelNotFound(f"{repo} has no file {file!r}.", next_step=f"Its GGUF files: {others or 'none'}.")
    _check_disk(repo, revision, {file: sizes[file]})
    return download.download_file(repo, file, revision, deadline)


def _check_disk(repo: str, revision: str | None, sizes: dict[str, int]) -> None:
    disk_space.check_disk(download.cache_folder(), download.missing_bytes(repo, sizes, revision))
