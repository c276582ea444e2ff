"""The blocking sockets under an exchange, and what bounds them and their asyncio twins."""

from __future__ import annotations

import contextlib
import functools
import os
import select
import socket
import ssl
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from openmodels.errors import ConnectionFailed, DeadlineExceeded, OpenModelsError

CHUNK = 64 * 2**10
"""Bytes asked of a socket at a time."""


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
    if isinstance(error, ConnectionRefusedError):
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
            places = numeric(host, port) or lookup(host, port).result(left(end))
            for number, (family, kind, protocol, _, place) in enumerate(places):
                sock = socket.socket(family, kind, protocol)
                try:
                    sock.settimeout(share(end, len(places) - number))
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
            raise too_late(deadline, limits, to) from error
        except OSError as error:
            raise failed(error, to) from error
        raise failed(socket.gaierror(socket.EAI_NONAME, "no address"), to)

    def encrypt(self, host: str, to: str, deadline: float | None, limits: Limits) -> None:
        """Begin TLS within what is left of the time to connect; from now on the other side is `to`."""
        self._to = to
        try:
            self._sock.settimeout(left(self.deadline))
            self._sock = tls().wrap_socket(self._sock, server_hostname=host)
        except TimeoutError as error:
            raise too_late(deadline, limits, self._to) from error
        except OSError as error:
            raise failed(error, self._to) from error

    def write(self, data: bytes) -> None:
        """Send all of the data."""
        try:
            self._sock.settimeout(left(self.deadline))
            self._sock.sendall(data)
        except TimeoutError as error:
            raise late() from error
        except OSError as error:
            raise failed(error, self._to) from error

    def read(self) -> bytes:
        """Return what has arrived, b"" at the end; waits for at least one byte."""
        rest = left(self.deadline)
        wait = self.idle if rest is None else rest if self.idle is None else min(rest, self.idle)
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


def left(deadline: float | None) -> float | None:
    """Return the seconds left, or None for no limit. Raises DeadlineExceeded when there are none."""
    if deadline is None:
        return None
    rest = deadline - time.monotonic()
    if rest <= 0:
        raise late()
    return rest


def connect_time(deadline: float | None, limits: Limits) -> float:
    """Return the seconds that connecting may take."""
    rest = left(deadline)
    return limits.connect if rest is None else min(limits.connect, rest)


def too_late(deadline: float | None, limits: Limits, to: str) -> OpenModelsError:
    """Return the error for connecting that took too long, by either limit."""
    reached = deadline is not None and time.monotonic() >= deadline
    return late() if reached else unconnected(limits.connect, to)


def share(end: float, addresses: int) -> float:
    """Return the seconds that the next of some addresses may take, so that one silent address is not the end."""
    return (left(end) or 0.0) / addresses


def numeric(host: str, port: int) -> list[Any]:
    """Return the address of a host that is a number; nothing needs to be asked for it."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        return []


def lookup(host: str, port: int) -> Future[list[Any]]:
    """Return the addresses of a name, to be waited for; forgetting the future is allowed."""
    # getaddrinfo takes no timeout and may hang for minutes. A thread of a pool would be waited for,
    # by asyncio.run and by the interpreter, at their end; this one is left behind.
    answer: Future[list[Any]] = Future()
    answer.set_running_or_notify_cancel()

    def ask() -> None:
        try:
            answer.set_result(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except Exception as error:  # noqa: BLE001 - a name may hold anything; raised again by whoever waits
            answer.set_exception(error)

    threading.Thread(target=ask, name="openmodels-dns", daemon=True).start()
    return answer
