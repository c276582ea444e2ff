"""Keys and values of finished sequences, for later ones with the same prefix."""

from collections import OrderedDict
from collections.abc import Sequence

import torch

from openmodels.backends.local.engines.torch.kv_cache import KVCache, Slot

_MIN_TOKENS = 64  # tokens from which on a prefix is worth its memory; fewer are computed in about one step


class PrefixCache:
    """Keys and values by their tokens; the least recently used are evicted first.

    At most `limit` bytes are retained. Running sequences reduce it by what they take, at most to its half.
    """

    def __init__(self, kv_cache: KVCache, limit: int) -> None:
        self._kv_cache, self._limit = kv_cache, limit
        self._entries: OrderedDict[tuple[int, ...], tuple[list[torch.Tensor], int]] = OrderedDict()
        self.used_bytes = 0

    def restore(self, slot: Slot, tokens: Sequence[int]) -> int:
        """Fill an empty slot with the longest known prefix; return its length in tokens."""
        # At least one token is left over, since scores need a token to be computed.
        prompt = tuple(tokens[:-1])
        entry = max(self._entries, key=lambda known: common_prefix_length(known, prompt), default=())
        length = common_prefix_length(entry, prompt)
        if length < _MIN_TOKENS:
            return 0
        self._kv_cache.fill(slot, self._entries[entry][0], length)
        # An entry that the slot holds as a whole comes back with that slot, longer: until then it is evicted first.
        # With the limit's half this took the third turn of 16 mixed chats from a peak of 1.7 to 1.5 GB in bfloat16.
        self._entries.move_to_end(entry, last=length < len(entry))
        return length

    def retain(self, slot: Slot, tokens: Sequence[int]) -> None:
        """Release a slot; retain its part of `tokens` instead of shorter prefixes."""
        known = tuple(tokens[: slot.length])
        alone = slot.bucket.slot_count == 1
        size = (slot.bucket.capacity if alone else len(known)) * self._kv_cache.bytes_per_token
        covered = any(common_prefix_length(entry, known) == len(known) for entry in self._entries)
        if len(known) < _MIN_TOKENS or size > self._limit or covered:
            self._kv_cache.release(slot)
            return
        for entry in [entry for entry in self._entries if common_prefix_length(entry, known) == len(entry)]:
            self._evict(entry)
        layers = self._kv_cache.detach(slot)  # of a slot alone: copying thousands of tokens would delay others
        if layers is None:
            layers = self._kv_cache.copy(slot)
            self._kv_cache.release(slot)
        self.trim(size)
        self._entries[known] = layers, size
        self.used_bytes += size

    def trim(self, extra: int = 0) -> None:
        """Evict the oldest entries until `extra` bytes more are within the limit."""
        limit = max(self._limit // 2, self._limit - self._kv_cache.used_bytes)
        while self.used_bytes + extra > limit and self.evict_oldest():
            pass

    def evict_oldest(self) -> bool:
        """Evict the least recently used entry; return whether there was one."""
        if not self._entries:
            return False
        self._evict(next(iter(self._entries)))
        return True

    def _evict(self, tokens: tuple[int, ...]) -> None:
        self.used_bytes -= self._entries.pop(tokens)[1]


def common_prefix_length(first: Sequence[int], second: Sequence[int]) -> int:
    """Return how many tokens two sequences have in common at their beginning."""
    low, high = 0, min(len(first), len(second))
    # A binary search over slices: they are compared in C, a loop over thousands of tokens is not.
    while low < high:
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
