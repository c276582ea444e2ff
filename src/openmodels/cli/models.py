"""`openmodels models`: what is ready on this machine, without any backend's SDK."""

import os
import re
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import click
from huggingface_hub import constants, scan_cache_dir
from huggingface_hub.errors import CacheNotFound

from openmodels import settings
from openmodels.backends import registry
from openmodels.backends.azure import endpoint as azure_endpoint
from openmodels.backends.local.weights import cache, checkpoint
from openmodels.cli import output
from openmodels.errors import LoadFailed, OpenModelsError, UnsupportedFeature
from openmodels.hub import token as hub_token

_ENGINE_PART = re.compile(r"-(?:openvino|tokenizer)-\d+$")
"""Folders of the cache that hold what an engine needs beside a GGUF file, and no model of their own."""


@click.command()
@output.json_option
def models() -> None:
    """Show which backends and local models are ready here, and what others lack."""
    backends, local_models = list(_backends()), list(_models())
    if output.wants_json():
        output.write_json({"backends": backends, "models": local_models})
        return
    _write({"backend": "name", "ready": "ready", "what it does": "summary", "what is missing": "reason"}, backends)
    click.echo()
    columns = {"model": "reference", "ready": "ready", "size": "bytes", "kept in": "kept_in"}
    _write({**columns, "what is missing": "reason"}, local_models)


def _backends() -> Iterator[dict[str, Any]]:
    for name, entry in registry.BUILT_IN.items():
        reason = None
        if missing := entry.missing():
            install = settings.install_hint(entry.extra) if entry.extra else f"pip install {' '.join(missing)}"
            reason = f"{', '.join(missing)}: {install}"
        ready = reason is None
        if ready:
            ready, reason = _configured(name)
        yield {"name": name, "ready": ready, "summary": entry.summary, "reason": reason}
    for point in entry_points(group="openmodels.backends"):
        owner = point.dist.name if point.dist else point.value
        yield {"name": point.name, "ready": True, "summary": f"plugin of the package {owner}", "reason": None}


def _configured(backend: str) -> tuple[bool, str | None]:
    """Return whether a backend has its address and key, and what is missing."""
    match backend:
        case "hf":
            try:
                token = None if hub_token.is_implicit_token_disabled() else hub_token.stored_token()
            except OpenModelsError as error:
                return False, error.cause
            return token is not None, None if token else "a token: set HF_TOKEN, or run: hf auth login"
        case "azure":
            endpoint = any(os.environ.get(name) for name in azure_endpoint.ENDPOINTS)
            if not endpoint:
                return False, f"an address: set {azure_endpoint.ENDPOINTS[0]}, or say -o base_url=…"
            key = any(os.environ.get(name) for name in azure_endpoint.KEYS)
            return True, None if key else f"no {azure_endpoint.KEYS[0]} is set: azure-identity signs in"
        case "server":
            return False, "an address: -m server:NAME -o base_url=http://127.0.0.1:8000/v1"
        case _:
            return True, None


def _models() -> Iterator[dict[str, Any]]:
    """Yield the local models on this disk, the default model in any case."""
    ready = not registry.BUILT_IN["local"].missing()
    local_models = [*_hub_cache(), *_converted(ready)]
    if not any(model["reference"] == settings.DEFAULT_MODEL and model["ready"] for model in local_models):
        local_models.insert(0, _model(settings.DEFAULT_MODEL, None, None, "not here yet; the first use fetches it"))
    for model in local_models:
        yield model if ready else model | {"ready": False, "reason": "the backend local is not ready"}


def _hub_cache() -> Iterator[dict[str, Any]]:
    try:
        repos = scan_cache_dir(constants.HF_HUB_CACHE).repos
    except CacheNotFound:
        return
    for repo in sorted((repo for repo in repos if repo.repo_type == "model"), key=lambda repo: repo.repo_id):
        for revision in sorted(repo.revisions, key=lambda revision: revision.commit_hash):
            at = "" if "main" in revision.refs else f"@{revision.commit_hash}"
            files = [file for file in revision.files if file.file_name.lower().endswith(".gguf")]
            for file in files:
                name = file.file_path.relative_to(revision.snapshot_path).as_posix()
                yield _model(f"local:{repo.repo_id}/{name}{at}", file.size_on_disk, "Hub cache", None)
            if not files:
                size, reason = revision.size_on_disk, _reason_unloadable(revision.snapshot_path)
                yield _model(f"local:{repo.repo_id}{at}", size, "Hub cache", reason)


def _converted(ready: bool) -> Iterator[dict[str, Any]]:  # noqa: FBT001 - one private call
    default = None
    if ready:
        from openmodels.backends.local.weights import default_model

        default = cache.converted_folder(default_model.SHA256)
    for folder in sorted(path for path in cache.weights_folder().glob("[0-9a-f]*") if path.is_dir()):
        if _ENGINE_PART.search(folder.name):
            continue
        reference = settings.DEFAULT_MODEL if folder == default else f"local:{folder}"
        size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
        yield _model(reference, size, "converted", _reason_unloadable(folder))


def _model(reference: str, size: int | None, kept_in: str | None, reason: str | None) -> dict[str, Any]:
    return {"reference": reference, "ready": reason is None, "bytes": size, "kept_in": kept_in, "reason": reason}


def _reason_unloadable(folder: Path) -> str | None:
    """Return why a folder cannot be loaded, by its file names and headers, or None."""
    try:
        checkpoint.check_folder(folder)
        missing = [file.name for file in checkpoint.weight_files(folder) if not file.is_file()]
    except (LoadFailed, UnsupportedFeature) as error:
        return error.cause
    return f"{', '.join(missing)}; the next use fetches it" if missing else None


def _write(columns: dict[str, str], rows: list[dict[str, Any]]) -> None:
    """Write a table, given the keys of its columns by their heads."""
    lines = [[_cell(row[key]) for key in columns.values()] for row in rows]
    output.write_table(list(columns), lines, folded=range(len(columns)))


def _cell(value: Any) -> Any:
    from rich.filesize import decimal
    from rich.text import Text

    if isinstance(value, bool):
        return Text("yes", style="green") if value else Text("no", style="yellow")
    return decimal(value) if isinstance(value, int) else value or ""
