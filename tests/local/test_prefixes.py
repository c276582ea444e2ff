"""What is kept of finished sequences, on memory of a made-up model's shape."""

import pytest
import torch

from openmodels.backends.local.engines.torch.kv_cache import Memory, Shape
from openmodels.backends.local.engines.torch.prefix_cache import Prefixes

LENGTH = 256
"""Tokens of every row: all that the smallest one holds."""


@pytest.fixture
def memory():
    return Memory([Shape(1, 4, 4)] * 2, torch.float32, torch.device("cpu"))


def tokens(number):
    return [number, *range(1, LENGTH)]


def computed(memory, number):
    """Return a full row of a sequence, which holds its number."""
    row = memory.open(LENGTH)
    for layer in (*row.group.keys, *row.group.values):
        layer[row.index] = number
    row.length = LENGTH
    return row


def known(memory, prefixes, number):
    """Return how many tokens of a sequence are known; they must be its own."""
    row = memory.open(LENGTH + 1)
    length = prefixes.fill(row, [*tokens(number), 0])
    assert all(bool((layer == number).all()) for layer in memory.view(row))
    memory.close(row)
    return length


def test_running_rows_take_from_what_may_be_kept_down_to_its_half(memory):
    full = LENGTH * memory.token_bytes
    prefixes = Prefixes(memory, 8 * full)
    for number in range(8):
        prefixes.keep(computed(memory, number), tokens(number))
    prefixes.trim()
    assert prefixes.used == 8 * full
    rows = [computed(memory, 100 + number) for number in range(2)]
    prefixes.trim()
    assert prefixes.used + memory.used == 8 * full
    rows += [computed(memory, 100 + number) for number in range(14)]
    prefixes.trim()
    assert prefixes.used == 4 * full
    for row in rows:
        memory.close(row)
    assert [known(memory, prefixes, number) for number in range(8)] == [0] * 4 + [LENGTH] * 4


def test_what_a_row_holds_already_goes_before_what_nobody_holds(memory):
    prefixes = Prefixes(memory, 4 * LENGTH * memory.token_bytes)
    for number in range(4):
        prefixes.keep(computed(memory, number), tokens(number))
    row = memory.open(LENGTH + 1)
    assert prefixes.fill(row, [*tokens(2), 0]) == LENGTH
    prefixes.drop_oldest()
    memory.close(row)
    assert [known(memory, prefixes, number) for number in range(4)] == [LENGTH, LENGTH, 0, LENGTH]


def test_one_that_is_larger_than_what_may_be_kept_now_still_is_where_nothing_else_is(memory):
    prefixes = Prefixes(memory, LENGTH * memory.token_bytes)
    others = [computed(memory, 1) for _ in range(3)]
    prefixes.keep(computed(memory, 7), tokens(7))
    for row in others:
        memory.close(row)
    assert known(memory, prefixes, 7) == LENGTH
