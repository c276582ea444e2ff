"""The one retry policy. Backends say what happened; only this file decides to try again.

A call is tried again when its error is `retryable` and no delta has arrived. Waits grow
exponentially with full jitter, or are what the server asks for; a wait that would outlast the
deadline is not begun: the error is raised at once. A budget per server keeps an outage from being
answered with a multiple of the usual requests, and what fails together does not come back together.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import tenacity

from openmodels.errors import InvalidRequest, OpenModelsError, RateLimited

T = TypeVar("T")

FIRST_WAIT = 0.5
"""Upper bound in seconds of the first wait; it doubles with each try."""
LONGEST_WAIT = 20.0
"""Upper bound in seconds of a wait that the server did not ask for."""
BURST = 8
"""Retries at most that all calls to one server begin in a tenth of a second."""
LONGEST_ASKED = 300.0
"""A server that asks to wait longer, in seconds, is taken as a refusal, even without a deadline."""

_testing: tuple[int, float] | None = None


@contextmanager
def testing(*, attempts: int = 1, wait: float = 0.0) -> Iterator[None]:
    """Within the block, try every call at most `attempts` times and wait `wait` seconds between.

    For tests: `attempts=1` switches retries off. Applies to the whole process.
    """
    global _testing  # noqa: PLW0603 - one switch for the process is the point
    before, _testing = _testing, (attempts, wait)
    try:
        yield
    finally:
        _testing = before


def seconds(timeout: Any) -> float | None:
    """Return a caller's timeout in seconds, checked; None is no limit.

    Raises:
        InvalidRequest: It is no number above 0, or too large to wait for.
    """
    if timeout is None:
        return None
    longest = threading.TIMEOUT_MAX  # beyond it, waiting on a lock or queue raises OverflowError
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout <= longest:
        raise InvalidRequest(f"timeout: expected None or seconds above 0, at most {longest:.0f}.")
    return float(timeout)


class Budget:
    """A token bucket: retries take from it, successes put back.

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

    def succeed(self, *, retried: bool) -> None:
        """Put back what a success earns."""
        self.left = min(self.capacity, self.left + (self.cost if retried else 1))


class Origin:
    """What all calls to one server share: the budget of retries, its pauses, and the times of retries.

    Calls that fail together would come back together, and a server that recovers would fail again. So at most
    `BURST` of them come in a tenth of a second, and a call that begins while the server has asked for a
    pause waits for its end. Without locks, as `Budget`.
    """

    def __init__(self) -> None:
        self.budget = Budget()
        self._resume = 0.0
        self._slots: dict[int, int] = {}

    def pause(self, seconds: float) -> None:
        """Take a server's wish to be left alone for some seconds."""
        if seconds <= LONGEST_ASKED:
            self._resume = max(self._resume, time.monotonic() + seconds)

    def slot(self, wait: float, deadline: float | None) -> float:
        """Return how many seconds to wait where `wait` is due: more, where others come back at that time."""
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

    def hold(self, retries: int, deadline: float | None) -> float:
        """Return how many seconds a call waits before it begins; 0 where it may not wait, or need not."""
        wait = self._resume - time.monotonic()
        if wait <= 0 or not retries or _testing is not None:
            return 0.0
        if deadline is not None and self._resume >= deadline:
            return 0.0
        return self.slot(wait, deadline)


_origins: weakref.WeakValueDictionary[str, Origin] = weakref.WeakValueDictionary()


def origin(address: str | None) -> Origin:
    """Return what all calls to an address share; None is a backend of its own."""
    if address is None:
        return Origin()
    return _origins.setdefault(address, Origin())


def call(
    start: Callable[[], T],
    *,
    retries: int,
    deadline: float | None,
    budget: Budget | None = None,
    origin: Origin | None = None,
) -> T:
    """Return `start()`, tried again up to `retries` times.

    Args:
        start: Does the work up to the first delta.
        retries: How many times to try again; 0 is never.
        deadline: On the clock of `time.monotonic()`, or None.
        budget: Limits the retries of many calls together, or None.
        origin: What the calls to the same server share, or None.

    Raises:
        OpenModelsError: The last error, when it is not retryable or the tries are used up.
    """
    if origin is not None and (wait := origin.hold(retries, deadline)):
        tenacity.nap.sleep(wait)
    retrying = tenacity.Retrying(**_policy(retries, deadline, budget, origin))
    result: T = retrying(start)
    _succeed(retrying, budget)
    return result


async def acall(
    start: Callable[[], Awaitable[T]],
    *,
    retries: int,
    deadline: float | None,
    budget: Budget | None = None,
    origin: Origin | None = None,
) -> T:
    """Return `await start()`, tried again up to `retries` times; see `call`."""
    if origin is not None and (wait := origin.hold(retries, deadline)):
        await asyncio.sleep(wait)
    retrying = tenacity.AsyncRetrying(**_policy(retries, deadline, budget, origin))
    result: T = await retrying(start)
    _succeed(retrying, budget)
    return result


def _succeed(retrying: tenacity.BaseRetrying, budget: Budget | None) -> None:
    if budget is not None:
        budget.succeed(retried=retrying.statistics.get("attempt_number", 1) > 1)


def _policy(retries: int, deadline: float | None, budget: Budget | None, origin: Origin | None) -> dict[str, Any]:
    tries, fixed = _testing or (retries + 1, None)
    jitter = tenacity.wait_random_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT)

    def asked(state: tenacity.RetryCallState) -> float | None:
        error = state.outcome.exception() if state.outcome else None
        return error.retry_after if isinstance(error, OpenModelsError) else None

    def wait(state: tenacity.RetryCallState) -> float:
        if fixed is not None:
            return fixed
        seconds = asked(state)
        due = jitter(state) if seconds is None else max(0.0, seconds)
        if origin is None or state.attempt_number >= tries:
            return due
        if seconds is not None and seconds > 0:
            origin.pause(seconds)
        return origin.slot(due, deadline)

    def stop(state: tenacity.RetryCallState) -> bool:
        if state.attempt_number >= tries:
            return True
        # What the server asks for counts in tests too, where nobody waits for it.
        seconds = max(state.upcoming_sleep, asked(state) or 0.0)
        late = deadline is not None and time.monotonic() + seconds >= deadline
        return late or seconds > LONGEST_ASKED or (budget is not None and not budget.take())

    return {
        "wait": wait,
        "stop": stop,
        "retry": tenacity.retry_if_exception(lambda error: isinstance(error, OpenModelsError) and error.retryable),
        "reraise": True,
    }


class Pace:
    """How many calls of one run are under way at once; a rate limit slows all of them down.

    A refusal halves the number and lets nothing start for as long as the server asks; calls that
    succeed let it grow again, by one for a whole round of them.

    Args:
        most: The largest number.
        tries: How often one call may be tried again because of rate limits.
    """

    def __init__(self, most: int, tries: int) -> None:
        self.most = most
        self.tries = tries
        self._slots = asyncio.Semaphore(most)
        self._changed = asyncio.Event()
        self._limit = float(most)
        self._active = 0
        self._streak = 0
        self._slowed = self._resume = 0.0

    async def run(self, start: Callable[[], Awaitable[T]]) -> T:
        """Return `await start()`, begun when there is room, and begun again after a rate limit.

        Raises:
            RateLimited: The tries are used up, or the server asks to wait too long.
            OpenModelsError: As `start` does.
        """
        async with self._slots:
            tries = 0
            while True:
                await self._room()
                self._active += 1
                began = time.monotonic()
                try:
                    result = await start()
                except RateLimited as error:
                    tries += 1
                    if tries > self.tries or not error.retryable or not self._slow_down(began, error.retry_after):
                        raise
                else:
                    self._limit = min(self.most, self._limit + 1 / self._limit)
                    self._streak = 0
                    return result
                finally:
                    self._active -= 1
                    self._changed.set()

    async def _room(self) -> None:
        while True:
            if (wait := self._resume - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            elif self._active >= int(self._limit):
                self._changed.clear()
                await self._changed.wait()
            else:
                return

    def _slow_down(self, began: float, asked: float | None) -> bool:
        """Take a refusal of a call begun at `began` in; return whether to go on."""
        if (asked or 0.0) > LONGEST_ASKED:
            return False
        # Calls that were under way together are refused together: that is one sign, not many.
        if began > self._slowed:
            self._limit = max(1.0, self._limit / 2)
            self._slowed = time.monotonic()
            self._streak += 1
        wait = min(LONGEST_WAIT, FIRST_WAIT * 2**self._streak) if asked is None else asked
        self._resume = max(self._resume, time.monotonic() + (wait if _testing is None else _testing[1]))
        return True
