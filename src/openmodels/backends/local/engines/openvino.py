"""OpenVINO GenAI in this process: one thread steps its continuous batch, callers read from mailboxes.

Tokens go in and tokens come out, so the chat template, the stop strings and the ends are our own.
"""

from __future__ import annotations

import atexit
import copy
import itertools
import json
import os
import re
import threading
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from openmodels.backends.local.engines.answer import Answer
from openmodels.errors import InvalidRequest, LoadFailed, OpenModelsError, OutOfMemory, StreamInterrupted
from openmodels.types import ChatRequest, Delta, OutputFormat

if TYPE_CHECKING:
    from openmodels.backends.local.engines.openvino_model import Opened

Put = Callable[[Delta | BaseException | None], None]


@dataclass(slots=True, eq=False)
class Job:
    """A caller's request, or with `request=None` the wish that the model be loaded.

    Attributes:
        put: The caller's mailbox: deltas, or an error; None when a load is done.
        cancelled: Set by the caller; the batch drops the job before its next step.
    """

    request: ChatRequest | None
    put: Put
    cancelled: bool = False
    answer: Answer | None = field(default=None, repr=False)
    handle: Any = field(default=None, repr=False)

    @property
    def finished(self) -> bool:
        """Whether the answer is complete."""
        return self.answer is not None and self.answer.finished


class OpenvinoEngine:
    """Owns a pipeline and the thread that steps it.

    Args:
        open_model: Finds and loads the model, until a deadline; called on the engine's thread, by the first job.
    """

    def __init__(self, open_model: Callable[[float | None], Opened]) -> None:
        self._open = open_model
        self._opened: Opened | None = None
        self._numbers = itertools.count()
        self._reset()
        _engines.add(self)

    def _reset(self) -> None:
        # After a fork the child has the pipeline's memory but not its threads: it loads its own. Freeing
        # the old one would wait for those threads.
        _lost.append(self._opened)
        self._opened = None
        self._wake = threading.Condition()
        self.between_steps = threading.Lock()
        self._waiting: deque[Job] = deque()
        self._running: list[Job] = []
        self._thread: threading.Thread | None = None
        self._stopping = False

    @property
    def _leftover(self) -> bool:
        """Whether the pipeline still holds what was cancelled: its memory is given back by a step."""
        return self._opened is not None and self._opened.pipeline.has_non_finished_requests()

    @property
    def running(self) -> int:
        """The number of answers in the making."""
        return len(self._running)

    def describe(self) -> dict[str, Any]:
        """Return where the model is and how it runs; None where it is not loaded yet."""
        opened = self._opened
        return {
            "path": str(opened.folder) if opened else None,
            "device": "cpu",
            "dtype": opened.dtype if opened else None,
            "context": opened.voice.context if opened else None,
            "kv_gb": opened.kv_gb if opened else None,
        }

    def submit(self, request: ChatRequest | None, put: Put) -> Job:
        """Queue a request (or, with None, a load) and return at once."""
        job = Job(request, put)
        with self._wake:
            while self._stopping and self._thread is not None:
                self._wake.wait()
            self._waiting.append(job)
            if self._thread is None:
                # A daemon, so that a download or a long step never keeps the process from ending.
                self._thread = threading.Thread(target=self._serve, name="openmodels-openvino", daemon=True)
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
                while not (self._stopping or self._waiting or self._running or self._leftover):
                    self._wake.wait()
                if self._stopping:
                    self._end(StreamInterrupted("The model was closed while it answered."))
                    self._opened = self._thread = None
                    self._stopping = False
                    self._wake.notify_all()
                    return
            with self.between_steps:
                self._advance()

    def _advance(self) -> None:
        if self._opened is None:
            try:
                self._opened = self._open(self._patience())
            except BaseException as error:  # noqa: BLE001 - whatever it is, the callers wait for it
                self._end(_ours(error, "load"))
                return
        opened = self._opened
        self._admit(opened)
        for job in self._running:
            if job.cancelled:
                job.handle.cancel()
        try:
            # Without a job of ours, a step lets the pipeline drop what was cancelled.
            if opened.pipeline.has_non_finished_requests():
                opened.pipeline.step()
        except BaseException as error:  # noqa: BLE001 - as above
            # What the pipeline still holds after a failed step is not known: a new one begins empty.
            self._end(_ours(error, "run"))
            self._opened = None
            return
        for job in self._running:
            if not job.cancelled:
                self._read(job)
        self._running[:] = [job for job in self._running if not (job.cancelled or job.finished)]

    def _read(self, job: Job) -> None:
        try:
            _pass_on(job)
        except BaseException as error:  # noqa: BLE001 - as above
            _deliver(job, _ours(error, "run"))
            job.handle.cancel()

    def _patience(self) -> float | None:
        """Return when nobody waits for the model any more, on the clock of `time.monotonic()`; None is never."""
        with self._wake:
            deadlines = [job.request.deadline if job.request else None for job in self._waiting if not job.cancelled]
        known = [deadline for deadline in deadlines if deadline is not None]
        return max(known) if known and len(known) == len(deadlines) else None

    def _admit(self, opened: Opened) -> None:
        while self._waiting:
            job = self._waiting.popleft()
            if job.cancelled:
                continue
            try:
                if job.request is None:
                    job.put(None)
                    continue
                job.answer = Answer(job.request, opened.voice)
                tokens = opened.tensor(job.answer.prompt)
                options = _options(opened, job.request, job.answer)
                job.handle = opened.pipeline.add_request(next(self._numbers), tokens, options)
                self._running.append(job)
            except BaseException as error:  # noqa: BLE001 - as above
                _deliver(job, _ours(error, "run"))

    def _end(self, error: OpenModelsError) -> None:
        with self._wake:
            jobs = [*self._running, *self._waiting]
            self._running.clear()
            self._waiting.clear()
        for job in jobs:
            if job.handle is not None:
                job.handle.cancel()
                job.handle = None
            own = copy.copy(error)
            own.__cause__ = error.__cause__
            _deliver(job, own)


def _pass_on(job: Job) -> None:
    """Give out what the last step made of a job's answer."""
    assert job.answer is not None  # noqa: S101 - running jobs have one
    while not job.answer.finished and job.handle.can_read():
        for output in job.handle.read().values():
            for token in output.generated_ids:
                if (delta := job.answer.accept(token)) is not None:
                    job.put(delta)
                if job.answer.finished:
                    break
    state = job.handle.get_status().name
    if job.answer.finished:
        if state == "RUNNING":  # a stop string, which only we look for
            job.handle.cancel()
    elif state == "IGNORED":
        raise OutOfMemory(
            "The answer does not fit into what OpenVINO may use for its key-value cache.",
            next_step="Shorten the prompt or make fewer calls at once.",
        )
    elif state != "RUNNING":
        job.put(job.answer.end("stop"))


def _options(opened: Opened, request: ChatRequest, answer: Answer) -> Any:
    """Return a request's options as OpenVINO's `GenerationConfig`."""
    sampling = answer.sampling
    options = opened.genai.GenerationConfig()
    options.apply_chat_template = False
    options.max_new_tokens = answer.limit
    ends = opened.voice.ends
    if ends:
        options.set_eos_token_id(ends[0])
    options.stop_token_ids = set(ends)
    options.do_sample = sampling.temperature > 0
    if options.do_sample:
        # A tiny temperature would overflow the division; from there on it is greedy anyway.
        options.temperature = max(sampling.temperature, 1e-4)
        options.top_p = sampling.top_p
        if sampling.top_k:
            options.top_k = sampling.top_k
        options.rng_seed = sampling.seed
    options.repetition_penalty = sampling.repetition
    options.frequency_penalty = request.frequency_penalty or 0.0
    options.presence_penalty = request.presence_penalty or 0.0
    if request.output is not None:
        options.structured_output_config = opened.genai.StructuredOutputConfig(**_grammar(request.output))
    return options


def _grammar(output: OutputFormat) -> dict[str, str]:
    if output.json_schema is not None:
        return {"json_schema": json.dumps(output.json_schema)}
    if output.choices:
        return {"regex": "|".join(f"({re.escape(choice)})" for choice in output.choices)}
    return {"regex": output.pattern} if output.pattern is not None else {"grammar": output.grammar or ""}


def _deliver(job: Job, error: OpenModelsError) -> None:
    job.cancelled = True
    try:
        job.put(error)
    except RuntimeError:  # the caller's event loop is closed: nobody waits any more
        return


def _ours(error: BaseException, doing: str) -> OpenModelsError:
    if isinstance(error, OpenModelsError):
        return error
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = (lines[-1] if lines else type(error).__name__).rstrip(".")[:300]
    failure: OpenModelsError
    if isinstance(error, MemoryError) or "memory" in said.lower():
        failure = OutOfMemory(f"Memory ran out while OpenVINO was to {doing}.", next_step="Shorten the prompt.")
    elif "rammar" in str(error) or "json schema" in str(error).lower():
        failure = InvalidRequest(f"OpenVINO cannot follow this schema or grammar: {said}.")
    else:
        failure = LoadFailed(f"OpenVINO failed to {doing}: {said}.", next_step="Use engine='transformers'.")
    failure.__cause__ = error
    return failure


_engines: weakref.WeakSet[OpenvinoEngine] = weakref.WeakSet()
_held: list[OpenvinoEngine] = []
_lost: list[Opened | None] = []


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
