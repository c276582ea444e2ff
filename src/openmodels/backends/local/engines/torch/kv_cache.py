"""The keys and values of the running sequences: slots in groups of like capacity.

A sequence's row never moves while it grows within its capacity, and nobody else's joining or
leaving moves it but for one copy into a hole. Groups keep a step's attention dense: one call
serves all rows of a group, and a row of 4,000 tokens does not make its neighbours of 100 wait.
"""

from __future__ import annotations

import math
import mmap
import sys
from dataclasses import dataclass
from typing import NamedTuple

import torch

SMALLEST = 256
"""Tokens that the smallest rows hold; the next ones hold twice as many, and so on."""

_PRIVATE: dict[str, int] = {} if sys.platform == "win32" else {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS}
"""A forked child must not write into its parent's."""


class Shape(NamedTuple):
    """What a layer keeps of a token."""

    heads: int
    key: int
    value: int


@dataclass(slots=True, eq=False)
class Row:
    """A sequence's place.

    Attributes:
        group: Where it is.
        index: Its slot there.
        length: Tokens whose keys and values are there.
    """

    group: Group
    index: int
    length: int = 0


class Group:
    """Rows of one capacity, in dense slots from 0.

    Attributes:
        capacity: Tokens that a row holds.
        rows: The rows; `rows[i].index == i`.
        keys: For each layer, shape (slots, heads, capacity, key size).
        values: The same for values.
    """

    def __init__(self, memory: Memory, capacity: int) -> None:
        self._memory = memory
        self.capacity = capacity
        self.rows: list[Row] = []
        self.slots = 0
        self.keys: list[torch.Tensor] = []
        self.values: list[torch.Tensor] = []

    def add(self) -> Row:
        """Return a new, empty row."""
        if len(self.rows) == self.slots:
            self._resize(2 * self.slots or 1)
        row = Row(self, len(self.rows))
        self.rows.append(row)
        return row

    def remove(self, row: Row) -> None:
        """Take a row out; the last one moves into the hole."""
        last = self.rows.pop()
        if last is not row:
            for kept in (*self.keys, *self.values):
                kept[row.index, :, : last.length] = kept[last.index, :, : last.length]
            last.index = row.index
            self.rows[row.index] = last
        if 0 < len(self.rows) <= self.slots // 3:
            self._resize(len(self.rows))

    def _resize(self, slots: int) -> None:
        memory, filled = self._memory, len(self.rows)
        longest = max((row.length for row in self.rows), default=0)
        for kept, size in ((self.keys, 1), (self.values, 2)):
            for layer, shape in enumerate(memory.shapes):
                new = memory.zeros((slots, shape.heads, self.capacity, shape[size]))
                if filled:
                    new[:filled, :, :longest] = kept[layer][:filled, :, :longest]
                if layer < len(kept):
                    kept[layer] = new
                else:
                    kept.append(new)
        self.slots = slots


class Memory:
    """All groups of a model.

    Args:
        shapes: What each layer keeps.
        dtype: Of keys and values.
        device: Where they are.

    Attributes:
        token_bytes: Bytes that a token takes in all layers.
    """

    def __init__(self, shapes: list[Shape], dtype: torch.dtype, device: torch.device) -> None:
        self.shapes, self.dtype, self.device = shapes, dtype, device
        self.token_bytes = sum(shape.heads * (shape.key + shape.value) for shape in shapes) * dtype.itemsize
        self.groups: dict[int, Group] = {}

    def zeros(self, shape: tuple[int, ...]) -> torch.Tensor:
        """Return finite memory, which masked attention needs.

        On a CPU its pages are taken when they are first written, and given back as soon as it is let go: the heap
        would keep what lies between others, and hand it out with all of its pages.
        """
        if self.device.type != "cpu":
            return torch.zeros(shape, dtype=self.dtype, device=self.device)
        pages = mmap.mmap(-1, math.prod(shape) * self.dtype.itemsize, **_PRIVATE)
        return torch.frombuffer(pages, dtype=self.dtype).view(shape)

    def capacity(self, tokens: int) -> int:
        """Return how many tokens a row for so many tokens will hold."""
        return SMALLEST << max(0, (tokens - 1) // SMALLEST).bit_length()

    def cost(self, tokens: int) -> int:
        """Return the bytes that a new row for so many tokens would take on top of those used."""
        capacity = self.capacity(tokens)
        group = self.groups.get(capacity)
        if group is None:
            return capacity * self.token_bytes
        return group.slots * capacity * self.token_bytes if len(group.rows) == group.slots else 0

    def open(self, tokens: int) -> Row:
        """Return a new row that holds `tokens` tokens."""
        capacity = self.capacity(tokens)
        group = self.groups.get(capacity) or Group(self, capacity)
        row = group.add()
        # Not before there was memory for it: what a failed one took goes with it.
        self.groups[capacity] = group
        return row

    def grow(self, row: Row, tokens: int) -> None:
        """Move a row to where `tokens` tokens fit."""
        old, index, length = row.group, row.index, row.length
        new = self.open(tokens)
        for source, target in ((old.keys, new.group.keys), (old.values, new.group.values)):
            for kept, grown in zip(source, target, strict=True):
                grown[new.index, :, :length] = kept[index, :, :length]
        self.close(row)
        row.group, row.index = new.group, new.index
        row.group.rows[row.index] = row

    def close(self, row: Row) -> None:
        """Give a row's place back."""
        row.group.remove(row)
        if not row.group.rows:
            self.groups.pop(row.group.capacity)

    def wipe(self, row: Row, start: int, stop: int) -> None:
        """Overwrite places of a row: what is no number there would reach a later row through its masked attention."""
        for layer in (*row.group.keys, *row.group.values):
            layer[row.index, :, start:stop] = 0

    def take(self, row: Row) -> list[torch.Tensor] | None:
        """Give a row's memory away with what it holds, where it is alone in its own; else return None."""
        if row.group.slots != 1:
            return None
        self.groups.pop(row.group.capacity)
        return self.view(row)

    def view(self, row: Row) -> list[torch.Tensor]:
        """Return what a row holds: keys, then values, of every layer, each of shape (heads, tokens, size)."""
        return [layer[row.index, :, : row.length] for layer in (*row.group.keys, *row.group.values)]

    def copy(self, row: Row) -> list[torch.Tensor]:
        """Return a copy of a row's `view`, in memory that goes back as a whole."""
        seen = self.view(row)
        whole = self.zeros((sum(layer.numel() for layer in seen),))
        parts = torch.split(whole, [layer.numel() for layer in seen])
        return [part.view(layer.shape).copy_(layer) for part, layer in zip(parts, seen, strict=True)]

    def fill(self, row: Row, source: list[torch.Tensor], length: int) -> None:
        """Copy the first `length` tokens of another row's `view` into an empty one."""
        for layer, copied in zip((*row.group.keys, *row.group.values), source, strict=True):
            layer[row.index, :, :length] = copied[:, :length]
        row.length = length

    @property
    def used(self) -> int:
        """Bytes taken by all groups."""
        return sum(group.slots * group.capacity for group in self.groups.values()) * self.token_bytes
