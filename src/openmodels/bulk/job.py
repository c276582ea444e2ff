"""A bulk run without threads or loops: which item is next, what becomes of it, when to stop."""

from __future__ import annotations

import hashlib
import operator
import os
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol

from typing_extensions import Unpack

from openmodels.bulk.items import BulkItem, BulkSummary
from openmodels.bulk.journal import Journal
from openmodels.core.concurrency import ConcurrencyLimiter
from openmodels.core.request import ChatCall
from openmodels.core.stream import validate_reply
from openmodels.errors import (
    AccessDenied,
    AuthenticationFailed,
    ConnectionFailed,
    EndpointRetired,
    InvalidRequest,
    LoadFailed,
    MissingExtra,
    ModelNotFound,
    NotConfigured,
    Offline,
    OpenModelsError,
    OutOfMemory,
    QuotaExceeded,
    RateLimited,
    ServerFailed,
)
from openmodels.types.options import CallOptions
from openmodels.types.reply import Reply

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

CONCURRENCY = 16
"""How many calls are under way at once when the caller does not say."""
LOOK_AHEAD = 8
"""So many times `concurrency` prompts are read before the oldest of them must be answered."""
RATE_LIMIT_TRIES = 10
"""How often an item is tried again because of rate limits, beyond the retries of each call."""

FATAL = (
    AccessDenied,
    AuthenticationFailed,
    EndpointRetired,
    LoadFailed,
    MissingExtra,
    ModelNotFound,
    NotConfigured,
    Offline,
    QuotaExceeded,
)
"""What would fail every item: it ends the run. `OutOfMemory` alone of `LoadFailed` may be one item's."""
_OUTAGE = (ConnectionFailed, OutOfMemory, RateLimited, ServerFailed)
"""What ends the run when nothing but these happens for `3 * concurrency` items."""


class MapOptions(CallOptions, total=False):
    """The options of `Model.map`; those of `CallOptions` are for each call.

    Attributes:
        concurrency: How many calls may be under way at once; default 16.
        save: A JSONL file for finished items. If it is there, the run goes on where it stopped:
            what is done comes from the file, errors are tried again.
        progress: Whether to show a bar, where standard error is a terminal; default true.
        method: "chat", or "complete" for prompts without a chat template; default "chat".
    """

    concurrency: int
    save: str | os.PathLike[str] | None
    progress: bool
    method: Literal["chat", "complete"]


class Asked(Protocol):
    """What is needed of a model."""

    reference: str
    max_retries: int

    def achat(self, messages: Any, **options: Unpack[CallOptions]) -> Coroutine[Any, Any, Reply]:
        """Chat."""

    def acomplete(self, prompt: str, **options: Unpack[CallOptions]) -> Coroutine[Any, Any, Reply]:
        """Continue a text."""


Prepare = Callable[..., ChatCall]
"""Checks a call, given the feature, what is said and the options, and says what it would send."""


@dataclass(slots=True)
class Plan:
    """What `Model.map` puts together.

    Attributes:
        reference: The model's reference.
        prompts: The input, read once and lazily.
        ask: Makes one call.
        prepare: Checks one call and says what it would send.
        concurrency: How many calls at once.
        save: The file that keeps what is done, or None.
        progress: Whether to show a bar on a terminal.
        patient: Whether to go on after rate limits.
    """

    reference: str
    prompts: Iterable[Any]
    ask: Callable[[Any], Awaitable[Reply]]
    prepare: Callable[[Any], ChatCall]
    concurrency: int = CONCURRENCY
    save: str | os.PathLike[str] | None = None
    progress: bool = True
    patient: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.concurrency, bool) or not isinstance(self.concurrency, int) or self.concurrency < 1:
            raise InvalidRequest("concurrency: expected a whole number, 1 or more.")
        if isinstance(self.prompts, str | bytes) or not isinstance(self.prompts, Iterable):
            raise InvalidRequest(f"prompts: expected many prompts, not {type(self.prompts).__name__}.")


def plan(model: Asked, prepare: Prepare, prompts: Iterable[Any], options: MapOptions) -> Plan:
    """Return the plan of a run, its options checked.

    Raises:
        InvalidRequest: An option is wrong, or `prompts` is no collection of prompts.
    """
    given: dict[str, Any] = dict(options)
    own = {name: given.pop(name) for name in ("concurrency", "save", "progress") if name in given}
    method = given.pop("method", "chat")
    if method not in ("chat", "complete"):
        raise InvalidRequest(f"method: expected 'chat' or 'complete', not {method!r}.")

    def prepared(prompt: Any) -> ChatCall:
        return prepare(method, prompt, given, stream=False)

    prepared("x")  # so that wrong options are an error now, and not one of each item
    ask = partial(model.achat if method == "chat" else model.acomplete, **given)
    patient = given.get("max_retries", model.max_retries) > 0
    return Plan(model.reference, prompts, ask, prepared, patient=patient, **own)


class Job:
    """One run: which item is next, what becomes of it, and when to stop. Knows no thread."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.summary = BulkSummary()
        self.ahead = LOOK_AHEAD * plan.concurrency
        self._limiter = ConcurrencyLimiter(plan.concurrency, RATE_LIMIT_TRIES if plan.patient else 0)
        self._numbered: Iterator[tuple[int, Any]] = enumerate(plan.prompts)
        self._journal = Journal(plan.save) if plan.save is not None else None
        if self._journal is not None:
            self.summary.damaged = self._journal.damaged
        self._began = time.perf_counter()
        self._streak = 0
        self._stopped: Exception | None = None  # what ended the calls
        self._broken: Exception | None = None  # what ended the input
        self._bar = _bar(plan)

    def next(self) -> BulkItem | Coroutine[Any, Any, BulkItem | None] | None:
        """Return the next item where it is done already, else the work that makes it; None is the end."""
        if self._stopped is not None or self._broken is not None:
            return None
        try:
            index, prompt = next(self._numbered, (-1, None))
            if index < 0:
                return None
            key = None
            if self._journal is not None:
                key, kept = self._kept(self._journal, index, prompt)
                if kept is not None:
                    item = BulkItem(index, prompt, kept, resumed=True)
                    self._count(item)
                    return item
        except Exception as error:  # noqa: BLE001 - it is raised once what came before it is delivered
            self._broken = error
            return None
        return self._make(index, prompt, key)

    @property
    def is_draining(self) -> bool:
        """Whether nothing new begins, but the calls under way are still worth waiting for."""
        return isinstance(self._stopped, OSError)

    def end(self) -> None:
        """Raise what ended the run early, if anything did."""
        if error := self._stopped or self._broken:
            raise error

    def close(self) -> None:
        """Close file and bar; the summary's time stands still."""
        self.summary.seconds = time.perf_counter() - self._began
        if self._journal is not None:
            try:
                self._journal.close()
            except OSError as error:
                self._stopped = self._stopped or error
        if self._bar is not None:
            self._bar[0].stop()

    def _kept(self, journal: Journal, index: int, prompt: Any) -> tuple[str | None, Reply | None]:
        try:
            call = self.plan.prepare(prompt)
        except InvalidRequest:
            return None, None  # the call itself will say so
        said = call.request.model_dump_json(exclude={"stream", "deadline"}, exclude_defaults=True)
        key = hashlib.sha256(f"{self.plan.reference}\n{said}".encode()).hexdigest()[:32]
        kept = journal.find(index, key)
        if kept is not None:
            try:
                kept = validate_reply(kept, call.validators)
            except OpenModelsError:
                kept = None
        return key, kept

    async def _make(self, index: int, prompt: Any, key: str | None) -> BulkItem | None:
        """Return the item, or None if the run stopped before it was done."""

        async def ask() -> Reply | None:
            return None if self._stopped is not None else await self.plan.ask(prompt)

        try:
            reply = await self._limiter.run(ask)
            if reply is None:
                return None
            item = BulkItem(index, prompt, reply)
        except OpenModelsError as error:
            if self._ends_all(error):
                self._stopped = self._stopped or error
                return None
            item = BulkItem(index, prompt, error=error)
        except Exception as error:  # noqa: BLE001 - no error of a model: raised in its turn
            self._stopped = self._stopped or error
            return None
        if self._journal is not None:
            try:
                self._journal.add(index, key, reply if item.reply else item.error)  # type: ignore[arg-type]
            except OSError as error:
                self._stopped = self._stopped or error
        self._count(item)
        return item

    def _ends_all(self, error: OpenModelsError) -> bool:
        if isinstance(error, FATAL) and not isinstance(error, OutOfMemory):
            return True
        self._streak = self._streak + 1 if isinstance(error, _OUTAGE) else 0
        return self._streak > 3 * self.plan.concurrency

    def _count(self, item: BulkItem) -> None:
        if item.reply is not None and not item.resumed:
            self._streak = 0
        self.summary.add(item)
        self.summary.seconds = time.perf_counter() - self._began
        if self._bar is not None:
            bar, task = self._bar
            told = f"{self.summary.tokens_per_second:,.0f} tokens/s, {self.summary.failed} failed"
            bar.update(task, advance=1, told=told)


def _bar(plan: Plan) -> tuple[Progress, TaskID] | None:
    if not plan.progress:
        return None
    from rich import progress
    from rich.console import Console

    console = Console(stderr=True)
    if not (console.is_terminal or console.is_jupyter):
        return None
    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TimeRemainingColumn(),
        progress.TextColumn("{task.fields[told]}"),
    )
    bar = progress.Progress(*columns, console=console)
    bar.start()
    total = operator.length_hint(plan.prompts) or None
    return bar, bar.add_task(plan.reference, total=total, told="")
