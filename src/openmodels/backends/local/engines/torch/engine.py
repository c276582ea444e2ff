"""The engine on transformers: one thread advances all sequences step by step."""

import gc
import traceback
from dataclasses import replace
from typing import Any

import torch

from openmodels.backends.local import generation_config
from openmodels.backends.local.engine_protocol import EngineCapabilities, EngineConfig
from openmodels.backends.local.engines.engine_loop import EngineLoop, QueuedRequest
from openmodels.backends.local.engines.torch import draft_tokens
from openmodels.backends.local.engines.torch.loader import LoadedModel, load, translate_error
from openmodels.backends.local.engines.torch.model_runner import ModelRunner
from openmodels.backends.local.engines.torch.running_sequence import RunningSequence
from openmodels.backends.local.engines.torch.scheduler import (
    AnySequence,
    BatchScheduler,
    Scheduler,
    UnbatchedScheduler,
)
from openmodels.backends.local.engines.torch.scoring import ScoringSequence
from openmodels.backends.local.runtime import RUNTIME
from openmodels.backends.local.weights import memory
from openmodels.backends.local.weights.locate import locate_folder
from openmodels.errors import OpenModelsError
from openmodels.types.scores import ScoreRequest

_MAX_BATCH = 64  # sequences that run at the same time, where memory allows and the caller sets no other number
_RETAINED_BYTES = 512 * 10**6  # bytes of finished sequences retained at most
_NEXT_STEP = "Shorten the prompt or lower `max_tokens`; other calls are not affected."


class TorchEngine(EngineLoop[Scheduler, AnySequence]):
    """Owns a model and the thread that runs it; see `Engine`."""

    thread_name = "openmodels-local"

    def __init__(self, config: EngineConfig) -> None:
        self._config = config
        super().__init__()

    @property
    def loaded(self) -> LoadedModel | None:
        """The model, once it is loaded."""
        return self._model.runner.loaded if self._model else None

    @property
    def scheduler(self) -> Scheduler | None:
        """What schedules the model's sequences, once it is loaded."""
        return self._model

    @property
    def max_running(self) -> int:
        """How many sequences run at the same time at most."""
        if self._model is not None and self._model.runner.unbatched_reason is not None:
            return 1
        return self._config.max_batch or _MAX_BATCH

    def capabilities(self) -> EngineCapabilities:
        """Return what the engine can do."""
        return RUNTIME.engines["transformers"].capabilities

    def describe(self) -> dict[str, Any]:
        """Return how the model runs; empty until it is loaded."""
        if self._model is None:
            return {}
        runner = self._model.runner
        loaded = runner.loaded
        return {
            "path": loaded.model.name_or_path,
            "device": str(loaded.device),
            "dtype": str(loaded.dtype).removeprefix("torch."),
            "context": loaded.context,
            "max_batch": self.max_running,
            "alone": runner.unbatched_reason,
            "not_honoured": list(
                generation_config.not_honoured(loaded.generation_config, generation_config.TRANSFORMERS)
            ),
            "whole_prompt": runner.unbatched.whole_prompt,
            "recompute": runner.unbatched.recompute,
        }

    def _open_model(self, deadline: float | None) -> Scheduler:
        loaded = self._load(deadline)
        runner = ModelRunner(loaded, deterministic=self._config.deterministic)
        scheduler: Scheduler = UnbatchedScheduler(runner)
        if runner.kv_cache is not None:
            budget = self._config.max_kv_bytes or memory.available(loaded.device) // 2
            scheduler = BatchScheduler(
                runner, runner.kv_cache, budget=budget, retained=min(_RETAINED_BYTES, budget // 4)
            )
        memory.return_freed()
        return scheduler

    def _load(self, deadline: float | None) -> LoadedModel:
        config = self._config
        folder = locate_folder(config.model, revision=config.revision, deadline=deadline, dtype=config.dtype)
        loaded = load(folder, device=config.device, dtype=config.dtype, chat_template=config.chat_template)
        if config.draft is None:
            return loaded
        folder = locate_folder(config.draft.removeprefix("local:"), deadline=deadline, dtype=config.dtype)
        smaller = load(folder, device=config.device, dtype=config.dtype)
        draft_tokens.check_vocabulary(smaller.tokenizer, loaded.tokenizer)
        shared = min(smaller.vocab_size or 0, loaded.vocab_size or 0)
        return replace(loaded, draft=draft_tokens.DraftModel(ModelRunner(smaller, deterministic=True), shared))

    def _prepare(self, model: Scheduler, queued: QueuedRequest) -> AnySequence:
        if isinstance(queued.request, ScoreRequest):
            return ScoringSequence(queued, queued.request, model.runner.loaded)
        return RunningSequence(
            queued, queued.request, model.runner.loaded, repetition_stop=self._config.repetition_stop
        )

    def _step(self, model: Scheduler) -> None:
        self._drop_ended(model)
        if not self._running:
            return
        try:
            failures = model.step(self._running)
        except BaseException as error:  # noqa: BLE001 - of any kind: the callers wait for it
            # It failed before the pass, where slots are assigned: the last one to come goes.
            failures = [(self._running[-1], error)]
        for sequence, reason in failures:
            model.discard(sequence)
            self._fail(sequence.queued, reason)
        self._drop_ended(model)

    def _drop_ended(self, scheduler: Scheduler) -> None:
        """Take out the sequences that are complete or cancelled."""
        for sequence in tuple(self._running):
            if sequence.queued.is_cancelled or sequence.is_finished:
                scheduler.release(sequence)
                self._running.remove(sequence)
        if not self._running:
            scheduler.retain_released()

    def _translate_error(self, error: BaseException, action: str) -> OpenModelsError:
        if isinstance(error, OpenModelsError):
            return error  # memory is not short, and collecting garbage takes a second
        failure = translate_error(error, action, _NEXT_STEP)
        # The traceback's frames keep the step's tensors alive, and they are what memory is short of.
        traceback.clear_frames(error.__traceback__)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return failure
