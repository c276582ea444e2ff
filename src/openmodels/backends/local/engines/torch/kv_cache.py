"""The KV cache of the running sequences: slots in buckets of equal capacity.

A slot stays where it is while its sequence grows within its capacity, and at most one slot is copied when
another sequence leaves. Buckets keep a step's attention dense: one call serves all slots of a bucket, and a
sequence of 4,000 tokens does not slow down its neighbours of 100.
"""

import math
import mmap
import sys
from dataclasses import dataclass
from typing import NamedTuple

import torch

MIN_CAPACITY = 256  # tokens that the smallest slots hold; each larger bucket doubles it

_PRIVATE: dict[str, int] = {} if sys.platform == "win32" else {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS}
"""A forked child must not write into its parent's pages, as it would through mmap's default, shared ones."""


class LayerShape(NamedTuple):
    """The shape of one token's keys and values in one layer."""

    kv_heads: int
    key_size: int
    value_size: int


@dataclass(slots=True, eq=False)
class Slot:
    """The place of one sequence, with the keys and values of `length` tokens."""

    bucket: "Bucket"
    index: int
    length: int = 0


class Bucket:
    """Slots of one capacity, stored densely from position 0."""

    def __init__(self, kv_cache: "KVCache", capacity: int) -> None:
        self._kv_cache = kv_cache
        self.capacity = capacity  # tokens that a slot holds
        self.slots: list[Slot] = []  # the slots in use; `slots[i].index == i`
        self.slot_count = 0  # slots that memory is allocated for
        # For each layer, shape (slot_count, heads, capacity, size); `values` likewise.
        self.keys: list[torch.Tensor] = []
        self.values: list[torch.Tensor] = []

    @property
    def tensors(self) -> list[torch.Tensor]:
        """The keys, then the values of all layers."""
        return self.keys + self.values

    def add(self) -> Slot:
        """Return a new, empty slot."""
        if len(self.slots) == self.slot_count:
            # Doubling, so that each slot is copied once on average however many follow.
            self._resize(2 * self.slot_count or 1)
        slot = Slot(self, len(self.slots))
        self.slots.append(slot)
        return slot

    def remove(self, slot: Slot) -> None:
        """Remove a slot; the last one moves into its place."""
        last = self.slots.pop()
        if last is not slot:
            for tensor in self.tensors:
                tensor[slot.index, :, : last.length] = tensor[last.index, :, : last.length]
            last.index = slot.index
            self.slots[slot.index] = last
        # At a third, not at a half: a sequence that comes and goes would else resize the bucket each time.
        if 0 < len(self.slots) <= self.slot_count // 3:
            self._resize(len(self.slots))

    def _resize(self, slot_count: int) -> None:
        kv_cache, used = self._kv_cache, len(self.slots)
        longest = max((slot.length for slot in self.slots), default=0)
        # Layer by layer, so that only one layer is held twice at a time.
        for tensors, size in ((self.keys, 1), (self.values, 2)):
            for layer, shape in enumerate(kv_cache.shapes):
                resized = kv_cache.new_zeros((slot_count, shape.kv_heads, self.capacity, shape[size]))
                if used:
                    resized[:used, :, :longest] = tensors[layer][:used, :, :longest]
                tensors[layer : layer + 1] = [resized]
        self.slot_count = slot_count


class KVCache:
    """All buckets of a model, by their capacity."""

    def __init__(self, shapes: list[LayerShape], dtype: torch.dtype, device: torch.device) -> None:
        self.shapes, self.dtype, self.device = shapes, dtype, device
        numbers = sum(shape.kv_heads * (shape.key_size + shape.value_size) for shape in shapes)
        self.bytes_per_token = numbers * dtype.itemsize
        self.buckets: dict[int, Bucket] = {}

    def new_zeros(self, shape: tuple[int, ...]) -> torch.Tensor:
        """Return a tensor of zeros: masked attention needs finite numbers everywhere."""
        if self.device.type != "cpu":
            return torch.zeros(shape, dtype=self.dtype, device=self.device)
        # Mapped by itself and not from the heap: pages come when they are first written and go when the slot goes
        # (1,256 -> 1,167 MB with 16 chats). The heap kept what lay between others and handed it out whole.
        pages = mmap.mmap(-1, math.prod(shape) * self.dtype.itemsize, **_PRIVATE)
        return torch.frombuffer(pages, dtype=self.dtype).view(shape)

    def capacity_for(self, tokens: int) -> int:
        """Return the capacity of a slot for `tokens` tokens."""
        # Powers of two: few buckets, so few calls of attention, and a slot is never less than half full once it grew.
        return MIN_CAPACITY << max(0, (tokens - 1) // MIN_CAPACITY).bit_length()

    def allocation_size(self, tokens: int) -> int:
        """Return the bytes that a new slot for `tokens` tokens adds to `used_bytes`."""
        capacity = self.capacity_for(tokens)
        bucket = self.buckets.get(capacity)
        if bucket is not None and len(bucket.slots) < bucket.slot_count:
            return 0
        return (bucket.slot_count if bucket else 1) * capacity * self.bytes_per_token

    def allocate(self, tokens: int) -> Slot:
        """Return a new slot that holds `tokens` tokens."""
        capacity = self.capacity_for(tokens)
        bucket = self.buckets.get(capacity) or Bucket(self, capacity)
        slot = bucket.add()
        # Listed only once its memory is there: what a failed allocation took is freed with the bucket.
        self.buckets[capacity] = bucket
        return slot

    def grow(self, slot: Slot, tokens: int) -> None:
        """Move a slot to a bucket in which `tokens` tokens fit."""
        old, index, length = slot.bucket, slot.index, slot.length
        new = self.allocate(tokens)
        for source, target in zip(old.tensors, new.bucket.tensors, strict=True):
            target[new.index, :, :length] = source[index, :, :length]
        self.release(slot)
        slot.bucket, slot.index = new.bucket, new.index
        slot.bucket.slots[slot.index] = slot

    def release(self, slot: Slot) -> None:
        """Give the memory of a slot back."""
        slot.bucket.remove(slot)
        if not slot.bucket.slots:
            self.buckets.pop(slot.bucket.capacity)

    def zero(self, slot: Slot, start: int, stop: int) -> None:
        """Overwrite places of a slot: masked attention would pass on a NaN in them."""
        for layer in slot.bucket.tensors:
            layer[slot.index, :, start:stop] = 0

    def detach(self, slot: Slot) -> list[torch.Tensor] | None:
        """Take a slot's `view` and its memory away; None if others share the bucket."""
        if slot.bucket.slot_count != 1:
            return None
        self.buckets.pop(slot.bucket.capacity)
        return self.view(slot)

    def view(self, slot: Slot) -> list[torch.Tensor]:
        """Return the keys, then the values of all layers, as (heads, tokens, size)."""
        return [layer[slot.index, :, : slot.length] for layer in slot.bucket.tensors]

    def copy(self, slot: Slot) -> list[torch.Tensor]:
        """Return a copy of a slot's `view`, in one piece of memory."""
        layers = self.view(slot)
        sizes = [layer.numel() for layer in layers]
        parts = torch.split(self.new_zeros((sum(sizes),)), sizes)
        return [part.view(layer.shape).copy_(layer) for part, layer in zip(parts, layers, strict=True)]

    def fill(self, slot: Slot, source: list[torch.Tensor], length: int) -> None:
        """Copy the first `length` tokens of another slot's `view` into an empty slot."""
        for layer, copied in zip(slot.bucket.tensors, source, strict=True):
            layer[slot.index, :, :length] = copied[:, :length]
        slot.length = length

    @property
    def used_bytes(self) -> int:
        """Bytes that all buckets take."""
        return sum(bucket.slot_count * bucket.capacity for bucket in self.buckets.values()) * self.bytes_per_token
