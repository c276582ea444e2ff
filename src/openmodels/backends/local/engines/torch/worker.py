"""A thread that does several pieces of work at once, a step of each in turn.

Between its steps a piece can be abandoned. It serves embeddings, reranking and the preparation of requests.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, InvalidStateError
from typing import Any, TypeVar

from openmodels import background
from openmodels.backends.local.runtime import ForkSafeThread
from openmodels.errors import DeadlineExceeded, StreamInterrupted

_Found = TypeVar("_Found")
_AT_ONCE = 16
"""Pieces of work that are done in turn; more wait."""
Steps = Generator[None, None, _Found]
"""Work in steps: it yields where it may be abandoned, and returns its result."""


class Worker(ForkSafeThread):
    """Owns a thread; each call gives it work and waits for the result.

    A call that is cancelled, or out of time, is dropped before its next step.
    """

    def _reset(self) -> None:
        super()._reset()
        self._starting = threading.Lock()
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Callable[[], Steps[Any]]] | None] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def call(self, work: Callable[[], Steps[_Found]], deadline: float | None) -> _Found:
        """Return what the work returns.

        Args:
            work: Called on the thread; its steps follow there.
            deadline: When to stop waiting, on the clock of `time.monotonic()`; None is never.

        Raises:
            DeadlineExceeded: The deadline passed.
            BaseException: What the work raises.
        """
        future = self.submit(work)
        try:
            return future.result(_left(deadline))
        except TimeoutError:
            if future.done():
                raise
            raise _late() from None
        finally:
            future.cancel()

    async def acall(self, work: Callable[[], Steps[_Found]], deadline: float | None) -> _Found:
        """The asynchronous twin of `call`; cancelling it drops the work.

        Raises:
            DeadlineExceeded: The deadline passed.
            BaseException: What the work raises.
        """
        future = self.submit(work)
        try:
            async with asyncio.timeout(_left(deadline)) as limit:
                return await asyncio.wrap_future(future)
        except TimeoutError:
            if not limit.expired():
                raise
            raise _late() from None
        finally:
            future.cancel()

    def stop(self, timeout: float = 0.0) -> None:
        """End the thread after the step it is in; wait up to `timeout` seconds for it."""
        with self._starting:
            thread, self._thread = self._thread, None
            jobs, self._jobs = self._jobs, queue.SimpleQueue()
            stopped, self._stopped = self._stopped, threading.Event()
        if thread is not None:
            background.cancel(thread)
            stopped.set()
            jobs.put(None)  # where it waits
            if timeout:
                thread.join(timeout)

    def submit(self, work: Callable[[], Steps[_Found]]) -> Future[_Found]:
        """Start a piece of work and return at once; cancelling the future drops it."""
        future: Future[_Found] = Future()
        with self._starting:
            self._jobs.put((future, work))
            self._start()
        return future

    def start(self) -> None:
        """Start the thread, unless it runs."""
        with self._starting:
            self._start()

    def _start(self) -> None:
        if self._thread is None:
            # A daemon, so that a download or a long step never keeps the process from ending.
            self._thread = threading.Thread(
                target=_serve,
                args=(self._jobs, self._stopped, self.between_steps),
                name="openmodels-worker",
                daemon=True,
            )
            self._thread.start()


def _serve(jobs: queue.SimpleQueue[Any], stopped: threading.Event, between_steps: threading.Lock) -> None:
    # No reference to the worker itself: one that nobody holds any more ends its thread.
    active: deque[tuple[Future[Any], Steps[Any]]] = deque()
    while not stopped.is_set():
        while not stopped.is_set() and len(active) < _AT_ONCE:
            try:
                job = jobs.get(block=not active)
            except queue.Empty:
                break
            if job is not None:
                future, work = job
                _begin(future, work, active)
                del future, work
            del job
        # A step of each in turn, so that a small piece of work does not wait for the end of a large one.
        _step(active, between_steps)
    while not jobs.empty():
        if (job := jobs.get()) is not None:
            active.append((job[0], _nothing()))
    for future, steps in active:
        steps.close()
        _settle(future, None, StreamInterrupted("The model was closed while it worked."))


def _nothing() -> Steps[None]:
    return
    yield


def _begin(future: Future[Any], work: Callable[[], Steps[Any]], active: deque[tuple[Future[Any], Steps[Any]]]) -> None:
    try:
        active.append((future, work()))
    except BaseException as error:  # noqa: BLE001 - whatever it is, the caller waits for it
        _settle(future, None, error)


def _step(active: deque[tuple[Future[Any], Steps[Any]]], between_steps: threading.Lock) -> None:
    if not active:
        return
    future, steps = active.popleft()
    try:
        # The future is never "running", so that its caller can cancel it at any time.
        if future.cancelled():
            steps.close()
            return
        with between_steps:
            next(steps)
    except StopIteration as end:
        _settle(future, end.value, None)
    except BaseException as error:  # noqa: BLE001 - as above
        _settle(future, None, error)
    else:
        active.append((future, steps))


def _settle(future: Future[Any], result: Any, error: BaseException | None) -> None:
    try:
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
    except InvalidStateError:  # cancelled in this very moment
        return


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def _late() -> DeadlineExceeded:
    return DeadlineExceeded(
        "The call's total time is up.",
        next_step="Raise `timeout` or give fewer texts; a first call also loads the model.",
    )
