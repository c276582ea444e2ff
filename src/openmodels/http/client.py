"""The HTTP client of everything here that speaks HTTP.

    client = HttpClient()
    with client.send(HttpRequest("GET", "https://host.example/models"), deadline=time.monotonic() + 60) as response:
        body = response.read(max_bytes=2**20)

The blocking half stands on urllib3, the asynchronous one on aiohttp; each is imported by its first request. What
holds for both: a total deadline that nothing outlasts, a queue for the connections of an origin, no retries but
of a kept connection that the server had closed, no cookies, no decompression unless `read` does it, and redirects
only where they are asked for.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urljoin, urlsplit

from openmodels.errors import InvalidRequest, InvalidResponse
from openmodels.http.address import PORTS, Address
from openmodels.http.connection import ConnectionLimits, ConnectionSettings
from openmodels.http.messages import BaseResponse, HttpRequest

if TYPE_CHECKING:
    from openmodels.http.async_transport import AsyncHttpResponse, AsyncTransport
    from openmodels.http.sync_transport import HttpResponse, SyncTransport

__all__ = ["HttpClient", "HttpRequest"]

log = logging.getLogger("openmodels.http")

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CREDENTIALS = frozenset({"authorization", "cookie", "proxy-authorization", "api-key", "x-api-key"})
"""Headers that stay with the origin they were meant for."""


class Exchange(Protocol):
    """A sender of requests: `HttpClient`, or a vendor's pipeline in front of it."""

    def send(self, request: HttpRequest, deadline: float | None) -> HttpResponse:
        """Return the response, its headers read; see `HttpClient.send`."""

    async def asend(self, request: HttpRequest, deadline: float | None) -> AsyncHttpResponse:
        """The asynchronous twin of `send`."""

    def close(self) -> None:
        """Close idle connections; the exchange stays usable."""


class HttpClient:
    """Sends requests over connections that are kept for the next request.

    It may be used in any thread, in any event loop, and after a fork.

    Args:
        settings: Proxies and certificates; by default those of the environment.
        limits: Times, the number of connections, and the addresses that may be connected to.

    Raises, from `send` and `asend` and from reading a response:
        ConnectionFailed: No connection, or it was lost; `retryable` says whether that may pass.
        DeadlineExceeded: The deadline has passed, waiting for a free connection included.
        InvalidResponse: What came back is not HTTP, or redirects without an end.
        InvalidRequest: The address is not one of http or https, or is not allowed.
        NotConfigured: A proxy of the environment is not usable, or asks for a password.
    """

    def __init__(self, settings: ConnectionSettings | None = None, limits: ConnectionLimits | None = None) -> None:
        self.settings = settings or ConnectionSettings()
        self.limits = limits or ConnectionLimits()
        self._lock = threading.Lock()
        self._sync: SyncTransport | None = None
        self._async: AsyncTransport | None = None

    def send(
        self, request: HttpRequest, deadline: float | None, *, redirects: int = 0, same_origin: bool = False
    ) -> HttpResponse:
        """Return the response, its headers read and its body not.

        Args:
            request: The request.
            deadline: When to give up, on the clock of `time.monotonic()`; None waits without a limit.
            redirects: How many redirects of a GET or HEAD are followed; a response that redirects further is an
                error. 0 returns a redirect like any other response.
            same_origin: Whether a redirect to another origin is an error.
        """
        transport = self._sync or self._sync_transport()
        start = time.monotonic()
        for _ in range(redirects + 1):
            address, target = split_url(request.url)
            response = transport.send(request, address, target, deadline)
            _log_request(request, address, target, response.status, start)
            next_request = _follow_redirect(request, response, same_origin=same_origin) if redirects else None
            if next_request is None:
                return response
            request = next_request
        raise _endless_redirects(request)

    async def asend(
        self, request: HttpRequest, deadline: float | None, *, redirects: int = 0, same_origin: bool = False
    ) -> AsyncHttpResponse:
        """The asynchronous twin of `send`."""
        transport = self._async or self._async_transport()
        start = time.monotonic()
        for _ in range(redirects + 1):
            address, target = split_url(request.url)
            response = await transport.send(request, address, deadline)
            _log_request(request, address, target, response.status, start)
            next_request = _follow_redirect(request, response, same_origin=same_origin) if redirects else None
            if next_request is None:
                return response
            request = next_request
        raise _endless_redirects(request)

    def close(self) -> None:
        """Close idle connections; a later request opens new ones."""
        for transport in (self._sync, self._async):
            if transport is not None:
                transport.close()

    def _sync_transport(self) -> SyncTransport:
        from openmodels.http.sync_transport import SyncTransport

        with self._lock:
            self._sync = self._sync or SyncTransport(self.settings, self.limits)
            return self._sync

    def _async_transport(self) -> AsyncTransport:
        from openmodels.http.async_transport import AsyncTransport

        with self._lock:
            self._async = self._async or AsyncTransport(self.settings, self.limits)
            return self._async


@lru_cache(maxsize=256)
def split_url(url: str) -> tuple[Address, str]:
    """Return an address's origin, and its path and query as the request target.

    Raises:
        InvalidRequest: It is not a plain http or https address.
    """
    shown = url.partition("?")[0].rpartition("@")[2][:80]  # without a password or key
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise InvalidRequest(f"{shown!r} is not an address.") from None
    is_plain = url.isascii() and url.isprintable() and " " not in url and "@" not in parts.netloc
    if parts.scheme not in PORTS or not host or not is_plain:
        raise InvalidRequest(f"{shown!r} is not a plain http or https address.")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Address(parts.scheme, host, PORTS[parts.scheme] if port is None else port), target


def _follow_redirect(request: HttpRequest, response: BaseResponse, *, same_origin: bool) -> HttpRequest | None:
    """Close a redirect and return the request that it asks for; None otherwise."""
    location = response.headers.get("location")
    if response.status not in _REDIRECTS or not location or request.method not in ("GET", "HEAD"):
        return None
    response.close()
    old = split_url(request.url)[0]
    try:
        url = urljoin(request.url, location)
        new = split_url(url)[0]
    except (ValueError, InvalidRequest):
        raise _not_followed(old, "something that is no plain address") from None
    headers = request.headers
    if old.scheme == "https" and new.scheme != "https":
        raise _not_followed(old, "unencrypted http")
    if new != old:
        if same_origin:
            raise _not_followed(old, f"another host, {new.host[:100]!r}")
        headers = tuple((name, value) for name, value in headers if name.lower() not in _CREDENTIALS)
    return replace(request, url=url.partition("#")[0], headers=headers)


def _not_followed(address: Address, target: str) -> InvalidResponse:
    return InvalidResponse(f"{address.authority} redirects to {target}; this is not followed.")


def _endless_redirects(request: HttpRequest) -> InvalidResponse:
    return InvalidResponse(f"{split_url(request.url)[0].authority} redirects again and again.")


def _log_request(request: HttpRequest, address: Address, target: str, status: int, start: float) -> None:
    if log.isEnabledFor(logging.DEBUG):
        seconds = time.monotonic() - start
        path = target.partition("?")[0]
        log.debug("%s %s%s: %d after %.3f s", request.method, address.origin, path, status, seconds)
