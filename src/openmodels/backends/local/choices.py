"""`n` answers to one request: as many requests to the engine, and one stream of deltas out of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from openmodels.types.reply import Delta, Usage
from openmodels.types.request import ChatRequest

_SEEDS = 2**63
_NEAR = 1.0
"""Seconds before its deadline from which an answer that nobody reads along is given out in pieces."""
_PIECE = 0.1
"""Seconds of such a piece."""


def requests(request: ChatRequest) -> list[ChatRequest]:
    """Return one request for each answer: with seeds `seed`, `seed + 1`, … where there is one."""
    count = request.n or 1
    if count == 1:
        return [request]
    seeds = [None if request.seed is None else (request.seed + index) % _SEEDS for index in range(count)]
    return [request.model_copy(update={"n": None, "seed": seed}) for seed in seeds]


def near_deadline(deadline: float | None, now: float) -> bool:
    """Say whether an answer that nobody reads along is given out in pieces by now, lest its deadline cut it off.

    Args:
        deadline: When the caller stops waiting, on the clock of `time.monotonic()`; None is never.
        now: What that clock says.
    """
    return deadline is not None and now >= deadline - _NEAR


class Gathered:
    """Passes an answer on in one, for a caller who waits for the whole of it: each delta would wake its thread.

    Near its deadline the answer goes out in pieces, so that one that is cut short is not lost.

    Args:
        put: Takes the answer or its pieces, and errors.
        deadline: When the caller stops waiting, on the clock of `time.monotonic()`; None is never.
    """

    def __init__(self, put: Callable[[Any], None], deadline: float | None) -> None:
        self._put = put
        self._deadline = deadline
        self._held: Delta | None = None
        self._since = 0.0

    def __call__(self, item: Any) -> None:
        """Take a delta or an error."""
        now = time.monotonic()
        if isinstance(item, Delta):
            if self._held is None:
                self._held, self._since = item, now
            else:
                _join(self._held, item)
            if item.finish_reason is None and (not near_deadline(self._deadline, now) or now - self._since < _PIECE):
                return
            item = None
        held, self._held = self._held, None
        if held is not None:
            self._put(held)
        if item is not None:
            self._put(item)


def _join(delta: Delta, more: Delta) -> None:
    delta.text += more.text
    delta.reasoning += more.reasoning
    delta.tool_calls += more.tool_calls
    delta.logprobs += more.logprobs
    delta.finish_reason, delta.usage = more.finish_reason, more.usage


class Answers:
    """Marks the deltas of several answers and adds up what they consumed.

    Args:
        count: How many answers there will be.

    Attributes:
        going: How many have not ended.
    """

    def __init__(self, count: int) -> None:
        self.going = count
        self._usage: Usage | None = None

    def read(self, index: int, delta: Delta) -> Delta:
        """Return a delta of one answer as a delta of the whole call."""
        delta.index = index
        if delta.usage is not None:
            delta.usage = self._usage = delta.usage if self._usage is None else _sum(self._usage, delta.usage)
        self.going -= delta.finish_reason is not None
        return delta


def _sum(one: Usage, other: Usage) -> Usage:
    # The prompt is the same and counts once, as OpenAI counts it.
    return one.model_copy(
        update={
            name: (getattr(one, name) or 0) + (getattr(other, name) or 0)
            for name in ("output_tokens", "reasoning_tokens")
            if getattr(other, name) is not None
        }
    )
