"""Every backend here keeps the promises that the shipped suite tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import openmodels as om
from openmodels.testing import Conformance
from openmodels.testing.embedding import Embedding


class TestEcho(Conformance):
    reference = "echo:"
    samples = False
    slow_model_options = {"script": [["slow ", *["word ", 0.02] * 500], "quick"]}


@pytest.mark.usefixtures("toy")
class TestToy(Conformance):
    reference = "toy:"
    samples = False
    slow_model_options = {"pause": 0.06}


@pytest.mark.weights
class TestLocal(Conformance):
    answer_tokens = 8
    deadline = 2.0
    stops_within = 5.0  # a step takes 30 ms, and a second where others use the machine
    embeds = False

    @pytest.fixture
    def model(self, smol: om.Model) -> om.Model:
        return smol

    @pytest.fixture
    def working(self, model: om.Model) -> Callable[[], int]:
        # Behind the deltas: the answers the engine's thread has in the making.
        return lambda: len(model.backend._engine._running)


@pytest.mark.weights
class TestLocalEmbeddings(Embedding):
    @pytest.fixture
    def model(self, minilm: Path) -> Iterator[om.Model]:
        with om.Model(f"local:{minilm}") as model:
            yield model
