"""Deadlines: values of `time.monotonic()` that end a call; None is never."""

import threading
import time
from typing import Any

from openmodels.errors import DeadlineExceeded, InvalidRequest


def check_timeout(timeout: Any) -> float | None:
    """Return a caller's timeout in seconds, checked; None lifts the limit.

    Raises:
        InvalidRequest: It is not a number above 0, or too large to wait for.
    """
    if timeout is None:
        return None
    longest = threading.TIMEOUT_MAX  # beyond it, waiting on a lock or queue raises OverflowError
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout <= longest:
        raise InvalidRequest(f"timeout: expected None or seconds above 0, at most {longest:.0f}.")
    return float(timeout)


def deadline_after(timeout: float | None) -> float | None:
    """Return the deadline of work that begins now and may take `timeout` seconds."""
    return None if timeout is None else time.monotonic() + timeout


def deadline_exceeded(phase: str = "", next_step: str | None = None) -> DeadlineExceeded:
    """Return the error of a call whose time is up.

    `phase` is what was being done, e.g. "while tools ran"; the next step is by default to raise `timeout`.
    """
    advice = "Raise `timeout`." if phase else "Raise `timeout` or lower `max_tokens`."
    return DeadlineExceeded(f"The call's total time is up {phase}".rstrip() + ".", next_step=next_step or advice)


def seconds_left(deadline: float | None, phase: str = "", next_step: str | None = None) -> float | None:
    """Return the seconds until a deadline; None where it is None.

    Raises:
        DeadlineExceeded: It has passed.
    """
    if deadline is None:
        return None
    left = deadline - time.monotonic()
    if left <= 0:
        raise deadline_exceeded(phase, next_step)
    return left


def wait_timeout(deadline: float | None) -> float | None:
    """Return the seconds until a deadline, 0 once it has passed, None without one."""
    return None if deadline is None else max(0.0, deadline - time.monotonic())
