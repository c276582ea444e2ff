"""Choosing a model: what fits in memory, what it costs, which is best for a use.

`om.choose(...)` calls this package itself: a function of the same name would be hidden as soon as a module of the
package is imported. `choosing.choose` says what the arguments mean.

Raises:
    InvalidRequest, ModelNotFound, MissingExtra, Offline: As `choosing.choose` does.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openmodels.catalog.record import ModelRecord
    from openmodels.choose.choosing import choose as choose
    from openmodels.choose.scores import ScoreTable
    from openmodels.choose.selection import Selection
else:

    class _ChoosePackage(ModuleType):
        def __call__(
            self,
            text: str = "",
            *,
            task: str | None = None,
            need: Mapping[str, Any] | None = None,
            prefer: Mapping[str, float] | None = None,
            among: Iterable[str | ModelRecord] | Selection | None = None,
            ratio: str | tuple[float, float] | float = "3:1",
            tables: Iterable[str | Path | ScoreTable] = (),
        ) -> Selection:
            from openmodels.choose.choosing import choose
            from openmodels.errors import ErrorBoundary

            with ErrorBoundary():
                return choose(text, task=task, need=need, prefer=prefer, among=among, ratio=ratio, tables=tables)

    choose = sys.modules[__name__]
    choose.__class__ = _ChoosePackage
