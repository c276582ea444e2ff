"""What the environment says, read when a model opens and never at import.

Order everywhere: argument, then environment, then default.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

DISTRIBUTION = "openmodels-sdk"
"""The name to install. The name "openmodels" on the package index belongs to another project."""

DEFAULT_MODEL = "local:HuggingFaceTB/SmolLM2-135M-Instruct"
"""The model used when none is named: 135 M parameters, Apache-2.0, open data and training code."""

DEFAULT_TIMEOUT = 600.0
"""Total seconds a call may take when the caller does not say."""


@dataclass(frozen=True)
class Settings:
    """The environment's part of the configuration.

    Attributes:
        offline: No network: HF_HUB_OFFLINE or OPENMODELS_OFFLINE is set to a true value.
        cache: Folder for what openmodels itself makes (converted weights):
            OPENMODELS_CACHE or the user's cache folder.
    """

    offline: bool
    cache: Path


def read() -> Settings:
    """Return the settings as the environment has them now."""
    return Settings(
        offline=offline(),
        cache=_cache(),
    )


def offline() -> bool:
    """Return whether the environment switches the network off."""
    return any(is_true(os.environ.get(name)) for name in ("HF_HUB_OFFLINE", "OPENMODELS_OFFLINE"))


def install_hint(extra: str) -> str:
    """Return the command that installs an optional part, e.g. the extra "local"."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def is_true(value: str | None) -> bool:
    """Return whether a variable of the environment is switched on."""
    return (value or "").strip().lower() in {"1", "true", "yes", "on"}


def _cache() -> Path:
    if chosen := os.environ.get("OPENMODELS_CACHE"):
        return Path(chosen).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("openmodels")
