"""Combinations that ask several members before they show an answer.

Such a combination is a plan: a generator that yields batches of calls, gets their answers, and returns whose
answer is shown. The plan is the same for synchronous and asynchronous calls; the two drivers are here.
"""

from __future__ import annotations

import asyncio
import json
import math
import threading
import unicodedata
from abc import abstractmethod
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import closing
from contextvars import copy_context
from dataclasses import dataclass, field, fields, replace
from itertools import chain
from typing import Any

from openmodels import background
from openmodels.combine.attempts import AttemptLog
from openmodels.combine.combination import Combination, MemberModel, add_partial, is_visible
from openmodels.core.stream import ReplyAssembler
from openmodels.deadline import deadline_exceeded, wait_timeout
from openmodels.errors import OutputInvalid, StreamInterrupted
from openmodels.output.structure import OutputValidator, make_validator
from openmodels.types.capabilities import Capabilities
from openmodels.types.reply import Attempt, Delta, Reply, TokenLogprob
from openmodels.types.request import ChatRequest, ResponseFormat
from openmodels.types.scores import ScoreRequest, Scores

_GRACE = 0.02  # seconds that cancelled calls may take to end


@dataclass(slots=True)
class MemberCall:
    """What a member is asked, and what came of it.

    Attributes:
        member: Who is asked.
        request: For an answer, or for scores.
        log: The attempts, which `MemberModel` records.
        is_live: Whether the answer is shown as it comes: it counts as answered with its first token.
        deltas: The answer's deltas, as far as they have been read.
        rest: The deltas to come of a live answer.
        reply: The whole answer; None without one.
        scores: The outcome of a request for scores.
        error: Why there is none of them.
    """

    member: MemberModel
    request: ChatRequest | ScoreRequest
    log: AttemptLog
    is_live: bool = False
    deltas: list[Delta] = field(default_factory=list)
    rest: Any = None
    reply: Reply | None = None
    scores: Scores | None = None
    error: Exception | None = None
    _answering: list[int] = field(default_factory=list)

    def add(self, delta: Delta) -> bool:
        """Add a delta; return whether a live answer may be shown now.

        Raises:
            DeadlineExceeded: The answer is held back, and the call's time is up.
        """
        self.deltas.append(delta)
        if self.is_live:
            return is_visible(delta)
        if wait_timeout(self.request.deadline) == 0:
            raise deadline_exceeded()
        return False

    def assemble(self) -> None:
        """Make the reply of the deltas."""
        assembler = ReplyAssembler(self.member.reference)
        for delta in self.deltas:
            assembler.add(delta)
        self.reply = assembler.snapshot()

    def keep_attempts(self, log: AttemptLog) -> None:
        """Add the attempts to the log of the call; none of them is the answer yet."""
        attempts = self.log.attempts
        self._answering = [len(log.attempts) + number for number, attempt in enumerate(attempts) if attempt.is_answer]
        log.attempts += (replace(attempt, is_answer=False) for attempt in attempts)

    def mark(self, log: AttemptLog, note: str, *, is_answer: bool = False) -> None:
        """Say in the log of the call what became of the answer."""
        for number in self._answering:
            attempt = log.attempts[number]
            notes = f"{attempt.note}; {note}" if attempt.note else note
            log.attempts[number] = replace(attempt, note=notes, is_answer=is_answer)


@dataclass(slots=True)
class Batch:
    """Calls that are made at the same time.

    Attributes:
        calls: The calls.
        is_enough: Where it returns true for a call that has come back, the others are cancelled.
    """

    calls: Sequence[MemberCall]
    is_enough: Callable[[MemberCall], bool] | None = None

    def keep_attempts(self, log: AttemptLog) -> None:
        """Add the attempts of the calls to a log, which has those of a live answer."""
        for call in self.calls:
            if not call.is_live:
                call.keep_attempts(log)


Plan = Generator[Batch, None, MemberCall]
"""Yields batches, whose calls have ended when it resumes, and returns the call whose answer is shown."""


class PlannedCombination(Combination):
    """A combination that follows a plan and shows no answer before it is chosen."""

    @abstractmethod
    def plan(self, request: ChatRequest, log: AttemptLog) -> Plan:
        """Return the plan of a call."""

    def answer(self, request: ChatRequest, log: AttemptLog) -> Generator[Delta, None, None]:
        """Yield the deltas of the answer that the plan chooses."""
        plan = self.plan(request, log)
        with closing(plan):
            while True:
                try:
                    batch = next(plan)
                except StopIteration as stop:
                    chosen: MemberCall = stop.value
                    break
                try:
                    _ask_all(batch, request.deadline)
                finally:
                    batch.keep_attempts(log)
        try:
            yield from map(_without_cost, chain(chosen.deltas, chosen.rest or ()))
        finally:
            if chosen.rest is not None:
                chosen.rest.close()
        yield Delta(cost=_total_cost(log.attempts))

    async def aanswer(self, request: ChatRequest, log: AttemptLog) -> AsyncGenerator[Delta, None]:
        """The asynchronous twin of `answer`."""
        plan = self.plan(request, log)
        with closing(plan):
            while True:
                try:
                    batch = next(plan)
                except StopIteration as stop:
                    chosen: MemberCall = stop.value
                    break
                try:
                    await _aask_all(batch, request.deadline)
                finally:
                    batch.keep_attempts(log)
        try:
            for delta in chosen.deltas:
                yield _without_cost(delta)
            if chosen.rest is not None:
                async for delta in chosen.rest:
                    yield _without_cost(delta)
        finally:
            if chosen.rest is not None:
                await chosen.rest.aclose()
        yield Delta(cost=_total_cost(log.attempts))

    @property
    def answering(self) -> Sequence[MemberModel]:
        """The members that every request must suit."""
        return self.members

    def capabilities(self) -> Capabilities:
        """Return what is declared, as far as every answering member has it."""
        declared = super().capabilities()
        known = [member.model.capabilities for member in self.answering]
        less: dict[str, Any] = {}
        for part in fields(Capabilities):
            if getattr(declared, part.name) is True:
                values = {getattr(capabilities, part.name) for capabilities in known}
                less[part.name] = False if False in values else None if None in values else True
        contexts = [capabilities.context for capabilities in known if capabilities.context]
        return replace(declared, **less, context=min(contexts, default=None))


def _ask_all(batch: Batch, deadline: float | None) -> None:
    """Ask the calls of a batch, several on threads of their own.

    Raises:
        DeadlineExceeded: The call's time is up.
    """
    if len(batch.calls) == 1:
        _ask(batch.calls[0])
    else:
        stop = threading.Event()
        futures: dict[Future[None], MemberCall] = {
            background.start(copy_context().run, _ask, call, stop): call for call in batch.calls
        }
        waiting = set(futures)
        try:
            while waiting:
                done, waiting = wait(waiting, wait_timeout(deadline), return_when=FIRST_COMPLETED)
                if not done:
                    break
                if batch.is_enough and any(batch.is_enough(futures[future]) for future in done):
                    break
        finally:
            stop.set()
        for future in waiting:
            _cancelled(futures[future])
    _check_deadline(batch, deadline)


def _ask(call: MemberCall, stop: threading.Event | None = None) -> None:
    try:
        if isinstance(call.request, ScoreRequest):
            call.scores = call.member.call("score", call.request, call.log)
            return
        deltas = call.member.stream_with_retries(call.request, call.log)
        try:
            for delta in deltas:
                if stop is not None and stop.is_set():
                    return
                if call.add(delta):
                    call.rest = deltas
                    return
        finally:
            if call.rest is None:
                deltas.close()
        call.assemble()
    except Exception as error:  # noqa: BLE001 - the plan decides what comes of it
        call.error = error


async def _aask_all(batch: Batch, deadline: float | None) -> None:
    tasks = {asyncio.ensure_future(_aask(call)): call for call in batch.calls}
    waiting = set(tasks)
    try:
        while waiting:
            done, waiting = await asyncio.wait(
                waiting, timeout=wait_timeout(deadline), return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                break
            if batch.is_enough and any(batch.is_enough(tasks[task]) for task in done):
                break
    finally:
        for task in waiting:
            task.cancel()
        if waiting:  # those on threads end with their next delta, for which the answer does not wait
            await asyncio.wait(waiting, timeout=_GRACE)
    for task in waiting:
        _cancelled(tasks[task])
    _check_deadline(batch, deadline)


async def _aask(call: MemberCall) -> None:
    try:
        if isinstance(call.request, ScoreRequest):
            call.scores = await call.member.acall("score", call.request, call.log)
            return
        deltas = call.member.astream_with_retries(call.request, call.log)
        try:
            async for delta in deltas:
                if call.add(delta):
                    call.rest = deltas
                    return
        finally:
            if call.rest is None:
                await deltas.aclose()
        call.assemble()
    except Exception as error:  # noqa: BLE001 - as above
        call.error = error


def _cancelled(call: MemberCall) -> None:
    """Note a call that was left, in a log that its thread does not write into."""
    reference = call.member.reference
    call.error = StreamInterrupted("It was cancelled: another answer was taken.", reference=reference)
    call.log = call.log.branch()
    call.log.attempts.append(Attempt(reference, error=call.error, note="cancelled"))
    call.reply = None


def _check_deadline(batch: Batch, deadline: float | None) -> None:
    """Raise the error of a call whose time is up, with the first unfinished answer."""
    if wait_timeout(deadline) != 0 or any(call.is_live and call.error is None for call in batch.calls):
        return
    error = deadline_exceeded("before an answer was chosen")
    for call in batch.calls:
        deltas = list(call.deltas)  # its thread may still add to them
        if error.partial is None and not any(delta.finish_reason for delta in deltas):
            add_partial(error, deltas)
    raise error


def _without_cost(delta: Delta) -> Delta:
    """Return a delta without its cost: the last one holds that of all answers."""
    return delta if delta.cost is None else replace(delta, cost=None)


def _total_cost(attempts: Iterable[Attempt]) -> float | None:
    """Return US dollars for all attempts with an outcome; None where one is unknown."""
    costs = [attempt.cost for attempt in attempts if attempt.error is None]
    return None if None in costs else math.fsum(cost for cost in costs if cost is not None)


class FormCheck:
    """Checks the form of members' answers, where the request asks for one."""

    def __init__(self, output: ResponseFormat | None) -> None:
        self._validator: OutputValidator | None = None
        if output is not None:
            value = {
                "schema": output.json_schema,
                "choices": list(output.choices),
                "pattern": output.pattern,
                "grammar": output.grammar,
            }[output.kind]
            self._validator = make_validator({output.kind: value})

    def check(self, reply: Reply) -> Reply | None:
        """Return an answer that is good, with `parsed`; None for another or an empty one."""
        if not (reply.text.strip() or reply.tool_calls):
            return None
        if self._validator is None:
            return reply
        try:
            return self._validator.check_reply(reply)
        except OutputInvalid:
            return None

    def is_good(self, call: MemberCall) -> bool:
        """Return whether a call has a good answer."""
        return call.reply is not None and self.check(call.reply) is not None

    def vote_of(self, call: MemberCall) -> Any:
        """Return what an answer is counted as: equal for answers that say the same."""
        reply = call.reply or Reply()
        if reply.tool_calls:
            return tuple(
                (tool_call.name, _canonical(tool_call.arguments or tool_call.raw)) for tool_call in reply.tool_calls
            )
        checked = self.check(reply)
        if self._validator is not None and self._validator.output.kind == "schema" and checked is not None:
            return _canonical(checked.parsed)
        return normalize_text(reply.text if checked is None else checked.text)


_ENDS = " .,;:!?\"'`*_~…“”„‘’«»。、，！？"
"""Punctuation and marks of emphasis around an answer; a sign or a unit is part of it."""


def normalize_text(text: str) -> str:
    """Return a text without what does not change an answer.

    That is case, forms of a character, runs of white space, and punctuation and marks of emphasis at the ends.
    """
    plain = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return plain.strip(_ENDS) or plain


def _canonical(value: Any) -> str:
    """Return a JSON value as text: 1 is 1.0, and the order of keys does not count."""

    def plain(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: plain(item) for key, item in sorted(part.items())}
        if isinstance(part, list):
            return [plain(item) for item in part]
        return int(part) if isinstance(part, float) and part.is_integer() else part

    return json.dumps(plain(value), ensure_ascii=False)


def member_features(members: Sequence[MemberModel]) -> frozenset[str]:
    """Return the features of chats that every member has."""
    return frozenset.intersection(*(member.backend.features for member in members)) & {"chat", "complete", "images"}


def trim_logprobs(deltas: Iterable[Delta], wanted: int | None) -> list[Delta]:
    """Return deltas with as many logprobs as the caller asked for."""
    trimmed = []
    for delta in deltas:
        if delta.logprobs:
            kept = (
                ()
                if wanted is None
                else tuple(TokenLogprob(entry.token, entry.logprob, entry.top[:wanted]) for entry in delta.logprobs)
            )
            delta = replace(delta, logprobs=kept)  # noqa: PLW2901 - the trimmed one
        trimmed.append(delta)
    return trimmed
