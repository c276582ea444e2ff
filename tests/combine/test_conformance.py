"""Combined models keep the promises of every backend, over members that cost nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import openmodels as om
from openmodels.backends.echo import EchoBackend
from openmodels.testing import Conformance

SLOW = ["slow ", *["word ", 0.02] * 100]


def failing(name: str = "down") -> om.Model:
    return om.Model(EchoBackend(name, script=[[om.ServerFailed("It is down.")]]), max_retries=0)


class TestFallback(Conformance):
    samples = False

    @pytest.fixture
    def model(self) -> Iterator[om.Model]:
        with om.fallback([failing(), om.fallback(["echo:nested", "echo:"]), "echo:last"]) as model:
            yield model

    @pytest.fixture
    def slow_model(self) -> Iterator[om.Model]:
        with om.fallback([failing(), om.Model("echo:", script=[SLOW, "quick"])]) as model:
            yield model
