"""OpenVINO GenAI in this process: one thread steps its continuous batch.

Tokens go in and tokens come out, so the chat template, the stop strings and the ends of answers are ours.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from openmodels.backends.local import generation_config
from openmodels.backends.local.deltas import is_near_deadline
from openmodels.backends.local.engine_protocol import EngineCapabilities, EngineConfig
from openmodels.backends.local.engines.engine_loop import EngineLoop, QueuedRequest
from openmodels.backends.local.output_processor import OutputProcessor
from openmodels.backends.local.prompt.prepare import PreparedRequest, prepare_request
from openmodels.backends.local.repetition import REPEATED
from openmodels.backends.local.runtime import RUNTIME
from openmodels.errors import InvalidRequest, LoadFailed, OpenModelsError, OutOfMemory
from openmodels.output.grammar.notation import write_grammar
from openmodels.types.request import ChatRequest

if TYPE_CHECKING:
    from openmodels.backends.local.engines.openvino.model import Opened

_log = logging.getLogger(__name__)

_LULL = 0.005  # seconds without a new call after which none is expected to be on its way
_GATHERING = 0.1  # seconds that running answers wait for calls on their way at most
_CYCLE_CHECK = 64  # steps after which a long answer is read before its end, to see whether it is a cycle


class OpenvinoSequence:
    """A request in the pipeline."""

    def __init__(self, queued: QueuedRequest, request: ChatRequest, opened: Opened, *, repetition_stop: bool) -> None:
        self.queued, self.request = queued, request
        self.prepared = prepare_request(request, opened.prompt_config)
        self.output = OutputProcessor(
            request,
            self.prepared.prompt,
            opened.prompt_config,
            max_new_tokens=self.prepared.max_new_tokens,
            repetition_stop=repetition_stop,
        )
        self.handle: Any = None
        self.steps = 0

    def emit_step(self, status: Any) -> None:
        """Emit what the last step made of the answer, where it is looked at.

        Reading takes the time of some steps in a hundred, so an answer that is wanted as a whole is read at its end.
        `status` is the class `GenerationStatus` of OpenVINO GenAI.
        """
        state = self.handle.get_status()
        self.steps += 1
        is_running = state == status.RUNNING
        if is_running and is_read_at_end(self.request, self.steps):
            return
        self._emit(self._unread() if is_running else self.handle.read_all())
        if self.output.is_finished:
            if is_running:  # a stop string or a cycle, which OpenVINO does not look for
                self.handle.cancel()
        elif state == status.IGNORED:
            raise OutOfMemory(
                "The answer does not fit into what OpenVINO may use for its key-value cache.",
                next_step="Shorten the prompt or make fewer calls at once.",
            )
        elif not is_running:
            self.output.end("stop")
            self._put()

    def emit_unread(self) -> None:
        """Emit what the pipeline has made of the answer and was not read."""
        self._emit(self._unread())

    def _emit(self, outputs: Iterable[Any]) -> None:
        for output in outputs:
            for token in output.generated_ids:
                if self.output.is_finished:
                    break
                self.output.add(token)
        self._put()

    def _put(self) -> None:
        if (delta := self.output.take_delta()) is not None:
            self.queued.put(delta)

    def _unread(self) -> Iterator[Any]:
        while self.handle.can_read():
            yield from self.handle.read().values()


def is_read_at_end(request: ChatRequest, steps: int) -> bool:
    """Return whether an answer that has taken so many steps is read only at its end."""
    if steps > REPEATED and steps % _CYCLE_CHECK == 0:
        return False
    return not (request.stream or request.stop or is_near_deadline(request.deadline, time.monotonic()))


class OpenvinoEngine(EngineLoop["Opened", OpenvinoSequence]):
    """Owns a pipeline and the thread that steps it; see `Engine`."""

    thread_name = "openmodels-openvino"

    def __init__(self, config: EngineConfig) -> None:
        self._config = config
        self._numbers = itertools.count()
        super().__init__()

    def _reset(self) -> None:
        # The child of a fork has the pipeline's memory but not its threads: it loads its own.
        if self._model is not None:
            RUNTIME.keep_alive(self._model)
        self._model = None
        super()._reset()

    def capabilities(self) -> EngineCapabilities:
        """Return what the engine can do."""
        return RUNTIME.engines["openvino"].capabilities

    def describe(self) -> dict[str, Any]:
        """Return where the model is and how it runs."""
        if (opened := self._model) is None:
            return {"device": "cpu", "kv_gb": None, "not_honoured": None}
        config = opened.prompt_config
        return {
            "path": str(opened.folder),
            "device": "cpu",
            "dtype": opened.dtype,
            "context": config.context,
            "kv_gb": opened.kv_gb,
            "not_honoured": generation_config.not_honoured(config.generation_config, generation_config.OPENVINO),
        }

    @property
    def _has_leftover(self) -> bool:
        """Whether the pipeline holds cancelled requests, which a step frees."""
        return self._model is not None and self._model.pipeline.has_non_finished_requests()

    def _open_model(self, deadline: float | None) -> Opened:
        from openmodels.backends.local.engines.openvino.model import find_source, open_model

        source, digest = find_source(self._config, deadline)
        return open_model(source, digest, deadline, chat_template=self._config.chat_template)

    def _admit(self, model: Opened) -> None:
        """Let waiting requests join, and those that are on their way.

        A step holds Python's lock, so that none can arrive during it.
        """
        until = time.monotonic() + _GATHERING
        while True:
            count = len(self._running)
            super()._admit(model)
            is_expected = len(self._running) > count or not all(queued.takes_long for queued in tuple(self._preparing))
            if not is_expected or time.monotonic() >= until:
                return
            with self._wake:
                self._wake.wait_for(lambda: self._waiting or self._ready or self._is_stopping, _LULL)

    def _prepare(self, model: Opened, queued: QueuedRequest) -> OpenvinoSequence:
        assert isinstance(queued.request, ChatRequest)  # noqa: S101 - scores are refused before
        return OpenvinoSequence(queued, queued.request, model, repetition_stop=self._config.repetition_stop)

    def _start(self, model: Opened, sequence: OpenvinoSequence) -> None:
        tokens = model.tensor(sequence.prepared.prompt.tokens)
        options = _generation_options(model, sequence.request, sequence.prepared)
        sequence.handle = model.pipeline.add_request(next(self._numbers), tokens, options)

    def _step(self, model: Opened) -> None:
        for sequence in self._running:
            if sequence.queued.is_cancelled:
                sequence.handle.cancel()
        try:
            # Without a request of ours, a step lets the pipeline drop what was cancelled.
            if model.pipeline.has_non_finished_requests():
                model.pipeline.step()
        except BaseException as error:  # noqa: BLE001 - of any kind: the callers wait for it
            # What the pipeline still holds after a failed step is not known: a new one begins empty.
            self._fail_all(self._translate_error(error, "run"))
            self._model = None
            return
        for sequence in self._running:
            if sequence.queued.is_cancelled:
                continue
            try:
                sequence.emit_step(model.genai.GenerationStatus)
            except BaseException as error:  # noqa: BLE001 - as above
                sequence.handle.cancel()
                self._fail(sequence.queued, error)
        self._running[:] = [
            sequence for sequence in self._running if not (sequence.queued.is_cancelled or sequence.output.is_finished)
        ]

    def _translate_error(self, error: BaseException, action: str) -> OpenModelsError:
        if isinstance(error, OpenModelsError):
            return error
        message = last_line(error)
        failure: OpenModelsError
        if isinstance(error, MemoryError) or "memory" in message.lower():
            failure = OutOfMemory(f"Memory ran out while OpenVINO was to {action}.", next_step="Shorten the prompt.")
        elif "rammar" in str(error) or "json schema" in str(error).lower():
            failure = InvalidRequest(f"OpenVINO cannot follow this schema or grammar: {message}.")
        else:
            failure = LoadFailed(f"OpenVINO failed to {action}: {message}.", next_step="Use engine='transformers'.")
        failure.__cause__ = error
        return failure

    def _fail_all(self, error: OpenModelsError) -> None:
        for sequence in self._running:
            if sequence.queued.is_cancelled:
                continue
            try:
                sequence.emit_unread()
            except Exception:  # noqa: BLE001 - the callers wait for the error that ends them, not for this one
                _log.debug("What a pipeline had made before it ended cannot be read.", exc_info=True)
            sequence.handle.cancel()
        super()._fail_all(error)


def _generation_options(opened: Opened, request: ChatRequest, prepared: PreparedRequest) -> Any:
    sampling, generation = prepared.sampling, opened.prompt_config.generation_config
    options = opened.genai.GenerationConfig()
    options.apply_chat_template = False
    options.max_new_tokens = prepared.max_new_tokens
    if eos_token_ids := opened.prompt_config.eos_token_ids:
        options.set_eos_token_id(eos_token_ids[0])
    options.stop_token_ids = set(eos_token_ids)
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
    least = generation_config.least_tokens(generation, len(prepared.prompt.tokens))
    options.min_new_tokens = min(prepared.max_new_tokens, least)
    if size := getattr(generation, "no_repeat_ngram_size", None):
        options.no_repeat_ngram_size = size
    options.frequency_penalty = request.frequency_penalty or 0.0
    options.presence_penalty = request.presence_penalty or 0.0
    if (output := prepared.prompt.output) is not None:
        grammar = write_grammar(output, "gbnf", "openvino")
        options.structured_output_config = opened.genai.StructuredOutputConfig(grammar=grammar)
    return options


def last_line(error: BaseException) -> str:
    """Return the last line of an error of OpenVINO's: its sources come before."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__).rstrip(".")[:300]
