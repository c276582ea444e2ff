"""Starting a backend's work: again where it fails before anything came, within a model's budget of retries."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import aclosing, closing
from dataclasses import replace
from typing import Any, TypeVar

from openmodels.backends.base import Backend
from openmodels.core import hooks, retry
from openmodels.errors import InvalidResponse
from openmodels.types.embeddings import Embeddings, EmbedRequest
from openmodels.types.rankings import Ranking, RerankRequest
from openmodels.types.reply import Delta
from openmodels.types.request import ChatRequest

_Asked = TypeVar("_Asked", EmbedRequest, RerankRequest)
_Result = TypeVar("_Result", Embeddings, Ranking)


class Attempts:
    """What all calls of a model share.

    Args:
        backend: Who works.
        observer: Who is told of the calls that have no deltas.

    Attributes:
        origin: What is shared with the calls of other models to the same server.
        budget: Of the retries that all calls may have together.
    """

    def __init__(self, backend: Backend, observer: hooks.Observer) -> None:
        self._backend = backend
        self._observer = observer
        self.origin = retry.origin(backend.origin)
        self.budget = self.origin.budget

    def deltas(self, request: ChatRequest, retries: int) -> Generator[Delta, None, None]:
        """Yield an answer's deltas; what fails before the first one is tried again."""

        def start() -> tuple[Generator[Delta, None, None], Delta | None]:
            deltas = self._backend.run(request)
            return deltas, next(deltas, None)

        deltas, first = retry.call(
            start, retries=retries, deadline=request.deadline, budget=self.budget, origin=self.origin
        )
        with closing(deltas):
            if first is not None:
                yield first
            yield from deltas

    async def adeltas(self, request: ChatRequest, retries: int) -> AsyncGenerator[Delta, None]:
        """The asynchronous twin of `deltas`."""

        async def start() -> tuple[AsyncGenerator[Delta, None], Delta | None]:
            deltas = self._backend.arun(request)
            try:
                return deltas, await anext(deltas, None)
            except BaseException:
                await deltas.aclose()
                raise

        deltas, first = await retry.acall(
            start, retries=retries, deadline=request.deadline, budget=self.budget, origin=self.origin
        )
        async with aclosing(deltas):
            if first is not None:
                yield first
            async for delta in deltas:
                yield delta

    def once(self, request: _Asked, retries: int, work: Callable[[_Asked], _Result]) -> _Result:
        """Return what comes of a request that has no deltas.

        Raises:
            InvalidResponse: The backend gave not what was asked for.
            OpenModelsError: What the work raises.
        """
        began = time.perf_counter()
        with self._watch(request) as watch:
            result = retry.call(
                lambda: work(request),
                retries=retries,
                deadline=request.deadline,
                budget=self.budget,
                origin=self.origin,
            )
            result = _timed(result, request, began)
            watch.ended(result)
        return result

    async def aonce(
        self, request: _Asked, retries: int, work: Callable[[_Asked], Coroutine[Any, Any, _Result]]
    ) -> _Result:
        """The asynchronous twin of `once`."""
        began = time.perf_counter()

        async def start() -> _Result:
            return await work(request)

        with self._watch(request) as watch:
            result = await retry.acall(
                start, retries=retries, deadline=request.deadline, budget=self.budget, origin=self.origin
            )
            result = _timed(result, request, began)
            watch.ended(result)
        return result

    def _watch(self, request: EmbedRequest | RerankRequest) -> hooks.Watch:
        return self._observer.watch(self._backend, request) or hooks.Watch(request, self._observer)


def _timed(result: _Result, request: EmbedRequest | RerankRequest, began: float) -> _Result:
    if isinstance(result, Embeddings) and isinstance(request, EmbedRequest):
        vectors, texts = result.vectors, len(request.texts)
        if vectors.ndim != 2 or len(vectors) != texts:
            raise InvalidResponse(f"The backend gave vectors of the shape {vectors.shape} for {texts} texts.")
    return replace(result, seconds=time.perf_counter() - began)
