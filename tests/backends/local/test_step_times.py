"""The time of a step is learned from steps, and its parts are told apart."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from openmodels.backends.local.engines.torch.step_tuning import StepTimes

PARTS = st.floats(1e-4, 1e-1)


def test_nothing_is_known_before_both_kinds_of_steps_ran() -> None:
    times = StepTimes()
    assert times.estimate(1) == (0.0, 0.0)
    times.record(0, 512, 0.5)
    assert times.estimate(1) == (0.0, 0.0)
    times.record(1, 0, 0.03)
    assert times.estimate(1) != (0.0, 0.0)


@given(fixed=PARTS, each=PARTS, share=PARTS)
def test_what_makes_up_a_step_is_found(fixed: float, each: float, share: float) -> None:
    times = StepTimes()
    for answers in range(1, 17):
        for prompts in (0, 16 + 7 * answers):
            times.record(answers, prompts, fixed + each * answers + share * prompts)
    usual, found = times.estimate(8)
    assert usual == pytest.approx(fixed + 8 * each, rel=0.2, abs=1e-2 * share * 64)
    assert found == pytest.approx(share, rel=0.2, abs=1e-2 * (fixed + each))


def test_plain_steps_are_remembered_while_a_long_prompt_runs_and_becomes_dearer() -> None:
    times = StepTimes()
    for _ in range(20):
        times.record(8, 0, 0.03)
    for step in range(200):
        times.record(8, 32, 0.03 + 32 * (0.001 + 1e-5 * step))
    usual, share = times.estimate(8)
    assert usual == pytest.approx(0.03, rel=0.1)
    assert share == pytest.approx(0.003, rel=0.1)
