"""Adaptive concurrency: as many calls in flight as the rate limit allows."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from openmodels import retry
from openmodels.errors import RateLimited

T = TypeVar("T")


class ConcurrencyLimiter:
    """Limits the calls of one run in flight; a rate limit slows all of them.

    Additive increase, multiplicative decrease, as in TCP: a refusal halves the limit and lets nothing start for
    as long as the server asks; calls that succeed raise it again, by one for a whole round of them.

    At most `largest` calls are in flight; `retries` are those of one call because of rate limits.
    """

    def __init__(self, largest: int, retries: int) -> None:
        self.largest = largest
        self.retries = retries
        self._slots = asyncio.Semaphore(largest)
        self._changed = asyncio.Event()
        self._limit = float(largest)
        self._active = 0
        self._streak = 0
        self._slowed = self._resume = 0.0

    async def run(self, start: Callable[[], Awaitable[T]]) -> T:
        """Return `await start()`, begun when the limit allows, again if refused.

        Raises:
            RateLimited: The retries are used up, or the server asks to wait too long.
            OpenModelsError: As `start` does.
        """
        async with self._slots:
            attempts = 0
            while True:
                await self._wait_for_slot()
                self._active += 1
                start_time = time.monotonic()
                try:
                    result = await start()
                except RateLimited as error:
                    attempts += 1
                    is_final = attempts > self.retries or not error.retryable
                    if is_final or not self._slow_down(start_time, error.retry_after):
                        raise
                else:
                    self._limit = min(self.largest, self._limit + 1 / self._limit)
                    self._streak = 0
                    return result
                finally:
                    self._active -= 1
                    self._changed.set()

    async def _wait_for_slot(self) -> None:
        while (wait := self._resume - time.monotonic()) > 0 or self._active >= int(self._limit):
            if wait > 0:
                await asyncio.sleep(wait)
            else:
                self._changed.clear()
                await self._changed.wait()

    def _slow_down(self, start_time: float, retry_after: float | None) -> bool:
        """Lower the limit for a call that was refused; return whether to try it again."""
        if (retry_after or 0.0) > retry.LONGEST_ASKED:
            return False
        # Calls that were in flight together are refused together: that is one sign, not many.
        if start_time > self._slowed:
            self._limit = max(1.0, self._limit / 2)
            self._slowed = time.monotonic()
            self._streak += 1
        wait = min(retry.LONGEST_WAIT, retry.FIRST_WAIT * 2**self._streak) if retry_after is None else retry_after
        self._resume = max(self._resume, time.monotonic() + retry.overridden_wait(wait))
        return True
