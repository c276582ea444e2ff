"""Attention over rows of different length in one forward pass.

The new tokens of all rows go through the model as one sequence of batch 1, each at its own
position: only attention must know which token belongs to whom. transformers' `AttentionInterface`
hands it over to `attend`, which stores the new keys and values in the rows' slots and lets each
token see its own row up to itself.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from openmodels.backends.local.engines.torch.kv_cache import Group, Memory, Row

NAME = "openmodels_rows"
_WASTE = 1 << 14
"""Pairs of a token that pads and a place it sees that cost about as much as one more call of attention."""


class Unjoinable(Exception):
    """A layer needs something that sequences sharing a forward pass cannot have."""


@dataclass(slots=True)
class _Block:
    """Rows in adjacent slots, with about the same number of new tokens.

    Attributes:
        fresh: The new tokens of each row, those included that pad it.
        sizes: The new tokens of each row without these.
        start: Where the first row's tokens begin in the forward pass.
        stop: Where the last row's end.
        length: Places of the rows up to the last one that is seen.
        mask: What each token may not see; None where all see all.
        spread: For each token, those that pad included, which of the block's it stands for; None where none pad.
        back: Where the block's own tokens are among these.
    """

    group: Group
    first: int
    fresh: int
    sizes: list[int]
    start: int
    stop: int
    length: int
    mask: torch.Tensor | None = None
    spread: torch.Tensor | None = None
    back: torch.Tensor | None = None

    def take_in(self, row: Row, fresh: int) -> bool:
        """Take the next row in where that costs less than attention of its own; return whether it does."""
        if self.group is not row.group or self.first + len(self.sizes) != row.index:
            return False
        most, length = max(self.fresh, fresh), max(self.length, row.length + fresh)
        stop = self.stop + fresh
        padding = most * (len(self.sizes) + 1) - (stop - self.start)
        if padding * length > _WASTE:
            return False
        self.fresh, self.length, self.stop = most, length, stop
        self.sizes.append(fresh)
        return True

    def pad(self, device: torch.device) -> None:
        """Bring all rows to one number of tokens: the last one of a row stands for those that it lacks."""
        if self.fresh * len(self.sizes) == self.stop - self.start:
            return
        spread: list[int] = []
        back: list[int] = []
        begin = 0
        for row, size in enumerate(self.sizes):
            spread.extend(begin + min(at, size - 1) for at in range(self.fresh))
            back.extend(range(row * self.fresh, row * self.fresh + size))
            begin += size
        self.spread, self.back = torch.tensor(spread, device=device), torch.tensor(back, device=device)


class Step:
    """A forward pass: which rows get how many new tokens, and where their keys and values go.

    Args:
        memory: Holds the rows.
        work: Rows with the number of their new tokens; each fits into its row.

    Attributes:
        order: For each place in the forward pass's order of rows, the index in `work`.
        positions: The position of every new token in its row, in that order.
    """

    def __init__(self, memory: Memory, work: Sequence[tuple[Row, int]]) -> None:
        self._memory = memory
        places = [(row.group.capacity, row.index, fresh) for row, fresh in work]
        self.order = sorted(range(len(work)), key=places.__getitem__)
        self.positions: list[int] = []
        self._blocks: list[_Block] = []
        self._writes: list[tuple[Group, int, int, torch.Tensor]] = []
        heads = torch.arange(memory.shapes[0].heads, device=memory.device)
        slots: list[int] = []
        begun, group = 0, None
        for index in self.order:
            row, fresh = work[index]
            if row.group is not group:
                self._close(group, begun, slots, heads)
                begun, group, slots = len(self.positions), row.group, []
            start = len(self.positions)
            self.positions.extend(range(row.length, row.length + fresh))
            slots.extend([row.index] * fresh)
            if not (self._blocks and self._blocks[-1].take_in(row, fresh)):
                after = row.length + fresh
                self._blocks.append(_Block(row.group, row.index, fresh, [fresh], start, start + fresh, after))
        self._close(group, begun, slots, heads)
        for block in self._blocks:
            block.pad(memory.device)
            block.mask = self._mask(block)

    def _close(self, group: Group | None, begun: int, slots: list[int], heads: torch.Tensor) -> None:
        if group is None:
            return
        at = torch.tensor([slots, self.positions[begun:]], device=heads.device)
        place = (at[0, :, None] * len(heads) + heads) * group.capacity + at[1, :, None]
        self._writes.append((group, begun, len(self.positions), place.flatten()))

    def _mask(self, block: _Block) -> torch.Tensor | None:
        at = torch.tensor(self.positions[block.start : block.stop], device=self._memory.device)
        at = at if block.spread is None else at[block.spread]
        if block.fresh == 1 and int(at.min()) == block.length - 1:
            return None
        hidden = torch.arange(block.length, device=at.device) > at.view(-1, 1, block.fresh, 1)
        mask = torch.zeros(hidden.shape, dtype=self._memory.dtype, device=at.device)
        return mask.masked_fill_(hidden, -torch.inf)

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None
    ) -> torch.Tensor:
        """Store the new keys and values and return what the new tokens see.

        Tokens beyond the step's own are stored nowhere and see nothing.

        Args:
            layer: Number of the layer.
            query: Shape (tokens, heads, size).
            key: Shape (tokens, key heads, size).
            value: Shape (tokens, key heads, value size).
            scale: Factor of the scores; None is one over the root of the size.

        Returns:
            Shape (tokens, heads, value size).
        """
        _, heads, size = value.shape
        for group, start, stop, place in self._writes:
            for kept, new in ((group.keys[layer], key), (group.values[layer], value)):
                width = new.shape[-1]
                kept.view(-1, width).index_copy_(0, place, new[start:stop].reshape(-1, width))
        shared = query.shape[1] // heads
        parts = []
        for block in self._blocks:
            rows, fresh = len(block.sizes), block.fresh
            own = slice(block.first, block.first + rows)
            keys = block.group.keys[layer][own, :, : block.length]
            values = block.group.values[layer][own, :, : block.length]
            asked = query[block.start : block.stop]
            if block.spread is not None:
                asked = asked.index_select(0, block.spread)
            # The heads that share a key go with the tokens: one product for them all, no repeated keys.
            asked = asked.reshape(rows, fresh, heads, shared, -1).permute(0, 2, 3, 1, 4)
            asked = asked.reshape(rows, heads, shared * fresh, -1)
            if block.mask is not None and fresh > 1 and block.mask.shape[2] == fresh:
                block.mask = block.mask.repeat(1, 1, shared, 1)
            seen = scaled_dot_product_attention(asked, keys, values, attn_mask=block.mask, scale=scale)
            seen = seen.view(rows, heads, shared, fresh, size).permute(0, 3, 1, 2, 4)
            seen = seen.reshape(-1, heads * shared, size)
            parts.append(seen if block.back is None else seen.index_select(0, block.back))
        if more := len(query) - len(self.positions):
            parts.append(query.new_zeros(more, heads * shared, size))
        return parts[0] if len(parts) == 1 else torch.cat(parts)


_current = threading.local()


@contextmanager
def running(step: Step) -> Generator[None, None, None]:
    """Let the attention of this thread's forward pass be that of a step."""
    _current.step = step
    try:
        yield
    finally:
        del _current.step


def _attention(  # noqa: PLR0917 - the signature is that of transformers
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    window = options.get("sliding_window")
    context = getattr(module.config, "max_position_embeddings", 0)
    if attention_mask is not None or (window is not None and window < context):
        raise Unjoinable("its attention has a window or a mask of its own")
    if any(options.get(name) is not None for name in ("softcap", "s_aux", "sinks", "position_bias")):
        raise Unjoinable("its attention has terms of its own")
    step: Step = _current.step
    seen = step.attend(
        module.layer_idx, query[0].transpose(0, 1), key[0].transpose(0, 1), value[0].transpose(0, 1), scaling
    )
    return seen[None], None


AttentionInterface.register(NAME, _attention)
