"""A bulk run: which item is next, how its call ends, and when the run stops."""

import asyncio
import hashlib
import operator
import os
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from functools import partial
from typing import Any, Literal, Protocol, TypeVar

from typing_extensions import Unpack

from openmodels import errors, retry
from openmodels.bulk.items import BulkItem, BulkSummary
from openmodels.bulk.journal import Journal
from openmodels.bulk.progress import ProgressBar
from openmodels.core.request import ChatCall
from openmodels.core.stream import validate_reply
from openmodels.errors import RateLimited
from openmodels.types.options import CallOptions
from openmodels.types.reply import Reply

_T = TypeVar("_T")

CONCURRENCY = 16  # default number of calls in flight
LOOK_AHEAD = 8  # how many times `concurrency` prompts are read before the oldest of them must be answered
RATE_LIMIT_TRIES = 10  # how often one item is retried because of rate limits, beyond the retries of each call

FATAL = (
    errors.AccessDenied,
    errors.AuthenticationFailed,
    errors.EndpointRetired,
    errors.LoadFailed,
    errors.MissingExtra,
    errors.ModelNotFound,
    errors.NotConfigured,
    errors.Offline,
    errors.QuotaExceeded,
)
"""Errors that would fail every item and therefore end the run.

`OutOfMemory`, a kind of `LoadFailed`, is the exception: a single long item may cause it.
"""
_OUTAGE = (
    errors.AllModelsFailed,
    errors.ConnectionFailed,
    errors.OutOfMemory,
    errors.RateLimited,
    errors.ServerFailed,
)
"""Errors that end the run when more than `3 * concurrency` calls in a row fail with them."""


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


class BulkRun:
    """One bulk run: which item is next, how its call ends, and when the run stops.

    It starts neither threads nor tasks: its caller awaits the coroutines that `next` returns. `build_call` checks a
    feature, a prompt and options, and returns the call that they make, without sending it.

    Raises:
        InvalidRequest: An option is wrong, or `prompts` is not an iterable of prompts.
        WriteFailed: The file for finished items cannot be opened, locked or written.
    """

    def __init__(
        self, model: AsyncModel, build_call: Callable[..., ChatCall], prompts: Iterable[Any], options: MapOptions
    ) -> None:
        call_options: dict[str, Any] = dict(options)
        save, shows_progress = call_options.pop("save", None), call_options.pop("progress", True)
        concurrency, method = call_options.pop("concurrency", CONCURRENCY), call_options.pop("method", "chat")
        if method not in ("chat", "complete"):
            raise errors.InvalidRequest(f"method: expected 'chat' or 'complete', not {method!r}.")

        def build(prompt: Any) -> ChatCall:
            return build_call(method, prompt, call_options, stream=False)

        build("x")  # so that wrong options are an error now, and not one of each item
        if isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1:
            raise errors.InvalidRequest("concurrency: expected a whole number, 1 or more.")
        if isinstance(prompts, str | bytes) or not isinstance(prompts, Iterable):
            raise errors.InvalidRequest(f"prompts: expected many prompts, not {type(prompts).__name__}.")
        self.reference = model.reference
        self.summary = BulkSummary()
        self.window_size = LOOK_AHEAD * concurrency
        self._build_call = build
        self._send = partial(model.achat if method == "chat" else model.acomplete, **call_options)
        retries_rate_limits = call_options.get("max_retries", model.max_retries) > 0
        self._limiter = ConcurrencyLimiter(concurrency, RATE_LIMIT_TRIES if retries_rate_limits else 0)
        self._numbered: Iterator[tuple[int, Any]] = enumerate(prompts)
        self._journal = Journal(save) if save is not None else None
        if self._journal is not None:
            self.summary.damaged = self._journal.damaged
        self._start_time = time.perf_counter()
        self._outages = OutageCounter(3 * concurrency)
        self._call_error: Exception | None = None  # ends the calls
        self._input_error: Exception | None = None  # ends the input
        total = operator.length_hint(prompts) or None
        self._progress_bar = ProgressBar(self.reference, total, is_shown=shows_progress)

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
        self._progress_bar.stop()

    def _find_saved(self, journal: Journal, index: int, prompt: Any) -> tuple[str | None, Reply | None]:
        """Return the key of an item and its saved reply, if that passes the validators."""
        try:
            call = self._build_call(prompt)
        except errors.InvalidRequest:
            return None, None  # the call itself raises it
        request = call.request.model_dump_json(exclude={"stream", "deadline"}, exclude_defaults=True)
        key = hashlib.sha256(f"{self.reference}\n{request}".encode()).hexdigest()[:32]
        saved = journal.find(index, key)
        if saved is not None:
            try:
                saved = validate_reply(saved, call.validators)
            except errors.OpenModelsError:
                saved = None
        return key, saved

    async def _run_item(self, index: int, prompt: Any, key: str | None) -> BulkItem | None:
        """Return the item, or None if the run stops before it is done."""

        async def send() -> Reply | None:
            return None if self._call_error is not None else await self._send(prompt)

        outcome: Reply | errors.OpenModelsError | None
        try:
            outcome = await self._limiter.run(send)
            if outcome is None:
                return None
            item = BulkItem(index, prompt, outcome)
        except Exception as error:  # noqa: BLE001 - what is not an error of the model is raised in its turn
            if not isinstance(error, errors.OpenModelsError) or self._outages.is_fatal(error):
                self._call_error = self._call_error or error
                return None
            outcome, item = error, BulkItem(index, prompt, error=error)
        if self._journal is not None:
            try:
                self._journal.add(index, key, outcome)
            except OSError as error:
                self._call_error = self._call_error or error
        self._count(item)
        return item

    def _count(self, item: BulkItem) -> None:
        if item.reply is not None and not item.resumed:
            self._outages.succeeded()
        self.summary.add(item)
        self.summary.seconds = time.perf_counter() - self._start_time
        status = f"{self.summary.tokens_per_second:,.0f} tokens/s, {self.summary.failed} failed"
        self._progress_bar.advance(status)


class OutageCounter:
    """Says which errors end a run, and counts the calls in a row that got no answer.

    More than `longest` of these end it.
    """

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._streak = 0

    def succeeded(self) -> None:
        """Note a call that was answered: the outage is over."""
        self._streak = 0

    def is_fatal(self, error: errors.OpenModelsError) -> bool:
        """Count a call that failed; return whether the others would fail, too."""
        if isinstance(error, FATAL) and not isinstance(error, errors.OutOfMemory):
            return True
        self._streak = self._streak + 1 if isinstance(error, _OUTAGE) else 0
        return self._streak > self._longest


class ConcurrencyLimiter:
    """Limits the calls of one run in flight; a rate limit slows all of them.

    Additive increase, multiplicative decrease, as in TCP: a refusal halves the limit and lets nothing start for
    as long as the server asks; calls that succeed raise it again, by one for a whole round of them.

    At most `largest` calls are in flight; `retries` are those of one call because of rate limits.
    """

    def __init__(self, largest: int, retries: int) -> None:
        self.largest = largest
        self.retries = retries
        self._slots = asyncio.Semaphore(largest)
        self._changed = asyncio.Event()
        self._limit = float(largest)
        self._active = 0
        self._streak = 0
        self._slowed = self._resume = 0.0

    async def run(self, start: Callable[[], Awaitable[_T]]) -> _T:
        """Return `await start()`, begun when the limit allows, again if refused.

        Raises:
            RateLimited: The retries are used up, or the server asks to wait too long.
            OpenModelsError: As `start` does.
        """
        async with self._slots:
            attempts = 0
            while True:
                await self._wait_for_slot()
                self._active += 1
                start_time = time.monotonic()
                try:
                    result = await start()
                except RateLimited as error:
                    attempts += 1
                    is_final = attempts > self.retries or not error.retryable
                    if is_final or not self._slow_down(start_time, error.retry_after):
                        raise
                else:
                    self._limit = min(self.largest, self._limit + 1 / self._limit)
                    self._streak = 0
                    return result
                finally:
                    self._active -= 1
                    self._changed.set()

    async def _wait_for_slot(self) -> None:
        while (wait := self._resume - time.monotonic()) > 0 or self._active >= int(self._limit):
            if wait > 0:
                await asyncio.sleep(wait)
            else:
                self._changed.clear()
                await self._changed.wait()

    def _slow_down(self, start_time: float, retry_after: float | None) -> bool:
        """Lower the limit for a call that was refused; return whether to try it again."""
        if (retry_after or 0.0) > retry.LONGEST_ASKED:
            return False
        # Calls that were in flight together are refused together: that is one sign, not many.
        if start_time > self._slowed:
            self._limit = max(1.0, self._limit / 2)
            self._slowed = time.monotonic()
            self._streak += 1
        wait = min(retry.LONGEST_WAIT, retry.FIRST_WAIT * 2**self._streak) if retry_after is None else retry_after
        self._resume = max(self._resume, time.monotonic() + retry.overridden_wait(wait))
        return True
