"""Memory: what a hostile answer can make a client hold, and what a thousand streams leave behind."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import tracemalloc

import pytest

import openmodels as om
from openmodels.testing.faults import TEXT, FaultServer


@pytest.fixture(autouse=True)
def told() -> None:
    """Collects nothing here, where it would count as growth."""


# `ru_maxrss` begins with the peak of the process that has started this one, so Linux is asked elsewhere.
CHILD = """
import asyncio, pathlib, re, resource, sys
import openmodels as om

way, backend, url = sys.argv[1:]
model = om.Model(f"{backend}:tiny", base_url=url, timeout=60, max_retries=0)

def read():
    with model.stream("hi") as stream:
        for _ in stream: pass

async def aread():
    async with model.astream("hi") as stream:
        async for _ in stream: pass

try:
    {"chat": lambda: model.chat("hi"), "achat": lambda: asyncio.run(model.achat("hi")),
     "stream": read, "astream": lambda: asyncio.run(aread())}[way]()
except om.OpenModelsError as error:
    print(type(error).__name__)
status = pathlib.Path("/proc/self/status")
if status.exists():
    print(int(re.search(r"VmHWM:\\s*(\\d+) kB", status.read_text())[1]) / 1024)
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(peak / 2**20 if sys.platform == "darwin" else peak / 1024)
"""


@pytest.mark.parametrize(("way", "backend"), [("chat", "server"), ("astream", "server"), ("chat", "azure")])
@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("gzip-bomb", "InvalidResponse"),
        ("gzip-bomb-stream", "InvalidResponse"),
        ("gzip-bomb-error", "InvalidRequest"),
        ("gzip-bomb-behind", "InvalidResponse"),
    ],
)
def test_a_gzip_bomb_takes_less_than_150_mb(server: FaultServer, name: str, error: str, way: str, backend: str) -> None:
    command = [sys.executable, "-c", CHILD, way, backend, server.url(name)]
    out = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.split()
    assert out[0] == error
    assert 10 < float(out[1]) < 150


def _streams(model: om.Model, times: int) -> None:
    for _ in range(times):
        with model.stream("hi") as stream:
            assert "".join(delta.text for delta in stream) == TEXT


def _async_streams(model: om.Model, times: int) -> None:
    async def read() -> None:
        async with model.astream("hi") as stream:
            assert "".join([delta.text async for delta in stream]) == TEXT

    async def main() -> None:
        for _ in range(times // 10):
            await asyncio.gather(*(read() for _ in range(10)))

    asyncio.run(main())


@pytest.mark.parametrize("backend", ["server", "azure"])
@pytest.mark.parametrize(("read", "kept"), [(_streams, 1), (_async_streams, 0)])
def test_a_thousand_streams_leave_no_memory_and_no_connection(own: FaultServer, read, kept: int, backend: str) -> None:
    def held() -> int:
        # The server reads in this process: up to 64 KB for every connection that it has not yet seen end.
        assert own.wait_open(kept)
        own.requests.clear()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    with om.Model(f"{backend}:tiny", base_url=own.url("ok"), timeout=20) as model:
        tracemalloc.start()
        try:
            read(model, 200)  # traced too, so that what is kept once does not count as growth
            before = held()
            read(model, 1000)
            grown = held() - before
        finally:
            tracemalloc.stop()
        assert own.opened <= 20
    assert grown < 100_000, grown
    assert own.wait_open(0)
