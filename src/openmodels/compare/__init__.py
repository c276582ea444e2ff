"""Models on the same prompts: answers, scores, times, costs, and which differ.

`om.compare(...)` calls this package itself: a function of the same name would be hidden as soon as a module of the
package is imported. `api.compare` says what the arguments mean.

Raises:
    InvalidRequest, MissingExtra, WriteFailed: As `api.compare` does.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

from typing_extensions import Unpack

if TYPE_CHECKING:
    from openmodels.compare.api import CompareOptions, compare as compare
    from openmodels.compare.comparison import Comparison
    from openmodels.model import Model
else:

    class _ComparePackage(ModuleType):
        def __call__(
            self,
            models: Mapping[str, str | Model] | Iterable[str | Model],
            prompts: Any,
            *,
            metrics: Iterable[str | Callable[..., Any]] | None = None,
            **options: Unpack[CompareOptions],
        ) -> Comparison:
            from openmodels.compare.api import compare
            from openmodels.errors import ErrorBoundary

            with ErrorBoundary():
                return compare(models, prompts, metrics=metrics, **options)

    compare = sys.modules[__name__]
    compare.__class__ = _ComparePackage
