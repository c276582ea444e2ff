"""`n` answers to one request: as many requests to the engine, and one stream of deltas out of them."""

from __future__ import annotations

from openmodels.types import ChatRequest, Delta, Usage

_SEEDS = 2**63


def requests(request: ChatRequest) -> list[ChatRequest]:
    """Return one request for each answer: with seeds `seed`, `seed + 1`, … where there is one."""
    count = request.n or 1
    if count == 1:
        return [request]
    seeds = [None if request.seed is None else (request.seed + index) % _SEEDS for index in range(count)]
    return [request.model_copy(update={"n": None, "seed": seed}) for seed in seeds]


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
