"""Fixtures for the remote backends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from server_fixtures import hasty, own, server, told  # noqa: F401 - fixtures

HERE = Path(__file__).parent


@contextmanager
def peer(command: list[str], log: Path) -> Iterator[str]:
    """Run a server that nobody here wrote, give the address that it prints first, and end it."""
    # Threads that spin while they wait for work would take the CPU from everything beside them.
    environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}
    with (
        log.open("w") as errors,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        ) as process,
    ):
        try:
            address = process.stdout.readline().strip()
            assert address.startswith("http://127.0.0.1:"), log.read_text()[-2000:]
            yield address
        finally:
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def llamacpp(folders: pytest.TempPathFactory, *arguments: str) -> Iterator[str]:
    """Run a llama.cpp server with the default model's GGUF, kept in the user's cache; give its address."""
    from openmodels.backends.local.weights import default_model

    command = [sys.executable, str(HERE / "llamacpp.py"), str(default_model.get_gguf(None)), *arguments]
    with peer(command, folders.mktemp("llamacpp") / "log") as address:
        yield address


@pytest.fixture(scope="session")
def llamacpp_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a llama.cpp server that gives one answer at a time."""
    with llamacpp(tmp_path_factory) as address:
        yield address


@pytest.fixture(scope="session")
def llamacpp_pair_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The same with two answers at a time, as many as it then gives to one request."""
    with llamacpp(tmp_path_factory, "2") as address:
        yield address


@pytest.fixture(scope="session")
def llamacpp_calling_server(tmp_path_factory: pytest.TempPathFactory, hermes: str) -> Iterator[str]:
    """The same with a chat template that knows tools."""
    with llamacpp(tmp_path_factory, "1", hermes) as address:
        yield address


@pytest.fixture(scope="session")
def llamacpp_ranking_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The same as a server for rankings; the model was not made for it, so what it ranks is no matter."""
    with llamacpp(tmp_path_factory, "rank") as address:
        yield address


@pytest.fixture(scope="session")
def transformers_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `transformers serve` with the default model, converted in the user's cache."""
    from openmodels.backends.local.weights import default_model

    command = [sys.executable, str(HERE / "transformers_serve.py"), str(default_model.get_folder(None))]
    with peer(command, tmp_path_factory.mktemp("transformers") / "log") as address:
        yield address
