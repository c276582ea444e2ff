"""One running server a module, on loopback, with the fake backend and `echo:` behind it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

import openmodels as om

sys.path.append(str(Path(__file__).parent))
from running_server import KEY, running

# These tests use packages that only the whole test run installs.
if not all(map(importlib.util.find_spec, ("anthropic", "openai", "starlette", "uvicorn"))):
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="module")
def backend():
    from fake_backend import FakeBackend

    return FakeBackend("one")


@pytest.fixture(scope="module")
def server(backend):
    with running({"fake": om.Model(backend), "echo": om.Model("echo:")}) as server:
        yield server


@pytest.fixture(scope="module")
def client(server):
    import openai

    with openai.OpenAI(base_url=f"{server.address}/v1", api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def http(server):
    import httpx2

    with httpx2.Client(base_url=server.address, headers={"Authorization": f"Bearer {KEY}"}, timeout=20) as client:
        yield client
