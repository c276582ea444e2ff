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
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

from openmodels import background
from openmodels.backends.local.engines.torch.worker import Steps, Worker
from openmodels.backends.local.forking import Stepping
from openmodels.errors import OpenModelsError, StreamInterrupted
from openmodels.types.reply import Delta
from openmodels.types.request import ChatRequest

_SHORT = 2**14
"""Characters of a prompt up to which it is short; tokenizing them takes some milliseconds."""

_AHEAD = 8
"""Requests that are prepared although there is no place for their answers yet."""
_LONG_AT_ONCE = 4
"""Requests that may take long which are prepared, or wait for that, ahead of others."""

Put = Callable[[Delta | BaseException | None], None]


@dataclass(slots=True, eq=False)
class Job:
    """A caller's request, or with `request=None` the wish that the model be loaded.

    Attributes:
        put: The caller's mailbox: deltas, or an error; None when a load is done.
        cancelled: Set by the caller; the engine drops the job before its next step.
        takes_long: Whether preparing it may take longer than a few milliseconds.
        prepared: What the engine made of the request, once it did.
    """

    request: ChatRequest | None = field(repr=False)
    put: Put = field(repr=False)
    cancelled: bool = False
    takes_long: bool = False
    prepared: Any = field(default=None, repr=False)

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

    Requests are prepared (rendered, tokenized, their grammars compiled) on threads beside the engine's, so that
    no prompt keeps running answers from their next step: short ones on one, those that may take long on another.

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
        self._preparing: set[_Job] = set()
        self._ready: deque[_Job] = deque()
        if not hasattr(self, "_lanes"):  # after a fork they begin anew by themselves
            self._lanes = Worker(), Worker()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self.loading = False

    @abstractmethod
    def _advance(self) -> None:
        """Load the model if need be, let jobs join, and do one step; raises nothing."""

    @abstractmethod
    def _prepared(self, job: _Job, request: ChatRequest) -> Any:
        """Return what a request becomes before its answer can begin; not on the engine's thread."""

    @abstractmethod
    def _join(self, job: _Job, request: ChatRequest) -> None:
        """Begin an answer with what was prepared."""

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
        job.takes_long = request is not None and _takes_long(request)
        with self._wake:
            while self._stopping and self._thread is not None:
                self._wake.wait()
            self._waiting.append(job)
            if self._thread is None:
                # A daemon, so that a download or a long step never keeps the process from ending.
                self._thread = threading.Thread(target=self._serve, name=self.thread_name, daemon=True)
                self._thread.start()
                for lane in self._lanes:
                    # Now and not when memory is short: a thread that finds none for its stack ends the process.
                    lane.start()
            self._wake.notify_all()
        return job

    def cancel(self, job: Job) -> None:
        """Drop a job before its next step; one that still waits leaves the queue, and its prompt the memory, now."""
        job.cancelled = True
        if job in self._waiting:
            with suppress(ValueError):  # the engine took it in this very moment
                self._waiting.remove(job)  # type: ignore[arg-type]  # it is there, so it is ours

    def stop(self, timeout: float = 0.0) -> None:
        """End the thread and free the model; wait up to `timeout` seconds for it."""
        with self._wake:
            thread = self._thread
            self._stopping = thread is not None
            self._wake.notify_all()
        if thread is not None and self.loading:
            background.abandon(thread)
        for lane in self._lanes:
            lane.stop()
        if thread is not None and timeout:
            thread.join(timeout)

    def _serve(self) -> None:
        while True:
            with self._wake:
                while not (self._stopping or self._has_work):
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

    @property
    def _has_work(self) -> bool:
        if self._running or self._ready or self._leftover:
            return True
        places, long_places = self._places
        return places > 0 and any(not job.takes_long or long_places for job in tuple(self._waiting))

    @property
    def _places(self) -> tuple[int, int]:
        """How many requests may be prepared now, and how many of them may take long."""
        taken = len(self._running) + len(self._ready) + len(self._preparing)
        return self.most + _AHEAD - taken, _LONG_AT_ONCE - sum(job.takes_long for job in tuple(self._preparing))

    def _admit(self) -> None:
        """Let waiting jobs be prepared, and those that are join, as many as may."""
        places, long_places = self._places
        passed: list[_Job] = []
        while self._waiting and places > 0:
            job = self._waiting.popleft()
            if job.cancelled:
                continue
            if job.request is None:
                job.put(None)
            elif job.takes_long and not long_places:
                passed.append(job)  # those behind it do not wait for it
            else:
                places, long_places = places - 1, long_places - job.takes_long
                self._preparing.add(job)
                self._lanes[job.takes_long].submit(self._preparation(job, job.request))
        self._waiting.extendleft(reversed(passed))
        while self._ready and len(self._running) < self.most:
            job = self._ready.popleft()
            if job.cancelled or job.request is None:
                continue
            try:
                self._join(job, job.request)
                self._running.append(job)
            except BaseException as error:  # noqa: BLE001 - whatever it is, the caller waits for it
                self._fail(job, error)

    def _preparation(self, job: _Job, request: ChatRequest) -> Callable[[], Steps[None]]:
        def prepare() -> Steps[None]:
            try:
                if not job.cancelled:
                    job.prepared = self._prepared(job, request)
            except BaseException as error:  # noqa: BLE001 - as above
                self._fail(job, error)
            with self._wake:
                self._preparing.discard(job)
                if job.cancelled:
                    job.prepared = None
                else:
                    self._ready.append(job)
                self._wake.notify_all()
            return
            yield

        return prepare

    def _patience(self) -> float | None:
        """Return when nobody waits for the model any more, on the clock of `time.monotonic()`; None is never."""
        with self._wake:
            deadlines = [job.request.deadline if job.request else None for job in self._waiting if not job.cancelled]
        known = [deadline for deadline in deadlines if deadline is not None]
        return max(known) if known and len(known) == len(deadlines) else None

    def _end(self, error: OpenModelsError) -> None:
        """End all jobs with an error."""
        with self._wake:
            jobs = [*self._running, *self._ready, *self._preparing, *self._waiting]
            self._running.clear()
            self._ready.clear()
            self._preparing.clear()
            self._waiting.clear()
        for job in jobs:
            own = copy.copy(error)
            own.__cause__ = error.__cause__
            job.deliver(own)


def _takes_long(request: ChatRequest) -> bool:
    """Return whether preparing a request may take longer than a few milliseconds; reads no text."""
    if request.output is not None or request.tools or any(message.images for message in request.messages):
        return True
    return len(request.prompt or "") + sum(len(message.text) for message in request.messages) > _SHORT
