"""The server as a process: socket, signals, and an end within the grace time."""

import asyncio
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from openmodels.serve.app import ServedApp
from openmodels.serve.guard import HEADER_BYTES

HEADER_SECONDS = 15.0
"""Seconds until the headers of a connection's first request have come."""
GRACE = 30.0
"""Seconds that running requests have to end after the signal to stop."""
_LAST_WORDS = 1.0
"""Seconds before the end of the grace time in which requests that still run are ended with an error."""


class LimitedProtocol(HttpToolsProtocol):
    """HTTP/1.1 with limits on unfinished headers, which uvicorn's own protocol lacks."""

    _header_timer: asyncio.TimerHandle | None = None
    _is_in_header = True
    _header_bytes = 0

    @override
    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.access_log = False  # it would hold what stands in addresses
        self._expect_header()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._end_header()
        super().connection_lost(exc)

    @override
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._expect_header()

    @override
    def on_headers_complete(self) -> None:
        self._end_header()
        super().on_headers_complete()

    @override
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # The guard refuses headers that are complete and too large.
        if self._is_in_header and not self.transport.is_closing():
            self._header_bytes += len(data)
            if self._header_bytes > HEADER_BYTES:
                self._refuse(b"431 Request Header Fields Too Large")

    def _expect_header(self) -> None:
        self._end_header()
        self._is_in_header, self._header_bytes = True, 0
        self._header_timer = self.loop.call_later(HEADER_SECONDS, self._refuse, b"408 Request Timeout")

    def _end_header(self) -> None:
        self._is_in_header = False
        if self._header_timer is not None:
            self._header_timer.cancel()

    def _refuse(self, status: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 " + status + b"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            self.transport.close()


class Server(uvicorn.Server):
    """A uvicorn server that tells when it is ready and ends within its grace time."""

    def __init__(self, config: uvicorn.Config, app: ServedApp, on_ready: Callable[[str], object], grace: float) -> None:
        super().__init__(config)
        self._app = app
        self._on_ready = on_ready
        self._grace = grace

    @override
    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        if self.started and self.servers:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            host = f"[{host}]" if ":" in host else host
            self._on_ready(f"http://{host}:{port}")

    @override
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self._app.state.is_draining = True

    @override
    async def shutdown(self, sockets: Any = None) -> None:
        self._app.state.is_draining = True
        # Requests that still run shortly before the end are cancelled here, and so can say it to their clients.
        timer = asyncio.get_running_loop().call_later(max(0.0, self._grace - _LAST_WORDS), self._cancel_requests)
        try:
            await super().shutdown(sockets)
        finally:
            timer.cancel()

    def _cancel_requests(self) -> None:
        for task in list(self.server_state.tasks):
            task.cancel()


def make_server(
    app: ServedApp, host: str, port: int, on_ready: Callable[[str], object], *, grace: float = GRACE
) -> Server:
    """Return a server for an application; `run()` runs it.

    Args:
        app: The application.
        host: The address that it listens on.
        port: The port; 0 is any that is free.
        on_ready: Called with the server's address once it answers.
        grace: Seconds that running requests have to end after the signal to stop.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=LimitedProtocol,
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=max(1, round(grace)),
        backlog=1024,
    )
    return Server(config, app, on_ready, grace)
