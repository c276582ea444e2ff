"""`local:`: open weights run on this machine by transformers, in a step loop of our own."""

from __future__ import annotations

import asyncio
import importlib
import os
import queue
import sys
import threading
import time
import weakref
from collections.abc import AsyncGenerator, Callable, Generator
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from openmodels import settings
from openmodels.backends.base import Backend
from openmodels.backends.local.collector import collector_paused
from openmodels.backends.registry import BUILT_IN, missing_extra
from openmodels.errors import DeadlineExceeded, InvalidReference, InvalidRequest
from openmodels.types import SAMPLING_OPTIONS, ChatRequest, Delta

if TYPE_CHECKING:
    from openmodels.backends.local.engine import Engine
    from openmodels.backends.local.loader import Loaded

_LATE = "The call's total time is up."
_LATER = "Raise `timeout` or lower `max_tokens`; a first call also loads the model, which `load()` does ahead."


class LocalBackend(Backend):
    """Runs a model's weights on this machine.

    Args:
        rest: A Hub id ("org/model", "org/model@revision", "org/model/file.gguf"), a folder or a
            .gguf file.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        dtype: "auto", "float32", "bfloat16" or "float16"; "auto" is what the device is fast at.
        revision: Branch, tag or commit on the Hub; the same as "@revision" in the reference.
        max_batch: Answers in the making at the same time; more calls wait for their turn.
        max_kv_gb: 10^9 bytes that their keys and values may take; "auto" is half of what is free
            once the weights are loaded.
        deterministic: Run one answer at a time and keep nothing between them, so that a greedy or
            seeded text never depends on what else was asked.

    Raises:
        InvalidReference: `rest` is empty.
        MissingExtra: torch or transformers is not installed.
    """

    name: ClassVar[str] = "local"
    features: ClassVar[frozenset[str]] = frozenset({"chat", "complete"})
    options = frozenset({*SAMPLING_OPTIONS, "extra"})

    def __init__(
        self,
        rest: str,
        *,
        device: str = "auto",
        dtype: str = "auto",
        revision: str | None = None,
        max_batch: int | Literal["auto"] = "auto",
        max_kv_gb: float | Literal["auto"] = "auto",
        deterministic: bool = False,
    ) -> None:
        super().__init__(rest)
        if not rest:
            raise InvalidReference(
                "'local:' does not name a model.",
                next_step=f"For the small default model write {settings.DEFAULT_MODEL!r}.",
            )
        for option, value in {"device": device, "dtype": dtype, "revision": revision}.items():
            if value is not None and (not isinstance(value, str) or not value):
                raise InvalidRequest(f"{option}: expected text, not {value!r}.")
        for option, number in {"max_batch": max_batch, "max_kv_gb": max_kv_gb}.items():
            whole = option == "max_batch"
            if number != "auto" and (isinstance(number, bool | str) or number <= 0 or (whole and number % 1)):
                raise InvalidRequest(f"{option}: expected 'auto' or a positive number, not {number!r}.")
        self._limits = (
            None if max_batch == "auto" else int(max_batch),
            None if max_kv_gb == "auto" else int(max_kv_gb * 1e9),
            deterministic,
        )
        if missing := BUILT_IN[self.name].missing():
            raise missing_extra(self.name, "local", ModuleNotFoundError(name=missing[0]))
        self._device, self._dtype, self._revision = device, dtype, revision
        self._engine: Engine | None = None
        self._lock = threading.Lock()

    def run(self, request: ChatRequest) -> Generator[Delta, None, None]:
        """Yield the answer's deltas; closing the generator frees the engine within a step."""
        mailbox: queue.SimpleQueue[Delta | BaseException | None] = queue.SimpleQueue()
        job = self._opened().submit(request, mailbox.put)
        try:
            while True:
                try:
                    item = mailbox.get(timeout=_left(request.deadline))
                except queue.Empty:
                    raise DeadlineExceeded(_LATE, next_step=_LATER) from None
                yield self._read(item)
                if isinstance(item, Delta) and item.finish_reason:
                    return
        finally:
            job.cancelled = True

    async def arun(self, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        """Yield the answer's deltas; the event loop only ever waits for its mailbox."""
        mailbox: asyncio.Queue[Delta | BaseException | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        # The first call imports torch, which takes seconds; later ones only take a lock.
        engine = self._engine
        if engine is None:
            engine = await asyncio.to_thread(self._opened)
        job = engine.submit(request, lambda item: _post(loop, mailbox, item))
        try:
            while True:
                try:
                    async with asyncio.timeout(_left(request.deadline)):
                        item = await mailbox.get()
                except TimeoutError:
                    raise DeadlineExceeded(_LATE, next_step=_LATER) from None
                yield self._read(item)
                if isinstance(item, Delta) and item.finish_reason:
                    return
        finally:
            job.cancelled = True

    def load(self) -> None:
        """Find, download and read the weights now.

        Raises:
            LoadFailed: The files are missing, broken, unsafe or too large.
            Offline: They are not on this disk and the network is off or out of reach.
        """
        mailbox: queue.SimpleQueue[Delta | BaseException | None] = queue.SimpleQueue()
        self._opened().submit(None, mailbox.put)
        if isinstance(item := mailbox.get(), BaseException):
            raise item

    def close(self) -> None:
        """Free the weights and end the engine's thread."""
        with self._lock:
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.stop(timeout=30.0)

    def describe(self) -> dict[str, Any]:
        """Return how the model runs; None is what is not known until it is loaded.

        "context" is in tokens, "max_batch" in answers, "alone" says why the model takes one answer at
        a time.
        """
        loaded = self._engine.loaded if self._engine else None
        return {
            "backend": self.name,
            "model": self.rest,
            "engine": "transformers",
            "path": loaded.model.name_or_path if loaded else None,
            "device": str(loaded.device) if loaded else None,
            "dtype": str(loaded.dtype).removeprefix("torch.") if loaded else None,
            "context": loaded.context if loaded else None,
            "max_batch": self._engine.most if loaded and self._engine else None,
            "alone": self._engine.alone if self._engine else None,
            "reason": "transformers reads every supported architecture on every device",
        }

    def _read(self, item: Delta | BaseException | None) -> Delta:
        if isinstance(item, BaseException):
            raise item
        assert item is not None  # noqa: S101 - None answers only a load
        item.model = self.rest
        return item

    def _opened(self) -> Engine:
        with self._lock:
            if (engine := self._engine) is None:
                with collector_paused():
                    _import_torch()
                    from openmodels.backends.local.engine import Engine, Limits

                opener = _opener(self.rest, self._revision, self._device, self._dtype)
                engine = self._engine = Engine(opener, Limits(*self._limits))
                # The thread keeps the engine alive, so the engine must not keep the backend alive.
                weakref.finalize(self, engine.stop)
            return engine


def _import_torch() -> None:
    """Import torch with OpenMP's threads set to sleep, not spin, while they wait for each other.

    Spinning threads of two processes starve each other: on two busy cores it costs a factor of ten
    and more, and gains nothing measurable on idle ones. OpenMP reads the variable when it is loaded.
    """
    if "torch" in sys.modules or {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & os.environ.keys():
        return
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    try:
        importlib.import_module("torch")
    finally:
        del os.environ["OMP_WAIT_POLICY"]


def _opener(rest: str, revision: str | None, device: str, dtype: str) -> Callable[[float | None], Loaded]:
    def open_model(deadline: float | None) -> Loaded:
        from openmodels.backends.local.loader import load
        from openmodels.backends.local.weights import locate

        return load(locate(rest, revision=revision, deadline=deadline), device=device, dtype=dtype)

    return open_model


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def _post(loop: asyncio.AbstractEventLoop, mailbox: asyncio.Queue[Any], item: Any) -> None:
    loop.call_soon_threadsafe(mailbox.put_nowait, item)
