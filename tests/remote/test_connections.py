"""Connections: kept, shared, survived, and really closed."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import pickle
import threading
import tracemalloc
from collections.abc import Iterator

import pytest

import openmodels as om
from openmodels import retry
from openmodels.errors import ConnectionFailed, DeadlineExceeded
from openmodels.testing.faults import KEY, TEXT, FaultServer
from openmodels.testing.faults.answers import chunk, event, right
from openmodels.testing.faults.expect import Fault, Right
from openmodels.testing.faults.server import Request, Wire, fault


@fault(Fault("endless", "streams tokens without an end", None, None))
def _endless(wire: Wire, _: Request) -> None:
    wire.begin()
    while True:
        wire.chunk(event(chunk({"content": "x" * 100})))


@fault(Fault("close-after", "closes the connection after each answer, without saying so", Right()))
def _close_after(wire: Wire, request: Request) -> None:
    right(wire, request)
    wire.close()


@fault(Fault("reset-when-reused", "closes a kept connection when it is used again", Right()))
def _reset_when_reused(wire: Wire, request: Request) -> None:
    if request.number == 2:
        wire.close()
    right(wire, request)


@pytest.fixture
def own() -> Iterator[FaultServer]:
    """A server of the test's own, to count connections."""
    with FaultServer() as server:
        yield server


def _model(url: str, **options: object) -> om.Model:
    return om.Model("server:tiny", base_url=url, api_key=KEY, timeout=10, **options)


def test_one_connection_serves_many_calls(own: FaultServer) -> None:
    with _model(own.url("ok")) as model:
        for _ in range(5):
            assert model.chat("hi").text == TEXT
            with model.stream("hi") as stream:
                assert "".join(delta.text for delta in stream) == TEXT
        assert own.opened == 1
    assert own.wait_open(0)


def test_one_connection_serves_many_async_calls(own: FaultServer) -> None:
    async def main() -> None:
        for _ in range(5):
            assert (await model.achat("hi")).text == TEXT

    with _model(own.url("ok")) as model:
        asyncio.run(main())
        assert own.opened == 1
        assert own.wait_open(0)  # the loop's end closes them


def test_one_model_survives_many_event_loops(server: FaultServer) -> None:
    async def main() -> list[om.Reply]:
        return await asyncio.gather(*(model.achat("hi") for _ in range(20)))

    with _model(server.url("ok")) as model:
        for _ in range(3):
            assert {reply.text for reply in asyncio.run(main())} == {TEXT}


def test_sync_calls_work_inside_a_running_loop(server: FaultServer) -> None:
    async def main() -> str:
        return model.chat("hi").text + (await model.achat("hi")).text

    with _model(server.url("ok")) as model:
        assert asyncio.run(main()) == TEXT * 2


def test_threads_share_a_model(own: FaultServer) -> None:
    replies: list[str] = []
    with _model(own.url("ok")) as model:
        threads = [threading.Thread(target=lambda: replies.append(model.chat("hi").text)) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert replies == [TEXT] * 16
    assert own.wait_open(0)


def _in_child(model: om.Model, answers: multiprocessing.SimpleQueue[str]) -> None:
    answers.put(model.chat("hi").text)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_does_not_share_the_connection(own: FaultServer) -> None:
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    with _model(own.url("ok")) as model:
        model.chat("hi")
        child = context.Process(target=_in_child, args=(model, answers))
        child.start()
        child.join(20)
        assert child.exitcode == 0
        assert answers.get() == TEXT
        assert model.chat("hi").text == TEXT
        assert own.opened == 2


@pytest.mark.parametrize("name", ["close-after", "reset-when-reused"])
def test_a_kept_connection_that_died_costs_no_retry(own: FaultServer, name: str) -> None:
    async def main() -> None:
        for _ in range(3):
            assert (await model.achat("hi")).text == TEXT

    with retry.testing(attempts=1), _model(own.url(name)) as model:
        for _ in range(3):
            assert model.chat("hi").text == TEXT
    with retry.testing(attempts=1), _model(own.url(name)) as model:
        asyncio.run(main())


def test_leaving_a_stream_closes_the_connection(own: FaultServer) -> None:
    with _model(own.url("endless")) as model:
        with model.stream("hi") as stream:
            assert next(stream).text
            assert own.open == 1
        assert own.wait_open(0)


def test_leaving_an_async_stream_closes_the_connection(own: FaultServer) -> None:
    async def main() -> None:
        async with model.astream("hi") as stream:
            assert (await anext(stream)).text
        assert await asyncio.to_thread(own.wait_open, 0)

    with _model(own.url("endless")) as model:
        asyncio.run(main())


@pytest.mark.parametrize("name", ["endless", "silent", "stall-in-stream"])
def test_cancelling_closes_the_connection(own: FaultServer, name: str) -> None:
    async def main() -> None:
        async def read() -> None:
            async with model.astream("hi") as stream:
                async for _ in stream:
                    pass

        task = asyncio.create_task(read())
        assert await asyncio.to_thread(own.wait_open, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(own.wait_open, 0)

    with _model(own.url(name)) as model:
        asyncio.run(main())


def test_a_stream_left_to_the_garbage_collector_is_closed(own: FaultServer) -> None:
    model = _model(own.url("endless"))
    stream = model.stream("hi")
    next(stream)
    del stream
    gc.collect()
    assert own.wait_open(0)


def test_a_model_left_to_the_garbage_collector_closes_its_connections(own: FaultServer) -> None:
    model = _model(own.url("ok"))
    model.chat("hi")
    assert own.open == 1
    del model
    gc.collect()
    assert own.wait_open(0)


def test_closing_a_model_in_its_loop_closes_the_loops_connections(own: FaultServer) -> None:
    async def main() -> None:
        await model.achat("hi")
        model.close()
        assert await asyncio.to_thread(own.wait_open, 0)
        assert (await model.achat("hi")).text == TEXT

    model = _model(own.url("ok"))
    asyncio.run(main())


def test_many_streams_leave_no_memory_and_no_connection(own: FaultServer) -> None:
    def read(times: int) -> None:
        for _ in range(times):
            with model.stream("hi") as stream:
                for _ in stream:
                    pass
            own.requests.clear()

    with _model(own.url("ok")) as model:
        read(50)
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        read(1000)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert own.opened == 1
    assert grown < 100_000
    assert own.wait_open(0)


def test_a_pickled_model_connects_anew(server: FaultServer) -> None:
    with _model(server.url("ok")) as model:
        model.chat("hi")
        with pickle.loads(pickle.dumps(model)) as copy:
            assert copy.chat("hi").text == TEXT


def test_a_refused_connection_says_so() -> None:
    with retry.testing(attempts=1):
        for host in ("127.0.0.1", "localhost"):
            model = _model(f"http://{host}:1/v1")
            with pytest.raises(ConnectionFailed, match="refused"):
                model.chat("hi")
            with pytest.raises(ConnectionFailed, match="refused"):
                asyncio.run(model.achat("hi"))


def test_a_name_that_does_not_resolve_says_so() -> None:
    model = om.Model("server:tiny", base_url="https://no-such-host.invalid/v1", timeout=20, max_retries=0)
    with pytest.raises(ConnectionFailed, match="DNS"):
        model.chat("hi")
    with pytest.raises(ConnectionFailed, match="DNS"):
        asyncio.run(model.achat("hi"))


def test_https_to_a_plain_server_is_bound_by_the_deadline(server: FaultServer) -> None:
    url = server.url("ok").replace("http://", "https://")
    model = om.Model("server:tiny", base_url=url, timeout=0.5, max_retries=0)
    with pytest.raises((ConnectionFailed, DeadlineExceeded)):
        model.chat("hi")
    with pytest.raises((ConnectionFailed, DeadlineExceeded)):
        asyncio.run(model.achat("hi"))
