"""Connections through SOCKS proxies, by python-socks and aiohttp-socks."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from ssl import SSLContext
from typing import Any

import aiohttp_socks
import python_socks
from aiohttp.client_proto import ResponseHandler
from python_socks.sync import Proxy as SyncProxy

from openmodels.errors import ConnectionFailed, OpenModelsError
from openmodels.http import dial
from openmodels.http.network_errors import network_error, proxy_refused
from openmodels.http.proxies import ProxyServer

_CONNECTION_REFUSED = 5
"""The reply of a proxy whose own connection to the server was refused."""


class _ProxyDialer:
    """Connects to the proxy itself, in the place of a proxy in front of it."""

    def __init__(self, end: float, on_connect: Callable[[socket.socket], None]) -> None:
        self._end = end
        self._on_connect = on_connect

    def connect(self, dest_host: str, dest_port: int, timeout: float) -> socket.socket:  # noqa: ARG002 - python-socks's
        sock = dial.connect(dest_host, dest_port, self._end)
        sock.settimeout(max(0.001, self._end - time.monotonic()))
        self._on_connect(sock)
        return sock


def connect(
    proxy: ProxyServer, host: str, port: int, end: float, on_connect: Callable[[socket.socket], None]
) -> socket.socket:
    """Return a socket connected to a server through a proxy.

    Args:
        proxy: The proxy.
        host: The server's host, resolved by the proxy where that speaks "socks5h".
        port: The server's port.
        end: When to give up, on the clock of `time.monotonic()`.
        on_connect: Called with the socket once it is connected to the proxy.

    Raises:
        ConnectionFailed: The proxy does not connect.
        NotConfigured: The proxy asks for a name and password.
        OSError: The proxy itself, or with "socks5" the server's name, cannot be reached.
    """
    if proxy.scheme == "socks5":
        addresses = dial.parse_numeric(host, port) or dial.lookup(host, port).result(end - time.monotonic())
        host = str(addresses[0][4][0])
    client = SyncProxy(*_options(proxy), forward=_ProxyDialer(end, on_connect))
    peer = _join(host, port)
    try:
        sock: socket.socket = client.connect(host, port, timeout=end - time.monotonic())
    except python_socks.ProxyError as error:
        failure = TimeoutError() if time.monotonic() >= end else _explain(error, proxy, peer)
    else:
        return sock
    raise failure  # here and not above: frames of python-socks hold the password


class SocksConnector(aiohttp_socks.ProxyConnector):  # type: ignore[misc]
    """Connections of aiohttp through a proxy.

    Args:
        proxy: The proxy.
        **options: Those of `aiohttp.TCPConnector`.
    """

    def __init__(self, proxy: ProxyServer, **options: Any) -> None:
        kind, host, port, username, password, rdns = _options(proxy)
        super().__init__(host, port, kind, username=username, password=password, rdns=rdns, **options)
        self._proxy = proxy

    async def _connect_via_proxy(
        self,
        host: str,
        port: int,
        ssl: SSLContext | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - theirs
    ) -> tuple[asyncio.Transport, ResponseHandler]:
        try:
            made: tuple[asyncio.Transport, ResponseHandler]
            made = await super()._connect_via_proxy(host, port, ssl, timeout)
        except python_socks.ProxyConnectionError as error:
            cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
            failure = network_error(cause, f"the proxy {self._proxy.authority}")
        except python_socks.ProxyError as error:
            failure = _explain(error, self._proxy, _join(host, port))
        else:
            return made
        raise failure


def _options(proxy: ProxyServer) -> tuple[python_socks.ProxyType, str, int, str | None, str | None, bool]:
    username = None if proxy.username is None else proxy.username.reveal()
    # SOCKS logs in with both or with neither.
    password = None if username is None else "" if proxy.password is None else proxy.password.reveal()
    return python_socks.ProxyType.SOCKS5, proxy.host, proxy.port, username, password, proxy.scheme == "socks5h"


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _explain(error: python_socks.ProxyError, proxy: ProxyServer, peer: str) -> OpenModelsError:
    """Return what a proxy's refusal means."""
    message = str(error).rstrip(".")
    if error.error_code is None and "auth" in message.lower():
        return proxy_refused(407, f"the proxy {proxy.authority}")
    if error.error_code == _CONNECTION_REFUSED:
        return ConnectionFailed(f"{peer} refused the connection of the proxy {proxy.authority}.")
    return ConnectionFailed(f"The proxy {proxy.authority} does not connect to {peer}: {message}.")
