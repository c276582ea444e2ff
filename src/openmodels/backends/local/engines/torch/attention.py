"""Attention over slots of different lengths in one forward pass.

The new tokens of all slots go through the model as one sequence of batch 1, each at its own position: only
attention needs to know which token belongs to which slot. transformers' `AttentionInterface` hands it over to
`ForwardContext.attend`, which stores the new keys and values in the slots and lets each token see its own slot up
to itself.
"""

import itertools
import threading
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from openmodels.backends.local.engines.torch.kv_cache import Bucket, KVCache, Slot

_NAME = "openmodels_slots"
_MAX_PADDING = 1 << 14
"""Pairs of a padding token and a place it sees that cost about as much as one more call of attention."""


class BatchingUnsupported(Exception):
    """A layer needs something that sequences sharing a forward pass cannot have."""


@dataclass(slots=True)
class _Block:
    """Adjacent slots with about the same number of new tokens: one call of attention.

    A slot with draft tokens between slots without would split a bucket into three calls, and a call costs about as
    much as thousands of padding pairs. So slots are padded, with their own last token, up to the longest.

    The slots, in their bucket from `first` on, have `query_lengths` new tokens each, with padding `query_length`; their
    own are from `start` to `stop` in the forward pass. `pad_index` leads from there to the padded block, `unpad_index`
    back. Of a slot, `key_length` places are seen, and those in `mask` are not.
    """

    bucket: Bucket
    first: int
    query_length: int
    query_lengths: list[int]
    start: int
    stop: int
    key_length: int
    mask: torch.Tensor | None = None
    pad_index: torch.Tensor | None = None
    unpad_index: torch.Tensor | None = None

    def extend(self, slot: Slot, new_tokens: int) -> bool:
        """Add the next slot if padding costs less than a call; return whether it did."""
        if self.bucket is not slot.bucket or self.first + len(self.query_lengths) != slot.index:
            return False
        query_length, key_length = max(self.query_length, new_tokens), max(self.key_length, slot.length + new_tokens)
        stop = self.stop + new_tokens
        padding = query_length * (len(self.query_lengths) + 1) - (stop - self.start)
        if padding * key_length > _MAX_PADDING:
            return False
        self.query_length, self.key_length, self.stop = query_length, key_length, stop
        self.query_lengths.append(new_tokens)
        return True

    def pad(self, device: torch.device) -> None:
        """Compute the indices that bring all slots to one number of tokens and back."""
        if self.query_length * len(self.query_lengths) == self.stop - self.start:
            return
        pad_index: list[int] = []
        unpad_index: list[int] = []
        for length in self.query_lengths:
            begin, padded = len(unpad_index), len(pad_index)
            pad_index.extend(begin + min(at, length - 1) for at in range(self.query_length))
            unpad_index.extend(range(padded, padded + length))
        self.pad_index = torch.tensor(pad_index, device=device)
        self.unpad_index = torch.tensor(unpad_index, device=device)


class ForwardContext:
    """The slots of a forward pass, and where their new keys and values go.

    Each slot of `work` comes with the number of its new tokens, which fit into it. `branches` are, by the index in
    `work`, the lengths of the branches that these end with: a branch follows what stands before all of them, and its
    tokens see no other branch.
    """

    def __init__(
        self,
        kv_cache: KVCache,
        work: Sequence[tuple[Slot, int]],
        branches: Mapping[int, Sequence[int]] = MappingProxyType({}),
    ) -> None:
        self._kv_cache = kv_cache
        sizes = [(slot.bucket.capacity, slot.index, new_tokens) for slot, new_tokens in work]
        # For each place in the forward pass's order of slots, the index in `work`.
        self.order = sorted(range(len(work)), key=sizes.__getitem__)
        self.positions: list[int] = []  # the position of every new token in its sequence, in that order
        self._places: list[int] = []  # of the new tokens in their slots
        self._hidden: list[tuple[int, int]] = []  # the places of the branches before its own, for each new token
        self._has_branches = bool(branches)
        self._blocks: list[_Block] = []
        self._writes: list[tuple[Bucket, int, int, torch.Tensor]] = []
        # Computed once for all layers: of small models a step is mostly the dispatch of operations.
        heads = torch.arange(kv_cache.shapes[0].kv_heads, device=kv_cache.device)
        capacities = [size[0] for size in sizes]
        for _, numbers in itertools.groupby(self.order, capacities.__getitem__):
            begin, indices = len(self.positions), []
            for number in numbers:
                slot, new_tokens = work[number]
                start, end = len(self.positions), slot.length + new_tokens
                self._places.extend(range(slot.length, end))
                self._add_positions(slot.length, end, branches.get(number, ()))
                indices.extend([slot.index] * new_tokens)
                if not (self._blocks and self._blocks[-1].extend(slot, new_tokens)):
                    block = _Block(slot.bucket, slot.index, new_tokens, [new_tokens], start, start + new_tokens, end)
                    self._blocks.append(block)
            # The rows of the bucket's tensors, seen as (slots x heads x capacity, size), that the tokens are stored in.
            at = torch.tensor([indices, self._places[begin:]], device=kv_cache.device)
            rows = (at[0, :, None] * len(heads) + heads) * slot.bucket.capacity + at[1, :, None]
            self._writes.append((slot.bucket, begin, len(self.positions), rows.flatten()))
        for block in self._blocks:
            block.pad(kv_cache.device)
            block.mask = self._mask(block)

    def _add_positions(self, begin: int, end: int, branches: Sequence[int]) -> None:
        fork = end - sum(branches)
        self.positions.extend(range(begin, fork))
        self._hidden.extend([(fork, fork)] * (fork - begin))
        place = fork
        for length in branches:
            self.positions.extend(range(fork, fork + length))
            self._hidden.extend([(fork, place)] * length)
            place += length

    def _mask(self, block: _Block) -> torch.Tensor | None:
        at = torch.tensor(self._places[block.start : block.stop], device=self._kv_cache.device)
        at = at if block.pad_index is None else at[block.pad_index]
        # One token each, all of one length: attention without a mask takes its fast path.
        if block.query_length == 1 and int(at.min()) == block.key_length - 1:
            return None
        keys = torch.arange(block.key_length, device=at.device)
        hidden = keys > at.view(-1, 1, block.query_length, 1)
        if self._has_branches:
            others = torch.tensor(self._hidden[block.start : block.stop], device=at.device)
            others = others if block.pad_index is None else others[block.pad_index]
            begin, stop = others.view(-1, 1, block.query_length, 1, 2).unbind(-1)
            hidden |= (keys >= begin) & (keys < stop)
        mask = torch.zeros(hidden.shape, dtype=self._kv_cache.dtype, device=at.device)
        return mask.masked_fill_(hidden, -torch.inf)

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None
    ) -> torch.Tensor:
        """Store the new keys and values, and return what the new tokens see.

        Tokens beyond the context's own pad the forward pass: they are not stored and get zeros. All shapes are (tokens,
        heads, size). A `scale` of None is one over the root of the size.
        """
        _, heads, size = value.shape
        for bucket, start, stop, rows in self._writes:
            for tensor, new in ((bucket.keys[layer], key), (bucket.values[layer], value)):
                width = new.shape[-1]
                tensor.view(-1, width).index_copy_(0, rows, new[start:stop].reshape(-1, width))
        shared = query.shape[1] // heads
        parts = []
        for block in self._blocks:
            count, length = len(block.query_lengths), block.query_length
            slots = slice(block.first, block.first + count)
            keys = block.bucket.keys[layer][slots, :, : block.key_length]
            values = block.bucket.values[layer][slots, :, : block.key_length]
            queries = query[block.start : block.stop]
            if block.pad_index is not None:
                queries = queries.index_select(0, block.pad_index)
            # The heads that share a key go with the tokens: one product for them all, no repeated keys.
            queries = queries.reshape(count, length, heads, shared, -1).permute(0, 2, 3, 1, 4)
            queries = queries.reshape(count, heads, shared * length, -1)
            # Repeated at the first layer only: the mask is the same for all.
            if block.mask is not None and length > 1 and block.mask.shape[2] == length:
                block.mask = block.mask.repeat(1, 1, shared, 1)
            output = scaled_dot_product_attention(queries, keys, values, attn_mask=block.mask, scale=scale)
            output = output.view(count, heads, shared, length, size).permute(0, 3, 1, 2, 4)
            output = output.reshape(-1, heads * shared, size)
            parts.append(output if block.unpad_index is None else output.index_select(0, block.unpad_index))
        if padding := len(query) - len(self.positions):
            parts.append(query.new_zeros(padding, heads * shared, size))
        return parts[0] if len(parts) == 1 else torch.cat(parts)


_current = threading.local()


@contextmanager
def set_forward_context(context: ForwardContext, configs: Collection[Any]) -> Generator[None, None, None]:
    """Let a context be this thread's attention, in the parts with these configs."""
    names = [config._attn_implementation for config in configs]  # noqa: SLF001 - transformers has no other name for it
    _current.context = context
    for config in configs:
        config._attn_implementation = _NAME  # noqa: SLF001 - as above
    try:
        yield
    finally:
        del _current.context
        for config, name in zip(configs, names, strict=True):
            config._attn_implementation = name  # noqa: SLF001 - as above


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
    max_positions = getattr(module.config, "max_position_embeddings", 0)
    if attention_mask is not None or (window is not None and window < max_positions):
        raise BatchingUnsupported("its attention has a window or a mask of its own")
    if any(options.get(name) is not None for name in ("softcap", "s_aux", "sinks", "position_bias")):
        raise BatchingUnsupported("its attention has terms of its own")
    context: ForwardContext = _current.context
    output = context.attend(
        module.layer_idx, query[0].transpose(0, 1), key[0].transpose(0, 1), value[0].transpose(0, 1), scaling
    )
    return output[None], None


AttentionInterface.register(_NAME, _attention)
