"""The client of an HTTP API at one origin: its token, its pace and its errors.

    hub = ApiClient("https://huggingface.co", "the Hub", retry=retry)
    page = hub.get_json("/api/models/org/model")

`core/retry` holds the one retry policy, and stands above this layer: who makes a client hands the policy in.
"""

from __future__ import annotations

import asyncio
import copy
import json
import re
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol, Self, TypeVar
from urllib.parse import urlencode, urljoin, urlsplit

from openmodels import files, settings
from openmodels.errors import (
    AccessDenied,
    AuthenticationFailed,
    ConnectionFailed,
    DeadlineExceeded,
    InvalidResponse,
    ModelNotFound,
    OpenModelsError,
    RateLimited,
    ServerFailed,
    StreamInterrupted,
)
from openmodels.http import decompression, status_errors
from openmodels.http.client import HttpClient, HttpRequest
from openmodels.http.limits import ConnectionLimits
from openmodels.http.messages import BaseResponse
from openmodels.http.secrets import Secret

Result = TypeVar("Result")

MAX_BYTES = 64 * 2**20
"""Bytes of a response that are read; a page of the Hub's listing has about two million."""
REQUEST_SECONDS = 40.0
"""Seconds that a request may take in all, retries and redirects included; a page of the Hub takes one to five."""
_MAX_ERROR_BYTES = 64 * 2**10
_LONGEST_WAIT = 300.0
"""Seconds of a pause at most that a service asks for."""
_MAX_REDIRECTS = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LIMITS = ConnectionLimits(read_timeout=30.0)
_NEXT = re.compile(r'<([^>]+)>\s*;\s*rel="?next"?')
_REMAINING = re.compile(r"r=(\d{1,9})(?:.*?;)?\s*t=(\d{1,9})")


class RetryHook(Protocol):
    """What decides whether a failed request is sent again: the module `core.retry`."""

    def call(self, start: Callable[[], Result], *, retries: int, deadline: float | None) -> Result:
        """Return `start()`, called again after errors that may pass."""

    async def acall(self, start: Callable[[], Awaitable[Result]], *, retries: int, deadline: float | None) -> Result:
        """The asynchronous twin of `call`."""


class ApiResponse(NamedTuple):
    """A response of status 200: its decompressed body, and its headers.

    The names of the headers are in lower case.
    """

    body: bytes
    headers: Mapping[str, str]


class RequestPacer:
    """Spaces the requests of all threads to one origin.

    Args:
        interval: Seconds between the starts of two requests at least.
    """

    def __init__(self, interval: float = 0.0) -> None:
        self.interval = interval
        self.sleep: Callable[[float], None] = time.sleep
        self._lock = threading.Lock()
        self._next_start = 0.0

    def reserve(self, deadline: float | None) -> float:
        """Return the seconds until the next request may start.

        Args:
            deadline: On the clock of `time.monotonic()`; the wait ends there.
        """
        with self._lock:
            now = time.monotonic()
            start = max(now, self._next_start)
            self._next_start = start + self.interval
        return max(0.0, (start if deadline is None else min(start, deadline)) - now)

    def pause(self, seconds: float) -> None:
        """Begin no request for some seconds."""
        with self._lock:
            self._next_start = max(self._next_start, time.monotonic() + min(seconds, _LONGEST_WAIT))


class ApiClient:
    """Requests to the API of one origin; safe to share among threads.

    Args:
        origin: The address that all paths are below. No request is sent elsewhere, and no token.
        service: The service's name in errors: "the Hub".
        token: Sent with each request, or None.
        retry: The policy of retries; with None a request is sent once.
        interval: Seconds between the starts of two requests at least.

    Attributes:
        retries: How often a request is tried again.
        request_seconds: Seconds that a request may take in all, retries and redirects included; None lifts the limit.
        deadline: When all requests together must be done, on the clock of `time.monotonic()`, or None.
        pacer: Spaces the requests.

    Raises, from each request:
        ConnectionFailed: The service cannot be reached.
        DeadlineExceeded: It did not answer in full in time.
        AuthenticationFailed, AccessDenied, ModelNotFound, RateLimited, ServerFailed: It refuses.
        InvalidResponse: It answers with something else, or points to another origin.
    """

    def __init__(
        self,
        origin: str,
        service: str,
        *,
        token: Secret | None = None,
        retry: RetryHook | None = None,
        interval: float = 0.0,
    ) -> None:
        self.origin = origin.rstrip("/")
        self.service = service
        self.token = token
        self.retries = 4
        self.request_seconds: float | None = REQUEST_SECONDS
        self.deadline: float | None = None
        self.pacer = RequestPacer(interval)
        self._retry = retry
        self._http = HttpClient(limits=_LIMITS)

    def until(self, deadline: float) -> Self:
        """Return a client whose requests end at a `time.monotonic()` deadline.

        It shares connections and pace with this one.
        """
        bounded = copy.copy(self)
        bounded.deadline = deadline if self.deadline is None else min(deadline, self.deadline)
        return bounded

    def close(self) -> None:
        """Close idle connections."""
        self._http.close()

    def get_json(self, path: str, params: Any = None) -> Any:
        """Return the JSON at a path.

        Args:
            path: Below the origin, or a full address there.
            params: The query, as `urllib.parse.urlencode` takes it.
        """
        return self._decode(self.send("GET", path, params=params).body)

    async def aget_json(self, path: str, params: Any = None) -> Any:
        """The asynchronous twin of `get_json`."""
        return self._decode((await self.asend("GET", path, params=params)).body)

    def post_json(self, path: str, body: Any) -> Any:
        """Return the JSON that answers a JSON body."""
        return self._decode(self.send("POST", path, body=json.dumps(body).encode()).body)

    def get_pages(self, path: str, params: Any = None) -> Iterator[tuple[Any, str | None]]:
        """Yield the JSON of each page of a listing, and the address of the next page.

        Args:
            path: As in `get_json`; the address of a later page continues there.
            params: The query of the first page; the links to the others repeat it.
        """
        address: str | None = path
        visited: set[str] = set()
        while address and address not in visited:
            visited.add(address)
            response = self.send("GET", address, params=params)
            link = _NEXT.search(response.headers.get("link", ""))
            address, params = link[1] if link else None, None
            yield self._decode(response.body), address

    def get_text(self, path: str, max_bytes: int) -> str:
        """Return the first bytes of a file, as text."""
        return self.send("GET", path, max_bytes=max_bytes, truncate=True).body.decode("utf-8", "replace")

    def send(
        self,
        method: str,
        path: str,
        *,
        params: Any = None,
        body: bytes = b"",
        max_bytes: int = MAX_BYTES,
        truncate: bool = False,
    ) -> ApiResponse:
        """Return a response of status 200.

        Args:
            method: "GET" or "POST".
            path: Below the origin, or a full address there.
            params: The query.
            body: JSON.
            max_bytes: Bytes of the decompressed body at most.
            truncate: Whether what is larger is cut; else it is an error.
        """
        url = self._url(path, params)
        if wait := self.pacer.reserve(self.deadline):
            self.pacer.sleep(wait)
        deadline = self._request_deadline()

        def attempt() -> ApiResponse:
            try:
                return self._exchange(method, url, body, deadline, max_bytes, truncate=truncate)
            except (ConnectionFailed, StreamInterrupted, DeadlineExceeded) as error:
                raise self._unreachable(error) from error

        return self._retry.call(attempt, retries=self.retries, deadline=deadline) if self._retry else attempt()

    async def asend(self, method: str, path: str, *, params: Any = None, max_bytes: int = MAX_BYTES) -> ApiResponse:
        """The asynchronous twin of `send`."""
        url = self._url(path, params)
        if wait := self.pacer.reserve(self.deadline):
            await asyncio.sleep(wait)
        deadline = self._request_deadline()

        async def attempt() -> ApiResponse:
            try:
                return await self._aexchange(method, url, deadline, max_bytes)
            except (ConnectionFailed, StreamInterrupted, DeadlineExceeded) as error:
                raise self._unreachable(error) from error

        if self._retry is None:
            return await attempt()
        return await self._retry.acall(attempt, retries=self.retries, deadline=deadline)

    def _url(self, path: str, params: Any) -> str:
        url = path if path.startswith(("http://", "https://")) else self.origin + path
        if params:
            url += ("&" if "?" in url else "?") + urlencode(params, doseq=True)
        self._check_origin(url)
        return url

    def _request_deadline(self) -> float | None:
        deadlines = [] if self.deadline is None else [self.deadline]
        if self.request_seconds is not None:
            deadlines.append(time.monotonic() + self.request_seconds)
        return min(deadlines, default=None)

    def _exchange(
        self, method: str, url: str, body: bytes, deadline: float | None, max_bytes: int, *, truncate: bool
    ) -> ApiResponse:
        for _ in range(_MAX_REDIRECTS + 1):
            with self._http.send(HttpRequest(method, url, self._headers(), body), deadline) as response:
                if method == "GET" and response.status in _REDIRECTS:
                    url = self._redirect_url(url, response)
                    continue
                if response.status != 200:
                    raise self._error(response, response.read(_MAX_ERROR_BYTES, truncate=True))
                content = response.read(max_bytes, truncate=truncate)
            return self._accept(response, content)
        raise InvalidResponse(f"{self._subject} redirects again and again.")

    async def _aexchange(self, method: str, url: str, deadline: float | None, max_bytes: int) -> ApiResponse:
        for _ in range(_MAX_REDIRECTS + 1):
            with await self._http.asend(HttpRequest(method, url, self._headers()), deadline) as response:
                if response.status in _REDIRECTS:
                    url = self._redirect_url(url, response)
                    continue
                if response.status != 200:
                    raise self._error(response, await response.read(_MAX_ERROR_BYTES, truncate=True))
                content = await response.read(max_bytes)
            return self._accept(response, content)
        raise InvalidResponse(f"{self._subject} redirects again and again.")

    def _redirect_url(self, url: str, response: BaseResponse) -> str:
        try:
            target = urljoin(url, response.headers.get("location", ""))
        except ValueError:
            target = "//["
        self._check_origin(target)
        return target

    def _accept(self, response: BaseResponse, content: bytes) -> ApiResponse:
        remaining = _REMAINING.search(response.headers.get("ratelimit", "")[:200])
        if remaining and int(remaining[1]) == 0:
            self.pacer.pause(float(remaining[2]))
        return ApiResponse(content, response.headers)

    def _headers(self) -> tuple[tuple[str, str], ...]:
        headers = [
            ("User-Agent", settings.DISTRIBUTION),
            ("Accept", "*/*"),
            ("Accept-Encoding", decompression.ACCEPTED),
            ("Content-Type", "application/json"),
        ]
        if self.token is not None:
            headers.append(("Authorization", f"Bearer {self.token.reveal()}"))
        return tuple(headers)

    def _check_origin(self, url: str) -> None:
        ours = urlsplit(self.origin)
        try:
            theirs = urlsplit(url)
            host = theirs.hostname or ""
        except ValueError:
            raise InvalidResponse(f"{self._subject} points to something that is not an address.") from None
        if (ours.scheme, ours.netloc) != (theirs.scheme, theirs.netloc):
            # A token must not follow a link to another host; nor is one that stands in the link shown.
            raise InvalidResponse(f"{self._subject} points to another host, {host[:100]!r}; this is not followed.")

    def _decode(self, body: bytes) -> Any:
        if body.lstrip()[:1] == b"<":
            raise InvalidResponse(f"{self._subject} answered with an HTML page, which is not JSON.")
        return files.parse_json(body, f"What {self.service} answered", kind=InvalidResponse)

    @property
    def _subject(self) -> str:
        return self.service[:1].upper() + self.service[1:]

    def _unreachable(self, error: OpenModelsError) -> OpenModelsError:
        if isinstance(error, DeadlineExceeded):
            return DeadlineExceeded(
                f"{self._subject} did not answer in full; the time is up.",
                next_step="Try again, or check the network.",
            )
        return ConnectionFailed(
            f"{self._subject} at {self.origin} cannot be reached: {error.cause}",
            next_step="Check the network; models already listed can be searched offline.",
            # What was cut in the middle may come whole the next time.
            retryable=error.retryable or isinstance(error, StreamInterrupted),
        )

    def _error(self, response: BaseResponse, content: bytes) -> OpenModelsError:
        """Return the error that a refusal is."""
        secrets = () if self.token is None else (self.token.reveal(),)
        failure = status_errors.read(response.status, response.headers, content, host=self.service, secrets=secrets)
        kind, cause, next_step = self._classify(response)
        detail = f": {failure.message.rstrip('.')}" if failure.message and kind in _QUOTED else ""
        remaining = _REMAINING.search(response.headers.get("ratelimit", "")[:200])
        return kind(
            f"{cause}{detail}.",
            next_step=next_step,
            status=response.status,
            request_id=failure.request_id,
            # A second more: the limit is lifted within the second that is named.
            retry_after=float(remaining[2]) + 1 if remaining else failure.retry_after,
        )

    def _classify(self, response: BaseResponse) -> Refusal:
        """Return what a response of another status than 200 means."""
        return classify_refusal(response.status, self._subject)


class Refusal(NamedTuple):
    """What a refusal means: the class of its error, a sentence, and the next step."""

    kind: type[OpenModelsError]
    cause: str
    next_step: str | None = None


def classify_refusal(status: int, service: str) -> Refusal:
    """Return what a status other than 200 means."""
    match status:
        case 401:
            return Refusal(AuthenticationFailed, f"{service} refused the token", "Renew the token.")
        case 403:
            return Refusal(AccessDenied, f"{service} does not allow this", "Check the token's rights.")
        case 404 | 410:
            return Refusal(ModelNotFound, f"{service} has no such model", "Check the spelling.")
        case 429:
            return Refusal(RateLimited, f"{service} gets too many requests from here", "Try again later.")
        case _ if status >= 500:
            return Refusal(ServerFailed, f"{service} answered with status {status}", "Try again later.")
        case _:
            return Refusal(InvalidResponse, f"{service} answered with status {status}")


_QUOTED = (ServerFailed, InvalidResponse, RateLimited)
"""Errors that quote the service's own message; the others say more than it does."""
