"""The deltas of an answer joined, for a caller who waits for all of it."""

from __future__ import annotations

import time

from openmodels.backends.local.engine import Put
from openmodels.types.reply import Delta

_NEAR_DEADLINE = 1.0  # seconds before its deadline from which an answer that is wanted as a whole is emitted in parts
_PART = 0.1  # seconds of such a part


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

    def __call__(self, item: Delta | BaseException) -> None:
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
