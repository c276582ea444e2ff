"""A server on 127.0.0.1 whose subclasses compute the responses, with faults on demand."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A request.

    Attributes:
        method: "GET", "HEAD" or "POST".
        path: Without the query.
        query: The query's pairs, in order.
        headers: By lower-case name.
        body: The body.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    body: bytes = b""

    def first(self, name: str) -> str | None:
        """Return the first value of a parameter, or None."""
        return next((value for key, value in self.query if key == name), None)

    def all(self, name: str) -> list[str]:
        """Return every value of a parameter; "name[]" counts as "name"."""
        return [value for key, value in self.query if key in (name, f"{name}[]")]


@dataclass(frozen=True, slots=True)
class Response:
    """A response; `body` is sent as JSON unless it is bytes."""

    body: Any = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


class LoopbackServer:
    """Serves `respond` from a thread; use it in a `with` block.

    Attributes:
        requests: The requests so far.
        overrides: Responses sent before any other, each once, to the first request whose path and
            query contain the text it comes with.
    """

    def __init__(self) -> None:
        self.requests: list[ReceivedRequest] = []
        self.overrides: list[tuple[str, Response]] = []
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self._handle))
        server.daemon_threads = True
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)

    @property
    def address(self) -> str:
        """Return where it listens, e.g. "http://127.0.0.1:40001"."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def respond(self, request: ReceivedRequest) -> Response:
        """Return the response to a request; to be overridden."""
        return Response({"error": f"nothing at {request.path}"}, 404)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handle(self, request: ReceivedRequest) -> Response:
        self.requests.append(request)
        target = f"{request.path}?{'&'.join(f'{name}={value}' for name, value in request.query)}"
        for place, (part, response) in enumerate(self.overrides):
            if part in target:
                del self.overrides[place]
                return response
        return self.respond(request)


def _handler(respond: Callable[[ReceivedRequest], Response]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            target = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = ReceivedRequest(self.command, target.path, tuple(parse_qsl(target.query)), headers, body)
            response = respond(request)
            is_json = not isinstance(response.body, bytes)
            sent = json.dumps(response.body).encode() if is_json else response.body
            sent_headers = {
                "Content-Type": "application/json" if is_json else "application/octet-stream",
                **response.headers,
            }
            sent_headers.setdefault("Content-Length", str(len(sent)))
            self.send_response(response.status)
            for name, value in sent_headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(sent)

        do_GET = do_HEAD = do_POST = _serve  # noqa: N815 - the base class's names

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            """Stay quiet."""

    return Handler
