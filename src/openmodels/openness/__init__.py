"""How open a model is: a verdict for each criterion, with evidence.

`om.openness(...)` calls this package itself: a function of the same name would be hidden as soon as
a module of the package is imported. `api.openness` says what the arguments mean.

Raises:
    InvalidRequest, InvalidReference, ModelNotFound, Offline: As `api.openness` does.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openmodels.openness.api import openness as openness
    from openmodels.openness.report import Report
else:

    class _CallablePackage(ModuleType):
        def __call__(
            self,
            model: Any = None,
            *,
            bom: str | Path | Mapping[str, Any] | None = None,
            profile: str = "default",
            evidence: str | Path | None = None,
            deep: bool = True,
        ) -> Report:
            from openmodels.errors import ErrorBoundary
            from openmodels.openness.api import openness

            with ErrorBoundary():
                return openness(model, bom=bom, profile=profile, evidence=evidence, deep=deep)

    openness = sys.modules[__name__]
    openness.__class__ = _CallablePackage
