"""Connections through SOCKS proxies, by python-socks and aiohttp-socks."""

import asyncio
import socket
import time
from collections.abc import Callable
from ssl import SSLContext
from typing import Any

import aiohappyeyeballs
import aiohttp_socks
import python_socks
from aiohttp.client_proto import ResponseHandler
from python_socks.async_.asyncio import Proxy as AsyncProxy
from python_socks.sync import Proxy as SyncProxy

from openmodels.errors import ConnectionFailed, OpenModelsError
from openmodels.http import tcp
from openmodels.http.address import join_host
from openmodels.http.network_errors import network_error, proxy_error
from openmodels.http.proxies import ProxyServer

_CONNECTION_REFUSED = 5  # the reply of a proxy whose own connection to the server was refused


class _ProxyConnector:
    """Connects to the proxy itself, where python-socks takes a proxy before it."""

    def __init__(self, end: float, on_connect: Callable[[socket.socket], None]) -> None:
        self._end = end
        self._on_connect = on_connect

    def connect(self, dest_host: str, dest_port: int, timeout: float) -> socket.socket:  # noqa: ARG002 - python-socks's
        sock = tcp.connect(dest_host, dest_port, self._end)
        sock.settimeout(max(0.001, self._end - time.monotonic()))
        self._on_connect(sock)
        return sock


class _AsyncProxyConnector:
    """The asynchronous twin of `_ProxyConnector`."""

    async def connect(self, dest_host: str, dest_port: int, timeout: float | None) -> socket.socket:  # noqa: ARG002, ASYNC109
        entries = await tcp.aresolve(dest_host, dest_port)
        return await aiohappyeyeballs.start_connection(entries, happy_eyeballs_delay=tcp.STAGGER, interleave=1)


def connect(
    proxy: ProxyServer, host: str, port: int, end: float, on_connect: Callable[[socket.socket], None]
) -> socket.socket:
    """Return a socket connected to a server through a proxy.

    A proxy that speaks "socks5h" resolves the host. `end` is on the clock of `time.monotonic()`. `on_connect` gets the
    socket once it is connected to the proxy.

    Raises:
        ConnectionFailed: The proxy does not connect.
        NotConfigured: The proxy asks for a name and password.
        OSError: The proxy itself, or with "socks5" the server's name, cannot be reached.
    """
    peer = join_host(host, port)
    if proxy.scheme == "socks5":
        try:
            entries = tcp.resolve(host, port, end - time.monotonic())
        except socket.gaierror as error:
            raise network_error(error, peer) from error
        host = str(entries[0][4][0])
    client = SyncProxy(*_options(proxy), forward=_ProxyConnector(end, on_connect))
    try:
        sock: socket.socket = client.connect(host, port, timeout=end - time.monotonic())
    except python_socks.ProxyError as error:
        failure = TimeoutError() if time.monotonic() >= end else _translate_error(error, proxy, peer)
    else:
        return sock
    raise failure  # here and not above: frames of python-socks hold the password


class SocksConnector(aiohttp_socks.ProxyConnector):  # type: ignore[misc]
    """Connections through a proxy; the options are `aiohttp.TCPConnector`'s."""

    def __init__(self, proxy: ProxyServer, **options: Any) -> None:
        super().__init__(proxy.host, proxy.port, **options)
        self._proxy = proxy

    async def _connect_via_proxy(
        self,
        host: str,
        port: int,
        ssl: SSLContext | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - theirs
    ) -> tuple[asyncio.Transport, ResponseHandler]:
        loop, proxy, target = asyncio.get_running_loop(), self._proxy, host
        peer = f"the proxy {proxy.authority}"
        try:
            async with asyncio.timeout(timeout):
                if proxy.scheme == "socks5":
                    peer = join_host(host, port)  # until its name is known
                    entries = await tcp.aresolve(host, port)
                    target, peer = str(entries[0][4][0]), f"the proxy {proxy.authority}"
                client = AsyncProxy(*_options(proxy), forward=_AsyncProxyConnector())
                sock = await client.connect(target, port, timeout)
                peer = join_host(host, port)
                return await loop.create_connection(
                    lambda: ResponseHandler(loop), sock=sock, ssl=ssl, server_hostname=host if ssl else None
                )
        except python_socks.ProxyTimeoutError:
            raise TimeoutError from None
        except python_socks.ProxyError as error:
            failure = _translate_error(error, proxy, join_host(host, port))
        except TimeoutError:
            raise
        except OSError as error:
            failure = network_error(error, peer)
            error.__context__ = None
            failure.__cause__ = error.with_traceback(None)  # its frames may hold the password
        raise failure


def _options(proxy: ProxyServer) -> tuple[python_socks.ProxyType, str, int, str | None, str | None, bool]:
    username = None if proxy.username is None else proxy.username.reveal()
    # SOCKS logs in with both or with neither.
    password = None if username is None else "" if proxy.password is None else proxy.password.reveal()
    return python_socks.ProxyType.SOCKS5, proxy.host, proxy.port, username, password, proxy.scheme == "socks5h"


def _translate_error(error: python_socks.ProxyError, proxy: ProxyServer, peer: str) -> OpenModelsError:
    """Return what a proxy's refusal means."""
    message = str(error).rstrip(".")
    if error.error_code is None and "auth" in message.lower():
        return proxy_error(407, f"the proxy {proxy.authority}")
    if error.error_code == _CONNECTION_REFUSED:
        return ConnectionFailed(f"{peer} refused the connection of the proxy {proxy.authority}.")
    return ConnectionFailed(f"The proxy {proxy.authority} does not connect to {peer}: {message}.")
