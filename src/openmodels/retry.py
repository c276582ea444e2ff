"""The retry policy: how often and after what pause a failed call is repeated.

Backends classify errors, and this module acts on them: a call is tried again when its error is `retryable`.
Waits grow exponentially with full jitter, or are what the server asks for; a wait that would outlast the
deadline is not begun: the error is raised at once. A budget per server keeps an outage from being
answered with a multiple of the usual requests, and what fails together does not come back together.
"""

import asyncio
import random
import time
import weakref
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import tenacity

from openmodels.errors import OpenModelsError

T = TypeVar("T")

FIRST_WAIT = 0.5  # upper bound in seconds of the first wait; it doubles with each try
LONGEST_WAIT = 20.0  # upper bound in seconds of a wait that the server did not ask for
BURST = 8  # retries at most that all calls to one server begin in a tenth of a second
LONGEST_ASKED = 300.0  # a server that asks to wait longer, in seconds, is taken as a refusal, even without a deadline

_override: tuple[int, float] | None = None


@contextmanager
def override_retries(*, attempts: int = 1, wait: float = 0.0) -> Iterator[None]:
    """Try every call of this process at most `attempts` times within the block.

    For tests: `attempts=1` switches retries off. Between the attempts it waits `wait` seconds.
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
        is_enough = self.left >= self.cost
        self.left -= self.cost if is_enough else 0
        return is_enough

    def refill(self, *, retried: bool) -> None:
        """Put back what a success earns."""
        self.left = min(self.capacity, self.left + (self.cost if retried else 1))


class OriginBackoff:
    """What all calls to one server share: budget, pauses and times of retries.

    Calls that fail together would come back together, and a server that recovers would fail again. So at most
    `BURST` of them come in a tenth of a second, and a call that begins while the server has asked for a
    pause waits for its end. Without locks, as `RetryBudget`.
    """

    def __init__(self, budget: RetryBudget | None = None) -> None:
        self.budget = budget or RetryBudget()
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


_origins: weakref.WeakValueDictionary[str, OriginBackoff] = weakref.WeakValueDictionary()


def origin_backoff(address: str | None) -> OriginBackoff:
    """Return what all calls to an address share; None shares nothing."""
    return OriginBackoff() if address is None else _origins.setdefault(address, OriginBackoff())


def call_with_retries(
    start: Callable[[], T], *, retries: int, deadline: float | None, origin: OriginBackoff | None = None
) -> T:
    """Return `start()`, tried again up to `retries` times.

    Args:
        start: Does the work up to the first delta.
        retries: How many times to try again; 0 is never.
        deadline: On the clock of `time.monotonic()`, or None.
        origin: What the calls to the same server share, or None.

    Raises:
        OpenModelsError: The last error, when it is not retryable or the attempts are used up.
    """
    if origin is not None and (wait := origin.initial_wait(retries, deadline)):
        tenacity.nap.sleep(wait)
    failures: list[OpenModelsError] = []

    def attempt() -> T:
        if failures:
            raise failures.pop()
        return start()

    # The first attempt is made without tenacity, which costs as much as the rest of a call's checks.
    try:
        result = start()
    except OpenModelsError as error:
        if not error.retryable:
            raise
        failures.append(error)
    is_retried = bool(failures)
    if is_retried:
        result = tenacity.Retrying(**_retry_arguments(retries, deadline, origin))(attempt)
    if origin is not None:
        origin.budget.refill(retried=is_retried)
    return result


async def acall_with_retries(
    start: Callable[[], Awaitable[T]], *, retries: int, deadline: float | None, origin: OriginBackoff | None = None
) -> T:
    """The asynchronous twin of `call_with_retries`."""
    if origin is not None and (wait := origin.initial_wait(retries, deadline)):
        await asyncio.sleep(wait)
    failures: list[OpenModelsError] = []

    async def attempt() -> T:
        if failures:
            raise failures.pop()
        return await start()

    try:
        result = await start()
    except OpenModelsError as error:
        if not error.retryable:
            raise
        failures.append(error)
    is_retried = bool(failures)
    if is_retried:
        result = await tenacity.AsyncRetrying(**_retry_arguments(retries, deadline, origin))(attempt)
    if origin is not None:
        origin.budget.refill(retried=is_retried)
    return result


def _retry_arguments(retries: int, deadline: float | None, origin: OriginBackoff | None) -> dict[str, Any]:
    attempts, fixed_wait = _override or (retries + 1, None)
    jitter = tenacity.wait_random_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT)

    def retry_after(state: tenacity.RetryCallState) -> float | None:
        error = state.outcome.exception() if state.outcome else None
        return error.retry_after if isinstance(error, OpenModelsError) else None

    def wait(state: tenacity.RetryCallState) -> float:
        if fixed_wait is not None:
            return fixed_wait
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
        return is_late or seconds > LONGEST_ASKED or (origin is not None and not origin.budget.take())

    def is_retryable(error: BaseException) -> bool:
        return isinstance(error, OpenModelsError) and error.retryable

    return {"wait": wait, "stop": stop, "retry": tenacity.retry_if_exception(is_retryable), "reraise": True}
