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


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny model with random weights."""
    from tiny import tiny_llama

    return tiny_llama(
        tmp_path_factory.mktemp("tiny"), max_position_embeddings=4096, num_hidden_layers=3, num_attention_heads=4
    )


@pytest.fixture(scope="module")
def model(folder):
    """The same, open: its answers share forward passes."""
    import openmodels as om

    with om.Model(f"local:{folder}", dtype="float32") as opened:
        yield opened.load()


@pytest.fixture(scope="module")
def single(folder):
    """The same where every answer runs alone."""
    import openmodels as om

    with om.Model(f"local:{folder}", dtype="float32", deterministic=True) as opened:
        yield opened.load()


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.weights)
