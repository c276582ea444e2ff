"""The retry policy: backends classify errors, and this module acts on them.

A call is tried again when its error is `retryable` and no delta has arrived. Waits grow
exponentially with full jitter, or are what the server asks for; a wait that would outlast the
deadline is not begun: the error is raised at once. A budget per server keeps an outage from being
answered with a multiple of the usual requests, and what fails together does not come back together.
"""

from __future__ import annotations

import asyncio
import random
import time
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import aclosing, closing, contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import tenacity

from openmodels.backends.base import Backend
from openmodels.core.events import CallEvents, Hooks
from openmodels.errors import InvalidResponse, OpenModelsError
from openmodels.types.embeddings import Embeddings, EmbedRequest
from openmodels.types.rankings import Ranking, RerankRequest
from openmodels.types.reply import Delta
from openmodels.types.request import ChatRequest

T = TypeVar("T")
_Request = TypeVar("_Request", EmbedRequest, RerankRequest)
_Outcome = TypeVar("_Outcome", Embeddings, Ranking)

FIRST_WAIT = 0.5
"""Upper bound in seconds of the first wait; it doubles with each try."""
LONGEST_WAIT = 20.0
"""Upper bound in seconds of a wait that the server did not ask for."""
BURST = 8
"""Retries at most that all calls to one server begin in a tenth of a second."""
LONGEST_ASKED = 300.0
"""A server that asks to wait longer, in seconds, is taken as a refusal, even without a deadline."""

_override: tuple[int, float] | None = None


@contextmanager
def override_retries(*, attempts: int = 1, wait: float = 0.0) -> Iterator[None]:
    """Try every call at most `attempts` times within the block.

    Between the attempts it waits `wait` seconds.

    For tests: `attempts=1` switches retries off. Applies to the whole process.
    """
    global _override  # noqa: PLW0603 - one switch for the process is the point
    before, _override = _override, (attempts, wait)
    try:
        yield
    finally:
        _override = before


def overridden_wait(seconds: float) -> float:
    """Return the wait in seconds, unless `override_retries` replaces it."""
    return seconds if _override is None else _override[1]


class RetryBudget:
    """A token bucket that retries take from and successes refill.

    Without it, every client of a failing server would send `1 + retries` times its usual requests.
    The numbers are botocore's: a hundred retries in a row, then as many as a fifth of the successes.

    Args:
        capacity: Tokens in the full bucket.
        cost: Tokens that one retry takes; a call that succeeds after retries gives its last cost
            back, any other success one token.
    """

    def __init__(self, capacity: int = 500, cost: int = 5) -> None:
        self.capacity = capacity
        self.cost = cost
        self.left = capacity

    def take(self) -> bool:
        """Take a retry's cost; return whether there was enough."""
        # Without a lock: a race between threads may miscount by one retry, and a fork cannot hang on it.
        if self.left < self.cost:
            return False
        self.left -= self.cost
        return True

    def refill(self, *, retried: bool) -> None:
        """Put back what a success earns."""
        self.left = min(self.capacity, self.left + (self.cost if retried else 1))


class OriginState:
    """What all calls to one server share: budget, pauses and times of retries.

    Calls that fail together would come back together, and a server that recovers would fail again. So at most
    `BURST` of them come in a tenth of a second, and a call that begins while the server has asked for a
    pause waits for its end. Without locks, as `RetryBudget`.
    """

    def __init__(self) -> None:
        self.budget = RetryBudget()
        self._resume = 0.0
        self._slots: dict[int, int] = {}

    def pause(self, seconds: float) -> None:
        """Let no call begin for the seconds that the server asks for."""
        if seconds <= LONGEST_ASKED:
            self._resume = max(self._resume, time.monotonic() + seconds)

    def reserve(self, wait: float, deadline: float | None) -> float:
        """Return the seconds to wait: `wait`, or more where others retry then."""
        now = time.monotonic()
        if len(self._slots) > 1000:
            self._slots = {slot: count for slot, count in self._slots.items() if slot >= int(now * 10)}
        due = slot = int((now + wait) * 10)
        while self._slots.get(slot, 0) >= BURST:
            slot += 1
        later = wait if slot == due else slot / 10 - now + random.uniform(0, 0.1)  # noqa: S311 - no secret
        if deadline is not None and now + later >= deadline:
            return wait  # better in a crowd than not at all
        self._slots[slot] = self._slots.get(slot, 0) + 1
        return later

    def initial_wait(self, retries: int, deadline: float | None) -> float:
        """Return the seconds that a call waits before it begins."""
        wait = self._resume - time.monotonic()
        if wait <= 0 or not retries or _override is not None:
            return 0.0
        if deadline is not None and self._resume >= deadline:
            return 0.0
        return self.reserve(wait, deadline)


_origins: weakref.WeakValueDictionary[str, OriginState] = weakref.WeakValueDictionary()


def origin_state(address: str | None) -> OriginState:
    """Return what all calls to an address share; None shares nothing."""
    if address is None:
        return OriginState()
    return _origins.setdefault(address, OriginState())


def call(
    start: Callable[[], T],
    *,
    retries: int,
    deadline: float | None,
    budget: RetryBudget | None = None,
    origin: OriginState | None = None,
) -> T:
    """Return `start()`, tried again up to `retries` times.

    Args:
        start: Does the work up to the first delta.
        retries: How many times to try again; 0 is never.
        deadline: On the clock of `time.monotonic()`, or None.
        budget: Limits the retries of many calls together, or None.
        origin: What the calls to the same server share, or None.

    Raises:
        OpenModelsError: The last error, when it is not retryable or the attempts are used up.
    """
    if origin is not None and (wait := origin.initial_wait(retries, deadline)):
        tenacity.nap.sleep(wait)
    # The first attempt is made without tenacity, which costs as much as the rest of a call's checks.
    try:
        result = start()
    except OpenModelsError as error:
        if not error.retryable:
            raise
        first_error: OpenModelsError | None = error
    else:
        if budget is not None:
            budget.refill(retried=False)
        return result

    def attempt() -> T:
        nonlocal first_error
        if first_error is not None:
            error, first_error = first_error, None
            raise error
        return start()

    result = tenacity.Retrying(**_policy(retries, deadline, budget, origin))(attempt)
    if budget is not None:
        budget.refill(retried=True)
    return result


async def acall(
    start: Callable[[], Awaitable[T]],
    *,
    retries: int,
    deadline: float | None,
    budget: RetryBudget | None = None,
    origin: OriginState | None = None,
) -> T:
    """Return `await start()`, tried again up to `retries` times; see `call`."""
    if origin is not None and (wait := origin.initial_wait(retries, deadline)):
        await asyncio.sleep(wait)
    try:
        result = await start()
    except OpenModelsError as error:
        if not error.retryable:
            raise
        first_error: OpenModelsError | None = error
    else:
        if budget is not None:
            budget.refill(retried=False)
        return result

    async def attempt() -> T:
        nonlocal first_error
        if first_error is not None:
            error, first_error = first_error, None
            raise error
        return await start()

    result = await tenacity.AsyncRetrying(**_policy(retries, deadline, budget, origin))(attempt)
    if budget is not None:
        budget.refill(retried=True)
    return result


def _policy(
    retries: int, deadline: float | None, budget: RetryBudget | None, origin: OriginState | None
) -> dict[str, Any]:
    attempts, fixed = _override or (retries + 1, None)
    jitter = tenacity.wait_random_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT)

    def retry_after(state: tenacity.RetryCallState) -> float | None:
        error = state.outcome.exception() if state.outcome else None
        return error.retry_after if isinstance(error, OpenModelsError) else None

    def wait(state: tenacity.RetryCallState) -> float:
        if fixed is not None:
            return fixed
        seconds = retry_after(state)
        due = jitter(state) if seconds is None else max(0.0, seconds)
        if origin is None or state.attempt_number >= attempts:
            return due
        if seconds is not None and seconds > 0:
            origin.pause(seconds)
        return origin.reserve(due, deadline)

    def stop(state: tenacity.RetryCallState) -> bool:
        if state.attempt_number >= attempts:
            return True
        # What the server asks for counts in tests too, which do not wait for it.
        seconds = max(state.upcoming_sleep, retry_after(state) or 0.0)
        is_late = deadline is not None and time.monotonic() + seconds >= deadline
        return is_late or seconds > LONGEST_ASKED or (budget is not None and not budget.take())

    return {
        "wait": wait,
        "stop": stop,
        "retry": tenacity.retry_if_exception(lambda error: isinstance(error, OpenModelsError) and error.retryable),
        "reraise": True,
    }


class CallRunner:
    """Runs the calls of a model on its backend, with retries.

    Args:
        backend: Where the model runs.
        hooks: What observes the calls that have no deltas.

    Attributes:
        origin: What is shared with the calls of other models to the same server.
        budget: Limits the retries of all these calls together.
    """

    def __init__(self, backend: Backend, hooks: Hooks) -> None:
        self._backend = backend
        self._hooks = hooks
        self.origin = origin_state(backend.origin)
        self.budget = self.origin.budget

    def stream(self, request: ChatRequest, retries: int) -> Generator[Delta, None, None]:
        """Yield an answer's deltas; what fails before the first one is tried again."""

        def start() -> tuple[Generator[Delta, None, None], Delta | None]:
            deltas = self._backend.run(request)
            return deltas, next(deltas, None)

        deltas, first = call(start, retries=retries, deadline=request.deadline, budget=self.budget, origin=self.origin)
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

        deltas, first = await acall(
            start, retries=retries, deadline=request.deadline, budget=self.budget, origin=self.origin
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
        start = time.perf_counter()
        with self._observe(request) as events:
            outcome = call(
                lambda: work(request),
                retries=retries,
                deadline=request.deadline,
                budget=self.budget,
                origin=self.origin,
            )
            outcome = _check_outcome(outcome, request, start)
            events.completed(outcome)
        return outcome

    async def arun(
        self, request: _Request, retries: int, work: Callable[[_Request], Coroutine[Any, Any, _Outcome]]
    ) -> _Outcome:
        """The asynchronous twin of `run`."""
        start = time.perf_counter()
        with self._observe(request) as events:
            outcome = await acall(
                lambda: work(request),
                retries=retries,
                deadline=request.deadline,
                budget=self.budget,
                origin=self.origin,
            )
            outcome = _check_outcome(outcome, request, start)
            events.completed(outcome)
        return outcome

    def _observe(self, request: EmbedRequest | RerankRequest) -> CallEvents:
        return self._hooks.observe(self._backend, request) or CallEvents(request, self._hooks)


def _check_outcome(outcome: _Outcome, request: EmbedRequest | RerankRequest, start: float) -> _Outcome:
    if isinstance(outcome, Embeddings) and isinstance(request, EmbedRequest):
        vectors, texts = outcome.vectors, len(request.texts)
        if vectors.ndim != 2 or len(vectors) != texts:
            raise InvalidResponse(f"The backend gave vectors of the shape {vectors.shape} for {texts} texts.")
    return replace(outcome, seconds=time.perf_counter() - start)
