"""The asynchronous transport: one session of aiohttp for each event loop.

aiohttp connects (to the addresses of a name in a staggered race), encrypts, tunnels through proxies, parses, and
lets requests wait for a connection in the order in which they came. The total deadline is ours: its own
timeouts end a read, and a server that trickles feeds each of them for ever.
"""

import asyncio
import functools
import io
import socket
import time
import weakref
from asyncio import AbstractEventLoop
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, ClassVar

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.http import HttpProcessingError
from yarl import URL

from openmodels.deadline import deadline_exceeded, seconds_left
from openmodels.errors import InvalidResponse, OpenModelsError
from openmodels.http import tcp
from openmodels.http.address import Address
from openmodels.http.connection import ConnectionLimits, ConnectionSettings
from openmodels.http.http1_parser import LONGEST_HEADERS
from openmodels.http.messages import BaseResponse, HttpRequest, add_header
from openmodels.http.network_errors import connect_timeout, network_error, proxy_error, read_timeout
from openmodels.http.proxies import ProxyServer

_LARGE_BODY = 2**20  # aiohttp warns of bytes that are larger, and sends a file in pieces instead
_NO_AUTOMATIC = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")


class AsyncHttpResponse(BaseResponse, AsyncIterator[bytes]):
    """The asynchronous twin of `HttpResponse`; closing it does not wait."""

    def __init__(
        self, response: aiohttp.ClientResponse, url: str, peer: str, deadline: float | None, idle: float
    ) -> None:
        headers: dict[str, str] = {}
        for name, value in response.raw_headers:
            add_header(headers, name, value)
        super().__init__(response.status, headers, url, deadline)
        self._response: aiohttp.ClientResponse | None = response
        self._peer = peer
        self._idle = idle
        self._loop = asyncio.get_running_loop()
        self._waiting_since: float | None = None  # when the read that now waits began
        self._has_begun = False
        self._failure: OpenModelsError | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed: asyncio.Future[None] | None = None
        self._protocol = response.connection.protocol if response.connection is not None else None
        if self._protocol is not None and not response.content.is_eof():  # a short response comes at once
            self._arm()
            self._closed = self._protocol.closed
            if self._closed is not None:
                self._closed.add_done_callback(self._check_payload)

    async def __anext__(self) -> bytes:
        if self._response is None or self._failure is not None:
            raise self._failure or StopAsyncIteration
        content = self._response.content
        try:
            if content.is_eof():
                data = content.read_nowait(-1)
            else:
                self._waiting_since = time.monotonic()
                data = await content.readany()
        except (aiohttp.ClientError, HttpProcessingError, OSError) as error:
            # What has arrived before the connection was lost is still there; `readany` does not give it.
            data = b"".join(content._buffer)  # noqa: SLF001
            self._failure = self._failure or _aiohttp_error(error, self._peer)
        finally:
            self._waiting_since = None
        if not data:
            raise self._failure or StopAsyncIteration
        self._has_begun = True
        return data

    async def read(self, max_bytes: int, *, truncate: bool = False) -> bytes:
        """The asynchronous twin of `HttpResponse.read`."""
        body = self._collector(max_bytes, truncate=truncate)
        async for data in self:
            body.feed(data)
            if body.is_full:
                break
        return body.end()

    def shorten_deadline(self, seconds: float) -> None:
        """Wait at most this many seconds for the rest."""
        super().shorten_deadline(seconds)
        self._arm()

    def close(self) -> None:
        """Keep the connection when the response was read to its end, else close it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._closed is not None:
            self._closed.remove_done_callback(self._check_payload)
        response, self._response = self._response, None
        if response is not None:
            _abort(response)

    def _check_payload(self, _: asyncio.Future[None]) -> None:
        """End a read that waits for a body whose connection is gone."""
        # aiohttp forgets the body where a chunk is malformed that came after the headers: its reader would wait on.
        content = self._response.content if self._response is not None else None
        if content is not None and not content.is_eof() and content.exception() is None:
            error = self._protocol.exception() if self._protocol is not None else None
            content.set_exception(error or aiohttp.ClientPayloadError())

    def _arm(self) -> None:
        """Set the timer that ends a read at the deadline or after a silence."""
        # One timer for a response: a timeout around each read would cost as much as the read.
        if self._timer is not None:
            self._timer.cancel()
        now = time.monotonic()
        end = self._idle_end(now)
        end = end if self._deadline is None else min(end, self._deadline)
        self._timer = self._loop.call_later(max(0.0, end - now), self._check_time)

    def _idle_end(self, now: float) -> float:
        # A reader that takes its time is no silent server: only a waiting read counts.
        return (self._waiting_since if self._has_begun and self._waiting_since is not None else now) + self._idle

    def _check_time(self) -> None:
        now = time.monotonic()
        is_late = self._deadline is not None and now >= self._deadline
        if not is_late and now < self._idle_end(now):
            self._arm()
            return
        self._failure = deadline_exceeded() if is_late else read_timeout(self._idle)
        if self._response is not None:
            self._response.content.set_exception(ConnectionResetError())
            _abort(self._response)


class _Unanswered(aiohttp.ClientError):
    """A kept connection has ended before any of a response came."""


class _Response(aiohttp.ClientResponse):
    """A response that cuts its connection where the headers do not come."""

    _used: ClassVar[weakref.WeakSet[Any]] = weakref.WeakSet()

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        """Read the headers."""
        is_reused = connection.protocol in self._used
        self._used.add(connection.protocol)
        try:
            return await super().start(connection)
        except BaseException as error:
            # aiohttp closes it, and TLS then waits up to 30 s for a silent server's goodbye.
            if connection.transport is not None:
                connection.transport.abort()
            if is_reused and isinstance(error, aiohttp.ClientError) and _is_unanswered(error):
                raise _Unanswered from None
            raise


class _Resolver(AbstractResolver):
    """Resolves names on threads that nothing waits for, and checks the addresses."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self._limits = limits

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        async with asyncio.timeout(self._limits.connect_timeout):
            entries = await tcp.aresolve(host, port)
        tcp.check_allowed(entries, host, self._limits.is_allowed)
        return [
            ResolveResult(hostname=host, host=ip, port=port, family=kind, proto=protocol, flags=socket.AI_NUMERICHOST)
            for kind, _, protocol, _, (ip, port, *_) in entries
            if family in (socket.AF_UNSPEC, kind)
        ]

    async def close(self) -> None:
        """Do nothing: no thread is kept."""


class AsyncTransport:
    """Sends requests over the sockets of the running event loop."""

    def __init__(self, settings: ConnectionSettings, limits: ConnectionLimits) -> None:
        self._settings = settings
        self._limits = limits
        self._sessions: weakref.WeakKeyDictionary[AbstractEventLoop, dict[ProxyServer | None, _Session]]
        self._sessions = weakref.WeakKeyDictionary()

    async def send(self, request: HttpRequest, address: Address, deadline: float | None) -> AsyncHttpResponse:
        """Return the response, its headers read."""
        proxy = self._settings.proxy_for(address)
        socks = proxy if proxy is not None and proxy.is_socks else None
        loop = asyncio.get_running_loop()
        entry = self._sessions.get(loop, {}).get(socks)
        session = entry[0] if entry is not None else await self._new_session(loop, socks)
        is_small = len(request.body) <= _LARGE_BODY
        options: dict[str, Any] = {"data": request.body if is_small else io.BytesIO(request.body)}
        peer = address.authority
        if proxy is not None and socks is None:
            options["proxy"] = proxy.origin
            if proxy.authorization:
                # aiohttp makes it Proxy-Authorization, and sends it to the proxy alone.
                options["proxy_headers"] = {"Authorization": proxy.authorization.reveal()}
        if address.scheme == "https" or (proxy is not None and proxy.scheme == "https"):
            options["ssl"] = self._settings.tls.context()
        url = _encoded_url(request.url)
        if self._limits.is_allowed is not None:
            # aiohttp asks no resolver about a host that is a number.
            numeric = tcp.parse_numeric(address.host, address.port)
            tcp.check_allowed(numeric, address.host, self._limits.is_allowed)
        while True:
            try:
                async with asyncio.timeout(seconds_left(deadline)) as timer:
                    response = await session.request(
                        request.method, url, headers=request.headers, allow_redirects=False, **options
                    )
                    break
            except OpenModelsError:
                raise
            except _Unanswered:
                continue  # the server had closed the kept connection
            except (aiohttp.ClientError, OSError, ValueError) as error:
                failure = deadline_exceeded() if timer.expired() else self._connect_error(error, peer, proxy)
            raise failure  # here and not above: the frames and the request in aiohttp's error hold the key
        if response.status == 101:
            _abort(response)
            raise InvalidResponse(f"What {peer} sent is no answer to a request: it switches protocols.")
        return AsyncHttpResponse(response, request.url, peer, deadline, self._limits.read_timeout)

    def close(self) -> None:
        """Close idle connections; the transport stays usable."""
        for loop, sessions in list(self._sessions.items()):
            self._sessions.pop(loop, None)
            if not loop.is_closed():
                for session, _ in sessions.values():
                    loop.call_soon_threadsafe(_close_soon, session)

    async def _new_session(self, loop: AbstractEventLoop, socks: ProxyServer | None) -> aiohttp.ClientSession:
        """Return a session of the running event loop, through a SOCKS proxy or none."""
        for other in [other for other in self._sessions if other.is_closed()]:
            self._sessions.pop(other, None)
        # `asyncio.run` closes the generators its loop has seen, so this one closes the connections in time.
        guard = _close_with_loop(self._sessions, self._open_session(socks))
        session = await anext(guard)
        self._sessions.setdefault(loop, {})[socks] = session, guard
        return session

    def _open_session(self, socks: ProxyServer | None) -> aiohttp.ClientSession:
        limits = self._limits
        options: dict[str, Any] = {
            "limit": 0,
            "limit_per_host": limits.max_connections,
            "keepalive_timeout": limits.keep_alive,
            "happy_eyeballs_delay": tcp.STAGGER,
        }
        connector: aiohttp.BaseConnector
        if socks is None:
            connector = aiohttp.TCPConnector(resolver=_Resolver(limits), **options)
        else:
            from openmodels.http.socks import SocksConnector  # needs the extra

            connector = SocksConnector(socks, **options)
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=_NO_AUTOMATIC,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=limits.connect_timeout),
            max_line_size=LONGEST_HEADERS,
            max_field_size=LONGEST_HEADERS,
            response_class=_Response,
        )

    def _connect_error(self, error: Exception, peer: str, proxy: ProxyServer | None) -> OpenModelsError:
        """Return what a request that brought no response means."""
        between = peer if proxy is None else f"the proxy {proxy.authority}"
        if isinstance(error, TimeoutError):
            return connect_timeout(self._limits.connect_timeout, between)
        if isinstance(error, aiohttp.ClientHttpProxyError):
            return proxy_error(error.status, between)
        if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientConnectorCertificateError):
            is_of_proxy = proxy is not None and (error.host, error.port) == (proxy.host, proxy.port)
            return _aiohttp_error(error, between if is_of_proxy else peer)
        return _aiohttp_error(error, peer)


_Session = tuple[aiohttp.ClientSession, Any]  # A session, and the generator that closes it


@functools.lru_cache(maxsize=256)
def _encoded_url(url: str) -> URL:
    return URL(url, encoded=True)


_closing: set[asyncio.Future[None]] = set()


def _close_soon(session: aiohttp.ClientSession) -> None:
    task = asyncio.ensure_future(session.close())
    _closing.add(task)
    task.add_done_callback(_closing.discard)


async def _close_with_loop(
    sessions: weakref.WeakKeyDictionary[AbstractEventLoop, Any], session: aiohttp.ClientSession
) -> AsyncGenerator[aiohttp.ClientSession, None]:
    try:
        yield session
    finally:
        sessions.pop(asyncio.get_running_loop(), None)
        await session.close()


def _is_unanswered(error: Exception) -> bool:
    """Return whether a connection ended before any of a response came."""
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return error.message == "Server disconnected"  # else it is the part of the head that came
    return isinstance(error, aiohttp.ClientOSError) and not isinstance(error, aiohttp.ClientConnectorError)


def _aiohttp_error(error: Exception, peer: str) -> OpenModelsError:
    """Return what an error of aiohttp means, chained to the socket's error in it."""
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientPayloadError):
        return network_error(EOFError(), peer)
    cause: Exception = error
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = error.certificate_error
    elif isinstance(error, aiohttp.ClientConnectorError):
        cause = error.os_error
    elif isinstance(error, aiohttp.ClientOSError):
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else ConnectionResetError()
    if not isinstance(cause, OSError):
        message = str(getattr(error, "message", "") or type(error).__name__).splitlines()[0]
        return InvalidResponse(f"What {peer} sent is no valid HTTP: {message[:100]}.")
    failure = network_error(cause, peer)
    cause.__cause__ = cause.__context__ = None
    failure.__cause__ = cause.with_traceback(None)
    return failure


def _abort(response: aiohttp.ClientResponse) -> None:
    """Close a response, now and without waiting for what is still to be sent."""
    connection = response.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()
    response.close()
