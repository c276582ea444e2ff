"""Fixtures for tests of connections."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import pytest
import trustme
from proxy_servers import HOST

from openmodels.http.tls import BUNDLE_VARIABLES
from openmodels.testing.faults import FaultServer


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that names neither proxies nor certificates."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", *BUNDLE_VARIABLES):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(scope="session")
def server() -> Iterator[FaultServer]:
    """The misbehaving server."""
    with FaultServer() as server:
        yield server


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """A private authority."""
    return trustme.CA()


@pytest.fixture(scope="session")
def secure(authority: trustme.CA) -> Iterator[FaultServer]:
    """The server over TLS, with a certificate for loopback and for `HOST`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost", HOST).configure_cert(context)
    with FaultServer(context) as server:
        yield server
