"""A loopback server that misbehaves on purpose: one fault for each URL prefix.

It writes to raw sockets, since an HTTP library would not let it break the protocol.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from openmodels.testing.faults.expect import Fault


class Gone(Exception):
    """The client has left, or the connection is over."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it arrived.

    Attributes:
        method: The method.
        path: The path below the fault's own prefix, e.g. "/v1/chat/completions".
        headers: By lower-case name.
        body: The body's bytes.
        number: 1 for the first request to this URL, 2 for the second, …
        stream: Whether the body asks for a stream.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    number: int
    stream: bool


@dataclass(slots=True)
class Wire:
    """One connection as a fault sees it."""

    sock: socket.socket
    stopping: threading.Event
    left: threading.Event = field(default_factory=threading.Event)

    def send(self, data: bytes) -> None:
        """Send bytes as they are. Raises Gone when the client has left."""
        try:
            self.sock.sendall(data)
        except OSError as error:
            raise Gone from error

    def head(self, status: int | str = 200, headers: Mapping[str, str] | None = None) -> None:
        """Send a status line and headers."""
        lines = [f"HTTP/1.1 {status} X" if isinstance(status, int) else status]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def answer(self, body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Send a whole answer: bytes as they are, anything else as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        default_headers = {"Content-Type": "application/json", "Content-Length": str(len(data))}
        self.head(status, {**default_headers, **(headers or {})})
        self.send(data)

    def events(self, pieces: Iterable[bytes], headers: Mapping[str, str] | None = None) -> None:
        """Send an event stream, each piece as a chunk, and end it."""
        self.begin(headers)
        for piece in pieces:
            self.chunk(piece)
        self.chunk(b"")

    def begin(self, headers: Mapping[str, str] | None = None) -> None:
        """Begin an event stream in chunks."""
        default_headers = {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"}
        self.head(200, {**default_headers, **(headers or {})})

    def chunk(self, piece: bytes) -> None:
        """Send a chunk; an empty one is the end."""
        self.send(b"%x\r\n%s\r\n" % (len(piece), piece))

    def trickle(self, data: Iterable[int | bytes], every: float = 0.05) -> None:
        """Send piece by piece, slowly, until the client leaves or the server stops."""
        for piece in data:
            self.send(bytes([piece]) if isinstance(piece, int) else piece)
            if self.stopping.wait(every):
                raise Gone

    def stall(self) -> None:
        """Say nothing until the client leaves."""
        self.sock.settimeout(0.1)
        while not self.stopping.is_set():
            try:
                if not self.sock.recv(65536):
                    break
            except TimeoutError:
                continue  # to look whether the server is to stop
            except OSError:
                break
        raise Gone

    def close(self) -> None:
        """Close the connection."""
        raise Gone

    def reset(self) -> None:
        """Reset the connection (RST)."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise Gone


Handler = Callable[[Wire, Request], None]
_handlers: dict[str, tuple[Fault, Handler]] = {}


def fault(described: Fault) -> Callable[[Handler], Handler]:
    """Register a handler for a fault."""

    def register(handler: Handler) -> Handler:
        assert described.name not in _handlers, described.name
        _handlers[described.name] = described, handler
        return handler

    return register


def list_faults() -> dict[str, Fault]:
    """Return every fault by its name."""
    return {name: described for name, (described, _) in _handlers.items()}


class FaultServer:
    """Serves every registered fault on 127.0.0.1, until `close`.

    Args:
        tls: Speak https with this context.

    Attributes:
        requests: The requests received, by URL key.
        open: How many connections are open now.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._stopping = threading.Event()
        self._keys = itertools.count(1)
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self.port: int = self._listener.getsockname()[1]
        self.requests: dict[str, list[Request]] = {}
        self.open = 0
        self.opened = 0
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def url(self, name: str, host: str = "127.0.0.1") -> str:
        """Return a base URL whose requests meet the fault, counted from one."""
        assert name in _handlers, name
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://{host}:{self.port}/{next(self._keys)}/{name}/v1"

    def seen(self, url: str) -> list[Request]:
        """Return the requests that came to a URL that `url` gave."""
        return self.requests.get(url.split("/")[3], [])

    def wait_open(self, number: int, seconds: float = 5.0) -> bool:
        """Wait until exactly `number` connections are open; return whether that happened."""
        with self._changed:
            return self._changed.wait_for(lambda: self.open == number, seconds)

    def close(self) -> None:
        """Stop, and close every connection."""
        self._stopping.set()
        self._listener.close()
        with contextlib.suppress(OSError):  # wakes an accept that the close did not
            socket.create_connection(("127.0.0.1", self.port), 0.1).close()
        self._accepting.join(5)
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            self._threads = [alive for alive in self._threads if alive.is_alive()]
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        with self._changed:
            self.open += 1
            self.opened += 1
            self._changed.notify_all()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        buffer = bytearray()
        try:
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True)
            wire = Wire(sock, self._stopping)
            while not self._stopping.is_set():
                self._serve_request(wire, buffer)
        except (Gone, OSError):
            pass  # the client left, which is what many faults are about
        finally:
            sock.close()
            with self._changed:
                self.open -= 1
                self._changed.notify_all()

    def _serve_request(self, wire: Wire, buffer: bytearray) -> None:
        head = _until(wire, buffer, lambda: buffer.find(b"\r\n\r\n"), 4)
        line, *rest = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (row.partition(":") for row in rest if row)}
        method, target, _ = line.split(" ", 2)
        _, key, name, path = target.split("/", 3)
        described, handler = _handlers[name]
        length = int(headers.get("content-length", "0"))
        if described.hasty:
            body = b""  # answers before the body has been read
        else:
            body = bytes(_until(wire, buffer, lambda: length if len(buffer) >= length else -1, 0))
        with self._changed:
            seen = self.requests.setdefault(key, [])
            request = Request(method, f"/{path}", headers, body, len(seen) + 1, b'"stream":true' in body)
            seen.append(request)
        handler(wire, request)


def _until(wire: Wire, buffer: bytearray, find_end: Callable[[], int], extra: int) -> bytes:
    wire.sock.settimeout(0.2)
    while (end := find_end()) < 0:
        try:
            data = wire.sock.recv(65536)
        except TimeoutError:
            if wire.stopping.is_set():
                raise Gone from None
            continue
        if not data:
            raise Gone
        buffer += data
    wire.sock.settimeout(None)
    taken = bytes(buffer[: end + extra])
    del buffer[: end + extra]
    return taken
