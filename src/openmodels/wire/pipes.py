"""The sockets under an exchange: one blocking, one asyncio, both bound by the same limits."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import os
import select
import socket
import ssl
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, cast

from openmodels.errors import ConnectionFailed, DeadlineExceeded, OpenModelsError

CHUNK = 64 * 2**10
"""Bytes asked of a socket at a time."""
_HIGH_WATER = 4 * CHUNK


@dataclass(slots=True)
class Limits:
    """How long to wait, in seconds.

    Attributes:
        connect: For name, connection and TLS together.
        idle: Between two pieces of a body that has begun.
    """

    connect: float = 10.0
    idle: float = 120.0


@functools.lru_cache(maxsize=4)
def _tls(*_environment: str | None) -> ssl.SSLContext:
    import certifi

    # The environment's certificates, then the system's; certifi's only where the system has none.
    context = ssl.create_default_context()
    if not any(_environment) and not context.get_ca_certs() and not _system_folder():
        context.load_verify_locations(cafile=certifi.where())
    context.set_alpn_protocols(["http/1.1"])
    return context


def _system_folder() -> bool:
    folder = ssl.get_default_verify_paths().capath
    return folder is not None and any(os.scandir(folder))


def tls() -> ssl.SSLContext:
    """Return the TLS context, made once: reading the certificates takes longer than a call."""
    return _tls(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


def late() -> DeadlineExceeded:
    """Return the error for a passed deadline."""
    return DeadlineExceeded("The call's total time is up.", next_step="Raise `timeout` or lower `max_tokens`.")


def silent(seconds: float) -> ConnectionFailed:
    """Return the error for a server that has stopped sending."""
    return ConnectionFailed(f"The server has sent nothing for {seconds:g} s; the connection was given up.")


def unconnected(seconds: float, to: str) -> ConnectionFailed:
    """Return the error for a connection that was not made in time."""
    return ConnectionFailed(f"No connection to {to} within {seconds:g} s.", next_step="Check address and network.")


def failed(error: OSError | EOFError, to: str) -> OpenModelsError:
    """Return what an error of a socket means."""
    check = "Check `base_url` and the network."
    if isinstance(error, socket.gaierror):
        passing = error.errno == socket.EAI_AGAIN
        return ConnectionFailed(f"The name of {to} could not be resolved (DNS).", next_step=check, retryable=passing)
    if isinstance(error, ssl.SSLCertVerificationError):
        return ConnectionFailed(
            f"The certificate of {to} is not trusted (TLS): {error.verify_message}.",
            next_step="Check `base_url`; a private authority's certificate goes into SSL_CERT_FILE.",
            retryable=False,
        )
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        reason = (error.reason or "handshake failed").replace("_", " ").lower()
        return ConnectionFailed(
            f"No encrypted connection to {to} (TLS: {reason}).",
            next_step="Check whether the server speaks https at this address.",
            retryable=False,
        )
    # asyncio tells the refusals of several addresses as one error without a number.
    if isinstance(error, ConnectionRefusedError) or f"[Errno {errno.ECONNREFUSED}]" in str(error):
        return ConnectionFailed(f"{to} refused the connection.", next_step="Check that the server runs there.")
    if isinstance(error, ConnectionResetError | BrokenPipeError | ConnectionAbortedError):
        return ConnectionFailed(f"{to} reset the connection.")
    if isinstance(error, EOFError | ssl.SSLError):
        return ConnectionFailed(f"{to} closed the connection before the end of its answer.")
    return ConnectionFailed(f"No connection to {to}: {error.strerror or type(error).__name__}.", next_step=check)


class Pipe:
    """A blocking connection whose every step ends at `deadline`.

    Attributes:
        deadline: On the clock of `time.monotonic()`, or None.
        idle: Seconds that a read may wait, or None.
        heard: Whether anything has been read since the request began.
    """

    def __init__(self, sock: socket.socket, to: str) -> None:
        self._sock = sock
        self._to = to
        self.deadline: float | None = None
        self.idle: float | None = None
        self.heard = False

    @classmethod
    def connect(cls, host: str, port: int, to: str, deadline: float | None, limits: Limits) -> Pipe:
        """Connect to the first of the host's addresses that answers."""
        end = time.monotonic() + limits.connect
        end = end if deadline is None else min(end, deadline)
        try:
            places = _resolve(host, port, end)
            for number, (family, kind, protocol, _, place) in enumerate(places):
                sock = socket.socket(family, kind, protocol)
                try:
                    sock.settimeout(_left(end))
                    sock.connect(place)
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                except OSError:
                    sock.close()
                    if number == len(places) - 1:
                        raise
                except BaseException:
                    sock.close()
                    raise
                else:
                    pipe = cls(sock, to)
                    pipe.deadline = end
                    return pipe
        except TimeoutError as error:
            raise _too_late(deadline, limits, to) from error
        except OSError as error:
            raise failed(error, to) from error
        raise ConnectionFailed(f"The name of {to} has no address (DNS).")

    def encrypt(self, host: str, to: str, deadline: float | None, limits: Limits) -> None:
        """Begin TLS within what is left of the time to connect; from now on the other side is `to`."""
        self._to = to
        try:
            self._sock.settimeout(_left(self.deadline))
            self._sock = tls().wrap_socket(self._sock, server_hostname=host)
        except TimeoutError as error:
            raise _too_late(deadline, limits, self._to) from error
        except OSError as error:
            raise failed(error, self._to) from error

    def write(self, data: bytes) -> None:
        """Send all of the data."""
        try:
            self._sock.settimeout(_left(self.deadline))
            self._sock.sendall(data)
        except TimeoutError as error:
            raise late() from error
        except OSError as error:
            raise failed(error, self._to) from error

    def read(self) -> bytes:
        """Return what has arrived, b"" at the end; waits for at least one byte."""
        left = _left(self.deadline)
        wait = self.idle if left is None else left if self.idle is None else min(left, self.idle)
        try:
            self._sock.settimeout(wait)
            data = self._sock.recv(CHUNK)
        except TimeoutError as error:
            if self.idle is not None and wait == self.idle:
                raise silent(self.idle) from error
            raise late() from error
        except OSError as error:
            raise failed(error, self._to) from error
        self.heard = self.heard or bool(data)
        return data

    @property
    def stale(self) -> bool:
        """Whether the other side has closed (or sent something unasked) while the pipe was idle."""
        try:
            if hasattr(select, "poll"):
                poll = select.poll()
                poll.register(self._sock, select.POLLIN)
                return bool(poll.poll(0))
            return bool(select.select([self._sock], [], [], 0)[0])
        except (OSError, ValueError):
            return True

    def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(OSError):
            self._sock.close()


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
            async with asyncio.timeout(_connect_time(deadline, limits)):
                _, pipe = await loop.create_connection(
                    lambda: cls(to), host, port, happy_eyeballs_delay=0.25, **security
                )
        except TimeoutError as error:
            raise _too_late(deadline, limits, to) from error
        except OSError as error:
            raise failed(error, to) from error
        return pipe

    async def encrypt(self, host: str, to: str, deadline: float | None, limits: Limits) -> None:
        """Begin TLS on a connection that goes through a proxy; from now on the other side is `to`."""
        self._to = to
        assert self._transport is not None  # noqa: S101 - for the type checker
        try:
            async with asyncio.timeout(_connect_time(deadline, limits)):
                made = await self._loop.start_tls(self._transport, self, tls(), server_hostname=host)
        except TimeoutError as error:
            raise _too_late(deadline, limits, self._to) from error
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
        left = seconds if self._waiter is None else self._since + seconds - self._loop.time()
        if left <= 0:
            self._expire(silent(seconds))
        else:
            self._idle_timer = self._loop.call_later(left, self._check_idle, seconds)


def _left(deadline: float | None) -> float | None:
    """Return the seconds left, or None for no limit. Raises DeadlineExceeded when there are none."""
    if deadline is None:
        return None
    left = deadline - time.monotonic()
    if left <= 0:
        raise late()
    return left


def _connect_time(deadline: float | None, limits: Limits) -> float:
    left = _left(deadline)
    return limits.connect if left is None else min(limits.connect, left)


def _too_late(deadline: float | None, limits: Limits, to: str) -> OpenModelsError:
    reached = deadline is not None and time.monotonic() >= deadline
    return late() if reached else unconnected(limits.connect, to)


def _resolve(host: str, port: int, end: float) -> list[Any]:
    # getaddrinfo takes no timeout and may hang for minutes, so a thread waits for it; a number needs none.
    with contextlib.suppress(socket.gaierror):
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    answer: Future[list[Any]] = Future()

    def ask() -> None:
        try:
            answer.set_result(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except OSError as error:
            answer.set_exception(error)

    threading.Thread(target=ask, name="openmodels-dns", daemon=True).start()
    return answer.result(_left(end))
