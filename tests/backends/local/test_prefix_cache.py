"""What is kept of finished sequences, on memory of a made-up model's shape."""

import pytest
import torch

from openmodels.backends.local.engines.torch.kv_cache import KVCache, LayerShape
from openmodels.backends.local.engines.torch.prefix_cache import PrefixCache

LENGTH = 256
"""Tokens of every row: all that the smallest one holds."""


@pytest.fixture
def kv_cache():
    return KVCache([LayerShape(1, 4, 4)] * 2, torch.float32, torch.device("cpu"))


def tokens(number):
    return [number, *range(1, LENGTH)]


def computed(kv_cache, number):
    """Return a full row of a sequence, which holds its number."""
    slot = kv_cache.allocate(LENGTH)
    for layer in (*slot.bucket.keys, *slot.bucket.values):
        layer[slot.index] = number
    slot.length = LENGTH
    return slot


def known(kv_cache, prefixes, number):
    """Return how many tokens of a sequence are known; they must be its own."""
    slot = kv_cache.allocate(LENGTH + 1)
    length = prefixes.restore(slot, [*tokens(number), 0])
    assert all(bool((layer == number).all()) for layer in kv_cache.view(slot))
    kv_cache.release(slot)
    return length


def test_running_rows_take_from_what_may_be_kept_down_to_its_half(kv_cache):
    full = LENGTH * kv_cache.bytes_per_token
    prefixes = PrefixCache(kv_cache, 8 * full)
    for number in range(8):
        prefixes.retain(computed(kv_cache, number), tokens(number))
    prefixes.trim()
    assert prefixes.used_bytes == 8 * full
    slots = [computed(kv_cache, 100 + number) for number in range(2)]
    prefixes.trim()
    assert prefixes.used_bytes + kv_cache.used_bytes == 8 * full
    slots += [computed(kv_cache, 100 + number) for number in range(14)]
    prefixes.trim()
    assert prefixes.used_bytes == 4 * full
    for slot in slots:
        kv_cache.release(slot)
    assert [known(kv_cache, prefixes, number) for number in range(8)] == [0] * 4 + [LENGTH] * 4


def test_what_a_row_holds_already_goes_before_what_nobody_holds(kv_cache):
    prefixes = PrefixCache(kv_cache, 4 * LENGTH * kv_cache.bytes_per_token)
    for number in range(4):
        prefixes.retain(computed(kv_cache, number), tokens(number))
    slot = kv_cache.allocate(LENGTH + 1)
    assert prefixes.restore(slot, [*tokens(2), 0]) == LENGTH
    prefixes.evict_oldest()
    kv_cache.release(slot)
    assert [known(kv_cache, prefixes, number) for number in range(4)] == [LENGTH, LENGTH, 0, LENGTH]


def test_one_that_is_larger_than_what_may_be_kept_now_still_is_where_nothing_else_is(kv_cache):
    prefixes = PrefixCache(kv_cache, LENGTH * kv_cache.bytes_per_token)
    others = [computed(kv_cache, 1) for _ in range(3)]
    prefixes.retain(computed(kv_cache, 7), tokens(7))
    for slot in others:
        kv_cache.release(slot)
    assert known(kv_cache, prefixes, 7) == LENGTH
