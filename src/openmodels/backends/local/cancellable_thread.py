"""A thread that does several pieces of work at once, a step of each in turn.

Between its steps a piece can be abandoned. It serves embeddings, reranking and the preparation of requests.
"""

import asyncio
import queue
import threading
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, TypeVar

from openmodels import background
from openmodels.backends.local.runtime import ForkSafeThread
from openmodels.deadline import deadline_exceeded, seconds_left
from openmodels.errors import StreamInterrupted

_Result = TypeVar("_Result")
_MAX_ACTIVE = 16  # pieces of work that are done in turn; more wait
_NEXT_STEP = "Raise `timeout` or give fewer texts; a first call also loads the model."
Steps = Generator[None, None, _Result]  # work in steps: it yields where it may be abandoned, and returns its result
_Job = tuple[Future[Any], Steps[Any]]


class CancellableThread(ForkSafeThread):
    """Owns a thread; each call gives it work and waits for the result.

    A call that is cancelled, or out of time, is dropped before its next step.
    """

    def _reset(self) -> None:
        super()._reset()
        self._lock = threading.RLock()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def call(self, steps: Steps[_Result], deadline: float | None) -> _Result:
        """Return what the work returns, until a `time.monotonic()` deadline."""
        timeout = seconds_left(deadline, next_step=_NEXT_STEP)
        future = self.submit(steps)
        try:
            return future.result(timeout)
        except TimeoutError:
            if future.done():
                raise
            raise deadline_exceeded(next_step=_NEXT_STEP) from None
        finally:
            future.cancel()

    async def acall(self, steps: Steps[_Result], deadline: float | None) -> _Result:
        """The asynchronous twin of `call`; cancelling it drops the work."""
        timeout = seconds_left(deadline, next_step=_NEXT_STEP)
        future = self.submit(steps)
        try:
            async with asyncio.timeout(timeout) as limit:
                return await asyncio.wrap_future(future)
        except TimeoutError:
            if not limit.expired():
                raise
            raise deadline_exceeded(next_step=_NEXT_STEP) from None
        finally:
            future.cancel()

    def stop(self, timeout: float = 0.0) -> None:
        """End the thread after the step it is in; wait up to `timeout` seconds for it."""
        with self._lock:
            thread, self._thread = self._thread, None
            jobs, self._jobs = self._jobs, queue.SimpleQueue()
            stopped, self._stopped = self._stopped, threading.Event()
        if thread is not None:
            background.cancel(thread)
            stopped.set()
            jobs.put(None)  # where it waits
            if timeout:
                thread.join(timeout)

    def submit(self, steps: Steps[_Result]) -> Future[_Result]:
        """Start a piece of work and return at once; cancelling the future drops it."""
        future: Future[_Result] = Future()
        with self._lock:
            self._jobs.put((future, steps))
            self.start()
        return future

    def start(self) -> None:
        """Start the thread, unless it runs."""
        with self._lock:
            if self._thread is None:
                # No reference to the worker itself: one that nobody holds any more ends its thread.
                args = self._jobs, self._stopped, self.between_steps
                # A daemon, so that a download or a long step never keeps the process from ending.
                self._thread = threading.Thread(target=_serve, args=args, name="openmodels-worker", daemon=True)
                self._thread.start()


def _serve(jobs: queue.SimpleQueue[_Job | None], stopped: threading.Event, between_steps: threading.Lock) -> None:
    active: deque[_Job] = deque()
    while not stopped.is_set():
        _receive(jobs, active)
        if active:
            # A step of each in turn, so that a small piece of work does not wait for the end of a large one.
            _step(active, between_steps)
    while not jobs.empty():
        if (job := jobs.get()) is not None:
            active.append(job)
    for future, steps in active:
        steps.close()
        with suppress(InvalidStateError):  # it was cancelled
            future.set_exception(StreamInterrupted("The model was closed while it worked."))


def _receive(jobs: queue.SimpleQueue[_Job | None], active: deque[_Job]) -> None:
    """Take as many jobs as may be active; wait for one where there is none."""
    with suppress(queue.Empty):
        while len(active) < _MAX_ACTIVE and (job := jobs.get(block=not active)) is not None:
            active.append(job)


def _step(active: deque[_Job], between_steps: threading.Lock) -> None:
    future, steps = active.popleft()
    try:
        # The future is never "running", so that its caller can cancel it at any time.
        if future.cancelled():
            steps.close()
            return
        with between_steps:
            next(steps)
    except StopIteration as end:
        with suppress(InvalidStateError):  # cancelled in this very moment
            future.set_result(end.value)
    except BaseException as error:  # noqa: BLE001 - of any kind: the caller waits for it
        with suppress(InvalidStateError):
            future.set_exception(error)
    else:
        active.append((future, steps))
