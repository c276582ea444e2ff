"""Work on daemon threads, which Ctrl-C, deadlines and exits do not interrupt."""

from __future__ import annotations

import asyncio
import copy
import os
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from openmodels.deadline import deadline_exceeded
from openmodels.errors import DeadlineExceeded, StreamInterrupted

_Result = TypeVar("_Result")


_abandoned: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
_ending = threading.Event()


def abandon(thread: threading.Thread) -> None:
    """Ask a thread whose result is not needed any more to end at its next `check`."""
    _abandoned.add(thread)


def abandon_all() -> None:
    """Ask all threads to end at their next `check`: the process ends."""
    _ending.set()


def check() -> None:
    """Return if the result of this thread is still needed.

    Raises:
        StreamInterrupted: It is not, or the process ends.
    """
    if _ending.is_set() or threading.current_thread() in _abandoned:
        raise StreamInterrupted("The model was closed while it was being made ready.")


def start(work: Callable[..., _Result], *arguments: Any) -> Future[_Result]:
    """Run a call on its own thread; return its future, which cannot be cancelled."""
    future: Future[_Result] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            result = work(*arguments)
        except BaseException as error:  # noqa: BLE001 - any failure, for the caller waits for it
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=run, name="openmodels-background", daemon=True).start()
    return future


async def arun(work: Callable[..., _Result], *arguments: Any) -> _Result:
    """Return what a call on a thread of its own returns.

    Unlike with `asyncio.to_thread`, neither the end of the event loop nor that of the process waits for it.
    """
    return await asyncio.wrap_future(start(work, *arguments))


class Once(Generic[_Result]):
    """A value that a thread makes when first needed, for all callers that wait."""

    def __init__(self) -> None:
        self._reset()
        _all.add(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._future: Future[_Result] | None = None

    @property
    def value(self) -> _Result | None:
        """The value; None as long as it is not made."""
        future = self._future
        return future.result() if future is not None and future.done() and future.exception() is None else None

    def get(self, make: Callable[[float | None], _Result], deadline: float | None) -> _Result:
        """Return the value.

        Args:
            make: Makes it, until a deadline; called where it is not made yet. What it raises is raised here,
                and the next caller tries again.
            deadline: When to stop waiting, on the clock of `time.monotonic()`; None is never.

        Raises:
            DeadlineExceeded: The deadline passed; the thread still makes it.
        """
        while True:
            future = self._begun(make, deadline)
            try:
                return future.result(_left(deadline))
            except BaseException as error:
                if not self._failed(future, error, deadline):
                    raise

    async def aget(self, make: Callable[[float | None], _Result], deadline: float | None) -> _Result:
        """The asynchronous twin of `get`."""
        while True:
            future = self._begun(make, deadline)
            try:
                async with asyncio.timeout(_left(deadline)):
                    return await asyncio.wrap_future(future)
            except BaseException as error:
                if not self._failed(future, error, deadline):
                    raise

    def take(self) -> _Result | None:
        """Return what was made, and forget it: the next caller makes it anew."""
        with self._lock:
            value, self._future = self.value, None
        return value

    def _begun(self, make: Callable[[float | None], _Result], deadline: float | None) -> Future[_Result]:
        with self._lock:
            if self._future is None:
                self._future = start(make, deadline)
            return self._future

    def _failed(self, future: Future[_Result], error: BaseException, deadline: float | None) -> bool:
        """Forget a failed attempt; return whether to begin another, or raise.

        Raises:
            DeadlineExceeded: The deadline passed.
        """
        if not future.done():
            if isinstance(error, TimeoutError):
                raise deadline_exceeded(
                    "while the model is being made ready",
                    "Raise `timeout`; or make it ready ahead with `load()`; call again, it goes on.",
                ) from None
            return False
        failure = future.exception()
        if failure is None:
            return isinstance(error, TimeoutError)  # it came in this very moment
        with self._lock:
            if self._future is future:
                self._future = None
        if not isinstance(error, Exception):
            return False
        left = _left(deadline)
        if isinstance(failure, DeadlineExceeded) and (left is None or left > 0):
            return True  # another caller had less time
        copied = copy.copy(failure)
        copied.__cause__ = failure.__cause__
        raise copied


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


_all: weakref.WeakSet[Once[Any]] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    # The thread that was making it is the parent's.
    for once in _all:
        future = once._future  # noqa: SLF001 - ours
        is_made = future is not None and future.done()
        once._reset()  # noqa: SLF001
        if is_made:
            once._future = future  # noqa: SLF001


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
