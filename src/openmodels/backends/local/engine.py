"""The engine: one thread owns the model and advances the answers step by step.

Calls from any thread or task put a job into the queue and read deltas from their own mailbox. A
step is one forward pass, shared by all answers in the making (see `batch`). Between two steps jobs
join, leave, are cancelled, and the process may fork.
"""

from __future__ import annotations

import atexit
import copy
import gc
import os
import threading
import traceback
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from openmodels.backends.local import memory
from openmodels.backends.local.batch import Batch
from openmodels.backends.local.decoder import Decoder
from openmodels.backends.local.loader import Loaded, is_out_of_memory
from openmodels.backends.local.sequence import Sequence
from openmodels.errors import LoadFailed, OpenModelsError, OutOfMemory, StreamInterrupted
from openmodels.types import ChatRequest, Delta

_MOST = 64
"""Answers in the making at the same time, where memory allows and nothing else is asked for."""
_KEPT = 512 * 10**6
"""Bytes of finished sequences kept at most."""

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
    sequence: Sequence | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Limits:
    """What the answers in the making may take together.

    Attributes:
        batch: Answers in the making at the same time; None is as many as are of use.
        memory: Bytes for keys and values; None is half of what is free once the model is loaded.
        deterministic: One answer at a time, each as if nothing had run before it.
    """

    batch: int | None = None
    memory: int | None = None
    deterministic: bool = False


class Engine:
    """Owns a model and the thread that runs it.

    Args:
        open_model: Finds and loads the model, until a deadline; called on the engine's thread, by the first job.
        limits: What the answers may take.
    """

    def __init__(self, open_model: Callable[[float | None], Loaded], limits: Limits = Limits()) -> None:
        self._open = open_model
        self._limits = limits
        self._loaded: Loaded | None = None
        self._batch: Batch | None = None
        self._reset()
        _engines.add(self)

    def _reset(self) -> None:
        self._wake = threading.Condition()
        self.between_steps = threading.Lock()
        self._waiting: deque[Job] = deque()
        self._running: list[Job] = []
        self._thread: threading.Thread | None = None
        self._stopping = False

    @property
    def loaded(self) -> Loaded | None:
        """The model, once it is loaded."""
        return self._loaded

    @property
    def most(self) -> int:
        """Answers in the making at the same time, at most."""
        return 1 if self.alone else self._limits.batch or _MOST

    @property
    def alone(self) -> str | None:
        """Why the model takes one answer at a time; None when it takes several, or is not loaded."""
        return self._batch.alone if self._batch else None

    def submit(self, request: ChatRequest | None, put: Put) -> Job:
        """Queue a request (or, with None, a load) and return at once."""
        job = Job(request, put)
        with self._wake:
            while self._stopping and self._thread is not None:
                self._wake.wait()
            self._waiting.append(job)
            if self._thread is None:
                # A daemon, so that a download or a long step never keeps the process from ending.
                self._thread = threading.Thread(target=self._serve, name="openmodels-local", daemon=True)
                self._thread.start()
            self._wake.notify_all()
        return job

    def stop(self, timeout: float = 0.0) -> None:
        """End the thread and free the model; wait up to `timeout` seconds for it."""
        with self._wake:
            thread = self._thread
            self._stopping = thread is not None
            self._wake.notify_all()
        if thread is not None and timeout:
            thread.join(timeout)

    def _serve(self) -> None:
        while True:
            with self._wake:
                while not (self._stopping or self._waiting or self._running):
                    self._wake.wait()
                if self._stopping:
                    self._end(StreamInterrupted("The model was closed while it answered."))
                    self._loaded = self._batch = self._thread = None
                    self._stopping = False
                    self._wake.notify_all()
                    return
            with self.between_steps:
                self._advance()

    def _advance(self) -> None:
        if self._loaded is None or self._batch is None:
            try:
                loaded = self._open(self._patience())
                self._batch = self._prepare(loaded)
                self._loaded = loaded
            except BaseException as error:  # noqa: BLE001 - whatever it is, the callers wait for it
                self._end(_ours(error, "load"))
                return
        self._admit(self._loaded)
        self._drop(self._batch)
        if not self._running:
            return
        try:
            failed = self._batch.step([job.sequence for job in self._running if job.sequence is not None])
        except BaseException as error:  # noqa: BLE001 - as above
            # It failed before the pass, where room is made: the last one to come goes.
            self._fail(self._running[-1], error)
        else:
            for job in self._running:
                for sequence, reason in failed:
                    if job.sequence is sequence:
                        self._fail(job, reason)
        self._drop(self._batch)

    def _prepare(self, loaded: Loaded) -> Batch:
        decoder = Decoder(loaded, deterministic=self._limits.deterministic)
        free = memory.available()
        if loaded.device.type == "cuda":
            free = torch.cuda.mem_get_info(loaded.device)[0]
        room = self._limits.memory or free // 2
        return Batch(decoder, room=room, kept=min(_KEPT, room // 4))

    def _drop(self, batch: Batch) -> None:
        """Let go of the jobs that are done or not wanted any more."""
        for job in tuple(self._running):
            if job.sequence is None or job.cancelled or job.sequence.finished:
                if job.sequence is not None:
                    batch.release(job.sequence)
                job.sequence = None
                self._running.remove(job)

    def _patience(self) -> float | None:
        """Return when nobody waits for the model any more, on the clock of `time.monotonic()`; None is never."""
        with self._wake:
            deadlines = [job.request.deadline if job.request else None for job in self._waiting if not job.cancelled]
        known = [deadline for deadline in deadlines if deadline is not None]
        return max(known) if known and len(known) == len(deadlines) else None

    def _admit(self, loaded: Loaded) -> None:
        while self._waiting and len(self._running) < self.most:
            job = self._waiting.popleft()
            if job.cancelled:
                continue
            try:
                if job.request is None:
                    job.put(None)
                else:
                    job.sequence = Sequence(job.request, loaded, job.put)
                    self._running.append(job)
            except BaseException as error:  # noqa: BLE001 - as above
                self._fail(job, error)

    def _fail(self, job: Job, error: BaseException) -> None:
        if job.sequence is not None and self._batch is not None:
            self._batch.release(job.sequence)
        job.sequence = None
        failure = _ours(error, "run")
        # The traceback's frames keep the step's tensors alive, and they are what memory is short of.
        traceback.clear_frames(error.__traceback__)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        _deliver(job, failure)

    def _end(self, error: OpenModelsError) -> None:
        with self._wake:
            jobs = [*self._running, *self._waiting]
            self._running.clear()
            self._waiting.clear()
        for job in jobs:
            own = copy.copy(error)
            own.__cause__ = error.__cause__
            _deliver(job, own)


def _deliver(job: Job, error: OpenModelsError) -> None:
    job.cancelled = True
    try:
        job.put(error)
    except RuntimeError:  # the caller's event loop is closed: nobody waits any more
        return


def _ours(error: BaseException, doing: str) -> OpenModelsError:
    if isinstance(error, OpenModelsError):
        return error
    failure: OpenModelsError
    if is_out_of_memory(error):
        failure = OutOfMemory(
            f"Memory ran out while the model was to {doing}.",
            next_step="Shorten the prompt or lower `max_tokens`; other calls are not affected.",
        )
    else:
        failure = LoadFailed(f"The model failed to {doing}: {type(error).__name__}: {error}.")
    failure.__cause__ = error
    return failure


_engines: weakref.WeakSet[Engine] = weakref.WeakSet()
_held: list[Engine] = []


def _before_fork() -> None:
    # A thread does not survive a fork, and locks held by it would stay locked in the child.
    _held[:] = [engine for engine in _engines if engine.between_steps.acquire(timeout=30)]


def _after_fork_in_parent() -> None:
    for engine in _held:
        engine.between_steps.release()
    _held.clear()


def _after_fork_in_child() -> None:
    _held.clear()
    for engine in _engines:
        engine._reset()  # noqa: SLF001 - ours


def _at_exit() -> None:
    for engine in list(_engines):
        engine.stop(timeout=5.0)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
atexit.register(_at_exit)
