"""The base of combined models, and their members."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import AsyncGenerator, Generator, Iterable, Iterator, Sequence
from contextlib import aclosing, closing, contextmanager
from dataclasses import fields
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any, TypeAlias

from openmodels import background, retry
from openmodels.backends.base import Backend, Request
from openmodels.combine.attempts import AttemptLog, AttemptRecorder, AttemptsUsedUp
from openmodels.core import events, request as requests
from openmodels.core.call_runner import CallRunner
from openmodels.core.stream import AsyncStream, ReplyAssembler, Stream
from openmodels.errors import AllModelsFailed, DeadlineExceeded, InvalidRequest, OpenModelsError, UnsupportedFeature
from openmodels.model import Model
from openmodels.types.capabilities import Capabilities
from openmodels.types.decisions import DecideRequest, Decisions
from openmodels.types.embeddings import Embeddings, EmbedRequest
from openmodels.types.rankings import Ranking, RerankRequest
from openmodels.types.reply import Delta
from openmodels.types.request import ChatRequest
from openmodels.types.scores import ScoreRequest, Scores

if TYPE_CHECKING:
    from openmodels.catalog.record import ModelRecord

ModelLike: TypeAlias = "Model | str | PathLike[str] | ModelRecord | Backend"

CHAT_FEATURES = frozenset({"chat", "complete", "images"})
"""Features of messages and answers; the others return numbers, which differ from model to model."""


class MemberModel:
    """A model of a combination.

    Attributes:
        model: The model.
        is_own: Whether the combination opened it, and so closes it.
        combination: Its backend where that is a combination, else None.
        has_all: Whether it can do all that any member of the combination can, and so needs no check.
    """

    def __init__(self, source: Any) -> None:
        self.is_own = not isinstance(source, Model)
        self.model: Model = source if isinstance(source, Model) else Model(source)
        self.backend = self.model.backend
        self.reference = self.model.reference
        self.combination = self.backend if isinstance(self.backend, Combination) else None
        self.has_all = False
        self._hooks: events.Hooks = self.model._hooks  # noqa: SLF001 - ours
        self._runner: CallRunner = self.model._runner  # noqa: SLF001 - ours

    def find_missing(self, request: Request) -> UnsupportedFeature | None:
        """Return why the member refuses a request before any work, or None."""
        if self.has_all or not isinstance(request, ChatRequest):
            return None
        feature = "complete" if request.prompt is not None else "chat"
        missing = sorted(request.options - self.backend.options)
        if "images" not in self.backend.features and any(message.images for message in request.messages):
            missing.append("images")
        if feature not in self.backend.features:
            missing.append(feature)
        if not missing:
            return None
        return UnsupportedFeature(f"The backend {self.backend.name!r} has no {missing[0]!r}.", reference=self.reference)

    def stream(self, request: ChatRequest, log: AttemptLog) -> Generator[Delta, None, None]:
        """Yield the deltas of one attempt, which the log records.

        Raises:
            AttemptsUsedUp: It may not begin.
            Exception: What the backend raises.
        """
        request = self._limit_time(request)
        if self.combination is not None:
            nested_log = log.nest(self.combination.max_attempts)
            try:
                with closing(self._observe(self.combination.answer(request, nested_log), request)) as answer:
                    yield from answer
            except AttemptsUsedUp:
                raise _bound_reached(nested_log) from None
            return
        recorder = AttemptRecorder(self.reference, log)
        deltas = self._observe(self.backend.run(request), request)
        try:
            for delta in deltas:
                # Most deltas hold a text and nothing else: what they pay for the record is one condition.
                if delta.usage is not None or delta.finish_reason is not None or delta.end or delta.cost is not None:
                    recorder.add(delta)
                yield delta
        except BaseException as error:
            deltas.close()
            recorder.fail(error)
            raise
        recorder.finish()

    async def astream(self, request: ChatRequest, log: AttemptLog) -> AsyncGenerator[Delta, None]:
        """The asynchronous twin of `stream`."""
        request = self._limit_time(request)
        if self.combination is not None:
            nested_log = log.nest(self.combination.max_attempts)
            try:
                async with aclosing(self._aobserve(self.combination.aanswer(request, nested_log), request)) as answer:
                    async for delta in answer:
                        yield delta
            except AttemptsUsedUp:
                raise _bound_reached(nested_log) from None
            return
        recorder = AttemptRecorder(self.reference, log)
        deltas = self._aobserve(self.backend.arun(request), request)
        try:
            async for delta in deltas:
                if delta.usage is not None or delta.finish_reason is not None or delta.end or delta.cost is not None:
                    recorder.add(delta)
                yield delta
        except BaseException as error:
            await deltas.aclose()
            recorder.fail(error)
            raise
        recorder.finish()

    def stream_with_retries(self, request: ChatRequest, log: AttemptLog) -> Generator[Delta, None, None]:
        """Yield the deltas of an answer, tried again up to the member's `max_retries`."""
        failures: list[OpenModelsError] = []

        def start() -> tuple[Generator[Delta, None, None], Delta | None]:
            deltas = self.stream(request, log)
            try:
                return deltas, next(deltas, None)
            except OpenModelsError as error:
                failures.append(error)
                raise
            except AttemptsUsedUp:
                raise _last_failure(failures) from None

        retries = 0 if self.combination is not None else self.model.max_retries
        deltas, first = retry.call_with_retries(
            start, retries=retries, deadline=request.deadline, origin=self._runner.origin
        )
        try:
            if first is not None:
                yield first
            yield from deltas
        finally:
            deltas.close()

    async def astream_with_retries(self, request: ChatRequest, log: AttemptLog) -> AsyncGenerator[Delta, None]:
        """The asynchronous twin of `stream_with_retries`."""
        failures: list[OpenModelsError] = []

        async def start() -> tuple[AsyncGenerator[Delta, None], Delta | None]:
            deltas = self.astream(request, log)
            try:
                return deltas, await anext(deltas, None)
            except OpenModelsError as error:
                failures.append(error)
                raise
            except AttemptsUsedUp:
                raise _last_failure(failures) from None
            except BaseException:
                await deltas.aclose()
                raise

        retries = 0 if self.combination is not None else self.model.max_retries
        deltas, first = await retry.acall_with_retries(
            start, retries=retries, deadline=request.deadline, origin=self._runner.origin
        )
        try:
            if first is not None:
                yield first
            async for delta in deltas:
                yield delta
        finally:
            await deltas.aclose()

    def call(self, feature: str, request: Any, log: AttemptLog) -> Any:
        """Return the outcome of one attempt on a request that has no deltas."""
        request = self._limit_time(request)
        if self.combination is not None:
            nested = log.nest(self.combination.max_attempts)
            return self._runner.run(request, 0, partial(self.combination.call, feature, log=nested))
        with self._record_outcome(log):
            return self._runner.run(request, 0, getattr(self.backend, feature))

    async def acall(self, feature: str, request: Any, log: AttemptLog) -> Any:
        """The asynchronous twin of `call`."""
        request = self._limit_time(request)
        if self.combination is not None:
            nested = log.nest(self.combination.max_attempts)
            return await self._runner.arun(request, 0, partial(self.combination.acall, feature, log=nested))
        with self._record_outcome(log):
            return await self._runner.arun(request, 0, getattr(self.backend, f"a{feature}"))

    @contextmanager
    def _record_outcome(self, log: AttemptLog) -> Iterator[None]:
        recorder = AttemptRecorder(self.reference, log)
        try:
            yield
        except BaseException as error:
            recorder.fail(error)
            raise
        recorder.add(Delta(end=True))
        recorder.finish()

    def _limit_time(self, request: Any) -> Any:
        """Return the request with the member's own timeout, where that ends earlier."""
        if self.model.timeout is None:
            return request
        deadline = time.monotonic() + self.model.timeout
        if request.deadline is not None and request.deadline <= deadline:
            return request
        return request.model_copy(update={"deadline": deadline})

    def _observe(self, deltas: Generator[Delta, None, None], request: ChatRequest) -> Any:
        """Return the deltas; where the member's hooks or telemetry observe it, observed."""
        call_events = self._hooks.observe(self.backend, request)
        if call_events is None:
            return deltas
        assembler = ReplyAssembler(self.reference, events=call_events)
        return Stream(events.observe_deltas(deltas, call_events, assembler.snapshot), assembler)

    def _aobserve(self, deltas: AsyncGenerator[Delta, None], request: ChatRequest) -> Any:
        call_events = self._hooks.observe(self.backend, request)
        if call_events is None:
            return deltas
        assembler = ReplyAssembler(self.reference, events=call_events)
        return AsyncStream(events.aobserve_deltas(deltas, call_events, assembler.snapshot), assembler)


def _last_failure(failures: list[OpenModelsError]) -> Exception:
    """Return what to raise where no attempt is left."""
    if not failures:
        return AttemptsUsedUp()
    failures[-1].retryable = False
    return failures[-1]


class Combination(Backend):
    """A backend whose answers come from other models.

    A subclass implements `answer` and `aanswer`, and `call` and `acall` where it has more than chats.

    Attributes:
        settings: The arguments that the subclass was made with, but for `models`.

    Args:
        models: References, records or `Model` objects.
        judges: The models that judge their answers, if any.
        max_attempts: How many attempts one call may make on all members together; None is as many as the
            members' own retries allow.
    """

    settings: dict[str, Any]

    def __init__(self, models: Iterable[Any], *, judges: Sequence[Any] = (), max_attempts: int | None = None) -> None:
        self.sources = list(models) if isinstance(models, Iterable) and not isinstance(models, str) else models
        self.members = open_members(self.sources)
        self.judges = tuple(map(MemberModel, judges))
        super().__init__(f"[{', '.join(member.reference for member in self.members)}]")
        if max_attempts is not None and requests.check_retries(max_attempts, "max_attempts") < 1:
            raise InvalidRequest("max_attempts: expected a whole number, 1 or more.")
        self.max_attempts: int = max_attempts or sum(
            (1 if member.combination is None else member.combination.max_attempts) * (1 + member.model.max_retries)
            for member in (*self.members, *self.judges * 2)  # a judge may be asked twice
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # Made anew: what was measured stays, as the clock of another process has another start.
        return partial(type(self), models=self.sources, **self.settings), ()

    def offer_all(self) -> None:
        """Offer what one member at least can do of chats, and all of them of the rest."""
        features = [member.backend.features for member in self.members]
        some = frozenset().union(*features) & CHAT_FEATURES
        self.features = some | (frozenset.intersection(*features) - CHAT_FEATURES)
        self.options = frozenset().union(*(member.backend.options for member in self.members))
        for member in self.members:
            member.has_all = member.backend.features >= some and member.backend.options >= self.options

    @abstractmethod
    def answer(self, request: ChatRequest, log: AttemptLog) -> Generator[Delta, None, None]:
        """Yield the deltas of an answer, whose attempts go into the log."""

    @abstractmethod
    def aanswer(self, request: ChatRequest, log: AttemptLog) -> AsyncGenerator[Delta, None]:
        """The asynchronous twin of `answer`."""

    def call(self, feature: str, request: Any, log: AttemptLog) -> Any:  # noqa: ARG002 - a subclass reads them
        """Return the outcome of a request without deltas, for `feature`."""
        raise UnsupportedFeature(f"The backend {self.name!r} has no {feature!r}.")

    async def acall(self, feature: str, request: Any, log: AttemptLog) -> Any:
        """The asynchronous twin of `call`."""
        return self.call(feature, request, log)

    def run(self, request: ChatRequest) -> Generator[Delta, None, None]:
        """Yield the deltas of an answer, and its trace as the last one."""
        log = AttemptLog(self.max_attempts)
        try:
            yield from self.answer(request, log)
        except (OpenModelsError, AttemptsUsedUp) as error:
            raise _traced_error(error, log) from error.__cause__
        yield Delta(trace=log.trace)

    async def arun(self, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        """The asynchronous twin of `run`."""
        log = AttemptLog(self.max_attempts)
        answer = self.aanswer(request, log)
        try:
            async for delta in answer:
                yield delta
        except (OpenModelsError, AttemptsUsedUp) as error:
            raise _traced_error(error, log) from error.__cause__
        finally:
            await answer.aclose()
        yield Delta(trace=log.trace)

    def embed(self, request: EmbedRequest) -> Embeddings:
        """Return the vectors of the texts."""
        outcome: Embeddings = self._traced("embed", request)
        return outcome

    async def aembed(self, request: EmbedRequest) -> Embeddings:
        """The asynchronous twin of `embed`."""
        outcome: Embeddings = await self._atraced("embed", request)
        return outcome

    def rerank(self, request: RerankRequest) -> Ranking:
        """Return the documents ranked by the query."""
        outcome: Ranking = self._traced("rerank", request)
        return outcome

    async def arerank(self, request: RerankRequest) -> Ranking:
        """The asynchronous twin of `rerank`."""
        outcome: Ranking = await self._atraced("rerank", request)
        return outcome

    def score(self, request: ScoreRequest) -> Scores:
        """Return the log-probabilities of the continuations."""
        outcome: Scores = self._traced("score", request)
        return outcome

    async def ascore(self, request: ScoreRequest) -> Scores:
        """The asynchronous twin of `score`."""
        outcome: Scores = await self._atraced("score", request)
        return outcome

    def decide(self, request: DecideRequest) -> Decisions:
        """Return a decision for each question."""
        outcome: Decisions = self._traced("decide", request)
        return outcome

    async def adecide(self, request: DecideRequest) -> Decisions:
        """The asynchronous twin of `decide`."""
        outcome: Decisions = await self._atraced("decide", request)
        return outcome

    def load(self) -> None:
        """Load every member."""
        for member in (*self.members, *self.judges):
            member.model.load()

    def close(self) -> None:
        """Close the members that the combination opened itself; the others stay open."""
        for member in (*self.members, *self.judges):
            if member.is_own:
                member.model.close()

    def describe(self) -> dict[str, Any]:
        """Return the combination's name, and what its members say of themselves."""
        members = [{"reference": member.reference, **member.backend.describe()} for member in self.members]
        return {"backend": self.name, "model": self.rest, "members": members}

    def _traced(self, feature: str, request: Any) -> Any:
        log = AttemptLog(self.max_attempts)
        try:
            return self.call(feature, request, log)
        except (OpenModelsError, AttemptsUsedUp) as error:
            raise _traced_error(error, log) from error.__cause__

    async def _atraced(self, feature: str, request: Any) -> Any:
        log = AttemptLog(self.max_attempts)
        try:
            return await self.acall(feature, request, log)
        except (OpenModelsError, AttemptsUsedUp) as error:
            raise _traced_error(error, log) from error.__cause__


def _bound_reached(log: AttemptLog) -> AllModelsFailed:
    """Return the error of a combination without an attempt left."""
    error = AllModelsFailed(
        f"The bound of {log.limit} attempts was reached before an answer.", next_step="Raise `max_attempts`."
    )
    error.errors = tuple(attempt.error for attempt in log.attempts if attempt.error is not None)
    return error


def _traced_error(error: OpenModelsError | AttemptsUsedUp, log: AttemptLog) -> OpenModelsError:
    """Return an error that leaves a combination, with the attempts so far."""
    if isinstance(error, AttemptsUsedUp):
        error = _bound_reached(log)
    if isinstance(error, DeadlineExceeded):  # the time of the whole call is up, not that of one member
        error = background.copy_error(error)
        error.reference = None
    error.trace = log.trace
    return error


def is_visible(delta: Delta) -> bool:
    """Return whether a delta holds a part of an answer, or its end."""
    return bool(delta.text or delta.reasoning or delta.tool_calls or delta.logprobs or delta.finish_reason or delta.end)


def add_partial(error: OpenModelsError, deltas: Sequence[Delta]) -> None:
    """Put what had arrived of an answer into its error."""
    if error.partial is None and deltas:
        assembler = ReplyAssembler("")
        for delta in deltas:
            assembler.add(delta)
        error.partial = assembler.snapshot()


def open_members(models: Any) -> tuple[MemberModel, ...]:
    """Return the members of a combination, opened where they are references.

    Raises:
        InvalidRequest: `models` is not a list, or empty.
        InvalidReference: A reference cannot be read.
        MissingExtra: What a member needs is not installed.
    """
    if isinstance(models, str | bytes | Model) or not isinstance(models, Iterable):
        raise InvalidRequest(f"models: expected a list of references or models, not {type(models).__name__}.")
    members = tuple(map(MemberModel, models))
    if not members:
        raise InvalidRequest("models: the list is empty.")
    return members


def combine_capabilities(members: Sequence[MemberModel], features: frozenset[str]) -> Capabilities:
    """Return what one member at least can do; `features` says what all can together."""
    known = [member.model.capabilities for member in members]
    combined: dict[str, bool | None] = {}
    for field in fields(Capabilities):
        name = field.name
        if name in ("embed", "rerank", "score", "decide") and name not in features:
            combined[name] = False
        elif name not in ("context", "options"):
            values = {getattr(capabilities, name) for capabilities in known}
            combined[name] = True if True in values else None if None in values else False
    contexts = [capabilities.context for capabilities in known]
    return Capabilities(
        **combined,
        context=None if None in contexts else max(context for context in contexts if context),
        options=frozenset().union(*(capabilities.options for capabilities in known)),
    )
