"""The HTTP client itself: redirects, caps, the queue for connections, and a crowd of calls."""

from __future__ import annotations

import asyncio
import gzip
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from openmodels.errors import DeadlineExceeded, InvalidRequest, InvalidResponse
from openmodels.http.client import HttpClient, HttpRequest
from openmodels.http.connection import ConnectionLimits
from openmodels.http.sync_transport import FairSlots
from openmodels.testing.faults import FaultServer
from openmodels.testing.faults.expect import Fault
from openmodels.testing.faults.server import Request, Wire, fault

MODES = ("sync", "async")


@fault(Fault("page", "gives a page, compressed"))
def _page(wire: Wire, request: Request) -> None:
    wire.answer(gzip.compress(b"page " * 1000), 200, {"Content-Encoding": "gzip", "X-Seen": str(len(request.headers))})


@fault(Fault("moved", "redirects to the address of the query"))
def _moved(wire: Wire, request: Request) -> None:
    wire.answer(b"", 302, {"Location": request.path.partition("?to=")[2]})


@fault(Fault("held", "answers when the test lets it"))
def _held(wire: Wire, request: Request) -> None:
    wire.stopping.wait(0.02)
    wire.answer(b"done")


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


def fetch(mode: str, request: HttpRequest, *, limits: ConnectionLimits | None = None, seconds: float = 10, **options):
    """Return status, headers and body."""
    max_bytes = options.pop("max_bytes", 10**6)
    client = HttpClient(limits=limits)
    try:
        if mode == "sync":
            with client.send(request, time.monotonic() + seconds, **options) as response:
                return response.status, response.headers, response.read(max_bytes)

        async def main():
            with await client.asend(request, time.monotonic() + seconds, **options) as response:
                return response.status, response.headers, await response.read(max_bytes)

        return asyncio.run(main())
    finally:
        client.close()


@pytest.mark.parametrize("mode", MODES)
def test_a_body_is_decompressed_and_capped(server: FaultServer, mode: str) -> None:
    request = HttpRequest("GET", server.url("page"))
    assert fetch(mode, request)[2] == b"page " * 1000
    with pytest.raises(InvalidResponse, match="larger than"):
        fetch(mode, request, max_bytes=4999)


@pytest.mark.parametrize("mode", MODES)
def test_a_redirect_is_a_response_unless_it_may_be_followed(server: FaultServer, mode: str) -> None:
    target = server.url("page")
    request = HttpRequest("GET", f"{server.url('moved')}?to={target}")
    status, headers, _ = fetch(mode, request)
    assert (status, headers["location"]) == (302, target)
    assert fetch(mode, request, redirects=1)[2] == b"page " * 1000


@pytest.mark.parametrize("mode", MODES)
def test_a_post_is_never_redirected(server: FaultServer, mode: str) -> None:
    target = server.url("page")
    assert fetch(mode, HttpRequest("POST", f"{server.url('moved')}?to={target}", (), b"x"), redirects=3)[0] == 302
    assert not server.seen(target)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("is_same_origin", [True, False])
def test_credentials_stay_with_their_origin(server: FaultServer, mode: str, is_same_origin: bool) -> None:
    target = server.url("page", "127.0.0.1" if is_same_origin else "localhost")
    headers = (("Authorization", "Bearer key"), ("X-Kept", "yes"))
    fetch(mode, HttpRequest("GET", f"{server.url('moved')}?to={target}", headers), redirects=1)
    (request,) = server.seen(target)
    assert ("authorization" in request.headers) is is_same_origin
    assert request.headers["x-kept"] == "yes"


@pytest.mark.parametrize("mode", MODES)
def test_redirects_without_an_end_are_an_error(server: FaultServer, mode: str) -> None:
    loop = server.url("moved")
    with pytest.raises(InvalidResponse, match="redirects again and again"):
        fetch(mode, HttpRequest("GET", f"{loop}?to={loop}?to={loop}?to={loop}"), redirects=1)


@pytest.mark.parametrize("url", ["ftp://h/x", "http://", "http://a b/", "http://u:p@h/", "http://h/\u00e9", "h/x"])
def test_only_plain_addresses_are_asked(url: str) -> None:
    with pytest.raises(InvalidRequest):
        HttpClient().send(HttpRequest("GET", url), None)


@pytest.mark.parametrize("mode", MODES)
def test_an_address_that_is_not_allowed_is_not_connected_to(server: FaultServer, mode: str) -> None:
    limits = ConnectionLimits(is_allowed=lambda address: not address.startswith("127."))
    with pytest.raises(InvalidRequest, match="no public address"):
        fetch(mode, HttpRequest("GET", server.url("page", "localhost")), limits=limits)
    assert server.opened == 0


def test_slots_are_given_in_the_order_of_asking() -> None:
    slots, order, threads = FairSlots(1), [], []
    slots.acquire(None)
    for number in range(8):

        def work(number: int = number) -> None:
            slots.acquire(None)
            order.append(number)
            slots.release()

        thread = threading.Thread(target=work)
        threads.append(thread)
        thread.start()
        while len(slots._waiters) <= number:
            time.sleep(0)
    slots.release()
    for thread in threads:
        thread.join(10)
    assert order == list(range(8))


def test_waiting_for_a_slot_counts_against_the_deadline() -> None:
    slots = FairSlots(1)
    slots.acquire(None)
    with pytest.raises(DeadlineExceeded):
        slots.acquire(time.monotonic() + 0.05)
    slots.release()
    slots.acquire(time.monotonic() + 5)  # the one that gave up has left the queue


@pytest.mark.parametrize("mode", MODES)
def test_no_more_connections_than_the_cap(server: FaultServer, mode: str) -> None:
    client = HttpClient(limits=ConnectionLimits(max_connections=3))
    request, bodies = HttpRequest("GET", server.url("held")), []

    def read() -> None:
        with client.send(request, time.monotonic() + 30) as response:
            bodies.append(response.read(100))

    async def aread() -> None:
        with await client.asend(request, time.monotonic() + 30) as response:
            bodies.append(await response.read(100))

    async def main() -> None:
        await asyncio.gather(*(aread() for _ in range(30)))

    if mode == "sync":
        threads = [threading.Thread(target=read) for _ in range(30)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    else:
        asyncio.run(main())
    client.close()
    assert bodies == [b"done"] * 30
    assert server.opened <= 3
    assert server.wait_open(0)


@pytest.mark.parametrize("mode", MODES)
def test_a_request_that_waits_for_a_connection_meets_its_deadline(server: FaultServer, mode: str) -> None:
    client = HttpClient(limits=ConnectionLimits(max_connections=1))
    request = HttpRequest("GET", server.url("silent"))

    async def main() -> None:
        first = asyncio.ensure_future(client.asend(request, time.monotonic() + 20))
        assert await asyncio.to_thread(server.wait_open, 1)
        with pytest.raises(DeadlineExceeded):
            await client.asend(request, time.monotonic() + 0.1)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)

    if mode == "async":
        asyncio.run(main())
    else:
        pool = client._sync_transport()._pool(_address(server))
        pool.slots.acquire(None)
        with pytest.raises(DeadlineExceeded):
            client.send(request, time.monotonic() + 0.1)
        pool.slots.release()
    assert server.wait_open(0)


def _address(server: FaultServer):
    from openmodels.http.client import split_url

    return split_url(server.url("silent"))[0]


# In a process of its own, where memory and sockets are those of the calls alone.
CROWD = """
import asyncio, os, resource, sys
from collections import Counter
import openmodels as om

ANSWER = b'{"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}'
state = {"open": 0, "most": 0}

async def serve(reader, writer):
    state["open"] += 1
    state["most"] = max(state["most"], state["open"])
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\\r\\n")[0])
            await reader.readexactly(length)
            await asyncio.sleep(0.01)
            writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: %d\\r\\n\\r\\n%s"
                         % (len(ANSWER), ANSWER))
    except asyncio.IncompleteReadError:
        pass
    finally:
        state["open"] -= 1
        writer.close()

def memory():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20

async def main():
    # Connections wait in the kernel's short queue while the loop is busy: a server that accepts slowly.
    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=16)
    model = om.Model("server:m", base_url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", timeout=120)
    await model.achat("warm")
    before = memory()

    async def call():
        try:
            return (await model.achat("x")).text
        except om.OpenModelsError as error:
            return type(error).__name__

    answers = Counter(await asyncio.gather(*(call() for _ in range(2000))))
    print(answers["hi"], state["most"], round(memory() - before))
    server.close()

soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, hard), hard))
asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_two_thousand_calls_at_once_keep_to_the_cap() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CROWD], capture_output=True, text=True, timeout=240, check=True
    ).stdout.split()
    answered, most_open, grown = map(int, done)
    assert answered == 2000
    assert most_open <= ConnectionLimits().max_connections
    assert grown < 100
