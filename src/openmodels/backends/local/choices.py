"""`n` answers to one request: as many requests, and one stream of deltas."""

from __future__ import annotations

from openmodels.types.reply import Delta, Usage
from openmodels.types.request import ChatRequest

_SEEDS = 2**63


def split_choices(request: ChatRequest) -> list[ChatRequest]:
    """Return one request for each answer, with the seeds `seed`, `seed + 1`, …."""
    count = request.n or 1
    if count == 1:
        return [request]
    seeds = [None if request.seed is None else (request.seed + index) % _SEEDS for index in range(count)]
    return [request.model_copy(update={"n": None, "seed": seed}) for seed in seeds]


class ChoiceMerger:
    """Merges the deltas of `unfinished` answers into those of one call."""

    def __init__(self, unfinished: int) -> None:
        self.unfinished = unfinished
        self._usage: Usage | None = None

    def merge(self, index: int, delta: Delta) -> Delta:
        """Return a delta of one answer as one of the call, with the usage of all so far."""
        delta.index = index
        if delta.usage is not None:
            delta.usage = self._usage = delta.usage if self._usage is None else _add(self._usage, delta.usage)
        self.unfinished -= delta.finish_reason is not None or delta.end
        return delta


def _add(usage: Usage, other: Usage) -> Usage:
    # The prompt is the same and counts once, as OpenAI counts it.
    return usage.model_copy(
        update={
            name: (getattr(usage, name) or 0) + (getattr(other, name) or 0)
            for name in ("output_tokens", "reasoning_tokens")
            if getattr(other, name) is not None
        }
    )
