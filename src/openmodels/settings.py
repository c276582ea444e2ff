"""Settings of the environment, read when a model opens and never at import.

Order everywhere: argument, then environment, then default.
"""

import importlib.util
import json
import os
import shutil
from pathlib import Path
from typing import Any

DISTRIBUTION = "openmodels-sdk"
"""The name to install. The name "openmodels" on the package index belongs to another project."""

DEFAULT_MODEL = "local:HuggingFaceTB/SmolLM2-135M-Instruct"
"""The model used when none is named: 135 M parameters, Apache-2.0, open data and training code."""

DEFAULT_SYSTEM = (
    "You are a helpful assistant. Answer questions in one short sentence, like this: What color is milk? Milk is white."
)
"""The default model's system message where a chat brings none; docs/engines.md tells how it was chosen."""

DEFAULT_TIMEOUT = 600.0
"""Total seconds a call may take when the caller does not say."""


def is_offline() -> bool:
    """Return whether the environment switches the network off, by either variable."""
    return any(is_true(os.environ.get(name)) for name in ("HF_HUB_OFFLINE", "OPENMODELS_OFFLINE"))


def install_hint(extra: str) -> str:
    """Return the command that installs an extra from where this package came.

    A package that was installed from a folder or a repository may be on no package index.
    """
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    requirement = f"{DISTRIBUTION}[{extra}]"
    origin = _origin()
    url = str(origin.get("url", ""))
    if "dir_info" in origin:
        folder = url2pathname(urlsplit(url).path)
        editable = "-e " if origin["dir_info"].get("editable") else ""
        return _pip(f"{editable}'{folder}[{extra}]'")
    if "vcs_info" in origin:
        commit = origin["vcs_info"].get("requested_revision") or origin["vcs_info"].get("commit_id")
        return _pip(f"'{requirement} @ {origin['vcs_info']['vcs']}+{url}{f'@{commit}' if commit else ''}'")
    return _pip(f"'{requirement} @ {url}'" if url else f"'{requirement}'")


def _pip(arguments: str) -> str:
    """Return the command that installs into this environment, with pip or uv."""
    if importlib.util.find_spec("pip") is None and shutil.which("uv"):
        return f"uv pip install {arguments}"
    return f"pip install {arguments}"


def _origin() -> dict[str, Any]:
    """Return where this package was installed from (PEP 610); {} for a package index."""
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        text = distribution(DISTRIBUTION).read_text("direct_url.json")
        origin: dict[str, Any] = json.loads(text) if text else {}
    except (PackageNotFoundError, ValueError):
        return {}
    return origin


def is_true(value: str | None) -> bool:
    """Return whether a variable of the environment is switched on."""
    return (value or "").strip().lower() in {"1", "true", "yes", "on"}


def openmodels_cache_folder() -> Path:
    """Return the folder for what openmodels itself makes, e.g. converted weights."""
    if chosen := os.environ.get("OPENMODELS_CACHE"):
        return Path(chosen).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("openmodels")
