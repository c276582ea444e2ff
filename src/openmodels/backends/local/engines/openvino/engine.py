"""OpenVINO GenAI in this process: one thread steps its continuous batch, callers read from mailboxes.

Tokens go in and tokens come out, so the chat template, the stop strings and the ends are our own.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from openmodels.backends.local import generation_config
from openmodels.backends.local.choices import near_deadline
from openmodels.backends.local.engines.token_stream import Answer
from openmodels.backends.local.engines.torch.loop import Job, Loop
from openmodels.backends.local.repetition import REPEATED
from openmodels.errors import InvalidRequest, LoadFailed, OpenModelsError, OutOfMemory, StreamInterrupted
from openmodels.output.grammar.request_grammar import written
from openmodels.types.request import ChatRequest

if TYPE_CHECKING:
    from openmodels.backends.local.engines.openvino.model import Opened

_log = logging.getLogger(__name__)

_LULL = 0.005
"""Seconds without a new call after which none is taken to be on its way."""
_GATHERING = 0.1
"""Seconds that running answers wait for calls on their way at most."""
_LOOK = 64
"""Steps after which a long answer that is wanted whole is read all the same, to see whether it is a cycle."""


@dataclass(slots=True, eq=False)
class _Job(Job):
    answer: Answer | None = field(default=None, repr=False)
    handle: Any = field(default=None, repr=False)
    steps: int = 0

    @property
    def finished(self) -> bool:
        """Whether the answer is complete."""
        return self.answer is not None and self.answer.finished

    @property
    def whole(self) -> bool:
        """Whether nobody looks at the answer before its end: neither a reader nor, for a stop string, we."""
        assert self.request is not None  # noqa: S101 - it has joined
        if self.steps > REPEATED and self.steps % _LOOK == 0:
            return False
        return not (self.request.stream or self.request.stop or near_deadline(self.request.deadline, time.monotonic()))

    def deliver(self, error: OpenModelsError) -> None:
        """End the job with an error, and its work."""
        if self.handle is not None:
            self.handle.cancel()
        Job.deliver(self, error)


_lost: list[Opened | None] = []


class OpenvinoEngine(Loop[_Job]):
    """Owns a pipeline and the thread that steps it.

    Args:
        open_model: Finds and loads the model, until a deadline; called on the engine's thread, by the first job.
        repetition_stop: Whether a cycle ends an answer.
    """

    job = _Job
    thread_name = "openmodels-openvino"

    def __init__(self, open_model: Callable[[float | None], Opened], *, repetition_stop: bool = True) -> None:
        self._open = open_model
        self._repetition_stop = repetition_stop
        self._opened: Opened | None = None
        self._numbers = itertools.count()
        super().__init__()

    def _reset(self) -> None:
        # After a fork the child has the pipeline's memory but not its threads: it loads its own. Freeing
        # the old one would wait for those threads.
        _lost.append(self._opened)
        self._opened = None
        super()._reset()

    @property
    def _leftover(self) -> bool:
        """Whether the pipeline still holds what was cancelled: its memory is given back by a step."""
        return self._opened is not None and self._opened.pipeline.has_non_finished_requests()

    def describe(self) -> dict[str, Any]:
        """Return where the model is and how it runs; None where it is not loaded yet."""
        opened = self._opened
        return {
            "path": str(opened.folder) if opened else None,
            "device": "cpu",
            "dtype": opened.dtype if opened else None,
            "context": opened.prompt_config.context if opened else None,
            "kv_gb": opened.kv_gb if opened else None,
            "not_honoured": (
                list(generation_config.not_honoured(opened.prompt_config.generation_config, generation_config.OPENVINO))
                if opened
                else None
            ),
        }

    def _free(self) -> None:
        self._opened = None

    def _advance(self) -> None:
        if self._opened is None:
            self.loading = True
            try:
                self._opened = self._open(self._patience())
            except BaseException as error:  # noqa: BLE001 - whatever it is, the callers wait for it
                self._end(_ours(error, "load"))
                return
            finally:
                self.loading = False
        opened = self._opened
        self._admit()
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
            if job.cancelled:
                continue
            try:
                _pass_on(job, opened.genai.GenerationStatus)
            except BaseException as error:  # noqa: BLE001 - as above
                self._fail(job, error)
        self._running[:] = [job for job in self._running if not (job.cancelled or job.finished)]

    def _admit(self) -> None:
        """Let waiting jobs join, and those on their way: a step holds Python's lock, so nobody gets on during it."""
        until = time.monotonic() + _GATHERING
        while True:
            count = len(self._running)
            super()._admit()
            expected = len(self._running) > count or not all(job.takes_long for job in tuple(self._preparing))
            if not expected or time.monotonic() >= until:
                return
            with self._wake:
                self._wake.wait_for(lambda: self._waiting or self._ready or self._stopping, _LULL)

    def _prepared(self, job: _Job, request: ChatRequest) -> Answer:  # noqa: ARG002 - the answer is all
        if (opened := self._opened) is None:
            raise StreamInterrupted("The model was closed before it answered.")
        return Answer(request, opened.prompt_config, repetition_stop=self._repetition_stop)

    def _join(self, job: _Job, request: ChatRequest) -> None:
        opened = self._opened
        assert opened is not None  # noqa: S101 - loaded before
        job.answer = job.prepared
        assert job.answer is not None  # noqa: S101 - prepared before
        tokens = opened.tensor(job.answer.prompt)
        options = _options(opened, request, job.answer)
        job.handle = opened.pipeline.add_request(next(self._numbers), tokens, options)

    def _fail(self, job: _Job, error: BaseException) -> None:
        job.deliver(_ours(error, "run"))

    def _end(self, error: OpenModelsError) -> None:
        for job in self._running:
            if job.cancelled:
                continue
            try:
                _read(job, _outputs(job.handle))
            except Exception:  # noqa: BLE001 - the callers wait for the error that ends them, not for this one
                _log.debug("What a pipeline had made before it ended cannot be read.", exc_info=True)
        super()._end(error)


def _read(job: _Job, outputs: Iterable[Any]) -> None:
    """Give out what the pipeline has made of a job's answer since it was last read."""
    assert job.answer is not None  # noqa: S101 - running jobs have one
    for output in outputs:
        for token in output.generated_ids:
            if job.answer.finished:
                return
            if (delta := job.answer.accept(token)) is not None:
                job.put(delta)


def _outputs(handle: Any) -> Iterator[Any]:
    while handle.can_read():
        yield from handle.read().values()


def _pass_on(job: _Job, states: Any) -> None:
    """Give out what the last step made of a job's answer, where somebody looks at it.

    Reading takes the time of some steps in a hundred, so an answer that is wanted whole is read at its end.
    """
    assert job.answer is not None  # noqa: S101 - running jobs have one
    state = job.handle.get_status()
    job.steps += 1
    if state == states.RUNNING and job.whole:
        return
    _read(job, _outputs(job.handle) if state == states.RUNNING else job.handle.read_all())
    if job.answer.finished:
        if state == states.RUNNING:  # a stop string or a cycle, which only we look for
            job.handle.cancel()
    elif state == states.IGNORED:
        raise OutOfMemory(
            "The answer does not fit into what OpenVINO may use for its key-value cache.",
            next_step="Shorten the prompt or make fewer calls at once.",
        )
    elif state != states.RUNNING:
        job.put(job.answer.end("stop"))


def _options(opened: Opened, request: ChatRequest, answer: Answer) -> Any:
    """Return a request's options as OpenVINO's `GenerationConfig`."""
    sampling = answer.sampling
    options = opened.genai.GenerationConfig()
    options.apply_chat_template = False
    options.max_new_tokens = answer.limit
    ends = opened.prompt_config.eos_token_ids
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
        options.min_p = sampling.min_p
        options.rng_seed = sampling.seed
    options.repetition_penalty = sampling.repetition_penalty
    generation = opened.prompt_config.generation_config
    options.min_new_tokens = min(answer.limit, generation_config.least_tokens(generation, len(answer.prompt)))
    if size := getattr(generation, "no_repeat_ngram_size", None):
        options.no_repeat_ngram_size = size
    options.frequency_penalty = request.frequency_penalty or 0.0
    options.presence_penalty = request.presence_penalty or 0.0
    if answer.output is not None:
        options.structured_output_config = opened.genai.StructuredOutputConfig(
            grammar=written(answer.output, "gbnf", "openvino")
        )
    return options


def last_line(error: BaseException) -> str:
    """Return what an error of OpenVINO's says in the end, behind the places in its sources."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__).rstrip(".")[:300]


def _ours(error: BaseException, doing: str) -> OpenModelsError:
    if isinstance(error, OpenModelsError):
        return error
    said = last_line(error)
    failure: OpenModelsError
    if isinstance(error, MemoryError) or "memory" in said.lower():
        failure = OutOfMemory(f"Memory ran out while OpenVINO was to {doing}.", next_step="Shorten the prompt.")
    elif "rammar" in str(error) or "json schema" in str(error).lower():
        failure = InvalidRequest(f"OpenVINO cannot follow this schema or grammar: {said}.")
    else:
        failure = LoadFailed(f"OpenVINO failed to {doing}: {said}.", next_step="Use engine='transformers'.")
    failure.__cause__ = error
    return failure
