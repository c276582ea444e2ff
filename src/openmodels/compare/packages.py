"""The packages of the extra `compare`, imported when they are needed."""

from __future__ import annotations

from typing import Any

from openmodels.errors import MissingExtra
from openmodels.imports import import_uninterrupted
from openmodels.settings import install_hint


def load_package(name: str, purpose: str) -> Any:
    """Return a package of the extra `compare`.

    Raises:
        MissingExtra: It is not installed.
    """
    try:
        return import_uninterrupted(name)
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"{purpose[:1].upper()}{purpose[1:]} needs the package {error.name!r}, which is not installed.",
            next_step=f"Run: {install_hint('compare')}",
        ) from error
