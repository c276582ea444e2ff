"""Names of several addresses, of which some never answer."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from proxy_servers import HOST, proxy

import openmodels as om
from openmodels.testing import SURFACES, Driver
from openmodels.testing.faults import KEY, PROMPT, TEXT, FaultServer

BACKENDS = ("server", "hf", "azure")


@contextmanager
def dead(address: str, port: int) -> Iterator[None]:
    """Let connections to an address of this machine hang: a listener that accepts nothing, its queue full."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(family))
        listener.bind((address, port))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket(family))
            waiting.setblocking(False)
            waiting.connect_ex((address, port))
        probe = stack.enter_context(socket.socket(family))
        probe.settimeout(0.1)
        with pytest.raises(TimeoutError):
            probe.connect((address, port))
        yield


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses of `HOST`, in the resolver's order."""
    addresses: list[str] = []
    resolve = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *arguments: int, **options: int) -> list[tuple]:
        if host != HOST:
            return resolve(host, port, *arguments, **options)
        if options.get("flags", 0) & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "no number")
        return [entry for address in addresses for entry in resolve(address, port, type=socket.SOCK_STREAM)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return addresses


def _ask(url: str, surface: str, backend: str = "server", **options: object) -> str:
    options = {"timeout": 20, "max_retries": 0, "allow_http": True, **options}
    with om.Model(f"{backend}:tiny", base_url=url, api_key=KEY, **options) as model:
        return Driver(model, surface)(PROMPT).reply.text


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_dead_ipv6_address_costs_a_moment(
    backend: str, surface: str, server: FaultServer, resolver: list[str]
) -> None:
    resolver += ["::1", "127.0.0.1"]
    with dead("::1", server.port):
        began = time.monotonic()
        assert _ask(server.url("ok", HOST), surface, backend) == TEXT
        assert time.monotonic() - began < 5  # the time to connect is 10


@pytest.mark.parametrize("surface", ["chat", "achat"])
@pytest.mark.parametrize("scheme", ["http", "socks5", "socks5h"])
def test_a_dead_proxy_address_costs_a_moment(
    scheme: str, surface: str, server: FaultServer, resolver: list[str]
) -> None:
    resolver += ["::1", "127.0.0.1"]
    with (
        proxy(server.port, is_socks=scheme != "http") as between,
        dead("::1", port := between.server_address[1]),
    ):
        began = time.monotonic()
        assert _ask(server.url("ok"), surface, proxy=f"{scheme}://{HOST}:{port}") == TEXT
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("surface", ["chat", "achat"])
def test_when_all_addresses_are_dead_the_deadline_holds(surface: str, server: FaultServer, resolver: list[str]) -> None:
    resolver += ["::1", "127.0.0.2"]
    with dead("::1", server.port), dead("127.0.0.2", server.port):
        began = time.monotonic()
        with pytest.raises(om.DeadlineExceeded):
            _ask(server.url("ok", HOST), surface, timeout=0.6)
        assert time.monotonic() - began < 5
