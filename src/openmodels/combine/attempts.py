"""The attempts of one call of a combined model, as its trace holds them."""

from __future__ import annotations

import time
from itertools import count
from typing import Any, Self

from openmodels.errors import OpenModelsError, StreamInterrupted, shorten
from openmodels.types.reply import Attempt, Delta, Usage


class AttemptsUsedUp(Exception):
    """The bound on the attempts of a call is reached; only combinations see this."""


class AttemptLog:
    """The attempts of one call, shared by combinations in each other.

    Attributes:
        attempts: The attempts so far, in the order of their ends.
    """

    def __init__(self, limit: int, parent: AttemptLog | None = None, attempts: list[Attempt] | None = None) -> None:
        self.limit = limit
        self.attempts: list[Attempt] = [] if attempts is None else attempts
        self._parent = parent
        self._taken = count()  # atomic without a lock, on which a fork could hang

    def take(self) -> None:
        """Count an attempt that begins.

        Raises:
            AttemptsUsedUp: The bound of this combination, or of one around it, is reached.
        """
        if next(self._taken) >= self.limit:
            raise AttemptsUsedUp
        if self._parent is not None:
            self._parent.take()

    def refuse(self, model: str, error: OpenModelsError) -> None:
        """Record that a member was not asked, since it would have refused."""
        self.attempts.append(Attempt(model, error=error))

    def nest(self, limit: int) -> AttemptLog:
        """Return the log of a combination within this one, whose attempts count here too."""
        return AttemptLog(limit, self, self.attempts)

    def branch(self) -> AttemptLog:
        """Return a log whose attempts count here, but are kept apart."""
        return AttemptLog(self.limit, self)


class AttemptRecorder:
    """Records one attempt on a member, whose reference is `model`, while it runs."""

    def __init__(self, model: str, log: AttemptLog) -> None:
        log.take()
        self._model = model
        self._log = log
        self._start = time.perf_counter()
        self._usage: Usage | None = None
        self._cost: float | None = None
        self._is_complete = False

    def add(self, delta: Delta) -> None:
        """Note what a delta says of the attempt."""
        if delta.usage is not None:
            self._usage = delta.usage
        if delta.finish_reason is not None or delta.end:
            self._is_complete = True
        if delta.cost is not None:
            self._cost = delta.cost

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Record the end; an answer without its end is an error."""
        interrupted = None
        if error is None and not self._is_complete:
            interrupted = error = StreamInterrupted("The answer ended without a finish reason or end mark.")
        elif error is not None and not isinstance(error, Exception):
            error = StreamInterrupted("The answer was not read to its end.")
        if isinstance(error, OpenModelsError):
            error.reference = error.reference or self._model
        seconds = time.perf_counter() - self._start
        self._log.attempts.append(Attempt(self._model, seconds, self._cost, error, self._usage, error is None))
        if interrupted is not None:
            raise interrupted


def shorten_errors(attempts: list[Attempt]) -> tuple[Attempt, ...]:
    """Return attempts whose errors hold no frames, whose variables hold prompts."""
    for attempt in attempts:
        error: Any = attempt.error
        if isinstance(error, OpenModelsError):
            shorten(error)
    return tuple(attempts)
