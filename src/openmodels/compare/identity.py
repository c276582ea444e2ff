"""What makes a model the same one as in an earlier run, for the cache of replies."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from types import FunctionType
from typing import Any

from openmodels import model_reference, settings
from openmodels.errors import OpenModelsError
from openmodels.http.secrets import Secret
from openmodels.hub.download import cache_folder, cached_file
from openmodels.model import Model

_CONFIG_FILES = ("config.json", "model.safetensors", "model.safetensors.index.json")


def identify(model: Model) -> str:
    """Return a text that changes with what may change a model's answers.

    It holds the reference, the backend's options without keys, and for a local model its commit, or the sizes and times
    of its files.
    """
    _, options = model._opened_as  # noqa: SLF001 - what made the model is kept nowhere else
    options = {**options, **getattr(model.backend, "settings", {})}
    kept = {name: _text(value) for name, value in sorted(options.items()) if name != "headers"}
    backend = type(model.backend)
    parts = [model.reference, f"{backend.__module__}.{backend.__qualname__}", repr(kept)]
    parts += [identify(member) for member in list_members(model)]
    if model.backend.name == "local":
        parts.append(_weights(model, options.get("revision")))
    return "\n".join(parts)


def list_members(model: Model) -> list[Model]:
    """Return the models of a combined one, its judges too; [] for any other."""
    members = (*getattr(model.backend, "members", ()), *getattr(model.backend, "judges", ()))
    return [member if isinstance(member, Model) else member.model for member in members]


def _text(value: Any) -> str:
    """Return an option's value without keys and addresses in memory."""
    if isinstance(value, Secret):
        return "key"
    if inspect.isfunction(value):
        return _function_text(value)
    text = repr(value)
    return type(value).__qualname__ if " at 0x" in text else text


def _function_text(function: FunctionType) -> str:
    """Return a function's source, code, constants and what it closes over."""
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):  # typed into a prompt
        source = ""
    code = function.__code__  # tells two functions of one line apart
    constants = [part for part in code.co_consts if isinstance(part, str | bytes | int | float)]
    values = [*inspect.getclosurevars(function).nonlocals.values(), *(function.__defaults__ or ())]
    shown = [value.__qualname__ if inspect.isfunction(value) else _text(value) for value in values]
    return f"{source}{code.co_code.hex()}{code.co_names}{constants}{shown}"


def _weights(model: Model, revision: str | None) -> str:
    rest = model.backend.rest
    path = Path(os.path.expanduser(rest))  # noqa: PTH111 - never raises
    try:
        if path.exists():
            weights = sorted(path.iterdir()) if path.is_dir() else [path]
            return repr([(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in weights])
        hub_id = model_reference.parse_hub_id(rest)
        revision = hub_id.revision or revision
        commit = _cached_commit(hub_id, revision)
        if not commit and model.reference != settings.DEFAULT_MODEL:
            # It has to be fetched in any case; after that its commit is known, as it is when the run is resumed.
            model.load()
            model.close()
            commit = _cached_commit(hub_id, revision)
    except (OpenModelsError, OSError):
        return ""  # the calls fail with it in their turn
    return commit


def _cached_commit(hub_id: model_reference.HubId, revision: str | None) -> str:
    """Return the commit of a model's files in the Hub's cache, "" if it is not there."""
    for name in (hub_id.file,) if hub_id.file else _CONFIG_FILES:
        if file := cached_file(hub_id.repo, name, revision):
            return file.relative_to(cache_folder()).parts[2]
    return ""
