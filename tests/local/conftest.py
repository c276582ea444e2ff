"""Everything in this folder needs torch; most of it needs the real weights as well."""

import importlib.util
import os
from pathlib import Path

import pytest

# Tests share their cores with the servers they start; and each imports torch itself, before the backend could.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

HERE = Path(__file__).parent

if importlib.util.find_spec("torch") is None:
    collect_ignore_glob = ["test_*.py"]


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.weights)
