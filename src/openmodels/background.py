"""Work on daemon threads, which Ctrl-C, deadlines and exits do not interrupt."""

import asyncio
import copy
import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from openmodels.deadline import deadline_exceeded, wait_timeout
from openmodels.errors import DeadlineExceeded, StreamInterrupted

_Result = TypeVar("_Result")
_Error = TypeVar("_Error", bound=BaseException)

_cancelled: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
_process_ends = threading.Event()


def cancel(thread: threading.Thread) -> None:
    """Ask a thread to end at its next `check_cancelled`: its result is not needed."""
    _cancelled.add(thread)


def cancel_all() -> None:
    """Ask all threads to end at their next `check_cancelled`: the process ends."""
    _process_ends.set()


def check_cancelled() -> None:
    """Return if the result of this thread is still needed.

    Raises:
        StreamInterrupted: It is not, or the process ends.
    """
    if _process_ends.is_set() or threading.current_thread() in _cancelled:
        raise StreamInterrupted("The model was closed while it was being made ready.")


def copy_error(error: _Error) -> _Error:
    """Return a copy of an error for each caller: raising one adds to its traceback."""
    copied = copy.copy(error)
    copied.__cause__ = error.__cause__
    return copied


def start(work: Callable[..., _Result], *arguments: Any) -> Future[_Result]:
    """Run a call on its own thread; return its future, which cannot be cancelled."""
    future: Future[_Result] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            future.set_result(work(*arguments))
        except BaseException as error:  # noqa: BLE001 - any failure, for the caller waits for it
            future.set_exception(error)

    threading.Thread(target=run, name="openmodels-background", daemon=True).start()
    return future


async def arun(work: Callable[..., _Result], *arguments: Any) -> _Result:
    """Return what a call on a thread of its own returns.

    Unlike with `asyncio.to_thread`, neither the end of the event loop nor that of the process waits for it.
    """
    return await asyncio.wrap_future(start(work, *arguments))


class LazyValue(Generic[_Result]):
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
        """Return the value, made by `make` until the deadline where it is not made yet.

        What `make` raises is raised here, and the next caller tries again.

        Raises:
            DeadlineExceeded: The deadline passed; the thread still makes it.
        """
        while True:
            future = self._begun(make, deadline)
            try:
                return future.result(wait_timeout(deadline))
            except BaseException as error:
                if not self._failed(future, error, deadline):
                    raise

    async def aget(self, make: Callable[[float | None], _Result], deadline: float | None) -> _Result:
        """The asynchronous twin of `get`."""
        while True:
            future = self._begun(make, deadline)
            try:
                async with asyncio.timeout(wait_timeout(deadline)):
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
        """Forget a failed attempt; return whether to begin another, or raise."""
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
        if isinstance(failure, DeadlineExceeded) and wait_timeout(deadline) != 0:
            return True  # another caller had less time
        raise copy_error(failure)


_all: weakref.WeakSet[LazyValue[Any]] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    # The thread that was making it is the parent's.
    for value in _all:
        future = value._future  # noqa: SLF001 - ours
        is_made = future is not None and future.done()
        value._reset()  # noqa: SLF001
        if is_made:
            value._future = future  # noqa: SLF001


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
