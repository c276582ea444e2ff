"""Every backend here keeps the promises that the shipped suite tests."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

import openmodels as om
from openmodels.testing import Conformance
from openmodels.testing.embeddings import EmbeddingTests
from openmodels.testing.tools import ToolTests


class TestEcho(Conformance):
    reference = "echo:"
    samples = False
    slow_model_options = {"script": [["slow ", *["word ", 0.02] * 500], "quick"]}


@pytest.mark.usefixtures("toy")
class TestToy(Conformance):
    reference = "toy:"
    samples = False
    slow_model_options = {"pause": 0.06}


LONG_STORY = [om.system("You write long stories."), om.user(Conformance.slow_prompt)]
"""The default model's own system message asks for short answers."""


@pytest.mark.weights
class TestLocal(Conformance):
    slow_prompt = LONG_STORY
    answer_tokens = 8
    deadline = 2.0
    stops_within = 5.0  # a step takes 30 ms, and a second where others use the machine
    embeds = False

    @pytest.fixture
    def model(self, exact_smol: om.Model) -> om.Model:
        return exact_smol

    @pytest.fixture
    def working(self, model: om.Model) -> Callable[[], int]:
        # Behind the deltas: the answers the engine's thread has in the making.
        return lambda: len(model.backend._engine._running)


@pytest.mark.weights
class TestLocalEmbeddings(EmbeddingTests):
    @pytest.fixture
    def model(self, minilm: Path) -> Iterator[om.Model]:
        with om.Model(f"local:{minilm}") as model:
            yield model


@pytest.mark.weights
class TestLocalTools(ToolTests):
    @pytest.fixture
    def model(self, calling_smol: om.Model) -> om.Model:
        return calling_smol


class _Quantised(Conformance):
    """Engines that compute with the GGUF file's own quantised weights."""

    embeds = False
    slow_prompt = LONG_STORY
    digits_grammar = "root ::= [0-9] [0-9] [0-9]"
    rounds_alike = False  # their arithmetic depends on who shares a step
    answer_tokens = 8


@pytest.mark.weights
class TestOpenvino(_Quantised):
    scores = decides = False
    deadline = 1.0
    stops_within = 5.0

    @pytest.fixture
    def model(self, openvino_smol: om.Model) -> om.Model:
        return openvino_smol

    @pytest.fixture
    def working(self, model: om.Model) -> Callable[[], int]:
        return lambda: model.backend._engine.running


_UNASKED = 1.5
"""Seconds to leave llama.cpp alone: it sees that a client has left once nothing was asked for a second."""


@pytest.mark.weights
class TestLlamacpp(_Quantised):
    deadline = 2.5
    # Else the model, which is fast on an idle machine, may have told its story before the deadline.
    slow_options = {"temperature": 0, "extra": {"ignore_eos": True}}
    stops_within = 8.0

    @pytest.fixture
    def model(self, llamacpp_smol: om.Model) -> om.Model:
        return llamacpp_smol

    @pytest.fixture
    def working(self, model: om.Model) -> Callable[[], int]:
        """How many answers the server itself is working on."""
        seen, number = -_UNASKED, 0
        server = model.backend._engine.server

        def busy() -> int:
            nonlocal seen, number
            if time.monotonic() - seen > _UNASKED:
                process = server.ensure(None)
                headers = {"Authorization": f"Bearer {process.key}"}
                request = Request(f"{process.address.result()}/slots", headers=headers)
                with urlopen(request, timeout=10) as answer:
                    number = sum(slot["is_processing"] for slot in json.load(answer))
                seen = time.monotonic()
            return number

        return busy
