"""The calls of a model on its backend: retried, and observed."""

import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterator
from contextlib import aclosing, closing, contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from openmodels import retry
from openmodels.backends.base import Backend
from openmodels.core.events import CallEvents, Hooks
from openmodels.errors import InvalidResponse
from openmodels.types.decisions import DecideRequest, Decisions
from openmodels.types.embeddings import Embeddings, EmbedRequest
from openmodels.types.rankings import Ranking, RerankRequest
from openmodels.types.reply import Delta
from openmodels.types.request import ChatRequest
from openmodels.types.scores import ScoreRequest, Scores

_Request = TypeVar("_Request", EmbedRequest, RerankRequest, ScoreRequest, DecideRequest)
_Outcome = TypeVar("_Outcome", Embeddings, Ranking, Scores, Decisions)


class CallRunner:
    """Runs the calls of a model on its backend, with retries.

    `hooks` observe the calls that have no deltas.
    """

    def __init__(self, backend: Backend, hooks: Hooks) -> None:
        self._backend = backend
        self._hooks = hooks
        # What is shared with the calls of other models to the same server.
        self.origin = retry.origin_backoff(backend.origin)

    def stream(self, request: ChatRequest, retries: int) -> Generator[Delta, None, None]:
        """Yield an answer's deltas; what fails before the first one is tried again."""

        def start() -> tuple[Generator[Delta, None, None], Delta | None]:
            deltas = self._backend.run(request)
            return deltas, next(deltas, None)

        deltas, first = retry.call_with_retries(start, retries=retries, deadline=request.deadline, origin=self.origin)
        with closing(deltas):
            if first is not None:
                yield first
            yield from deltas

    async def astream(self, request: ChatRequest, retries: int) -> AsyncGenerator[Delta, None]:
        """The asynchronous twin of `stream`."""

        async def start() -> tuple[AsyncGenerator[Delta, None], Delta | None]:
            deltas = self._backend.arun(request)
            try:
                return deltas, await anext(deltas, None)
            except BaseException:
                await deltas.aclose()
                raise

        deltas, first = await retry.acall_with_retries(
            start, retries=retries, deadline=request.deadline, origin=self.origin
        )
        async with aclosing(deltas):
            if first is not None:
                yield first
            async for delta in deltas:
                yield delta

    def run(self, request: _Request, retries: int, work: Callable[[_Request], _Outcome]) -> _Outcome:
        """Return the outcome of a request that has no deltas.

        Raises:
            InvalidResponse: The backend's outcome does not fit the request.
            OpenModelsError: What the work raises.
        """
        with self._observe(request) as complete:
            return complete(
                retry.call_with_retries(
                    lambda: work(request), retries=retries, deadline=request.deadline, origin=self.origin
                )
            )

    async def arun(
        self, request: _Request, retries: int, work: Callable[[_Request], Coroutine[Any, Any, _Outcome]]
    ) -> _Outcome:
        """The asynchronous twin of `run`."""
        with self._observe(request) as complete:
            return complete(
                await retry.acall_with_retries(
                    lambda: work(request), retries=retries, deadline=request.deadline, origin=self.origin
                )
            )

    @contextmanager
    def _observe(self, request: _Request) -> Iterator[Callable[[_Outcome], _Outcome]]:
        """Report a call without deltas; yield what checks and completes its outcome."""
        start = time.perf_counter()
        events = self._hooks.observe(self._backend, request) or CallEvents(request, self._hooks)

        def complete(outcome: _Outcome) -> _Outcome:
            if isinstance(outcome, Embeddings) and isinstance(request, EmbedRequest):
                shape, texts = outcome.vectors.shape, len(request.texts)
                if len(shape) != 2 or shape[0] != texts:
                    raise InvalidResponse(f"The backend gave vectors of the shape {shape} for {texts} texts.")
            outcome = replace(outcome, seconds=time.perf_counter() - start)
            events.completed(outcome)
            return outcome

        events.started()
        try:
            yield complete
        except BaseException as error:
            events.failed(error, None)
            raise
