"""A thread that does pieces of work one after the other, in steps that can be abandoned between each other.

It stands beside the engine, for work that is no conversation: embeddings and reranking.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future, InvalidStateError
from typing import Any, TypeVar

from openmodels import background
from openmodels.backends.local.forking import Stepping
from openmodels.errors import DeadlineExceeded, StreamInterrupted

_Found = TypeVar("_Found")
Steps = Generator[None, None, _Found]
"""Work in steps: it yields where it may be abandoned, and returns its result."""


class Worker(Stepping):
    """Owns a thread; each call gives it work and waits for the result.

    A call that is cancelled, or out of time, is dropped before its next step.
    """

    def _reset(self) -> None:
        super()._reset()
        self._starting = threading.Lock()
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Callable[[], Steps[Any]]] | None] = queue.SimpleQueue()
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
        future = self._submit(work)
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
        future = self._submit(work)
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
        if thread is not None:
            background.abandon(thread)
            jobs.put(None)
            if timeout:
                thread.join(timeout)

    def _submit(self, work: Callable[[], Steps[_Found]]) -> Future[_Found]:
        future: Future[_Found] = Future()
        with self._starting:
            self._jobs.put((future, work))
            if self._thread is None:
                # A daemon, so that a download or a long step never keeps the process from ending.
                self._thread = threading.Thread(
                    target=_serve, args=(self._jobs, self.between_steps), name="openmodels-worker", daemon=True
                )
                self._thread.start()
        return future


def _serve(jobs: queue.SimpleQueue[Any], between_steps: threading.Lock) -> None:
    # No reference to the worker itself: one that nobody holds any more ends its thread.
    while (job := jobs.get()) is not None:
        future, work = job
        try:
            steps = work()
            # The future is never "running", so that its caller can cancel it at any time.
            while not future.cancelled():
                with between_steps:
                    next(steps)
        except StopIteration as end:
            _settle(future, end.value, None)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the caller waits for it
            _settle(future, None, error)
        del job, future, work
        steps = None
    while not jobs.empty():
        if (job := jobs.get()) is not None:
            _settle(job[0], None, StreamInterrupted("The model was closed while it worked."))


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
