"""Combined models keep the promises of every backend, over members that cost nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import openmodels as om
from openmodels.backends.echo import EchoBackend
from openmodels.testing import Conformance
from openmodels.testing.validation import RequestValidationTests


def slow(words: int = 100) -> om.Model:
    return om.Model(EchoBackend("slow", script=[["slow ", *["word ", 0.02] * words], "quick"]))


def failing(name: str = "down") -> om.Model:
    return om.Model(EchoBackend(name, script=[[om.ServerFailed("It is down.")]]), max_retries=0)


def second(_: object) -> int:
    return 1


class TestFallback(Conformance):
    samples = False

    @pytest.fixture
    def model(self) -> Iterator[om.Model]:
        with om.fallback([failing(), om.fallback(["echo:nested", "echo:"]), "echo:last"]) as model:
            yield model

    @pytest.fixture
    def slow_model(self) -> Iterator[om.Model]:
        with om.fallback([failing(), slow()]) as model:
            yield model


class _Combined(Conformance):
    """The suite without what the core refuses before any backend: `TestFallback` has shown that."""

    samples = False


for _name in vars(RequestValidationTests):
    if _name.startswith("test_"):
        setattr(_Combined, _name, None)


class TestRoute(_Combined):
    @pytest.fixture
    def model(self) -> Iterator[om.Model]:
        with om.route(second, ["echo:a", om.fallback(["echo:b"])]) as model:
            yield model

    @pytest.fixture
    def slow_model(self) -> Iterator[om.Model]:
        with om.route("longest_context", [slow(), failing()], facts={"echo:slow": {"context": 8192}}) as model:
            yield model


class TestMajority(_Combined):
    @pytest.fixture
    def model(self) -> Iterator[om.Model]:
        with om.vote(["echo:a", failing(), om.fallback([failing(), "echo:b"])]) as model:
            yield model

    @pytest.fixture
    def slow_model(self) -> Iterator[om.Model]:
        with om.vote([slow(40), slow(40)]) as model:
            yield model


class TestFirst(_Combined):
    @pytest.fixture
    def model(self) -> Iterator[om.Model]:
        with om.vote([failing(), "echo:b"], how="first") as model:
            yield model

    @pytest.fixture
    def slow_model(self) -> Iterator[om.Model]:
        with om.vote([slow(40), failing()], how="first") as model:
            yield model


class TestCascade(_Combined):
    """The small model's answers are accepted; slow is the last model, whose answers stream."""

    @pytest.fixture
    def model(self) -> Iterator[om.Model]:
        with om.cascade([failing(), "echo:small", "echo:large"], accept="probability") as model:
            yield model

    @pytest.fixture
    def slow_model(self) -> Iterator[om.Model]:
        with om.cascade([om.Model(EchoBackend("empty", script=[" "])), slow()], accept="valid") as model:
            yield model
