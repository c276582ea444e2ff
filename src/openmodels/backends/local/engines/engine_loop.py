"""The loop of an engine in this process: one thread advances all requests.

Requests are queued from any thread. Each request's deltas go to its caller's `put`. Between two steps requests join,
end, are cancelled, and the process may fork.
"""

import sys
import threading
from abc import abstractmethod
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import ClassVar, Generic, Protocol, TypeVar

from openmodels import background
from openmodels.backends.local.cancellable_thread import CancellableThread, Steps
from openmodels.backends.local.engine_protocol import EngineRequest, Put
from openmodels.backends.local.runtime import ForkSafeThread
from openmodels.errors import OpenModelsError, StreamInterrupted
from openmodels.types.scores import ScoreRequest

_SHORT_PROMPT = 2**14  # characters of a prompt up to which it is short; tokenizing them takes some milliseconds
_PREPARED_AHEAD = 8  # requests that are prepared although there is no place for them yet
_LONG_AHEAD = 4  # requests that may take long which are prepared, or wait for that, ahead of others
_LOADING_WAIT = 0.5  # seconds that closing waits for the end of the loading, which ends late and is not needed any more


@dataclass(slots=True, eq=False)
class QueuedRequest:
    """A request in an engine's queue, and its caller's handle."""

    request: EngineRequest = field(repr=False)
    put: Put = field(repr=False)
    waiting: "deque[QueuedRequest]" = field(default_factory=deque, repr=False)
    takes_long: bool = False  # whether preparing it may take longer than a few milliseconds
    is_cancelled: bool = False  # set by the caller or by an error; the engine drops the request before its next step

    def cancel(self) -> None:
        """Drop the request; one that still waits leaves the queue now."""
        self.is_cancelled = True
        with suppress(ValueError):  # the engine has taken it
            self.waiting.remove(self)

    def fail(self, error: OpenModelsError) -> None:
        """End the request with an error."""
        self.is_cancelled = True
        with suppress(RuntimeError):  # the caller's event loop is closed
            self.put(error)


class PreparedSequence(Protocol):
    """A request that is prepared to run: rendered and tokenized."""

    queued: QueuedRequest


ModelT = TypeVar("ModelT")
SequenceT = TypeVar("SequenceT", bound=PreparedSequence)
_Item = TypeVar("_Item")


class EngineLoop(ForkSafeThread, Generic[ModelT, SequenceT]):
    """The thread and the queue of an engine; a subclass says what a step is.

    Requests are prepared (rendered, tokenized, their grammars compiled) on threads beside the engine's, so that
    no prompt keeps running answers from their next step: short ones on one, those that may take long on another.
    """

    thread_name: ClassVar[str]

    def __init__(self) -> None:
        self._model: ModelT | None = None
        self._preparers = CancellableThread(), CancellableThread()
        super().__init__()

    def _reset(self) -> None:
        super()._reset()
        self._wake = threading.Condition()
        self._loads: list[Future[None]] = []
        self._waiting: deque[QueuedRequest] = deque()
        self._preparing: set[QueuedRequest] = set()
        self._ready: deque[SequenceT] = deque()
        self._running: list[SequenceT] = []
        self._thread: threading.Thread | None = None
        self._is_stopping = False
        self.is_loading = False

    @abstractmethod
    def _open_model(self, deadline: float | None) -> ModelT:
        """Find and load the model, until a `time.monotonic()` deadline."""

    @abstractmethod
    def _prepare(self, model: ModelT, queued: QueuedRequest) -> SequenceT:
        """Return the sequence of a request; not called on the engine's thread."""

    def _start(self, model: ModelT, sequence: SequenceT) -> None:
        """Begin an answer."""

    @abstractmethod
    def _step(self, model: ModelT) -> None:
        """Advance the running sequences by a step, and take out those that have ended."""

    @abstractmethod
    def _translate_error(self, error: BaseException, action: str) -> OpenModelsError:
        """Return the error for callers; `action` is what failed: "load" or "run"."""

    @property
    def _has_leftover(self) -> bool:
        """Whether there is work without a request."""
        return False

    @property
    def max_running(self) -> int:
        """How many answers are computed at the same time at most."""
        return sys.maxsize

    @property
    def running(self) -> int:
        """How many answers are computed now."""
        return len(self._running)

    def load(self) -> None:
        """Load the model, or wait until it is loaded; see `Engine.load`."""
        loaded: Future[None] = Future()
        self._enqueue(self._loads, loaded)
        loaded.result()

    def submit(self, request: EngineRequest, put: Put) -> QueuedRequest:
        """Queue a request and return at once; see `Engine.submit`."""
        queued = QueuedRequest(request, put, self._waiting, _takes_long(request))
        self._enqueue(self._waiting, queued)
        return queued

    def close(self, timeout: float = 30.0) -> None:
        """Free the model and end the thread; see `Engine.close`."""
        self.stop(min(timeout, _LOADING_WAIT) if self.is_loading else timeout)

    def stop(self, timeout: float = 0.0) -> None:
        """End the thread and free the model; wait up to `timeout` seconds for it."""
        with self._wake:
            thread = self._thread
            self._is_stopping = thread is not None
            self._wake.notify_all()
        if thread is not None and self.is_loading:
            background.cancel(thread)
        for preparer in self._preparers:
            preparer.stop()
        if thread is not None and timeout:
            thread.join(timeout)

    def _enqueue(self, waiting: list[_Item] | deque[_Item], item: _Item) -> None:
        with self._wake:
            self._wake.wait_for(lambda: self._thread is None or not self._is_stopping)
            waiting.append(item)
            if self._thread is None:
                # A daemon, so that a download or a long step never keeps the process from ending.
                self._thread = threading.Thread(target=self._serve, name=self.thread_name, daemon=True)
                self._thread.start()
                for preparer in self._preparers:
                    # Now and not when memory is short: a thread that finds none for its stack ends the process.
                    preparer.start()
            self._wake.notify_all()

    def _serve(self) -> None:
        while True:
            with self._wake:
                while not (self._is_stopping or self._has_work):
                    self._wake.wait()
                if self._is_stopping:
                    self._fail_all(StreamInterrupted("The model was closed while it answered."))
                    self._model = None
                    self._thread = None
                    self._is_stopping = False
                    self._wake.notify_all()
                    return
            with self.between_steps:
                self._advance()

    def _advance(self) -> None:
        """Load the model if need be, let requests join, and do one step; raises nothing."""
        if (model := self._model) is None:
            self.is_loading = True
            try:
                model = self._open_model(self._loading_deadline)
            except BaseException as error:  # noqa: BLE001 - of any kind: the callers wait for it
                self._fail_all(self._translate_error(error, "load"))
                return
            finally:
                self.is_loading = False
            self._model = model
        for loaded in self._take_loads():
            loaded.set_result(None)
        self._admit(model)
        self._step(model)

    @property
    def _has_work(self) -> bool:
        if self._running or self._ready or self._loads or self._has_leftover:
            return True
        places, long_places = self._places
        return places > 0 and any(not queued.takes_long or long_places for queued in tuple(self._waiting))

    @property
    def _places(self) -> tuple[int, int]:
        """How many requests may be prepared now, and how many of them may take long."""
        taken = len(self._running) + len(self._ready) + len(self._preparing)
        long = sum(queued.takes_long for queued in tuple(self._preparing))
        return self.max_running + _PREPARED_AHEAD - taken, _LONG_AHEAD - long

    def _admit(self, model: ModelT) -> None:
        """Let waiting requests be prepared, and prepared ones join, as many as may."""
        places, long_places = self._places
        passed: list[QueuedRequest] = []
        while self._waiting and places > 0:
            queued = self._waiting.popleft()
            if queued.is_cancelled:
                continue
            if queued.takes_long and not long_places:
                passed.append(queued)  # those behind it do not wait for it
            else:
                places, long_places = places - 1, long_places - queued.takes_long
                self._preparing.add(queued)
                self._preparers[queued.takes_long].submit(self._preparation(queued))
        self._waiting.extendleft(reversed(passed))
        while self._ready and len(self._running) < self.max_running:
            sequence = self._ready.popleft()
            if sequence.queued.is_cancelled:
                continue
            try:
                self._start(model, sequence)
                self._running.append(sequence)
            except BaseException as error:  # noqa: BLE001 - of any kind: the caller waits for it
                self._fail(sequence.queued, error)

    def _preparation(self, queued: QueuedRequest) -> Steps[None]:
        sequence: SequenceT | None = None
        try:
            if (model := self._model) is None:
                raise StreamInterrupted("The model was closed before it answered.")
            if not queued.is_cancelled:
                sequence = self._prepare(model, queued)
        except BaseException as error:  # noqa: BLE001 - of any kind: the caller waits for it
            self._fail(queued, error)
        with self._wake:
            self._preparing.discard(queued)
            if sequence is not None and not queued.is_cancelled:
                self._ready.append(sequence)
            self._wake.notify_all()
        return
        yield

    @property
    def _loading_deadline(self) -> float | None:
        """The `time.monotonic()` value at which the last caller gives up; None is never."""
        with self._wake:
            deadlines = [queued.request.deadline for queued in self._waiting if not queued.is_cancelled]
            known = [deadline for deadline in deadlines if deadline is not None]
            return max(known) if known and len(known) == len(deadlines) and not self._loads else None

    def _fail(self, queued: QueuedRequest, error: BaseException) -> None:
        queued.fail(self._translate_error(error, "run"))

    def _fail_all(self, error: OpenModelsError) -> None:
        """End all requests with an error."""
        with self._wake:
            sequences = [*self._running, *self._ready]
            requests = [*(sequence.queued for sequence in sequences), *self._preparing, *self._waiting]
            for collection in (self._running, self._ready, self._preparing, self._waiting):
                collection.clear()
            loads = self._take_loads()
        for queued in requests:
            queued.fail(background.copy_error(error))
        for loaded in loads:
            loaded.set_exception(background.copy_error(error))

    def _take_loads(self) -> list[Future[None]]:
        with self._wake:
            loads = self._loads.copy()
            self._loads.clear()
        return loads


def _takes_long(request: EngineRequest) -> bool:
    """Return whether preparing a request may take more than a few milliseconds."""
    if isinstance(request, ScoreRequest):
        if sum(map(len, request.continuations)) > _SHORT_PROMPT:
            return True
        request = request.to_chat()
    if request.output is not None or request.tools or any(message.images for message in request.messages):
        return True
    return len(request.prompt or "") + sum(len(message.text) for message in request.messages) > _SHORT_PROMPT
