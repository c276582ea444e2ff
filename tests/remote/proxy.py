"""A small HTTP proxy on loopback that takes every name for one server."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from socketserver import BaseRequestHandler, ThreadingTCPServer


class Proxy(ThreadingTCPServer):
    """Passes requests on, plain ones and tunnels.

    Args:
        port: The server's port on 127.0.0.1.
        refusal: A status line to answer with instead, e.g. b"HTTP/1.1 407 Login".

    Attributes:
        heads: The heads of the requests as they came, in lower case.
        address: The proxy's own address.
    """

    daemon_threads = True

    def __init__(self, port: int, refusal: bytes = b"") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.port = port
        self.refusal = refusal
        self.heads: list[str] = []
        self.address = f"127.0.0.1:{self.server_address[1]}"


class _Handler(BaseRequestHandler):
    server: Proxy

    def handle(self) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            data += self.request.recv(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        self.server.heads.append(head.decode().lower())
        if self.server.refusal:
            self.request.sendall(self.server.refusal + b"\r\nContent-Length: 0\r\n\r\n")
            return
        method, target, rest = head.split(b" ", 2)
        with socket.create_connection(("127.0.0.1", self.server.port)) as other:
            if method == b"CONNECT":
                self.request.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
            else:
                path = b"/" + target.split(b"/", 3)[3]
                other.sendall(b" ".join([method, path, rest]) + b"\r\n\r\n" + body)
            back = threading.Thread(target=_copy, args=(other, self.request))
            back.start()
            _copy(self.request, other)
            back.join()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def proxy(port: int, refusal: bytes = b"") -> Iterator[Proxy]:
    """Run a proxy for the length of a block."""
    with Proxy(port, refusal) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield running
        finally:
            running.shutdown()
            thread.join()
