"""The one retry policy. Backends say what happened; only this file decides to try again.

A call is tried again when its error is `retryable` and no delta has arrived. Waits grow
exponentially with full jitter, or are what the server asks for; a wait that would outlast the
deadline is not begun: the error is raised at once.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import tenacity

from openmodels.errors import OpenModelsError

T = TypeVar("T")

FIRST_WAIT = 0.5
"""Upper bound in seconds of the first wait; it doubles with each try."""
LONGEST_WAIT = 20.0
"""Upper bound in seconds of a wait that the server did not ask for."""

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


def call(start: Callable[[], T], *, retries: int, deadline: float | None) -> T:
    """Return `start()`, tried again up to `retries` times.

    Args:
        start: Does the work up to the first delta.
        retries: How many times to try again; 0 is never.
        deadline: On the clock of `time.monotonic()`, or None.

    Raises:
        OpenModelsError: The last error, when it is not retryable or the tries are used up.
    """
    return tenacity.Retrying(**_policy(retries, deadline))(start)


async def acall(start: Callable[[], Awaitable[T]], *, retries: int, deadline: float | None) -> T:
    """Return `await start()`, tried again up to `retries` times; see `call`."""
    return await tenacity.AsyncRetrying(**_policy(retries, deadline))(start)


def _policy(retries: int, deadline: float | None) -> dict[str, Any]:
    tries, fixed = _testing or (retries + 1, None)
    jitter = tenacity.wait_random_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT)

    def wait(state: tenacity.RetryCallState) -> float:
        if fixed is not None:
            return fixed
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after if isinstance(error, OpenModelsError) else None
        return jitter(state) if asked is None else max(0.0, asked)

    def stop(state: tenacity.RetryCallState) -> bool:
        late = deadline is not None and time.monotonic() + state.upcoming_sleep >= deadline
        return late or state.attempt_number >= tries

    return {
        "wait": wait,
        "stop": stop,
        "retry": tenacity.retry_if_exception(lambda error: isinstance(error, OpenModelsError) and error.retryable),
        "reraise": True,
    }
