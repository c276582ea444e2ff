"""HTTP/1.1 over our own sockets, spoken by h11: the exchange behind `server` and `hf`.

h11 keeps the protocol; what is written here is what a client library would hide: a deadline that
holds at every step, connections that survive a new event loop and a fork, no redirects, and a
close that closes.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
import weakref
from asyncio import AbstractEventLoop, get_running_loop
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Any, Generic, Self, TypeVar

import h11

from openmodels.errors import ConnectionFailed, InvalidResponse, NotConfigured, OpenModelsError
from openmodels.http.address import Address, HiddenBytes, Proxy, proxy
from openmodels.http.async_pipes import AsyncPipe
from openmodels.http.exchange import Outgoing
from openmodels.http.pipes import Limits, Pipe, failed

log = logging.getLogger("openmodels.http")

KEPT = 64
"""Idle connections kept at most: for all threads together, and per event loop."""
KEPT_SECONDS = 30.0
"""How long an idle connection is kept."""
LONGEST_HEADERS = 64 * 2**10
"""Bytes of an answer's headers at most."""

P = TypeVar("P", Pipe, AsyncPipe)


class _Link(Generic[P]):
    """A connection: a pipe, and h11's side of it without I/O."""

    def __init__(self, pipe: P, to: Address, via: Proxy | None) -> None:
        self.pipe: P = pipe
        self._to = to
        self._via = via if to.scheme == "http" else None
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=LONGEST_HEADERS)
        self._eof = False
        self._pid = os.getpid()
        self.since = 0.0
        self.fresh = True
        self.begun = False  # whether the body has begun to arrive
        self.unsent: ConnectionFailed | None = None

    def request(self, outgoing: Outgoing) -> bytes:
        """Return a request's bytes."""
        headers = [("Host", self._to.authority), *outgoing.headers, ("Content-Length", str(len(outgoing.body)))]
        target = outgoing.target
        if self._via is not None:
            target = f"{self._to.origin}{target}"
            headers += _login(self._via)
        say = self._h11.send
        said: list[bytes | None] = [say(h11.Request(method=outgoing.method, target=target, headers=headers))]
        if outgoing.body:
            said.append(say(h11.Data(data=outgoing.body)))
        said.append(say(h11.EndOfMessage()))
        self.begun = False
        self.pipe.heard = False
        return HiddenBytes(b"".join(part for part in said if part))

    def tunnel(self, via: Proxy) -> bytes:
        """Return the request to a proxy for a connection through it."""
        place = f"[{self._to.host}]:{self._to.port}" if ":" in self._to.host else f"{self._to.host}:{self._to.port}"
        request = h11.Request(method="CONNECT", target=place, headers=[("Host", place), *_login(via)])
        return HiddenBytes((self._h11.send(request) or b"") + (self._h11.send(h11.EndOfMessage()) or b""))

    def received(self, data: bytes) -> None:
        """Take bytes in; b"" is the end."""
        self._eof = not data
        try:
            self._h11.receive_data(data)
        except h11.RemoteProtocolError as error:
            raise self._broken(error) from error

    def head(self) -> h11.Response | None:
        """Return the answer's head, or None when more bytes are needed."""
        while True:
            event = self._next()
            if event is h11.NEED_DATA:
                return None
            if isinstance(event, h11.Response):
                return event
            if not isinstance(event, h11.InformationalResponse):
                raise InvalidResponse(f"What {self._to.authority} sent is no answer to a request.")

    def body(self) -> bytes | None:
        """Return the next piece of the body, b"" at its end, or None when more bytes are needed."""
        while True:
            event = self._next()
            if event is h11.NEED_DATA:
                return None
            if not isinstance(event, h11.Data):
                return b""
            if event.data:
                return bytes(event.data)

    def recycle(self) -> bool:
        """Make ready for the next request, if the connection can take one."""
        if self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
            return False
        if self.unsent is not None or self._h11.trailing_data[0]:
            return False  # bytes behind an answer would become the next request's answer
        self._h11.start_next_cycle()
        self.since = time.monotonic()
        self.fresh = False
        return True

    @property
    def usable(self) -> bool:
        """Whether an idle connection can be used by this process, now."""
        mine = self._pid == os.getpid()  # after a fork both processes hold the same socket
        return mine and time.monotonic() - self.since < KEPT_SECONDS and not self.pipe.stale

    def _next(self) -> Any:
        try:
            return self._h11.next_event()
        except h11.RemoteProtocolError as error:
            raise self._broken(error) from error

    def _broken(self, error: h11.RemoteProtocolError) -> OpenModelsError:
        if self._eof:
            return failed(EOFError(), self._to.authority)
        return InvalidResponse(f"What {self._to.authority} sent is no valid HTTP: {str(error)[:100]}.")


class _Incoming(Generic[P]):
    def __init__(self, link: _Link[P], response: h11.Response, keep: deque[_Link[P]], idle: float) -> None:
        self.status: int = response.status_code
        self.headers: dict[str, str] = {}
        for raw_name, raw_value in response.headers:
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
            self.headers[name] = f"{self.headers[name]}, {value}" if name in self.headers else value
        self._link: _Link[P] | None = link
        self._keep: deque[_Link[P]] = keep
        self._idle = idle

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Keep the connection when the answer was read to its end, else close it."""
        link, self._link = self._link, None
        if link is None:
            return
        if link.recycle() and len(self._keep) < KEPT:
            if isinstance(link.pipe, AsyncPipe):
                link.pipe.disarm()
            self._keep.append(link)
        else:
            link.pipe.close()


class _Answer(_Incoming[Pipe]):
    def __iter__(self) -> Iterator[bytes]:
        while (link := self._link) is not None:
            data = link.body()
            if data is None:
                link.received(link.pipe.read())
            elif data:
                link.pipe.idle = self._idle
                yield data
            else:
                return

    def hurry(self, seconds: float) -> None:
        """Bring the deadline forward."""
        if self._link is not None:
            end, pipe = time.monotonic() + seconds, self._link.pipe
            pipe.deadline = end if pipe.deadline is None else min(end, pipe.deadline)


class _AsyncAnswer(_Incoming[AsyncPipe]):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (link := self._link) is not None:
            data = link.body()
            if data is None:
                link.received(await link.pipe.read())
            elif data:
                if not link.begun:
                    link.begun = True
                    link.pipe.arm_idle(self._idle)
                yield data
            else:
                return

    def hurry(self, seconds: float) -> None:
        """Bring the deadline forward."""
        if self._link is not None:
            self._link.pipe.hurry(seconds)


class Http1Exchange:
    """Requests to one origin; connections are made when needed and kept for the next request.

    Args:
        to: The origin; its path is not used here.
        limits: How long to wait for a connection and between pieces of a body.
    """

    def __init__(self, to: Address, limits: Limits | None = None) -> None:
        self._to = to
        self._limits = limits or Limits()
        self._kept: deque[_Link[Pipe]] = deque()
        self._by_loop: weakref.WeakKeyDictionary[AbstractEventLoop, tuple[deque[_Link[AsyncPipe]], Any]]
        self._by_loop = weakref.WeakKeyDictionary()
        weakref.finalize(self, _close_all, self._kept)

    def send(self, outgoing: Outgoing, deadline: float | None) -> _Answer:
        """Return the answer, its headers read; see `openmodels.http.exchange.Exchange`."""
        start = time.monotonic()
        while True:
            link = _take(self._kept) or self._connect(deadline)
            try:
                response = self._begin(link, outgoing, deadline)
            except BaseException as error:
                link.pipe.close()
                if not link.fresh and not link.pipe.heard and isinstance(error, ConnectionFailed):
                    continue  # the server had closed the kept connection; nothing was answered
                raise
            self._tell(outgoing, response.status_code, start)
            return _Answer(link, response, self._kept, self._limits.idle)

    async def asend(self, outgoing: Outgoing, deadline: float | None) -> _AsyncAnswer:
        """The asynchronous twin of `send`."""
        start = time.monotonic()
        kept = await self._kept_here()
        while True:
            link = _take(kept) or await self._aconnect(deadline)
            try:
                response = await self._abegin(link, outgoing, deadline)
            except BaseException as error:
                link.pipe.close()
                if not link.fresh and not link.pipe.heard and isinstance(error, ConnectionFailed):
                    continue
                raise
            self._tell(outgoing, response.status_code, start)
            return _AsyncAnswer(link, response, kept, self._limits.idle)

    def close(self) -> None:
        """Close idle connections; the exchange stays usable."""
        _close_all(self._kept)
        for loop, (kept, _) in list(self._by_loop.items()):
            with contextlib.suppress(RuntimeError):  # the loop is closed, and its connections with it
                loop.call_soon_threadsafe(_close_all, kept)

    def _begin(self, link: _Link[Pipe], outgoing: Outgoing, deadline: float | None) -> h11.Response:
        link.pipe.deadline, link.pipe.idle = deadline, None
        return _talk(link, link.request(outgoing))

    async def _abegin(self, link: _Link[AsyncPipe], outgoing: Outgoing, deadline: float | None) -> h11.Response:
        link.pipe.arm(deadline)
        return await _atalk(link, link.request(outgoing))

    def _connect(self, deadline: float | None) -> _Link[Pipe]:
        to, via, limits = self._to, proxy(self._to), self._limits
        pipe = Pipe.connect(*_first_stop(to, via), deadline, limits)
        try:
            if via is not None and to.scheme == "https":
                link = _Link(pipe, to, via)
                _tunnelled(_talk(link, link.tunnel(via)), via)
            if to.scheme == "https":
                pipe.encrypt(to.host, to.authority, deadline, limits)
        except BaseException:
            pipe.close()
            raise
        return _Link(pipe, to, via)

    async def _aconnect(self, deadline: float | None) -> _Link[AsyncPipe]:
        to, via, limits = self._to, proxy(self._to), self._limits
        direct = via is None and to.scheme == "https"
        pipe = await AsyncPipe.connect(*_first_stop(to, via), deadline, limits, encrypted=direct)
        try:
            if via is not None and to.scheme == "https":
                link = _Link(pipe, to, via)
                pipe.arm(deadline)
                _tunnelled(await _atalk(link, link.tunnel(via)), via)
                await pipe.encrypt(to.host, to.authority, deadline, limits)
        except BaseException:
            pipe.close()
            raise
        return _Link(pipe, to, via)

    async def _kept_here(self) -> deque[_Link[AsyncPipe]]:
        loop = get_running_loop()
        if (found := self._by_loop.get(loop)) is not None:
            return found[0]
        for other in [other for other in self._by_loop if other.is_closed()]:
            self._by_loop.pop(other, None)
        kept: deque[_Link[AsyncPipe]] = deque()
        # `asyncio.run` closes the generators its loop has seen, so this one closes the connections in time.
        guard = _until_the_loop_ends(self._by_loop, kept)
        self._by_loop[loop] = (kept, guard)
        await anext(guard)
        return kept

    def _tell(self, outgoing: Outgoing, status: int, start: float) -> None:
        if log.isEnabledFor(logging.DEBUG):
            path = outgoing.target.partition("?")[0]
            seconds = time.monotonic() - start
            log.debug("%s %s%s: %d after %.3f s", outgoing.method, self._to.origin, path, status, seconds)


async def _until_the_loop_ends(
    by_loop: weakref.WeakKeyDictionary[AbstractEventLoop, Any], kept: deque[_Link[AsyncPipe]]
) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        by_loop.pop(get_running_loop(), None)
        _close_all(kept)


def _talk(link: _Link[Pipe], request: bytes) -> h11.Response:
    try:
        link.pipe.write(request)
    except ConnectionFailed as error:
        link.unsent = error  # a server may refuse early, answer and hang up: its answer says why
    try:
        while (response := link.head()) is None:
            link.received(link.pipe.read())
    except ConnectionFailed:
        if link.unsent is not None:
            raise link.unsent from None
        raise
    return response


async def _atalk(link: _Link[AsyncPipe], request: bytes) -> h11.Response:
    try:
        await link.pipe.write(request)
    except ConnectionFailed as error:
        link.unsent = error
    try:
        while (response := link.head()) is None:
            link.received(await link.pipe.read())
    except ConnectionFailed:
        if link.unsent is not None:
            raise link.unsent from None
        raise
    return response


def _first_stop(to: Address, via: Proxy | None) -> tuple[str, int, str]:
    if via is None:
        return to.host, to.port, to.authority
    return via.host, via.port, f"the proxy {via.host}:{via.port}"


def _login(via: Proxy) -> list[tuple[str, str]]:
    return [("Proxy-Authorization", via.authorization.reveal())] if via.authorization else []


def _tunnelled(response: h11.Response, via: Proxy) -> None:
    if response.status_code == 407:
        raise NotConfigured(
            f"The proxy {via.host}:{via.port} asks for a name and password.",
            next_step="Put them into HTTPS_PROXY: http://name:password@host:port.",
            status=407,
        )
    if not 200 <= response.status_code < 300:
        raise ConnectionFailed(
            f"The proxy {via.host}:{via.port} answered {response.status_code} instead of connecting.",
            status=response.status_code,
        )


def _take(kept: deque[_Link[P]]) -> _Link[P] | None:
    while kept:
        try:
            link = kept.pop()
        except IndexError:  # another thread was quicker
            return None
        if link.usable:
            return link
        link.pipe.close()
    return None


def _close_all(kept: deque[Any]) -> None:
    while kept:
        with contextlib.suppress(IndexError):
            kept.pop().pipe.close()
