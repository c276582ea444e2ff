"""TCP connections within a time: from a name to a connected socket."""

import asyncio
import errno
import os
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from functools import partial
from itertools import chain, zip_longest
from typing import Any

from openmodels import background
from openmodels.errors import InvalidRequest

AddressInfo = tuple[Any, ...]  # an entry of `socket.getaddrinfo`

STAGGER = 0.25  # seconds before the next address is tried beside the ones that have not answered (RFC 8305)
_IN_PROGRESS = frozenset({0, errno.EINPROGRESS, errno.EWOULDBLOCK, getattr(errno, "WSAEWOULDBLOCK", errno.EWOULDBLOCK)})


def parse_numeric(host: str, port: int) -> list[AddressInfo]:
    """Return the addresses of a host that is a number; [] for a name."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        return []


def resolve(host: str, port: int, timeout: float) -> list[AddressInfo]:
    """Return the addresses of a name or a number, found within some seconds."""
    return parse_numeric(host, port) or _look_up(host, port).result(timeout)


async def aresolve(host: str, port: int) -> list[AddressInfo]:
    """The asynchronous twin of `resolve`; cancelling it is its timeout."""
    return parse_numeric(host, port) or await asyncio.wrap_future(_look_up(host, port))


def _look_up(host: str, port: int) -> Future[list[AddressInfo]]:
    # getaddrinfo takes no timeout and may hang for minutes. A thread of a pool would be waited for,
    # by asyncio.run and by the interpreter, at their end; this one is left behind.
    return background.start(partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM))


def check_allowed(addresses: list[AddressInfo], host: str, is_allowed: Callable[[str], bool] | None) -> None:
    """Raise InvalidRequest where a name leads to an address that is not allowed."""
    # Were one of them private, which one is connected to would be a matter of luck.
    if is_allowed is not None and not all(is_allowed(str(entry[4][0])) for entry in addresses):
        raise InvalidRequest(
            f"{host[:80]} is no public address, and others are not fetched.",
            next_step="Read it yourself, and give the bytes.",
        )


def connect(host: str, port: int, end: float, is_allowed: Callable[[str], bool] | None = None) -> socket.socket:
    """Return a socket connected to the first of the host's addresses that answers.

    An address that does not answer delays the next one by `STAGGER` seconds only.

    Raises:
        TimeoutError: None has answered before `end`, on the clock of `time.monotonic()`.
        InvalidRequest: An address is not allowed.
        OSError: The name is unknown, or every address refuses.
    """
    addresses = resolve(host, port, end - time.monotonic())
    check_allowed(addresses, host, is_allowed)
    error: OSError = socket.gaierror(socket.EAI_NONAME, "no address")
    waiting = deque(_interleave(addresses))
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        next_start = 0.0
        while waiting or selector.get_map():
            now = time.monotonic()
            if now >= end:
                raise TimeoutError
            if waiting and (now >= next_start or not selector.get_map()):
                family, kind, protocol, _, address = waiting.popleft()
                sock = stack.enter_context(socket.socket(family, kind, protocol))
                sock.setblocking(False)
                code = sock.connect_ex(address)
                if code in _IN_PROGRESS:
                    selector.register(sock, selectors.EVENT_WRITE)
                    next_start = now + STAGGER
                else:
                    error = OSError(code, os.strerror(code))
                continue
            for key, _ in selector.select((min(next_start, end) if waiting else end) - now):
                sock = key.fileobj  # type: ignore[assignment]
                selector.unregister(sock)
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code == 0:
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                    return socket.socket(fileno=sock.detach())
                sock.close()
                error, next_start = OSError(code, os.strerror(code)), 0.0
    raise error


def _interleave(addresses: list[AddressInfo]) -> list[AddressInfo]:
    """Return the addresses with the families in turns, in the resolver's order."""
    families = list(dict.fromkeys(entry[0] for entry in addresses))
    groups = [[entry for entry in addresses if entry[0] == family] for family in families]
    return [entry for entry in chain.from_iterable(zip_longest(*groups)) if entry is not None]
