"""Proxies on loopback that take every name for one server: HTTP, HTTPS and SOCKS version 5."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from socketserver import BaseRequestHandler, ThreadingTCPServer

HOST = "model.invalid"
"""A name that no resolver knows: only a proxy can reach it."""


@dataclass
class ProxyOptions:
    """How a proxy behaves.

    Attributes:
        refusal: A status line to answer with instead, e.g. b"HTTP/1.1 407 Login".
        login: The "name:password" that it demands, or "".
        context: The TLS context of an https proxy, or None.
        is_socks: Whether it speaks SOCKS version 5.
    """

    refusal: bytes = b""
    login: str = ""
    context: ssl.SSLContext | None = None
    is_socks: bool = False


@dataclass
class SocksRequest:
    """What a SOCKS proxy was asked for.

    Attributes:
        host: The name or number as the client sent it.
        port: The port.
        is_name: Whether the client left the resolving to the proxy.
    """

    host: str
    port: int
    is_name: bool


class ProxyServer(ThreadingTCPServer):
    """A running proxy.

    Args:
        port: The server's port on 127.0.0.1, to which everything is passed on.
        options: How it behaves.

    Attributes:
        heads: The heads of HTTP requests as they came, in lower case.
        socks_requests: The requests of SOCKS clients.
        address: The proxy's own address.
    """

    daemon_threads = True
    request_queue_size = 512

    def __init__(self, port: int, options: ProxyOptions) -> None:
        super().__init__(("127.0.0.1", 0), _SocksHandler if options.is_socks else _HttpHandler)
        self.port = port
        self.options = options
        self.heads: list[str] = []
        self.socks_requests: list[SocksRequest] = []
        self.address = f"127.0.0.1:{self.server_address[1]}"

    def finish_request(self, request: socket.socket, client_address: tuple[str, int]) -> None:
        """Handle a connection, over TLS where that is asked for."""
        if self.options.context is not None:
            try:
                request = self.options.context.wrap_socket(request, server_side=True)
            except (ssl.SSLError, OSError):
                return  # the client does not trust the certificate
        with request:
            super().finish_request(request, client_address)


class _HttpHandler(BaseRequestHandler):
    server: ProxyServer

    def handle(self) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            more = self.request.recv(65536)
            if not more:
                return
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        self.server.heads.append(head.decode().lower())
        refusal, login = self.server.options.refusal, self.server.options.login
        if (
            login
            and f"\r\nproxy-authorization: basic {b64encode(login.encode()).decode().lower()}"
            not in (self.server.heads[-1])
        ):
            refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=x"
        if refusal:
            self.request.sendall(refusal + b"\r\nContent-Length: 0\r\n\r\n")
            return
        method, target, rest = head.split(b" ", 2)
        with socket.create_connection(("127.0.0.1", self.server.port)) as server:
            if method == b"CONNECT":
                self.request.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
            else:
                path = b"/" + target.split(b"/", 3)[3]
                server.sendall(b" ".join([method, path, rest]) + b"\r\n\r\n" + body)
            _relay(self.request, server)


class _SocksHandler(BaseRequestHandler):
    """RFC 1928 with the login of RFC 1929."""

    server: ProxyServer

    def handle(self) -> None:
        with contextlib.suppress(EOFError, OSError):
            self._handle()

    def _handle(self) -> None:
        version, count = self._read(2)
        assert version == 5
        methods = self._read(count)
        wanted = 2 if self.server.options.login else 0
        if wanted not in methods:
            self.request.sendall(b"\x05\xff")
            return
        self.request.sendall(bytes([5, wanted]))
        if wanted == 2:
            name = self._read(self._read(2)[1])
            password = self._read(self._read(1)[0])
            accepted = (name + b":" + password).decode() == self.server.options.login
            self.request.sendall(b"\x01" + (b"\0" if accepted else b"\x01"))
            if not accepted:
                return
        _, _, _, kind = self._read(4)
        if kind == 3:
            host = self._read(self._read(1)[0]).decode()
        else:
            family = socket.AF_INET if kind == 1 else socket.AF_INET6
            host = socket.inet_ntop(family, self._read(4 if kind == 1 else 16))
        (port,) = struct.unpack(">H", self._read(2))
        self.server.socks_requests.append(SocksRequest(host, port, kind == 3))
        if self.server.options.refusal:
            self.request.sendall(b"\x05\x05\x00\x01" + bytes(6))  # refused by the server behind
            return
        with socket.create_connection(("127.0.0.1", self.server.port)) as server:
            self.request.sendall(b"\x05\x00\x00\x01" + bytes(6))
            _relay(self.request, server)

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.request.recv(size - len(data))
            if not more:
                raise EOFError
            data += more
        return data


def _relay(client: socket.socket, server: socket.socket) -> None:
    back = threading.Thread(target=_copy, args=(server, client))
    back.start()
    _copy(client, server)
    back.join()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def proxy(
    port: int,
    refusal: bytes = b"",
    *,
    login: str = "",
    context: ssl.SSLContext | None = None,
    is_socks: bool = False,
) -> Iterator[ProxyServer]:
    """Run a proxy for the length of a block."""
    with ProxyServer(port, ProxyOptions(refusal, login, context, is_socks)) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield running
        finally:
            running.shutdown()
            thread.join()
