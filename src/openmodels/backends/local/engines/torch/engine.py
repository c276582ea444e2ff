"""The engine on transformers: one thread owns the model and advances the answers step by step.

A step is one forward pass, shared by all answers in the making (see `batch`).
"""

from __future__ import annotations

import gc
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from openmodels.backends.local.engines.torch.loader import LoadedModel, typed_error
from openmodels.backends.local.engines.torch.loop import Job, Loop
from openmodels.backends.local.engines.torch.model_runner import ModelRunner
from openmodels.backends.local.engines.torch.running_sequence import Sequence
from openmodels.backends.local.engines.torch.scheduler import Batch
from openmodels.backends.local.weights import memory
from openmodels.errors import OpenModelsError, StreamInterrupted
from openmodels.types.request import ChatRequest

_MOST = 64
"""Answers in the making at the same time, where memory allows and nothing else is asked for."""
_KEPT = 512 * 10**6
"""Bytes of finished sequences kept at most."""

_FEWER = "Shorten the prompt or lower `max_tokens`; other calls are not affected."


@dataclass(slots=True, eq=False)
class _Job(Job):
    sequence: Sequence | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Limits:
    """What the answers in the making may take together.

    Attributes:
        batch: Answers in the making at the same time; None is as many as are of use.
        memory: Bytes for keys and values; None is half of what is free once the model is loaded.
        deterministic: One answer at a time, each as if nothing had run before it.
        repetition_stop: Whether a cycle ends an answer.
    """

    batch: int | None = None
    memory: int | None = None
    deterministic: bool = False
    repetition_stop: bool = True


class Engine(Loop[_Job]):
    """Owns a model and the thread that runs it.

    Args:
        open_model: Finds and loads the model, until a deadline; called on the engine's thread, by the first job.
        limits: What the answers may take.
    """

    job = _Job
    thread_name = "openmodels-local"

    def __init__(self, open_model: Callable[[float | None], LoadedModel], limits: Limits = Limits()) -> None:
        self._open = open_model
        self._limits = limits
        self._loaded: LoadedModel | None = None
        self._batch: Batch | None = None
        super().__init__()

    @property
    def loaded(self) -> LoadedModel | None:
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

    @property
    def feeding(self) -> dict[str, str | None]:
        """Why prompts are computed in one pass, and why each token computes the whole sequence; None where not."""
        runner = self._batch.sequential if self._batch and self._batch.alone else None
        return {
            "whole_prompt": runner.whole_prompt if runner else None,
            "recompute": runner.recompute if runner else None,
        }

    def _free(self) -> None:
        self._loaded = self._batch = None

    def _advance(self) -> None:
        if self._loaded is None or self._batch is None:
            self.loading = True
            try:
                loaded = self._open(self._patience())
                self._batch = self._prepare(loaded)
                self._loaded = loaded
                memory.return_freed()
            except BaseException as error:  # noqa: BLE001 - whatever it is, the callers wait for it
                self._end(typed_error(error, "load", _FEWER))
                return
            finally:
                self.loading = False
        self._admit()
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

    def _prepare(self, loaded: LoadedModel) -> Batch:
        model_runner = ModelRunner(loaded, deterministic=self._limits.deterministic)
        free = memory.available()
        if loaded.device.type == "cuda":
            free = torch.cuda.mem_get_info(loaded.device)[0]
        room = self._limits.memory or free // 2
        return Batch(model_runner, room=room, kept=min(_KEPT, room // 4))

    def _drop(self, batch: Batch) -> None:
        """Let go of the jobs that are done or not wanted any more."""
        for job in tuple(self._running):
            if job.sequence is None or job.cancelled or job.sequence.finished:
                if job.sequence is not None:
                    batch.release(job.sequence)
                job.sequence = None
                self._running.remove(job)
        if not self._running:
            batch.settle()

    def _prepared(self, job: _Job, request: ChatRequest) -> Sequence:
        if (loaded := self._loaded) is None:
            raise StreamInterrupted("The model was closed before it answered.")
        return Sequence(request, loaded, job.put, repetition_stop=self._limits.repetition_stop)

    def _join(self, job: _Job, request: ChatRequest) -> None:  # noqa: ARG002 - it is prepared
        job.sequence, job.prepared = job.prepared, None

    def _fail(self, job: _Job, error: BaseException) -> None:
        if job.sequence is not None and self._batch is not None:
            self._batch.discard(job.sequence)
        job.sequence = None
        if isinstance(error, OpenModelsError):
            job.deliver(error)  # nothing is short of memory, and collecting garbage takes a second
            return
        failure = typed_error(error, "run", _FEWER)
        # The traceback's frames keep the step's tensors alive, and they are what memory is short of.
        traceback.clear_frames(error.__traceback__)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        job.deliver(failure)
