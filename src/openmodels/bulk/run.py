"""A bulk run: which item is next, how its call ends, and when the run stops."""

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
"""Default number of calls in flight."""
LOOK_AHEAD = 8
"""How many times `concurrency` prompts are read before the oldest of them must be answered."""
RATE_LIMIT_TRIES = 10
"""How often one item is retried because of rate limits, beyond the retries of each call."""

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
"""Errors that would fail every item and therefore end the run.

`OutOfMemory`, a kind of `LoadFailed`, is the exception: a single long item may cause it.
"""
_OUTAGE = (ConnectionFailed, OutOfMemory, RateLimited, ServerFailed)
"""Errors that end the run when more than `3 * concurrency` items in a row fail with them."""


class MapOptions(CallOptions, total=False):
    """The options of `Model.map`; those of `CallOptions` are for each call.

    Attributes:
        concurrency: Largest number of calls in flight; default 16.
        save: A JSONL file for finished items. If it exists, the run resumes from it: replies come
            from the file, and items with an error run again.
        progress: Whether to show a progress bar where standard error is a terminal; default true.
        method: "chat", or "complete" for prompts without a chat template; default "chat".
    """

    concurrency: int
    save: str | os.PathLike[str] | None
    progress: bool
    method: Literal["chat", "complete"]


class AsyncModel(Protocol):
    """The part of `Model` that a bulk run uses."""

    reference: str
    max_retries: int

    def achat(self, messages: Any, **options: Unpack[CallOptions]) -> Coroutine[Any, Any, Reply]:
        """Return the reply to a prompt."""

    def acomplete(self, prompt: str, **options: Unpack[CallOptions]) -> Coroutine[Any, Any, Reply]:
        """Return the continuation of a text."""


BuildCall = Callable[..., ChatCall]
"""Checks a feature, a prompt and options, and returns the call that they make, without sending it."""


@dataclass(slots=True)
class BulkPlan:
    """The checked arguments of `Model.map`.

    Attributes:
        reference: The model's reference.
        prompts: The input, read once and lazily.
        send: Sends one prompt to the model and returns its reply.
        build_call: Checks one prompt and returns its call, without sending it.
        concurrency: Largest number of calls in flight.
        save: The file for finished items, or None.
        progress: Whether to show a progress bar on a terminal.
        retries_rate_limits: Whether an item is retried after a rate limit.
    """

    reference: str
    prompts: Iterable[Any]
    send: Callable[[Any], Awaitable[Reply]]
    build_call: Callable[[Any], ChatCall]
    concurrency: int = CONCURRENCY
    save: str | os.PathLike[str] | None = None
    progress: bool = True
    retries_rate_limits: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.concurrency, bool) or not isinstance(self.concurrency, int) or self.concurrency < 1:
            raise InvalidRequest("concurrency: expected a whole number, 1 or more.")
        if isinstance(self.prompts, str | bytes) or not isinstance(self.prompts, Iterable):
            raise InvalidRequest(f"prompts: expected many prompts, not {type(self.prompts).__name__}.")


def build_plan(model: AsyncModel, build_call: BuildCall, prompts: Iterable[Any], options: MapOptions) -> BulkPlan:
    """Return the plan of a bulk run, with its options checked.

    Raises:
        InvalidRequest: An option is wrong, or `prompts` is not an iterable of prompts.
    """
    call_options: dict[str, Any] = dict(options)
    run_options = {name: call_options.pop(name) for name in ("concurrency", "save", "progress") if name in options}
    method = call_options.pop("method", "chat")
    if method not in ("chat", "complete"):
        raise InvalidRequest(f"method: expected 'chat' or 'complete', not {method!r}.")

    def build(prompt: Any) -> ChatCall:
        return build_call(method, prompt, call_options, stream=False)

    build("x")  # so that wrong options are an error now, and not one of each item
    send = partial(model.achat if method == "chat" else model.acomplete, **call_options)
    retries_rate_limits = call_options.get("max_retries", model.max_retries) > 0
    return BulkPlan(model.reference, prompts, send, build, retries_rate_limits=retries_rate_limits, **run_options)


class BulkRun:
    """One bulk run: which item is next, how its call ends, and when the run stops.

    It starts neither threads nor tasks: its caller awaits the coroutines that `next` returns.
    """

    def __init__(self, plan: BulkPlan) -> None:
        self.plan = plan
        self.summary = BulkSummary()
        self.window_size = LOOK_AHEAD * plan.concurrency
        self._limiter = ConcurrencyLimiter(plan.concurrency, RATE_LIMIT_TRIES if plan.retries_rate_limits else 0)
        self._numbered: Iterator[tuple[int, Any]] = enumerate(plan.prompts)
        self._journal = Journal(plan.save) if plan.save is not None else None
        if self._journal is not None:
            self.summary.damaged = self._journal.damaged
        self._start_time = time.perf_counter()
        self._outage_streak = 0
        self._call_error: Exception | None = None  # ends the calls
        self._input_error: Exception | None = None  # ends the input
        self._progress_bar = _start_progress_bar(plan)

    def next(self) -> BulkItem | Coroutine[Any, Any, BulkItem | None] | None:
        """Return the next item if the file has it, else a coroutine that makes it.

        At the end of the input, return None. The coroutine returns None if the run stops before its item is done.
        """
        if self._call_error is not None or self._input_error is not None:
            return None
        try:
            index, prompt = next(self._numbered, (-1, None))
            if index < 0:
                return None
            key = None
            if self._journal is not None:
                key, saved = self._find_saved(self._journal, index, prompt)
                if saved is not None:
                    item = BulkItem(index, prompt, saved, resumed=True)
                    self._count(item)
                    return item
        except Exception as error:  # noqa: BLE001 - raised after the items before it are delivered
            self._input_error = error
            return None
        return self._run_item(index, prompt, key)

    @property
    def is_draining(self) -> bool:
        """Whether no new calls start while those in flight are still awaited.

        So it is when the file cannot be written: the replies of those calls are still good.
        """
        return isinstance(self._call_error, OSError)

    def raise_error(self) -> None:
        """Raise the error that ended the run early, if there is one."""
        if error := self._call_error or self._input_error:
            raise error

    def close(self) -> None:
        """Close the file and the progress bar, and fix the time of the summary."""
        self.summary.seconds = time.perf_counter() - self._start_time
        if self._journal is not None:
            try:
                self._journal.close()
            except OSError as error:
                self._call_error = self._call_error or error
        if self._progress_bar is not None:
            self._progress_bar[0].stop()

    def _find_saved(self, journal: Journal, index: int, prompt: Any) -> tuple[str | None, Reply | None]:
        """Return the key of an item and its saved reply, if that passes the validators."""
        try:
            call = self.plan.build_call(prompt)
        except InvalidRequest:
            return None, None  # the call itself raises it
        request = call.request.model_dump_json(exclude={"stream", "deadline"}, exclude_defaults=True)
        key = hashlib.sha256(f"{self.plan.reference}\n{request}".encode()).hexdigest()[:32]
        saved = journal.find(index, key)
        if saved is not None:
            try:
                saved = validate_reply(saved, call.validators)
            except OpenModelsError:
                saved = None
        return key, saved

    async def _run_item(self, index: int, prompt: Any, key: str | None) -> BulkItem | None:
        """Return the item, or None if the run stops before it is done."""

        async def send() -> Reply | None:
            return None if self._call_error is not None else await self.plan.send(prompt)

        try:
            reply = await self._limiter.run(send)
            if reply is None:
                return None
            item = BulkItem(index, prompt, reply)
        except OpenModelsError as error:
            if self._is_fatal(error):
                self._call_error = self._call_error or error
                return None
            item = BulkItem(index, prompt, error=error)
        except Exception as error:  # noqa: BLE001 - not an error of the model: raised in its turn
            self._call_error = self._call_error or error
            return None
        if self._journal is not None:
            try:
                self._journal.add(index, key, reply if item.reply else item.error)  # type: ignore[arg-type]
            except OSError as error:
                self._call_error = self._call_error or error
        self._count(item)
        return item

    def _is_fatal(self, error: OpenModelsError) -> bool:
        if isinstance(error, FATAL) and not isinstance(error, OutOfMemory):
            return True
        self._outage_streak = self._outage_streak + 1 if isinstance(error, _OUTAGE) else 0
        return self._outage_streak > 3 * self.plan.concurrency

    def _count(self, item: BulkItem) -> None:
        if item.reply is not None and not item.resumed:
            self._outage_streak = 0
        self.summary.add(item)
        self.summary.seconds = time.perf_counter() - self._start_time
        if self._progress_bar is not None:
            bar, task = self._progress_bar
            status = f"{self.summary.tokens_per_second:,.0f} tokens/s, {self.summary.failed} failed"
            bar.update(task, advance=1, status=status)


def _start_progress_bar(plan: BulkPlan) -> tuple[Progress, TaskID] | None:
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
        progress.TextColumn("{task.fields[status]}"),
    )
    bar = progress.Progress(*columns, console=console)
    bar.start()
    total = operator.length_hint(plan.prompts) or None
    return bar, bar.add_task(plan.reference, total=total, status="")
