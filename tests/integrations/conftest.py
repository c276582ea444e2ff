"""These tests use packages that only the whole test run installs, and the tiny model of the local backend's tests."""

import importlib.util
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "backends" / "local"))

if importlib.util.find_spec("torch") is None:
    collect_ignore_glob = ["test_*.py"]
if importlib.util.find_spec("lighteval") is None or importlib.util.find_spec("inspect_ai") is None:
    collect_ignore = ["test_evaluation_adapters.py"]


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.weights)
