"""Fixtures for all tests."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import hypothesis
import pytest

import openmodels as om
from openmodels.backends import registry
from toy_backend import ToyBackend

# A slow example is no failure: this may be a busy machine.
hypothesis.settings.register_profile("house", deadline=None)
hypothesis.settings.load_profile("house")

# A shell starts background jobs with Ctrl-C ignored, and the processes that tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> type[ToyBackend]:
    """The toy backend, known by its name for the length of a test."""
    monkeypatch.setitem(registry._registered, "toy", ToyBackend)
    return ToyBackend


@pytest.fixture(scope="session")
def smol() -> Iterator[om.Model]:
    """The default model with its real weights, loaded once for all tests."""
    with om.Model(om.DEFAULT_MODEL) as model:
        yield model.load()


@pytest.fixture(scope="session")
def openvino_smol() -> Iterator[om.Model]:
    """The default model's GGUF in OpenVINO."""
    with om.Model(om.DEFAULT_MODEL, engine="openvino") as model:
        yield model.load()


@pytest.fixture(scope="session")
def llamacpp_smol() -> Iterator[om.Model]:
    """The default model's GGUF in llama.cpp, a server of ours."""
    with om.Model(om.DEFAULT_MODEL, engine="llamacpp") as model:
        yield model.load()
