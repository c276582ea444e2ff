"""The number of threads follows what tries find, and nothing else changes with it."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress

import pytest
import torch

from openmodels.backends.local.engines.torch.step_tuning import ThreadTuner, limit_threads


def run(threads: ThreadTuner, cost: dict[int, float], steps: int, tokens: int = 4) -> None:
    for _ in range(steps):
        threads.record(tokens, cost[threads.next])


def test_all_are_kept_where_fewer_are_slower() -> None:
    threads = ThreadTuner(8)
    run(threads, {8: 1.0, 4: 1.2}, 400)
    assert threads.best == 8


def test_fewer_are_taken_where_they_are_faster_and_all_again_later() -> None:
    threads = ThreadTuner(8)
    run(threads, {8: 8.0, 4: 4.0, 2: 2.0, 1: 3.0}, 800)
    assert threads.best == 2
    run(threads, {8: 1.0, 4: 2.0, 2: 4.0, 1: 8.0}, 800)
    assert threads.best == 8


def test_one_slow_step_changes_nothing() -> None:
    threads = ThreadTuner(2)
    for step in range(400):
        cost = 1.0 if threads.next == 2 else 1.3
        threads.record(4, 5.0 if step % 33 == 31 else cost)
    assert threads.best == 2


def test_steps_of_unlike_work_are_not_compared() -> None:
    threads = ThreadTuner(2)
    for step in range(400):
        threads.record(step, 1.0 if threads.next == 2 else 0.1)
    assert threads.best == 2


def test_one_thread_stays_one() -> None:
    threads = ThreadTuner(1)
    run(threads, {1: 1.0}, 200)
    assert threads.best == 1


def test_a_limit_ends_with_the_block() -> None:
    usual = torch.get_num_threads()
    with suppress(ValueError), limit_threads(usual + 1):
        assert torch.get_num_threads() == usual + 1
        raise ValueError
    assert torch.get_num_threads() == usual


@pytest.mark.parametrize(
    ("given", "printed"),
    [
        ({}, ["PASSIVE 3000 256", "None None None", "True"]),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, ["ACTIVE None 256", "ACTIVE None None", "True"]),
        ({"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "9"}, ["PASSIVE 3000 9", "None None 9", "True"]),
    ],
)
def test_torch_is_imported_with_short_waits_and_few_kernels_unless_the_user_says_how(
    given: dict[str, str], printed: list[str]
) -> None:
    program = """
import importlib, os, sys
from openmodels.backends.local.engines.torch import torch_setup
load = importlib.import_module
def show():
    print(*map(os.environ.get, ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "ONEDNN_PRIMITIVE_CACHE_CAPACITY")))
def seen(name):
    show()
    return load(name)
importlib.import_module = seen
torch_setup.import_torch()
importlib.import_module = load
show()
print("torch" in sys.modules)
"""
    prefixes = ("OMP_", "GOMP_", "KMP_", "ONEDNN_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment | given, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == printed
