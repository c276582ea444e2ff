"""The deltas of `n` answers to one request, as one stream of deltas.

For a caller who waits for the whole answer they are joined.
"""

import time

from openmodels.backends.local.engine_protocol import Put
from openmodels.types.reply import Delta, Usage
from openmodels.types.request import ChatRequest
from openmodels.types.scores import Scores

_SEEDS = 2**63
_NEAR_DEADLINE = 1.0  # seconds before its deadline from which an answer that is wanted as a whole is emitted in parts
_PART = 0.1  # seconds of such a part


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


def is_near_deadline(deadline: float | None, now: float) -> bool:
    """Return whether an answer is emitted in parts, or its deadline would cut it off.

    Both times are `time.monotonic()` values.
    """
    return deadline is not None and now >= deadline - _NEAR_DEADLINE


class DeltaJoiner:
    """Joins the deltas of an answer into one, for a caller who waits for all of it.

    Each delta would wake the caller's thread. Near its deadline the answer is put in parts, so that one that is cut
    short is not lost.
    """

    def __init__(self, put: Put, deadline: float | None) -> None:
        self._put = put
        self._deadline = deadline
        self._held: Delta | None = None
        self._since = 0.0

    def __call__(self, item: Delta | Scores | BaseException) -> None:
        """Take a delta or an error."""
        if isinstance(item, Delta):
            now = time.monotonic()
            if self._held is None:
                self._held, self._since = item, now
            else:
                _extend(self._held, item)
            is_due = is_near_deadline(self._deadline, now) and now - self._since >= _PART
            if not (item.finish_reason or item.end or is_due):
                return
        held, self._held = self._held, None
        if held is not None:
            self._put(held)
        if not isinstance(item, Delta):
            self._put(item)


def _extend(delta: Delta, later: Delta) -> None:
    delta.text += later.text
    delta.reasoning += later.reasoning
    delta.tool_calls += later.tool_calls
    delta.logprobs += later.logprobs
    delta.finish_reason, delta.usage, delta.end = later.finish_reason, later.usage, later.end
    delta.raw = later.raw
