"""The models of a server by name, loaded on first use within a memory budget."""

import asyncio
import difflib
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from openmodels import background, imports
from openmodels.errors import InvalidRequest, ModelNotFound
from openmodels.model import Model
from openmodels.serve.failures import Refusal


class ServedModel:
    """A model under a name.

    Attributes:
        name: What clients call it.
        model: The model.
        created: When it was taken up, in seconds since 1970.
        is_loaded: Whether it holds memory.
        running: How many requests it answers now.
        last_used: When the last one began or ended, on the clock of `time.monotonic()`.
        footprint: Bytes that it took when it was last loaded; 0 is not known.
    """

    def __init__(self, name: str, model: Model) -> None:
        self.name = name
        self.model = model
        self.created = int(time.time())
        self.is_loaded = False
        self.running = 0
        self.last_used = 0.0
        self.footprint = 0
        self.facts: dict[str, Any] | None = None


class ServedModels:
    """The models that a server answers for.

    Args:
        models: The models by name.
        memory_bytes: Bytes of memory that loaded models may take together, servers that they run included; None is
            any number.

    Raises:
        InvalidRequest: There is none.
    """

    def __init__(self, models: Mapping[str, Model], memory_bytes: int | None = None) -> None:
        if not models:
            raise InvalidRequest("models: there is none to serve.")
        self.memory_bytes = memory_bytes
        self._models = {name: ServedModel(name, model) for name, model in models.items()}
        self._aliases = _find_aliases(models)
        self._loading = asyncio.Lock()  # one at a time: what each takes is measured

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._models.values())

    def find(self, name: str | None) -> ServedModel:
        """Return the model of a name; of none, the only one.

        Raises:
            InvalidRequest: The name is missing, and several models are served.
            ModelNotFound: None is served under the name.
        """
        if name is None:
            if len(self._models) > 1:
                raise InvalidRequest("model: it is missing, and several are served.", next_step=self._listing())
            return next(iter(self._models.values()))
        served = self._models.get(self._aliases.get(name, name))
        if served is None:
            near = difflib.get_close_matches(name, list(self._models), n=1)
            suggestion = f"Did you mean {near[0]!r}? " if near else ""
            cause = f"No model is served under the name {name[:200]!r}."
            raise ModelNotFound(cause, next_step=suggestion + self._listing())
        return served

    def _listing(self) -> str:
        names = list(self._models)
        more = f", and {len(names) - 10} more" if len(names) > 10 else ""
        return f"Served are: {', '.join(names[:10])}{more}."

    @asynccontextmanager
    async def use(self, served: ServedModel, *, generates: bool = True) -> AsyncGenerator[Model, None]:
        """Run the block with a model; where memory has a budget, it is loaded before.

        Raises:
            OpenModelsError: It cannot be loaded.
        """
        served.running += 1
        served.last_used = time.monotonic()
        try:
            if not served.is_loaded and self.memory_bytes is not None:
                async with self._loading:
                    if not served.is_loaded:
                        await self._load(served, self.memory_bytes, generates=generates)
            served.is_loaded = True
            yield served.model
        finally:
            served.running -= 1
            served.last_used = time.monotonic()

    async def _load(self, served: ServedModel, budget: int, *, generates: bool) -> None:
        while measure_memory() + served.footprint > budget and await self._close_idle(served):
            pass
        if not generates:
            return
        before = measure_memory()
        await background.arun(served.model.load)
        served.is_loaded = True
        served.footprint = max(0, measure_memory() - before)
        while measure_memory() > budget:
            if not await self._close_idle(served):
                await background.arun(served.model.close)
                served.is_loaded = False
                raise Refusal(
                    503,
                    "memory_budget",
                    f"The model {served.name!r} does not fit into the memory budget of {budget:,} bytes beside the "
                    "models that answer now.",
                    next_step="Try again later, or raise the budget.",
                    retry_after=10.0,
                )

    async def _close_idle(self, wanted: ServedModel) -> bool:
        """Close the idle model used least recently; return whether there was one."""
        idle = [served for served in self if served.is_loaded and not served.running and served is not wanted]
        if not idle:
            return False
        oldest = min(idle, key=lambda served: served.last_used)
        oldest.is_loaded = False
        await background.arun(oldest.model.close)
        return True

    def close(self) -> None:
        """Close all models."""
        for served in self:
            served.model.close()
            served.is_loaded = False


def measure_memory() -> int:
    """Return the bytes of memory of this process and of those that it has started."""
    if not imports.is_installed("psutil"):
        raise InvalidRequest("memory: a budget of memory needs the package psutil.")
    import psutil

    process = psutil.Process()
    total: int = process.memory_info().rss
    for child in process.children(recursive=True):
        try:
            total += child.memory_info().rss
        except psutil.Error:  # it has ended meanwhile
            continue
    return total


def _find_aliases(models: Mapping[str, Model]) -> dict[str, str]:
    """Return the references of models and their rests, unless several have them."""
    aliases: dict[str, str] = {}
    repeated = set()
    for name, model in models.items():
        for alias in {model.reference, model.reference.partition(":")[2]}:
            if alias in aliases:
                repeated.add(alias)
            aliases[alias] = name
    return {alias: name for alias, name in aliases.items() if alias and alias not in models and alias not in repeated}
