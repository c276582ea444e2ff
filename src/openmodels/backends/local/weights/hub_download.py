"""Models on the Hugging Face Hub: only the files needed, refusals before any download, the cache when offline."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download, try_to_load_from_cache
from huggingface_hub.hf_api import ModelInfo
from huggingface_hub.utils.tqdm import tqdm

from openmodels import settings
from openmodels.backends.local.weights import checkpoint, memory
from openmodels.backends.local.weights.hub_errors import endpoint, explained, offline
from openmodels.errors import ConnectionFailed, DeadlineExceeded, ModelNotFound, Offline, RateLimited, ServerFailed
from openmodels.hub import token as hub_token

_Found = TypeVar("_Found")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SMALL_SECONDS = 60.0
"""Seconds that a file which is read before the weights may take in all."""
_PATIENCE = 15.0
"""Seconds the Hub may take to describe a repository; a quarter of it where a cached copy would do."""


def cached(repo: str, revision: str | None) -> Path | None:
    """Return the snapshot in the Hub's cache if it is whole; never uses the network."""
    found = try_to_load_from_cache(repo, "config.json", revision=revision)
    folder = Path(found).parent if isinstance(found, str) else None
    return folder if folder is not None and checkpoint.complete(folder) else None


def cached_file(repo: str, file: str, revision: str | None) -> Path | None:
    """Return a file of the Hub's cache if it is there; never uses the network."""
    found = try_to_load_from_cache(repo, file, revision=revision)
    return Path(found) if isinstance(found, str) else None


def folder(
    repo: str, revision: str | None, deadline: float | None, *, patience: float | None = None, progress: bool = True
) -> Path:
    """Return a snapshot with all that a model needs, fetching what is missing.

    Args:
        repo: "org/model".
        revision: Branch, tag or commit; None is the default branch.
        deadline: `time.monotonic()` value after which no new step is begun, or None.
        patience: Seconds the Hub may take to answer at all.
        progress: Whether a bar shows the download on a terminal.

    Raises:
        UnsafeWeights: Only pickles, or remote code; found out before the download.
        UnsupportedFeature: It is made for something that the backend does not do; found out before the download.
        DoesNotFit: Too large for the disk or the memory; found out before the download.
        ModelNotFound: No such repository or revision.
        GatedModel: The terms must be accepted first.
        AuthenticationFailed: The token was refused.
        Offline: It is not in the cache, and the network is off or out of reach.
        OpenModelsError: Another failure of the network or the Hub, as its class says.
    """
    found = cached(repo, revision)
    if found and revision and _COMMIT.fullmatch(revision):
        return found
    try:
        info = _info(repo, revision, deadline, patience or (_PATIENCE / 4 if found else _PATIENCE))
    except (Offline, ConnectionFailed, ServerFailed, RateLimited):
        if found:
            return found
        raise
    sizes = {sibling.rfilename: sibling.size or 0 for sibling in info.siblings or ()}
    names = checkpoint.wanted(sizes, repo)
    with explained(repo, revision):
        config = checkpoint.read_json(_small(repo, "config.json", revision, deadline))
        checkpoint.check_config(config)
        checkpoint.check_use(sizes, config, repo)
        if names[0] == checkpoint.INDEX:
            names += checkpoint.shards(_small(repo, checkpoint.INDEX, revision, deadline))
        _check_disk(repo, revision, {name: sizes.get(name, 0) for name in names})
        weights = sum(sizes.get(name, 0) for name in names if name.endswith(".safetensors"))
        # A float32 checkpoint may be loaded in half of its size; nothing else shrinks.
        least = weights // 2 if checkpoint.stored_dtype(config) == "float32" else weights
        memory.check_any_memory(least, unpacked=least * checkpoint.growth(config))
        _check_time(deadline)
        return Path(
            snapshot_download(
                repo,
                allow_patterns=names,
                tqdm_class=_bar(shown=progress),
                revision=revision,
                **_hub(),
            )
        )


def gguf(repo: str, file: str, revision: str | None, deadline: float | None) -> Path:
    """Return one GGUF file of a repository, fetching only that.

    Raises:
        ModelNotFound: No such repository, revision or file.
        OpenModelsError: As for `folder`.
    """
    path = cached_file(repo, file, revision)
    if path and revision and _COMMIT.fullmatch(revision):
        return path
    try:
        info = _info(repo, revision, deadline, _PATIENCE / 4 if path else _PATIENCE)
    except (Offline, ConnectionFailed, ServerFailed, RateLimited):
        if path:
            return path
        raise
    sizes = {sibling.rfilename: sibling.size or 0 for sibling in info.siblings or ()}
    if file not in sizes:
        others = ", ".join(sorted(name for name in sizes if name.lower().endswith(".gguf"))[:6])
        raise ModelNotFound(f"{repo} has no file {file!r}.", next_step=f"Its GGUF files: {others or 'none'}.")
    with explained(repo, revision):
        _check_disk(repo, revision, {file: sizes[file]})
        _check_time(deadline)
        return Path(hf_hub_download(repo, file, tqdm_class=_bar(shown=True), revision=revision, **_hub()))


def _hub() -> dict[str, Any]:
    """Return the Hub's address, and the user's token where it may go there; False keeps any other from being sent."""
    token = hub_token.of(endpoint(), endpoint())
    return {"endpoint": endpoint(), "token": False if token is None else token.reveal()}


def _small(repo: str, file: str, revision: str | None, deadline: float | None) -> Path:
    """Return a small file, fetched if need be: in all, since the Hub's client limits only each read."""
    left = _SMALL_SECONDS if deadline is None else min(_SMALL_SECONDS, deadline - time.monotonic())
    options = _hub()
    try:
        return _within(
            max(0.0, left), lambda: Path(hf_hub_download(repo, file, tqdm_class=_NoBar, revision=revision, **options))
        )
    except TimeoutError as error:
        raise DeadlineExceeded(
            f"{file} of {repo} did not come in full in time.", next_step="Allow more time, or check the network."
        ) from error


def _info(repo: str, revision: str | None, deadline: float | None, patience: float) -> ModelInfo:
    if settings.read().offline:
        raise offline(repo, "the network is switched off")
    _check_time(deadline)
    if deadline is not None:
        patience = min(patience, deadline - time.monotonic())
    with explained(repo, revision):
        return _within(
            patience,
            lambda: HfApi(**_hub()).model_info(repo, revision=revision, files_metadata=True, timeout=patience),
        )


def _within(seconds: float, call: Callable[[], _Found]) -> _Found:
    """Return what a call returns, or give up on it: looking up a name has no time limit of its own."""
    results: list[_Found] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:  # noqa: BLE001 - handed to the waiting thread
            failures.append(error)

    thread = threading.Thread(target=run, name="openmodels-hub", daemon=True)
    thread.start()
    thread.join(seconds)
    if failures:
        raise failures[0]
    if results:
        return results[0]
    raise TimeoutError(f"no answer within {seconds:.0f} s")


def _check_disk(repo: str, revision: str | None, sizes: dict[str, int]) -> None:
    missing = [name for name in sizes if not isinstance(try_to_load_from_cache(repo, name, revision=revision), str)]
    memory.check_disk(Path(constants.HF_HUB_CACHE), sum(sizes[name] for name in missing))


def _check_time(deadline: float | None) -> None:
    if deadline is not None and time.monotonic() >= deadline:
        raise DeadlineExceeded("The time was up before the model was here.", next_step="Allow more time and retry.")


class _NoBar(tqdm):
    """A progress bar that shows nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "disable": True})  # type: ignore[no-untyped-call]


class _Bar(tqdm):
    """The Hub's progress bar, which leaves nothing on the screen when it is full."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "leave": False})  # type: ignore[no-untyped-call]


def _bar(*, shown: bool) -> type[tqdm]:
    """Return the progress bar for a terminal, else a silent one."""
    return _Bar if shown and sys.stderr.isatty() else _NoBar
