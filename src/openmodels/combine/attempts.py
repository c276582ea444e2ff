"""The attempts of one call of a combined model, as its trace holds them."""

from __future__ import annotations

import time
from itertools import count

from openmodels.errors import OpenModelsError, StreamInterrupted, shorten
from openmodels.types.reply import Attempt, Delta, Usage


class AttemptsUsedUp(Exception):
    """The bound on the attempts of a call is reached; only combinations see this."""


class AttemptLog:
    """The attempts of one call, shared by combinations in each other.

    Attributes:
        attempts: The attempts so far, in the order of their ends.
        note: What is said of them.
    """

    def __init__(self, limit: int, parent: AttemptLog | None = None, attempts: list[Attempt] | None = None) -> None:
        self.limit = limit
        self.note = ""
        self.attempts: list[Attempt] = [] if attempts is None else attempts
        self._parent = parent
        self._taken = count()  # atomic without a lock, on which a fork could hang

    @property
    def trace(self) -> tuple[Attempt, ...]:
        """The attempts so far; their errors hold no frames, whose variables hold prompts."""
        for attempt in self.attempts:
            if isinstance(attempt.error, OpenModelsError):
                shorten(attempt.error)
        return tuple(self.attempts)

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

    def annotate(self, note: str) -> AttemptLog:
        """Return the same log, whose next attempts have a note."""
        log = self.nest(self.limit)
        log.note = note
        return log

    def branch(self) -> AttemptLog:
        """Return a log whose attempts count here, but are kept apart."""
        return AttemptLog(self.limit, self)


class AttemptRecorder:
    """Records one attempt on a member, whose reference is `model`, while it runs.

    Raises:
        AttemptsUsedUp: It may not begin.
    """

    __slots__ = ("_cost", "_is_complete", "_log", "_model", "_start", "_usage")

    def __init__(self, model: str, log: AttemptLog) -> None:
        log.take()
        self._model = model
        self._log = log
        self._usage: Usage | None = None
        self._cost: float | None = None
        self._is_complete = False
        self._start = time.perf_counter()

    def add(self, delta: Delta) -> None:
        """Note what a delta says of the attempt."""
        if delta.usage is not None:
            self._usage = delta.usage
        if delta.finish_reason is not None or delta.end:
            self._is_complete = True
        if delta.cost is not None:
            self._cost = delta.cost

    def finish(self) -> None:
        """Record an answer that came to its end.

        Raises:
            StreamInterrupted: It has neither a finish reason nor an end mark.
        """
        if self._is_complete:
            self._append(None)
            return
        error = StreamInterrupted("The answer ended without a finish reason or end mark.")
        self.fail(error)
        raise error

    def fail(self, error: BaseException) -> None:
        """Record an attempt that failed, or that was not read to its end."""
        if not isinstance(error, Exception):
            error = StreamInterrupted("The answer was not read to its end.")
        if isinstance(error, OpenModelsError):
            error.reference = error.reference or self._model
        self._append(error)

    def _append(self, error: Exception | None) -> None:
        seconds = time.perf_counter() - self._start
        log = self._log
        log.attempts.append(Attempt(self._model, seconds, self._cost, error, self._usage, error is None, log.note))
