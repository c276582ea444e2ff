"""The calls of a comparison.

They are cached by content and made within limits and a ceiling; each error is kept in its place.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from openmodels import background
from openmodels.backends.base import Backend
from openmodels.bulk.journal import Journal
from openmodels.bulk.progress import ProgressBar
from openmodels.bulk.run import RATE_LIMIT_TRIES, ConcurrencyLimiter, OutageCounter
from openmodels.compare.identity import identify, list_members
from openmodels.compare.spending import CeilingReached, ModelPrice, SpendingLedger, is_remote, may_have_cost
from openmodels.core import request as requests
from openmodels.core.stream import validate_reply
from openmodels.errors import InvalidRequest, OpenModelsError
from openmodels.model import Model
from openmodels.types.reply import Reply

_LONGEST_ERROR = 500  # characters
_THIS_MACHINE = "this machine"


@dataclass(slots=True)
class ComparedCall:
    """A call of a comparison, and how it ended.

    Attributes:
        model: The name of the model that is called.
        prompt: What `chat` takes.
        options: The call options.
        cache_salt: What tells calls with the same content apart, as the number of the repeat.
        reply: The reply, once there is one; of an answer that does not fit `schema`, too.
        error: What went wrong, in a line, or None.
        cost: US dollars, where known.
        resumed: Whether the reply comes from the cache.
        is_done: Whether the call has ended, well or not.
    """

    model: str
    prompt: Any = field(repr=False)
    options: Mapping[str, Any] = field(repr=False)
    cache_salt: str = ""
    reply: Reply | None = field(default=None, repr=False)
    error: str | None = None
    cost: float | None = None
    resumed: bool = False
    is_done: bool = False
    built: requests.ChatCall | None = field(default=None, repr=False)
    key: str = ""


class ReplyCache:
    """Replies by the content of their calls, in a file that survives a kill.

    `path` is a JSONL file in the format of `Model.map`; None keeps nothing.

    Raises:
        InvalidRequest: The file is something else, or another process is writing it.
        WriteFailed: It cannot be opened, locked or written.
    """

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        self._journal = None if path is None else Journal(path)

    @property
    def damaged(self) -> int:
        """Lines of the file that could not be read; their calls are made again."""
        return 0 if self._journal is None else self._journal.damaged

    def find(self, key: str) -> Reply | None:
        """Return the reply of an earlier run."""
        if self._journal is None:
            return None
        try:
            return self._journal.find(_index(key), key)
        except InvalidRequest:  # another call has the same index: one in 10^12
            return None

    def add(self, key: str, outcome: Reply | OpenModelsError) -> None:
        """Write how a call ended. Raises WriteFailed."""
        if self._journal is not None:
            self._journal.add(_index(key), key, outcome)

    def close(self) -> None:
        """Close the file. Idempotent."""
        if self._journal is not None:
            self._journal.close()


def _index(key: str) -> int:
    return int(key[:10], 16)  # below 2 ** 40, as the journal demands


class CallGrid:
    """Makes the calls of a comparison.

    Args:
        models: The models by name.
        prices: What is known of each one's cost.
        ledger: What the calls cost and may cost.
        cache: The replies of earlier runs.
        concurrency: Calls in flight at a server, or on this machine.
        closes: The names of models to be closed after their calls.
        shows_progress: Whether to show a bar, where standard error is a terminal.
    """

    def __init__(
        self,
        models: Mapping[str, Model],
        prices: Mapping[str, ModelPrice],
        ledger: SpendingLedger,
        cache: ReplyCache,
        *,
        concurrency: int,
        closes: Iterable[str] = (),
        shows_progress: bool = False,
    ) -> None:
        self.models = models
        self.prices = prices
        self.ledger = ledger
        self.cache = cache
        self._concurrency = concurrency
        self._closes = frozenset(closes)
        self._shows_progress = shows_progress
        self._identities: dict[str, str] = {}
        self._occurrences: Counter[str] = Counter()
        self._write_error: OSError | None = None

    async def prepare(self, calls: Sequence[ComparedCall]) -> list[OpenModelsError]:
        """Check the calls, give each its key, and take replies from the cache.

        Return the errors of calls that cannot be made.
        """
        for name in dict.fromkeys(call.model for call in calls):
            if name not in self._identities:
                identity = await background.arun(identify, self.models[name])
                # Of two models that nothing tells apart, each is asked for itself.
                same = sum(other.rpartition("#")[0] == identity for other in self._identities.values())
                self._identities[name] = f"{identity}#{same}"
        return [error for call in calls if (error := self._build(call))]

    def _build(self, call: ComparedCall) -> OpenModelsError | None:
        model = self.models[call.model]
        defaults = requests.CallDefaults(model.timeout, model.max_retries)
        options: Any = dict(call.options)
        try:
            call.built = requests.build_chat(model.backend, "chat", call.prompt, options, defaults, stream=False)
        except OpenModelsError as error:
            _fail(call, error)
            return error
        request = call.built.request.model_dump_json(exclude={"stream", "deadline"}, exclude_defaults=True)
        content = f"{self._identities[call.model]}\n{call.cache_salt}\n{request}"
        # A prompt that stands there twice is asked twice.
        self._occurrences[content] += 1
        call.key = hashlib.sha256(f"{content}\n{self._occurrences[content]}".encode()).hexdigest()[:32]
        reply = self.cache.find(call.key)
        if reply is None:
            return None
        try:
            call.reply = validate_reply(reply, call.built.validators)
        except OpenModelsError:
            return None
        call.resumed = call.is_done = True
        call.cost = self.prices[call.model].cost_of(call.reply)
        return None

    async def run(self, calls: Sequence[ComparedCall], description: str) -> None:
        """Make the calls that are not done, and fill in how each ended.

        Servers answer at the same time; models of one server, and all those on this machine, in turn: they would slow
        each other down, and their times would say nothing.

        Raises:
            WriteFailed: The cache cannot be written; calls in flight are waited for.
        """
        lanes: dict[str, dict[str, list[ComparedCall]]] = {}
        for call in calls:
            if not call.is_done:
                lanes.setdefault(_lane(call.model, self.models[call.model]), {}).setdefault(call.model, []).append(call)
        bar = ProgressBar(description, len(calls), is_shown=self._shows_progress and bool(lanes))
        bar.advance(calls=sum(call.is_done for call in calls))
        try:
            async with asyncio.TaskGroup() as group:
                for lane in lanes.values():
                    group.create_task(self._run_lane(lane, bar))
        finally:
            bar.stop()
        if self._write_error is not None:
            raise self._write_error

    async def _run_lane(self, lane: Mapping[str, Sequence[ComparedCall]], bar: ProgressBar) -> None:
        for name, calls in lane.items():
            limiter = ConcurrencyLimiter(self._concurrency, RATE_LIMIT_TRIES)
            state = _ModelState(3 * self._concurrency)
            async with asyncio.TaskGroup() as group:
                for call in calls:
                    group.create_task(self._run_call(call, limiter, state, bar))
            if name in self._closes:
                await background.arun(self.models[name].close)

    async def _run_call(
        self, call: ComparedCall, limiter: ConcurrencyLimiter, state: _ModelState, bar: ProgressBar
    ) -> None:
        try:
            call.reply = await limiter.run(partial(self._send, call, state))
            if call.reply is None:
                call.error = state.ended_by or "the cache could not be written"
            else:
                state.succeeded()
                self._keep(call, call.reply)
        except CeilingReached:
            call.error = f"not asked: it could cost more than is left of max_usd={self.ledger.max_usd:g}"
        except OpenModelsError as error:
            _fail(call, error)
            state.failed(error)
            self._keep(call, error)
        except Exception as error:  # noqa: BLE001 - one backend's bug must not lose the others' answers
            call.error = f"{type(error).__name__}: {error}"[:_LONGEST_ERROR]
        call.is_done = True
        bar.advance(f"${self.ledger.spent:.4f}" if self.ledger.spent else "")

    async def _send(self, call: ComparedCall, state: _ModelState) -> Reply | None:
        """Return the reply to a call, or None where its model is asked no more."""
        if state.ended_by is not None or self._write_error is not None or call.built is None:
            return None
        model, price, request = self.models[call.model], self.prices[call.model], call.built.request
        options: Any = call.options
        worst = price.worst_cost(request, call.built.corrections + 1)
        async with self.ledger.reserve(worst, price.likely_worst(request)):
            try:
                if call.built.corrections:
                    reply = await model.achat(call.prompt, **options)
                else:
                    # Of an answer that does not stream, all of the text comes at its end.
                    async with model.astream(call.prompt, **options) as stream:
                        async for _ in stream:
                            pass
                        reply = stream.reply
            except OpenModelsError as error:
                if may_have_cost(error):
                    cost = None if error.partial is None else price.cost_of(error.partial)
                    bound = price.highest_cost if worst is None else worst
                    self.ledger.spent += bound if cost is None else cost
                raise
            price.learn(reply)
            call.cost = price.cost_of(reply)
            self.ledger.spent += (worst or 0.0) if call.cost is None else call.cost  # a free one's worst is 0
            return reply

    def _keep(self, call: ComparedCall, outcome: Reply | OpenModelsError) -> None:
        try:
            self.cache.add(call.key, outcome)
        except OSError as error:
            self._write_error = self._write_error or error


class _ModelState:
    """Whether a model is asked further; an `OutageCounter` says what ends its calls."""

    def __init__(self, longest_outage: int) -> None:
        self.ended_by: str | None = None
        self._outages = OutageCounter(longest_outage)

    def succeeded(self) -> None:
        self._outages.succeeded()

    def failed(self, error: OpenModelsError) -> None:
        if self._outages.is_fatal(error) and self.ended_by is None:
            self.ended_by = f"not asked after {_describe(error)}"[:_LONGEST_ERROR]


def _fail(call: ComparedCall, error: OpenModelsError) -> None:
    call.error, call.is_done = _describe(error), True
    call.reply = getattr(error, "reply", None) or error.partial


def _describe(error: OpenModelsError) -> str:
    return f"{type(error).__name__}: {error.cause}"[:_LONGEST_ERROR]


def _lane(name: str, model: Model) -> str:
    """Return what a model shares with others: this machine, a server, or nothing."""
    backend: Backend = model.backend
    if any(_lane(name, member) == _THIS_MACHINE for member in list_members(model)):
        return _THIS_MACHINE
    if backend.name == "local" or (backend.origin is not None and not is_remote(model)):
        return _THIS_MACHINE
    return backend.origin or f"model {name}"
