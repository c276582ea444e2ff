"""Connections: kept, shared, survived, and really closed."""

from __future__ import annotations

import asyncio
import functools
import gc
import multiprocessing
import pickle
import socket
import threading

import pytest

import openmodels as om
from openmodels import retry
from openmodels.errors import ConnectionFailed, DeadlineExceeded, StreamInterrupted
from openmodels.http import client
from openmodels.http.connection import ConnectionLimits
from openmodels.testing import Driver
from openmodels.testing.faults import KEY, PROMPT, TEXT, TOKENS, FaultServer
from openmodels.testing.faults.answers import chunk, event, right
from openmodels.testing.faults.expect import Fault
from openmodels.testing.faults.server import Request, Wire, fault


@fault(Fault("endless", "streams tokens without an end"))
def _endless(wire: Wire, _: Request) -> None:
    wire.begin()
    while True:
        wire.chunk(event(chunk({"content": "x" * 100})))


@fault(Fault("close-after", "closes the connection after each answer, without saying so"))
def _close_after(wire: Wire, request: Request) -> None:
    right(wire, request)
    wire.close()


@fault(Fault("reset-when-reused", "closes a kept connection when it is used again"))
def _reset_when_reused(wire: Wire, request: Request) -> None:
    if request.number == 2:
        wire.close()
    right(wire, request)


@pytest.fixture(params=["server", "azure"], autouse=True)
def _each_backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test once over our own exchange, once through Azure's client."""
    monkeypatch.setitem(_MODEL, "backend", request.param)


_MODEL = {"backend": ""}


def _model(url: str, **options: object) -> om.Model:
    return om.Model(f"{_MODEL['backend']}:tiny", base_url=url, api_key=KEY, **{"timeout": 10, **options})


def test_one_connection_serves_many_calls(own: FaultServer) -> None:
    with _model(own.url("ok")) as model:
        for _ in range(5):
            assert model.chat(PROMPT).text == TEXT
            with model.stream(PROMPT) as stream:
                assert "".join(delta.text for delta in stream) == TEXT
        assert own.opened == 1
    assert own.wait_open(0)


def test_one_connection_serves_many_async_calls(own: FaultServer) -> None:
    async def main() -> None:
        for _ in range(5):
            assert (await model.achat(PROMPT)).text == TEXT

    with _model(own.url("ok")) as model:
        asyncio.run(main())
        assert own.opened == 1
        assert own.wait_open(0)  # the loop's end closes them


def test_one_model_survives_many_event_loops(server: FaultServer) -> None:
    async def main() -> list[om.Reply]:
        return await asyncio.gather(*(model.achat(PROMPT) for _ in range(20)))

    with _model(server.url("ok")) as model:
        for _ in range(3):
            assert {reply.text for reply in asyncio.run(main())} == {TEXT}


def test_sync_calls_work_inside_a_running_loop(server: FaultServer) -> None:
    async def main() -> str:
        return model.chat(PROMPT).text + (await model.achat(PROMPT)).text

    with _model(server.url("ok")) as model:
        assert asyncio.run(main()) == TEXT * 2


def test_threads_share_a_model(own: FaultServer) -> None:
    replies: list[str] = []
    with _model(own.url("ok")) as model:
        threads = [threading.Thread(target=lambda: replies.append(model.chat(PROMPT).text)) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert replies == [TEXT] * 16
    assert own.wait_open(0)


def _in_child(model: om.Model, answers: multiprocessing.SimpleQueue[str]) -> None:
    answers.put(model.chat(PROMPT).text)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_does_not_share_the_connection(own: FaultServer) -> None:
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    with _model(own.url("ok")) as model:
        model.chat(PROMPT)
        child = context.Process(target=_in_child, args=(model, answers))
        child.start()
        child.join(20)
        assert child.exitcode == 0
        assert answers.get() == TEXT
        assert model.chat(PROMPT).text == TEXT
        assert own.opened == 2


@pytest.mark.parametrize("name", ["close-after", "reset-when-reused"])
def test_a_kept_connection_that_died_costs_no_retry(own: FaultServer, name: str) -> None:
    async def main() -> None:
        for _ in range(3):
            assert (await model.achat(PROMPT)).text == TEXT

    with retry.override_retries(attempts=1), _model(own.url(name)) as model:
        for _ in range(3):
            assert model.chat(PROMPT).text == TEXT
    with retry.override_retries(attempts=1), _model(own.url(name)) as model:
        asyncio.run(main())


def _limit(monkeypatch: pytest.MonkeyPatch, **limits: float) -> None:
    """Set limits of the clients that are made from now on."""
    monkeypatch.setattr(client, "ConnectionLimits", functools.partial(ConnectionLimits, **limits))


@pytest.mark.parametrize("surface", ["chat", "achat"])
def test_a_connection_kept_too_long_is_not_used(
    own: FaultServer, surface: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _limit(monkeypatch, keep_alive=0.001)

    async def main() -> None:
        driver = Driver(model, surface)
        assert (await driver.within_loop(PROMPT)).reply.text == TEXT
        await asyncio.sleep(0.01)
        assert (await driver.within_loop(PROMPT)).reply.text == TEXT

    with _model(own.url("ok")) as model:
        asyncio.run(main())
        assert own.opened == 2
    assert own.wait_open(0)


def test_no_more_connections_are_opened_than_allowed(own: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    _limit(monkeypatch, max_connections=2)

    async def main() -> None:
        await asyncio.gather(*(model.achat(PROMPT) for _ in range(20)))
        assert own.opened == 2

    with _model(own.url("ok")) as model:
        asyncio.run(main())


@pytest.mark.parametrize("surface", ["stream", "astream"])
def test_a_server_that_falls_silent_in_a_stream_is_given_up(
    own: FaultServer, surface: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _limit(monkeypatch, read_timeout=0.2)
    model = _model(own.url("stall-in-stream"))
    with pytest.raises(StreamInterrupted, match=r"sent nothing for 0\.2 s") as caught:
        Driver(model, surface)(PROMPT)
    assert caught.value.partial.text == "".join(TOKENS[:3])
    assert own.wait_open(0)


@pytest.mark.parametrize("surface", ["stream", "astream"])
def test_waiting_for_the_first_byte_is_not_falling_silent(
    own: FaultServer, surface: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A long prompt keeps a server silent for minutes: there only the deadline counts.
    _limit(monkeypatch, read_timeout=0.1)
    model = _model(own.url("silent"), timeout=0.5)
    with pytest.raises(DeadlineExceeded):
        Driver(model, surface)(PROMPT)


def test_leaving_a_stream_closes_the_connection(own: FaultServer) -> None:
    with _model(own.url("endless")) as model:
        with model.stream(PROMPT) as stream:
            assert next(stream).text
            assert own.open == 1
        assert own.wait_open(0)


def test_leaving_an_async_stream_closes_the_connection(own: FaultServer) -> None:
    async def main() -> None:
        async with model.astream(PROMPT) as stream:
            assert (await anext(stream)).text
        assert await asyncio.to_thread(own.wait_open, 0)

    with _model(own.url("endless")) as model:
        asyncio.run(main())


@pytest.mark.parametrize("name", ["endless", "silent", "stall-in-stream"])
def test_cancelling_closes_the_connection(own: FaultServer, name: str) -> None:
    async def main() -> None:
        async def read() -> None:
            async with model.astream(PROMPT) as stream:
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


@pytest.mark.parametrize("name", ["silent", "stall-in-stream"])
def test_a_hundred_calls_cancelled_at_once_close_a_hundred_connections(own: FaultServer, name: str) -> None:
    async def main() -> None:
        tasks = [asyncio.create_task(model.achat(PROMPT)) for _ in range(100)]
        assert await asyncio.to_thread(own.wait_open, 100)
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(end) for end in ends} == {asyncio.CancelledError}
        assert await asyncio.to_thread(own.wait_open, 0)
        assert len(asyncio.all_tasks()) == 1

    with _model(own.url(name)) as model:
        asyncio.run(main())


def test_cancelling_at_any_step_leaves_no_connection(own: FaultServer) -> None:
    async def main(steps: int) -> None:
        task = asyncio.create_task(model.achat(PROMPT))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    with _model(own.url("ok")) as model:
        for steps in range(30):
            asyncio.run(main(steps))  # a socket left open would warn, and a warning is an error
            assert own.wait_open(0)


def test_a_stream_left_to_the_garbage_collector_is_closed(own: FaultServer) -> None:
    model = _model(own.url("endless"))
    stream = model.stream(PROMPT)
    next(stream)
    del stream
    gc.collect()
    assert own.wait_open(0)


def test_a_model_left_to_the_garbage_collector_closes_its_connections(own: FaultServer) -> None:
    model = _model(own.url("ok"))
    model.chat(PROMPT)
    assert own.open == 1
    del model
    gc.collect()
    assert own.wait_open(0)


def test_closing_a_model_in_its_loop_closes_the_loops_connections(own: FaultServer) -> None:
    async def main() -> None:
        await model.achat(PROMPT)
        model.close()
        assert await asyncio.to_thread(own.wait_open, 0)
        assert (await model.achat(PROMPT)).text == TEXT

    model = _model(own.url("ok"))
    asyncio.run(main())


def test_a_pickled_model_connects_anew(server: FaultServer) -> None:
    with _model(server.url("ok")) as model:
        model.chat(PROMPT)
        with pickle.loads(pickle.dumps(model)) as copy:
            assert copy.chat(PROMPT).text == TEXT


def test_a_refused_connection_says_so() -> None:
    with retry.override_retries(attempts=1):
        for host in ("127.0.0.1", "localhost"):
            model = _model(f"http://{host}:1/v1")
            with pytest.raises(ConnectionFailed, match="refused"):
                model.chat(PROMPT)
            with pytest.raises(ConnectionFailed, match="refused"):
                asyncio.run(model.achat(PROMPT))


@pytest.mark.parametrize("surface", ["chat", "achat"])
def test_a_name_that_does_not_resolve_says_so(surface: str) -> None:
    model = _model("https://no-such-host.invalid/v1", timeout=20, max_retries=0)
    with pytest.raises(ConnectionFailed, match=r"no-such-host\.invalid could not be resolved \(DNS\)"):
        Driver(model, surface)(PROMPT)


@pytest.mark.parametrize("surface", ["chat", "achat"])
@pytest.mark.parametrize(("number", "tries"), [(socket.EAI_NONAME, 1), (socket.EAI_AGAIN, 3)])
def test_only_a_resolver_that_may_recover_is_asked_again(
    surface: str, number: int, tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def unknown(host: str, *_: object, flags: int = 0, **__: object) -> None:
        if not flags & socket.AI_NUMERICHOST:
            asked.append(host)
        raise socket.gaierror(number, "a name")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with retry.override_retries(attempts=3, wait=0), pytest.raises(ConnectionFailed, match="DNS"):
        Driver(_model("https://model.example/v1"), surface)(PROMPT)
    assert asked == ["model.example"] * tries


@pytest.mark.parametrize("surface", ["chat", "achat"])
def test_a_resolver_that_hangs_is_bound_by_the_deadline(surface: str, monkeypatch: pytest.MonkeyPatch) -> None:
    release, returned = threading.Event(), threading.Event()

    def hang(*_: object, flags: int = 0, **__: object) -> list[object]:
        if not flags & socket.AI_NUMERICHOST:
            release.wait(60)
            returned.set()
        raise socket.gaierror(socket.EAI_NONAME, "a name")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    try:
        with pytest.raises(DeadlineExceeded):
            Driver(_model("https://model.example/v1", timeout=0.3), surface)(PROMPT)
        assert not returned.is_set()  # neither the call nor the loop's end has waited for it
    finally:
        release.set()
    assert returned.wait(5)


@pytest.mark.parametrize("surface", ["chat", "achat"])
def test_the_next_address_is_tried_when_the_first_refuses(
    own: FaultServer, surface: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def two(*_: object, flags: int = 0, **__: object) -> list[object]:
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "a name")
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port)) for port in (1, own.port)]

    monkeypatch.setattr(socket, "getaddrinfo", two)
    with _model(own.url("ok", "model.example"), allow_http=True) as model:
        assert Driver(model, surface)(PROMPT).reply.text == TEXT


def test_https_to_a_plain_server_is_bound_by_the_deadline(server: FaultServer) -> None:
    url = server.url("ok").replace("http://", "https://")
    model = _model(url, timeout=0.5, max_retries=0)
    with pytest.raises((ConnectionFailed, DeadlineExceeded)):
        model.chat(PROMPT)
    with pytest.raises((ConnectionFailed, DeadlineExceeded)):
        asyncio.run(model.achat(PROMPT))
