"""`fallback`: the first model of a list that answers."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, ClassVar, TypeVar

from openmodels import retry
from openmodels.combine.attempts import AttemptLog, AttemptsUsedUp
from openmodels.combine.combination import (
    Combination,
    MemberModel,
    ModelLike,
    add_partial,
    combine_capabilities,
    is_visible,
)
from openmodels.deadline import deadline_exceeded
from openmodels.errors import (
    AllModelsFailed,
    ContentFiltered,
    ContextTooLong,
    InvalidRequest,
    OpenModelsError,
    OutputInvalid,
    UnsupportedFeature,
)
from openmodels.model import Model
from openmodels.settings import DEFAULT_TIMEOUT
from openmodels.types.capabilities import Capabilities
from openmodels.types.reply import Delta
from openmodels.types.request import ChatRequest

T = TypeVar("T")

Errors = type[Exception] | Iterable[type[Exception]] | Callable[[Exception], bool]
"""Which errors fall over: classes, or a function that says so of an error."""

COOL_DOWN = 30.0  # seconds that a member which failed comes after the others, where its server does not say how long

_SHOWN = 8  # causes in the message of an error, the last ones

_FINAL = (InvalidRequest, ContentFiltered, OutputInvalid)
"""Errors that do not fall over by default: every member would refuse, or a filter would be got around."""

_OF_THE_REQUEST = (*_FINAL, ContextTooLong)
"""Errors that say nothing of the member: the next request may be fine."""


def fallback(
    models: Iterable[ModelLike],
    *,
    on: Errors | None = None,
    max_attempts: int | None = None,
    cool_down: float = COOL_DOWN,
    after_first_token: bool = False,
    timeout: float | None = DEFAULT_TIMEOUT,
) -> Model:
    """Return a model that asks the models of a list in turn, until one answers.

    A member that fails comes after the others for `cool_down` seconds, or for as long as its server asks; it is left
    out only where the others answer. When all have failed, those whose errors may pass are asked again, each as
    often as its own `max_retries` says. A member's own `timeout` ends its attempt, the call's `timeout` everything.

    Args:
        models: References, records or `Model` objects, the preferred one first. Nothing else is ever asked.
        on: The errors that fall over: classes, or a function of the error. By default every `OpenModelsError` but
            `InvalidRequest` (`UnsupportedFeature` falls over), `ContentFiltered` and `OutputInvalid`.
        max_attempts: How many attempts a call may make on all members together, retries included; None is as many as
            the members' `max_retries` allow.
        cool_down: Seconds; 0 is none.
        after_first_token: Whether a stream may fall over after its first token. Its deltas are then held back until
            the answer is whole. `chat`, which shows nothing before, may always.
        timeout: Total seconds of each call that does not set its own; None lifts the limit.

    Raises:
        InvalidRequest: An argument is wrong.
        InvalidReference: A reference cannot be read.
        MissingExtra: What a member needs is not installed.
    """
    backend = FallbackBackend(
        models, on=on, max_attempts=max_attempts, cool_down=cool_down, after_first_token=after_first_token
    )
    return Model(backend, timeout=timeout, max_retries=0)


class FallbackBackend(Combination):
    """Asks its members in turn; the arguments are those of `fallback`.

    `clock` returns seconds, from any start; cool-downs are measured on it.
    """

    name: ClassVar[str] = "fallback"

    def __init__(
        self,
        models: Iterable[ModelLike],
        *,
        on: Errors | None = None,
        max_attempts: int | None = None,
        cool_down: float = COOL_DOWN,
        after_first_token: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(models, max_attempts=max_attempts)
        self.falls_over = read_errors(on)
        if isinstance(cool_down, bool) or not isinstance(cool_down, int | float) or not 0 <= cool_down < math.inf:
            raise InvalidRequest("cool_down: expected seconds, 0 or more.")
        self.cool_down = cool_down
        self.after_first_token = after_first_token
        self.clock = clock
        self.offer_all()
        self._numbered = tuple(enumerate(self.members))
        self._resume = [0.0] * len(self.members)  # when each member's cool-down ends; 0 for one that did not fail
        self.retries = max(member.model.max_retries for member in self.members)
        self.settings: dict[str, Any] = {
            "on": on,
            "max_attempts": max_attempts,
            "cool_down": cool_down,
            "after_first_token": after_first_token,
            "clock": clock,
        }

    def answer(self, request: ChatRequest, log: AttemptLog) -> Generator[Delta, None, None]:
        """Yield the deltas of the first member that answers."""
        is_held = self._is_held(request)
        passes = _Passes(self, request, log)

        def begin(member: MemberModel) -> tuple[list[Delta], Generator[Delta, None, None]]:
            deltas = member.stream(request, log)
            seen: list[Delta] = []
            try:
                for delta in deltas:
                    seen.append(delta)
                    if _is_enough(delta, request, is_held=is_held):
                        break
            except BaseException as error:
                deltas.close()
                if isinstance(error, OpenModelsError):
                    add_partial(error, seen)
                raise
            return seen, deltas

        seen, deltas = passes.run(lambda: passes.ask_each(begin))
        try:
            yield from seen
            yield from deltas
        finally:
            deltas.close()

    async def aanswer(self, request: ChatRequest, log: AttemptLog) -> AsyncGenerator[Delta, None]:
        """The asynchronous twin of `answer`."""
        is_held = self._is_held(request)
        passes = _Passes(self, request, log)

        async def begin(member: MemberModel) -> tuple[list[Delta], AsyncGenerator[Delta, None]]:
            deltas = member.astream(request, log)
            seen: list[Delta] = []
            try:
                async for delta in deltas:
                    seen.append(delta)
                    if _is_enough(delta, request, is_held=is_held):
                        break
            except BaseException as error:
                await deltas.aclose()
                if isinstance(error, OpenModelsError):
                    add_partial(error, seen)
                raise
            return seen, deltas

        seen, deltas = await passes.arun(lambda: passes.aask_each(begin))
        try:
            for delta in seen:
                yield delta
            async for delta in deltas:
                yield delta
        finally:
            await deltas.aclose()

    def call(self, feature: str, request: Any, log: AttemptLog) -> Any:
        """Return the outcome of the first member that has one."""
        passes = _Passes(self, request, log)
        return passes.run(lambda: passes.ask_each(lambda member: member.call(feature, request, log)))

    async def acall(self, feature: str, request: Any, log: AttemptLog) -> Any:
        """The asynchronous twin of `call`."""
        passes = _Passes(self, request, log)
        return await passes.arun(lambda: passes.aask_each(lambda member: member.acall(feature, request, log)))

    def load(self) -> None:
        """Load the first member that loads."""
        failures: list[OpenModelsError] = []
        for member in self.members:
            try:
                member.model.load()
            except OpenModelsError as error:
                failures.append(error)
            else:
                return
        raise all_failed(failures, self.members)

    def capabilities(self) -> Capabilities:
        """Return what one member at least can do."""
        return combine_capabilities(self.members, self.features)

    def order(self) -> Sequence[tuple[int, MemberModel]]:
        """Return the members by number in the order to ask them.

        Those in their cool-down come last.
        """
        if not any(self._resume):
            return self._numbered
        now = self.clock()
        return sorted(self._numbered, key=lambda pair: self._resume[pair[0]] > now)

    def begun(self, number: int) -> None:
        """Note that a member is asked.

        After a cool-down the first call tries it alone: a server that hangs keeps one call waiting, not all.
        """
        if self._resume[number] and self.cool_down:
            self._resume[number] = self.clock() + self.cool_down

    def failed(self, number: int, error: Exception) -> None:
        """Begin a member's cool-down, where the error speaks of the member."""
        if self.cool_down and not isinstance(error, _OF_THE_REQUEST):
            retry_after = getattr(error, "retry_after", None)
            self._resume[number] = self.clock() + (self.cool_down if retry_after is None else retry_after)

    def answered(self, number: int) -> None:
        """End a member's cool-down."""
        self._resume[number] = 0.0

    def _is_held(self, request: ChatRequest) -> bool:
        return self.after_first_token or not request.stream


class _NotFallenOver(Exception):
    """Carries an error past the retries: no other attempt may follow."""


class _Passes:
    """The passes of one call over the members, each of which asks them in turn."""

    def __init__(self, backend: FallbackBackend, request: Any, log: AttemptLog) -> None:
        self._backend = backend
        self._request = request
        self._log = log
        self._number = -1  # of the pass
        self._settled: set[int] = set()  # members that another attempt would not help
        self._only: int | None = None  # the member that alone may be asked, since its error does not fall over
        self._failures: list[Exception] = []
        self._waits: list[float | None] = []  # what the servers of members to be asked again ask to wait, in seconds

    def run(self, ask: Callable[[], T]) -> T:
        """Return what a pass returns, after as many passes as the members' retries allow."""
        try:
            return retry.call_with_retries(ask, retries=self._backend.retries, deadline=self._request.deadline)
        except AllModelsFailed as error:
            error.retryable = False  # it has been tried again
            raise
        except _NotFallenOver as stop:
            raise stop.args[0] from stop.args[0].__cause__

    async def arun(self, ask: Callable[[], Awaitable[T]]) -> T:
        """The asynchronous twin of `run`."""
        try:
            return await retry.acall_with_retries(ask, retries=self._backend.retries, deadline=self._request.deadline)
        except AllModelsFailed as error:
            error.retryable = False
            raise
        except _NotFallenOver as stop:
            raise stop.args[0] from stop.args[0].__cause__

    def ask_each(self, begin: Callable[[MemberModel], T]) -> T:
        """Return what the first member returns that does not fail.

        Raises:
            AllModelsFailed: All failed.
            DeadlineExceeded: The call's time is up.
        """
        for number, member in self._members():
            try:
                outcome = begin(member)
            except AttemptsUsedUp:
                break
            except Exception as error:  # noqa: BLE001 - raised again where it does not fall over
                self._failed(number, error)
            else:
                self._backend.answered(number)
                return outcome
        raise self._all_failed()

    async def aask_each(self, begin: Callable[[MemberModel], Awaitable[T]]) -> T:
        """The asynchronous twin of `ask_each`."""
        for number, member in self._members():
            try:
                outcome = await begin(member)
            except AttemptsUsedUp:
                break
            except Exception as error:  # noqa: BLE001 - as above
                self._failed(number, error)
            else:
                self._backend.answered(number)
                return outcome
        raise self._all_failed()

    def _members(self) -> Iterator[tuple[int, MemberModel]]:
        self._number += 1
        self._waits.clear()
        for number, member in self._backend.order():
            if number in self._settled or self._number > member.model.max_retries:
                continue
            if self._only not in (None, number):
                continue
            if missing := member.find_missing(self._request):
                self._log.refuse(member.reference, missing)
                self._failed(number, missing)
                continue
            self._backend.begun(number)
            yield number, member

    def _failed(self, number: int, error: Exception) -> None:
        """Note a failure. Raises the error where it does not fall over."""
        deadline = self._request.deadline
        if deadline is not None and time.monotonic() >= deadline:
            exceeded = deadline_exceeded("before a model had answered")
            exceeded.partial = getattr(error, "partial", None)
            raise exceeded from error
        may_retry = isinstance(error, OpenModelsError) and error.retryable
        may_retry &= self._number < self._backend.members[number].model.max_retries
        if not self._backend.falls_over(error):
            self._only = number
            raise error if may_retry else _NotFallenOver(error)
        self._backend.failed(number, error)
        self._failures.append(error)
        if may_retry:
            self._waits.append(getattr(error, "retry_after", None))
        else:
            self._settled.add(number)

    def _all_failed(self) -> AllModelsFailed:
        error = all_failed(self._failures, self._backend.members)
        error.retryable = bool(self._waits)
        waits = [wait for wait in self._waits if wait is not None]
        error.retry_after = min(waits) if len(waits) == len(self._waits) and waits else None
        return error


def read_errors(on: Errors | None) -> Callable[[Exception], bool]:
    """Return the function that says whether an error falls over.

    Raises:
        InvalidRequest: `on` holds neither error classes nor such a function.
    """
    if on is None:
        return falls_over_by_default
    if callable(on) and not isinstance(on, type):
        return on
    classes = (on,) if isinstance(on, type) else tuple(on) if isinstance(on, Iterable) else ()
    if classes and all(isinstance(kind, type) and issubclass(kind, Exception) for kind in classes):
        return lambda error: isinstance(error, classes)
    raise InvalidRequest("on: expected error classes such as om.RateLimited, or a function of an error.")


def falls_over_by_default(error: Exception) -> bool:
    """Return whether another model may answer where one failed so."""
    return isinstance(error, UnsupportedFeature) or (
        isinstance(error, OpenModelsError) and not isinstance(error, _FINAL)
    )


def all_failed(failures: Sequence[Exception], members: Sequence[MemberModel]) -> AllModelsFailed:
    """Return the error that holds the causes of all failures."""
    causes: list[Exception] = []
    for failure in failures:  # those of a combination within are its causes
        causes += failure.errors if isinstance(failure, AllModelsFailed) and failure.errors else [failure]
    shown = "; ".join(map(_describe, causes[-_SHOWN:]))
    subject = "The model did not answer" if len(members) == 1 else f"None of the {len(members)} models answered"
    error = AllModelsFailed(
        f"{subject}: {shown or 'no attempt was left'}.",
        next_step="Every cause is in the error's `errors`, every attempt in its `trace`.",
    )
    error.errors = tuple(causes)
    error.__cause__ = failures[-1] if failures else None
    return error


def _describe(failure: Exception) -> str:
    reference = getattr(failure, "reference", None)
    cause = str(getattr(failure, "cause", failure)).rstrip(".")
    return f"{f'{reference}: ' if reference else ''}{type(failure).__name__}: {cause}"


def _is_enough(delta: Delta, request: ChatRequest, *, is_held: bool) -> bool:
    """Return whether a stream may begin with this delta.

    Raises:
        DeadlineExceeded: The answer is held back, and the call's time is up.
    """
    if is_held:
        if request.deadline is not None and time.monotonic() > request.deadline:
            raise deadline_exceeded()
        return False
    return is_visible(delta)
