"""What finished sequences computed, kept for later ones that begin with the same tokens."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch

from openmodels.backends.local.engines.torch.kv_cache import Memory, Row

_LEAST = 64
"""Tokens from which on a prefix is worth its memory; fewer are computed in about one step."""


class Prefixes:
    """Keys and values by the tokens they belong to, the least recently used dropped first.

    Args:
        memory: Where rows are.
        limit: Bytes that may be kept; while rows are in use, so much less as these take, but not less than half.

    Attributes:
        used: Bytes that are kept.
    """

    def __init__(self, memory: Memory, limit: int) -> None:
        self._memory, self._limit = memory, limit
        self._kept: OrderedDict[tuple[int, ...], list[torch.Tensor]] = OrderedDict()
        self._sizes: dict[tuple[int, ...], int] = {}
        self.used = 0

    def fill(self, row: Row, tokens: Sequence[int]) -> int:
        """Fill an empty row with the longest known beginning of `tokens`; return its length in tokens, 0 for none.

        At least one token is left over, since something must be computed to have scores.
        """
        wanted = tuple(tokens[:-1])
        found = max(self._kept, key=lambda kept: shared(kept, wanted), default=())
        length = shared(found, wanted)
        if length < _LEAST:
            return 0
        self._memory.fill(row, self._kept[found], length)
        # What the row holds all of, it gives back one day, and more: that is the first to go until then.
        self._kept.move_to_end(found, last=length < len(found))
        return length

    def keep(self, row: Row, tokens: Sequence[int]) -> None:
        """Close a row, which holds the beginning of `tokens`, and keep that instead of every shorter beginning of it.

        A row that is alone in its memory is kept as it is: copying thousands of tokens would make others wait.
        """
        known = tuple(tokens[: row.length])
        alone = row.group.slots == 1
        size = (row.group.capacity if alone else len(known)) * self._memory.token_bytes
        if len(known) < _LEAST or size > self._limit or any(shared(kept, known) == len(known) for kept in self._kept):
            self._memory.close(row)
            return
        for shorter in [kept for kept in self._kept if shared(kept, known) == len(kept)]:
            self._drop(shorter)
        taken = self._memory.take(row)
        if taken is None:
            taken = self._memory.copy(row)
            self._memory.close(row)
        self.trim(size)
        self._kept[known], self._sizes[known] = taken, size
        self.used += size

    def trim(self, more: int = 0) -> None:
        """Drop the oldest until as much as may be kept now has room for `more` bytes, or nothing is left."""
        most = max(self._limit // 2, self._limit - self._memory.used)
        while self.used + more > most and self.drop_oldest():
            pass

    def drop_oldest(self) -> bool:
        """Free the least recently used one; return whether there was one."""
        if not self._kept:
            return False
        self._drop(next(iter(self._kept)))
        return True

    def _drop(self, tokens: tuple[int, ...]) -> None:
        del self._kept[tokens]
        self.used -= self._sizes.pop(tokens)


def shared(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many tokens two sequences have in common at their beginning."""
    low, high = 0, min(len(one), len(other))
    # Comparing slices is C; a loop over thousands of tokens is not.
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
