"""The blocking transport: connections of urllib3 in a fair pool.

urllib3 connects, verifies certificates and tunnels through proxies. Its PoolManager is not used: a waiter of its
queue can be overtaken, and its timeouts are for each read and start anew with every byte. Nor are its
responses, whose parser is too lenient (see `http1_parser`).
"""

import contextlib
import os
import re
import socket
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection, ProxyConfig
from urllib3.util import Url

from openmodels.deadline import deadline_exceeded, seconds_left
from openmodels.errors import ConnectionFailed, OpenModelsError
from openmodels.http import tcp
from openmodels.http.address import Address
from openmodels.http.connection import ConnectionLimits, ConnectionSettings
from openmodels.http.http1_parser import Http1ResponseParser
from openmodels.http.messages import BaseResponse, HttpRequest
from openmodels.http.network_errors import connect_timeout, network_error, proxy_error, read_timeout
from openmodels.http.proxies import ProxyServer
from openmodels.http.secrets import HiddenBytes

READ_SIZE = 64 * 2**10  # bytes asked of a socket at a time
_TLS_RECORD = 16 * 2**10  # bytes of one TLS record at most


class FairSlots:
    """A semaphore whose waiters are served in their order, within a deadline."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._lock = threading.Lock()
        self._waiters: deque[Future[None]] = deque()

    def acquire(self, deadline: float | None) -> None:
        """Take a slot. Raises DeadlineExceeded when none is free in time."""
        with self._lock:
            if self._free:
                self._free -= 1
                return
            turn: Future[None] = Future()
            self._waiters.append(turn)
        try:
            turn.result(seconds_left(deadline))
        except BaseException as error:  # also an interrupt of the user
            if not turn.cancel():
                self.release()  # the slot came at the last moment
            if isinstance(error, TimeoutError):
                raise deadline_exceeded() from None
            raise

    def release(self) -> None:
        """Give a slot back, to the one that has waited longest."""
        with self._lock:
            while self._waiters:
                turn = self._waiters.popleft()
                if turn.set_running_or_notify_cancel():
                    turn.set_result(None)
                    return
            self._free += 1


class _Connection(HTTPConnection):
    """A connection whose every step ends at a deadline."""

    peer = ""  # the server, as errors name it
    is_fresh = True  # has carried no request yet
    has_received = False  # anything since the request began
    write_error: OSError | None = None
    connect_end = 0.0  # when the connection must have been made
    is_allowed: Callable[[str], bool] | None = None  # whether an IP address may be connected to
    via: ProxyServer | None = None
    is_past_socks = False  # a SOCKS proxy has connected to the server
    pid = 0  # the process that has made it
    idle_since = 0.0

    def _new_conn(self) -> socket.socket:
        if self.via is not None and self.via.is_socks:
            from openmodels.http import socks  # needs the extra

            # The watchdog needs the socket before the proxy has answered.
            on_connect = partial(setattr, self, "sock")
            sock = socks.connect(self.via, self._dns_host, self.port, self.connect_end, on_connect)
            self.is_past_socks = True
        else:
            sock = tcp.connect(self._dns_host, self.port, self.connect_end, self.is_allowed)
        sock.settimeout(max(0.001, self.connect_end - time.monotonic()))
        return sock

    def write(self, data: bytes, deadline: float | None) -> None:
        """Send bytes; an error is kept in `write_error`.

        A server that refuses early may say why, and is read before the error is raised.
        """
        try:
            # `sendall` of a plain socket counts its time in all, that of a TLS socket for each record.
            size = len(data) if type(self.sock) is socket.socket else _TLS_RECORD
            for start in range(0, len(data), size):
                self.sock.settimeout(seconds_left(deadline))
                self.sock.sendall(data if size >= len(data) else HiddenBytes(data[start : start + size]))
        except TimeoutError as error:
            raise deadline_exceeded() from error
        except OSError as error:
            self.write_error = error

    def receive(self, parser: Http1ResponseParser, deadline: float | None, idle: float | None) -> bytes:
        """Read once, at least one byte or the end; return the part of the body that came.

        Until the `time.monotonic()` deadline, and `idle` seconds at most where that is less.
        """
        left = seconds_left(deadline)
        if idle is not None and left is not None and left <= idle:
            idle = None
        try:
            self.sock.settimeout(left if idle is None else idle)
            data = self.sock.recv(READ_SIZE)
        except TimeoutError as error:
            raise (deadline_exceeded() if idle is None else read_timeout(idle)) from error
        except OSError as error:
            raise network_error(error, self.peer) from error
        if data:
            self.has_received = True
            return parser.feed(data)
        if not parser.feed_eof():
            raise network_error(EOFError(), self.peer)
        return b""

    @property
    def is_usable(self) -> bool:
        """Whether an idle connection can carry a request of this process, now."""
        # After a fork both processes hold the same socket. Unread bytes, or the end, make it readable.
        return self.pid == os.getpid() and self.is_connected


class _TlsConnection(_Connection, HTTPSConnection):
    """The same over TLS, or through a proxy that is asked for a tunnel."""


class _Pool:
    """The connections to one origin."""

    def __init__(self, address: Address, settings: ConnectionSettings, limits: ConnectionLimits) -> None:
        self.address = address
        self.settings = settings
        self.limits = limits
        self.slots = FairSlots(limits.max_connections)
        self.idle: deque[_Connection] = deque()

    def take(self, deadline: float | None) -> _Connection:
        """Return an idle connection, or a new one; a slot must have been acquired."""
        with contextlib.suppress(IndexError):  # none is left
            while True:
                connection = self.idle.pop()
                if connection.is_usable and time.monotonic() - connection.idle_since < self.limits.keep_alive:
                    return connection
                connection.close()
        return self._connect(deadline)

    def _connect(self, deadline: float | None) -> _Connection:
        seconds_left(deadline)
        connection = self._prepare(self.settings.proxy_for(self.address))
        connect_end = time.monotonic() + self.limits.connect_timeout
        connection.connect_end = connect_end if deadline is None else min(connect_end, deadline)
        connection.pid = os.getpid()
        try:
            with _watchdog(connection):
                connection.connect()
        except BaseException as error:  # noqa: BLE001 - raised again, an interrupt too
            failure = self._connect_error(error, connection, deadline)
            connection.close()
            raise failure  # noqa: B904 - chained by `_connect_error`
        connection.peer = self.address.authority
        return connection

    def _prepare(self, proxy: ProxyServer | None) -> _Connection:
        """Return a connection that is still to be made."""
        address, settings = self.address, self.settings
        options: dict[str, Any] = {"timeout": None}
        if proxy is None or proxy.is_socks:
            host, port = address.host, address.port
        else:
            host, port = proxy.host, proxy.port
            options["proxy"] = Url(proxy.scheme, None, host, port)
            if proxy.scheme == "https":
                options["proxy_config"] = ProxyConfig(settings.tls.context(), False, None, None)
        is_encrypted = address.scheme == "https" or (proxy is not None and proxy.scheme == "https")
        connection = (
            _TlsConnection(host, port, ssl_context=settings.tls.context(), **options)
            if is_encrypted
            else _Connection(host, port, **options)
        )
        connection.via, connection.is_allowed = proxy, self.limits.is_allowed
        connection.peer = address.authority if proxy is None else f"the proxy {proxy.authority}"
        if proxy is not None and not proxy.is_socks and address.scheme == "https":
            login = {"Proxy-Authorization": proxy.authorization.reveal()} if proxy.authorization else None
            connection.set_tunnel(address.host, address.port, login, scheme=proxy.scheme)
        return connection

    def _connect_error(self, error: BaseException, connection: _Connection, deadline: float | None) -> BaseException:
        """Return what a failed attempt to connect means."""
        if isinstance(error, OpenModelsError) or not isinstance(error, Exception):
            return error
        error.__context__ = None
        error.with_traceback(None)  # its frames hold the proxy's login
        peer, now = connection.peer, time.monotonic()
        failure: OpenModelsError
        if isinstance(error, TimeoutError) or now >= connection.connect_end:
            timed_out = deadline is not None and now >= deadline
            failure = deadline_exceeded() if timed_out else connect_timeout(self.limits.connect_timeout, peer)
        elif status := re.match(r"Tunnel connection failed: (\d+)", str(error)):
            failure = proxy_error(int(status[1]), peer)
        elif isinstance(error, OSError):
            is_past_proxy = connection.is_past_socks or (
                connection.via is not None and connection.has_connected_to_proxy
            )
            failure = network_error(error, self.address.authority if is_past_proxy else peer)
        else:
            failure = ConnectionFailed(f"What {peer} sent is no valid HTTP: {type(error).__name__}.")
        failure.__cause__ = error
        return failure


@contextlib.contextmanager
def _watchdog(connection: _Connection) -> Iterator[None]:
    """End the attempt to connect in time, where a proxy answers byte by byte."""
    # http.client and python-socks read a proxy's answer with a timeout for each read.
    if connection.via is None:
        yield
        return
    timer = threading.Timer(connection.connect_end - time.monotonic(), _shut_down, [connection])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _shut_down(connection: _Connection) -> None:
    sock = getattr(connection.sock, "socket", connection.sock)  # TLS inside TLS wraps the socket
    if isinstance(sock, socket.socket):
        with contextlib.suppress(OSError):
            # Of the plain socket: a TLS one would first drop the state that a read is using.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)


class HttpResponse(BaseResponse):
    """A response whose headers have been read.

    Iterate it for the body's raw bytes, and use it in a `with` block.
    """

    def __init__(  # noqa: PLR0917 - made in one place
        self,
        url: str,
        deadline: float | None,
        connection: _Connection,
        parser: Http1ResponseParser,
        pool: _Pool,
        body: bytes,
    ) -> None:
        super().__init__(parser.status, parser.headers, url, deadline)
        self._connection: _Connection | None = connection
        self._parser = parser
        self._pool = pool
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        idle = self._pool.limits.read_timeout if self._body else None
        while (connection := self._connection) is not None:
            if self._body:
                body, self._body = self._body, b""
                idle = self._pool.limits.read_timeout
                yield body
            elif self._parser.error is not None:
                raise self._parser.error
            elif self._parser.is_complete:
                return
            else:
                self._body = connection.receive(self._parser, self._deadline, idle)

    def read(self, max_bytes: int, *, truncate: bool = False) -> bytes:
        """Return the decompressed body.

        Of a body larger than `max_bytes` the rest is cut if `truncate`; else it is an InvalidResponse.
        """
        body = self._collector(max_bytes, truncate=truncate)
        for data in self:
            body.feed(data)
            if body.is_full:
                break
        return body.end()

    def close(self) -> None:
        """Keep the connection when the response was read to its end, else close it."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        parser = self._parser
        parser.close()
        if parser.is_reusable and not self._body and connection.write_error is None:
            connection.idle_since, connection.is_fresh = time.monotonic(), False
            self._pool.idle.append(connection)
        else:
            connection.close()
        self._pool.slots.release()


class SyncTransport:
    """Sends requests over blocking sockets, from any thread and after a fork."""

    def __init__(self, settings: ConnectionSettings, limits: ConnectionLimits) -> None:
        self._settings = settings
        self._limits = limits
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._pools: dict[Address, _Pool] = {}
        self._finalizer = weakref.finalize(self, _close_pools, self._pools)

    def send(self, request: HttpRequest, address: Address, target: str, deadline: float | None) -> HttpResponse:
        """Return the response, its headers read."""
        pool = self._pool(address)
        pool.slots.acquire(deadline)
        try:
            while True:
                connection = pool.take(deadline)
                try:
                    return self._exchange(connection, request, target, deadline, pool)
                except BaseException as error:
                    connection.close()
                    if connection.is_fresh or connection.has_received or not isinstance(error, ConnectionFailed):
                        raise
                    # The server had closed the kept connection; it has answered nothing.
        except BaseException:
            pool.slots.release()
            raise

    def close(self) -> None:
        """Close idle connections; the transport stays usable."""
        if self._pid == os.getpid():
            _close_pools(self._pools)

    def _pool(self, address: Address) -> _Pool:
        if self._pid != os.getpid():
            # A lock may have been held by another thread when the process forked, and sockets are the parent's.
            self._pid, self._lock, self._pools = os.getpid(), threading.Lock(), {}
            self._finalizer.detach()
            self._finalizer = weakref.finalize(self, _close_pools, self._pools)
        pool = self._pools.get(address)
        if pool is None:
            with self._lock:
                pool = self._pools.setdefault(address, _Pool(address, self._settings, self._limits))
        return pool

    def _exchange(
        self, connection: _Connection, request: HttpRequest, target: str, deadline: float | None, pool: _Pool
    ) -> HttpResponse:
        connection.has_received = False
        connection.write(_request_bytes(connection, request, target, pool), deadline)
        parser = Http1ResponseParser(request.method, connection.peer)
        body = b""
        try:
            while not parser.has_head and parser.error is None:
                body = connection.receive(parser, deadline, None)
        except ConnectionFailed:
            if connection.write_error is not None:
                raise network_error(connection.write_error, connection.peer) from connection.write_error
            raise
        if not parser.has_head and parser.error is not None:
            raise parser.error
        return HttpResponse(request.url, deadline, connection, parser, pool, body)


def _request_bytes(connection: _Connection, request: HttpRequest, target: str, pool: _Pool) -> bytes:
    """Return a request as it is sent: in one piece, which saves the server a wakeup."""
    lines = [f"Host: {pool.address.authority}", *(f"{name}: {value}" for name, value in request.headers)]
    if connection.proxy_is_forwarding and connection.via is not None:
        target = f"{pool.address.origin}{target}"
        if connection.via.authorization:
            lines.append(f"Proxy-Authorization: {connection.via.authorization.reveal()}")
    if request.body or request.method == "POST":
        lines.append(f"Content-Length: {len(request.body)}")
    return HiddenBytes(
        "\r\n".join([f"{request.method} {target} HTTP/1.1", *lines, "", ""]).encode("latin-1") + request.body
    )


def _close_pools(pools: dict[Address, _Pool]) -> None:
    for pool in list(pools.values()):
        with contextlib.suppress(IndexError):
            while True:
                pool.idle.pop().close()
