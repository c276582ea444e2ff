"""Scales of charts: round ticks around all values."""

import pytest

from openmodels.plotting import ChartScale


@pytest.mark.parametrize("values", [[0.15, 0.6], [3.0], [0.0], [-2.0, 7.5], [2e-7, 9e-7], [1e9, 7e10], []], ids=str)
def test_ticks_are_evenly_spaced_and_hold_all_values(values):
    scale = ChartScale(values, 100, 20)
    steps = [after - before for before, after in zip(scale.ticks, scale.ticks[1:], strict=False)]
    assert 2 <= len(steps) <= 6
    assert steps == pytest.approx([steps[0]] * len(steps))
    assert all(scale.ticks[0] <= value <= scale.ticks[-1] for value in values)
    assert [scale.position(scale.ticks[place]) for place in (0, -1)] == [100, 20]


def test_ticks_have_few_digits():
    assert ChartScale([0.11, 0.58], 0, 1).ticks == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    assert ChartScale([1.0], 0, 1).position(-float("inf")) == 0
