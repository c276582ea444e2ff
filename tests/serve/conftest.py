"""One running server a module, on loopback, with the fake backend and `echo:` behind it."""

from __future__ import annotations

import importlib.util
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

import openmodels as om

HERE = Path(__file__).parent
sys.path.append(str(HERE))
KEY = "key-of-the-tests"

# These tests use packages that only the whole test run installs.
if not all(map(importlib.util.find_spec, ("anthropic", "openai", "starlette", "uvicorn"))):
    collect_ignore_glob = ["test_*.py"]


@contextmanager
def running(models, **options):
    """Run a server on a thread; yield it, with its `address`."""
    from fake_backend import FakeBackend

    from openmodels.serve.app import build_app
    from openmodels.serve.keys import ApiKey, digest
    from openmodels.serve.run import make_server

    grace = options.pop("grace", 2.0)
    ready = threading.Event()
    app = build_app(models, **{"keys": [ApiKey("default", digest(KEY))], **options})
    server = make_server(
        app, "127.0.0.1", 0, lambda address: (setattr(server, "address", address), ready.set()), grace=grace
    )
    server.app = app
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    assert ready.wait(30)
    try:
        yield server
    finally:
        for served in app.state.models:
            if isinstance(served.model.backend, FakeBackend):
                served.model.backend.release.set()
        server.should_exit = True
        thread.join(15)
        assert not thread.is_alive()


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
