"""The asyncio sockets under an exchange."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any, cast

from openmodels.errors import OpenModelsError
from openmodels.http.pipes import (
    CHUNK,
    Limits,
    connect_time,
    failed,
    late,
    lookup,
    numeric,
    share,
    silent,
    tls,
    too_late,
)

_HIGH_WATER = 4 * CHUNK
"""Bytes that may wait to be read before the other side is made to wait."""


class AsyncPipe(asyncio.Protocol):
    """The asyncio twin of `Pipe`; one timer per request bounds all its steps."""

    def __init__(self, to: str) -> None:
        self._to = to
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._eof = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self._expired: OpenModelsError | None = None
        self._since = 0.0  # when the read that now waits began
        self.heard = False

    @classmethod
    async def connect(  # noqa: D102 - as Pipe.connect
        cls, host: str, port: int, to: str, deadline: float | None, limits: Limits, *, encrypted: bool
    ) -> AsyncPipe:
        loop = asyncio.get_running_loop()
        security: dict[str, Any] = {"ssl": tls(), "server_hostname": host} if encrypted else {}
        try:
            async with asyncio.timeout(connect_time(deadline, limits)):
                sock = await _dial(host, port, deadline, limits)
                _, pipe = await loop.create_connection(lambda: cls(to), sock=sock, **security)
        except TimeoutError as error:
            raise too_late(deadline, limits, to) from error
        except OSError as error:
            raise failed(error, to) from error
        return pipe

    async def encrypt(self, host: str, to: str, deadline: float | None, limits: Limits) -> None:
        """Begin TLS on a connection that goes through a proxy; from now on the other side is `to`."""
        self._to = to
        assert self._transport is not None  # noqa: S101 - for the type checker
        try:
            async with asyncio.timeout(connect_time(deadline, limits)):
                made = await self._loop.start_tls(self._transport, self, tls(), server_hostname=host)
        except TimeoutError as error:
            raise too_late(deadline, limits, self._to) from error
        except OSError as error:
            raise failed(error, self._to) from error
        self._transport = cast("asyncio.Transport", made)

    def arm(self, deadline: float | None) -> None:
        """Let every step from now on end at the deadline; replaces the deadline before it."""
        self.disarm()
        self._deadline = deadline
        if deadline is not None:
            self._timer = self._loop.call_later(deadline - time.monotonic(), self._expire, late())

    def hurry(self, seconds: float) -> None:
        """Bring the deadline forward."""
        end = time.monotonic() + seconds
        self.arm(end if self._deadline is None else min(end, self._deadline))

    def arm_idle(self, seconds: float) -> None:
        """Let reads end when nothing comes for so long."""
        self._idle_timer = self._loop.call_later(seconds, self._check_idle, seconds)

    def disarm(self) -> None:
        """Forget all limits."""
        for timer in (self._timer, self._idle_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._idle_timer = self._expired = None

    async def write(self, data: bytes) -> None:
        """Send all of the data, waiting while the other side does not take it."""
        if self._transport is None or self._transport.is_closing():
            raise failed(ConnectionResetError(), self._to)
        self._transport.write(data)
        while self._writable is not None and self._expired is None:
            await self._writable
        if self._expired is not None:
            raise self._expired

    async def read(self) -> bytes:
        """Return what has arrived, b"" at the end; waits for at least one byte."""
        while True:
            if self._expired is not None:
                raise self._expired
            if self._parts:
                data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
                self._parts = []
                if self._size > _HIGH_WATER and self._transport is not None:
                    self._transport.resume_reading()
                self._size = 0
                self.heard = True
                return data
            if self._error is not None:
                error = self._error
                raise failed(error if isinstance(error, OSError) else ConnectionResetError(), self._to) from error
            if self._eof:
                return b""
            self._since = self._loop.time()
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    @property
    def stale(self) -> bool:
        """Whether the other side has closed (or sent something unasked) while the pipe was idle."""
        return self._eof or bool(self._parts) or self._transport is None or self._transport.is_closing()

    def close(self) -> None:
        """Close the connection, now and without waiting."""
        self.disarm()
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: D102 - asyncio.Protocol
        self._transport = cast("asyncio.Transport", transport)
        if (sock := transport.get_extra_info("socket")) is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def data_received(self, data: bytes) -> None:  # noqa: D102
        self._parts.append(data)
        self._size += len(data)
        if self._size > _HIGH_WATER and self._transport is not None:
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:  # noqa: D102
        self._eof = True
        self._wake()
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: D102
        self._eof = True
        self._error = exc
        self.resume_writing()
        self._wake()

    def pause_writing(self) -> None:  # noqa: D102
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:  # noqa: D102
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _expire(self, error: OpenModelsError) -> None:
        self._expired = error
        self.resume_writing()
        self._wake()

    def _check_idle(self, seconds: float) -> None:
        # A reader that takes its time is no silent server: only a waiting read counts.
        rest = seconds if self._waiter is None else self._since + seconds - self._loop.time()
        if rest <= 0:
            self._expire(silent(seconds))
        else:
            self._idle_timer = self._loop.call_later(rest, self._check_idle, seconds)


async def _dial(host: str, port: int, deadline: float | None, limits: Limits) -> socket.socket:
    """Return a socket connected to the first of the host's addresses that answers."""
    # Not asyncio's own race over the addresses: cancelled at the wrong moment, it leaks the connection.
    loop = asyncio.get_running_loop()
    places = numeric(host, port) or await asyncio.wrap_future(lookup(host, port))
    end = time.monotonic() + connect_time(deadline, limits)
    for number, (family, kind, protocol, _, place) in enumerate(places):
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        try:
            async with asyncio.timeout(share(end, len(places) - number)):
                await loop.sock_connect(sock, place)
        except OSError:
            sock.close()
            if number == len(places) - 1:
                raise
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise socket.gaierror(socket.EAI_NONAME, "no address")
