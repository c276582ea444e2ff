"""The loop of an engine in this process: callers queue jobs from anywhere, one thread advances them all.

Calls from any thread or task put a job into the queue and read deltas from their own mailbox.
Between two steps jobs join, leave, are cancelled, and the process may fork.
"""

from __future__ import annotations

import copy
import sys
import threading
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from openmodels import background
from openmodels.backends.local.forking import Stepping
from openmodels.errors import OpenModelsError, StreamInterrupted
from openmodels.types import ChatRequest, Delta

Put = Callable[[Delta | BaseException | None], None]


@dataclass(slots=True, eq=False)
class Job:
    """A caller's request, or with `request=None` the wish that the model be loaded.

    Attributes:
        put: The caller's mailbox: deltas, or an error; None when a load is done.
        cancelled: Set by the caller; the engine drops the job before its next step.
    """

    request: ChatRequest | None
    put: Put
    cancelled: bool = False

    def deliver(self, error: OpenModelsError) -> None:
        """End the job with an error."""
        self.cancelled = True
        try:
            self.put(error)
        except RuntimeError:  # the caller's event loop is closed: nobody waits any more
            return


_Job = TypeVar("_Job", bound=Job)


class Loop(Stepping, Generic[_Job]):
    """Owns the thread and the queue; a subclass says what a step is.

    Attributes:
        loading: Whether the thread reads the model.
    """

    job: type[_Job]
    thread_name: ClassVar[str]

    def _reset(self) -> None:
        super()._reset()
        self._wake = threading.Condition()
        self._waiting: deque[_Job] = deque()
        self._running: list[_Job] = []
        self._thread: threading.Thread | None = None
        self._stopping = False
        self.loading = False

    @abstractmethod
    def _advance(self) -> None:
        """Load the model if need be, let jobs join, and do one step; raises nothing."""

    @abstractmethod
    def _join(self, job: _Job, request: ChatRequest) -> None:
        """Begin an answer."""

    @abstractmethod
    def _fail(self, job: _Job, error: BaseException) -> None:
        """End one job with an error."""

    @abstractmethod
    def _free(self) -> None:
        """Let go of the model."""

    @property
    def _leftover(self) -> bool:
        """Whether there is something to do without a job."""
        return False

    @property
    def most(self) -> int:
        """Answers in the making at the same time, at most."""
        return sys.maxsize

    @property
    def running(self) -> int:
        """The number of answers in the making."""
        return len(self._running)

    def submit(self, request: ChatRequest | None, put: Put) -> _Job:
        """Queue a request (or, with None, a load) and return at once."""
        job = self.job(request, put)
        with self._wake:
            while self._stopping and self._thread is not None:
                self._wake.wait()
            self._waiting.append(job)
            if self._thread is None:
                # A daemon, so that a download or a long step never keeps the process from ending.
                self._thread = threading.Thread(target=self._serve, name=self.thread_name, daemon=True)
                self._thread.start()
            self._wake.notify_all()
        return job

    def stop(self, timeout: float = 0.0) -> None:
        """End the thread and free the model; wait up to `timeout` seconds for it."""
        with self._wake:
            thread = self._thread
            self._stopping = thread is not None
            self._wake.notify_all()
        if thread is not None and self.loading:
            background.abandon(thread)
        if thread is not None and timeout:
            thread.join(timeout)

    def _serve(self) -> None:
        while True:
            with self._wake:
                while not (self._stopping or self._waiting or self._running or self._leftover):
                    self._wake.wait()
                if self._stopping:
                    self._end(StreamInterrupted("The model was closed while it answered."))
                    self._free()
                    self._thread = None
                    self._stopping = False
                    self._wake.notify_all()
                    return
            with self.between_steps:
                self._advance()

    def _admit(self) -> None:
        """Let waiting jobs join, as many as may."""
        while self._waiting and len(self._running) < self.most:
            job = self._waiting.popleft()
            if job.cancelled:
                continue
            try:
                if job.request is None:
                    job.put(None)
                else:
                    self._join(job, job.request)
                    self._running.append(job)
            except BaseException as error:  # noqa: BLE001 - whatever it is, the caller waits for it
                self._fail(job, error)

    def _patience(self) -> float | None:
        """Return when nobody waits for the model any more, on the clock of `time.monotonic()`; None is never."""
        with self._wake:
            deadlines = [job.request.deadline if job.request else None for job in self._waiting if not job.cancelled]
        known = [deadline for deadline in deadlines if deadline is not None]
        return max(known) if known and len(known) == len(deadlines) else None

    def _end(self, error: OpenModelsError) -> None:
        """End all jobs with an error."""
        with self._wake:
            jobs = [*self._running, *self._waiting]
            self._running.clear()
            self._waiting.clear()
        for job in jobs:
            own = copy.copy(error)
            own.__cause__ = error.__cause__
            job.deliver(own)
