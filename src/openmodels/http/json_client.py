"""The client of a JSON API at one origin: its token, its pace and its errors.

    hub = JSONClient("https://huggingface.co", "the Hub")
    page = hub.get_json("/api/models/org/model")

Requests are spaced where that is asked for, and tried again by the policy of `openmodels.retry`.
"""

import asyncio
import copy
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple, Self
from urllib.parse import urlencode, urlsplit

from openmodels import errors, files, retry, settings
from openmodels.deadline import deadline_after
from openmodels.http import decompression
from openmodels.http.client import HttpClient, HttpRequest
from openmodels.http.connection import ConnectionLimits
from openmodels.http.messages import BaseResponse
from openmodels.http.secrets import Secret
from openmodels.http.status_errors import StatusMeaning, error_from_response, read_failed_response

MAX_BYTES = 64 * 2**20  # bytes of a response that are read; a page of the Hub's listing has about two million
REQUEST_SECONDS = 40.0
"""Seconds that a request may take in all, retries and redirects included; a page of the Hub takes one to five."""
_MAX_ERROR_BYTES = 64 * 2**10
_MAX_REDIRECTS = 3
_LIMITS = ConnectionLimits(read_timeout=30.0)
_NEXT = re.compile(r'<([^>]+)>\s*;\s*rel="?next"?')
_REMAINING = re.compile(r"r=(\d{1,9})(?:.*?;)?\s*t=(\d{1,9})")


class OkResponse(NamedTuple):
    """A response of status 200: the decompressed body, headers in lower case."""

    body: bytes
    headers: Mapping[str, str]


class RequestPacer:
    """Spaces the requests of all threads to one origin.

    `interval` is the least number of seconds between the starts of two requests.
    """

    def __init__(self, interval: float = 0.0) -> None:
        self.interval = interval
        self.sleep: Callable[[float], None] = time.sleep
        self._lock = threading.Lock()
        self._next_start = 0.0

    def reserve(self, deadline: float | None) -> float:
        """Return the seconds to the next request's start, at most to the deadline."""
        with self._lock:
            now = time.monotonic()
            start = max(now, self._next_start)
            self._next_start = start + self.interval
        return max(0.0, (start if deadline is None else min(start, deadline)) - now)

    def pause(self, seconds: float) -> None:
        """Begin no request for some seconds."""
        with self._lock:
            self._next_start = max(self._next_start, time.monotonic() + min(seconds, retry.LONGEST_ASKED))


class JSONClient:
    """Requests to the API of one origin; safe to share among threads.

    Args:
        origin: The address that all paths are below. No request is sent elsewhere, and no token.
        service: The service's name in errors: "the Hub".
        token: Sent with each request, or None.
        interval: Seconds between the starts of two requests at least.

    Raises, from each request:
        ConnectionFailed: The service cannot be reached.
        DeadlineExceeded: It did not answer in full in time.
        AuthenticationFailed, AccessDenied, ModelNotFound, RateLimited, ServerFailed: It refuses.
        InvalidResponse: It answers with something else, or points to another origin.
    """

    def __init__(self, origin: str, service: str, *, token: Secret | None = None, interval: float = 0.0) -> None:
        self.origin = origin.rstrip("/")
        self.service = service
        self.token = token
        self.retries = 4  # how often a request is tried again
        # Seconds that a request may take in all, retries and redirects included; None lifts the limit.
        self.request_seconds: float | None = REQUEST_SECONDS
        # When all requests together must be done, on the clock of `time.monotonic()`, or None.
        self.deadline: float | None = None
        self.pacer = RequestPacer(interval)  # spaces the requests
        self._http = HttpClient(limits=_LIMITS)

    def with_deadline(self, deadline: float) -> Self:
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

        The path is below the origin, or a full address there; `params` are the query, as `urllib.parse.urlencode` takes
        it.
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

        Its `path` may be that of a later page. The links to later pages repeat the query.
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
        stop: int | None = None,
    ) -> OkResponse:
        """Return a response of status 200; see `get_json` and `HttpResponse.read`.

        With `stop`, only the bytes of a file before that place are asked for. Storage of another origin may answer:
        the token does not follow there.
        """
        headers = (
            self._headers() if stop is None else (*self._headers(encoding="identity"), ("Range", f"bytes=0-{stop - 1}"))
        )
        request = HttpRequest(method, self._url(path, params), headers, body)
        if wait := self.pacer.reserve(self.deadline):
            self.pacer.sleep(wait)
        deadline = self._request_deadline()

        def attempt() -> OkResponse:
            with (
                self._translated_errors(),
                self._http.send(request, deadline, redirects=_MAX_REDIRECTS, same_origin=stop is None) as response,
            ):
                if response.status != 200 and (response.status, stop is None) != (206, False):
                    raise self._error(response, response.read(_MAX_ERROR_BYTES, truncate=True))
                return self._accept(response, response.read(max_bytes, truncate=truncate))

        return retry.call_with_retries(attempt, retries=self.retries, deadline=deadline)

    async def asend(self, method: str, path: str, *, params: Any = None, max_bytes: int = MAX_BYTES) -> OkResponse:
        """The asynchronous twin of `send`."""
        request = HttpRequest(method, self._url(path, params), self._headers())
        if wait := self.pacer.reserve(self.deadline):
            await asyncio.sleep(wait)
        deadline = self._request_deadline()

        async def attempt() -> OkResponse:
            with (
                self._translated_errors(),
                await self._http.asend(request, deadline, redirects=_MAX_REDIRECTS, same_origin=True) as response,
            ):
                if response.status != 200:
                    raise self._error(response, await response.read(_MAX_ERROR_BYTES, truncate=True))
                return self._accept(response, await response.read(max_bytes))

        return await retry.acall_with_retries(attempt, retries=self.retries, deadline=deadline)

    def _url(self, path: str, params: Any) -> str:
        """Return an address with its query. Raises InvalidResponse for another origin."""
        url = path if path.startswith(("http://", "https://")) else self.origin + path
        try:
            origin, target = urlsplit(self.origin), urlsplit(url)
            host = target.hostname or ""
        except ValueError:
            raise errors.InvalidResponse(f"{self._subject} points to something that is not an address.") from None
        if (origin.scheme, origin.netloc) != (target.scheme, target.netloc):
            # A token must not follow a link to another host; nor is one that stands in the link shown.
            raise errors.InvalidResponse(
                f"{self._subject} points to another host, {host[:100]!r}; this is not followed."
            )
        return f"{url}{'&' if '?' in url else '?'}{urlencode(params, doseq=True)}" if params else url

    def _request_deadline(self) -> float | None:
        deadlines = (self.deadline, deadline_after(self.request_seconds))
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def _accept(self, response: BaseResponse, content: bytes) -> OkResponse:
        remaining = _REMAINING.search(response.headers.get("ratelimit", "")[:200])
        if remaining and int(remaining[1]) == 0:
            self.pacer.pause(float(remaining[2]))
        return OkResponse(content, response.headers)

    def _headers(self, encoding: str = decompression.ACCEPTED) -> tuple[tuple[str, str], ...]:
        headers = [
            ("User-Agent", settings.DISTRIBUTION),
            ("Accept", "*/*"),
            ("Accept-Encoding", encoding),
            ("Content-Type", "application/json"),
        ]
        if self.token is not None:
            headers.append(("Authorization", f"Bearer {self.token.reveal()}"))
        return tuple(headers)

    def _decode(self, body: bytes) -> Any:
        if body.lstrip()[:1] == b"<":
            raise errors.InvalidResponse(f"{self._subject} answered with an HTML page, which is not JSON.")
        return files.parse_json(body, f"What {self.service} answered", kind=errors.InvalidResponse)

    @property
    def _subject(self) -> str:
        return self.service[:1].upper() + self.service[1:]

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        """Let the error of a connection say which service it was to."""
        try:
            yield
        except errors.DeadlineExceeded as error:
            raise errors.DeadlineExceeded(
                f"{self._subject} did not answer in full; the time is up.", next_step="Try again, or check the network."
            ) from error
        except (errors.ConnectionFailed, errors.StreamInterrupted) as error:
            raise errors.ConnectionFailed(
                f"{self._subject} at {self.origin} cannot be reached: {error.cause}",
                next_step="Check the network; models already listed can be searched offline.",
                # What was cut in the middle may come whole the next time.
                retryable=error.retryable or isinstance(error, errors.StreamInterrupted),
            ) from error

    def _error(self, response: BaseResponse, content: bytes) -> errors.OpenModelsError:
        """Return the error that a response of another status than 200 is."""
        secrets = () if self.token is None else (self.token.reveal(),)
        failure = read_failed_response(response.status, response.headers, content, host=self.service, secrets=secrets)
        if remaining := _REMAINING.search(response.headers.get("ratelimit", "")[:200]):
            # A second more: the limit is lifted within the second that is named.
            failure = replace(failure, retry_after=float(remaining[2]) + 1)
        meaning = self._status_meaning(response)
        detail = f": {failure.message.rstrip('.')}" if failure.message and meaning.kind in _QUOTED else ""
        return error_from_response(failure, meaning._replace(cause=f"{meaning.cause}{detail}."))

    def _status_meaning(self, response: BaseResponse) -> StatusMeaning:
        return default_status_meaning(response.status, self._subject)


def default_status_meaning(status: int, service: str) -> StatusMeaning:
    """Return what a service of models means by a status other than 200."""
    match status:
        case 401:
            return StatusMeaning(errors.AuthenticationFailed, "Renew the token.", f"{service} refused the token")
        case 403:
            return StatusMeaning(errors.AccessDenied, "Check the token's rights.", f"{service} does not allow this")
        case 404 | 410:
            return StatusMeaning(errors.ModelNotFound, "Check the spelling.", f"{service} has no such model")
        case 429:
            return StatusMeaning(errors.RateLimited, "Try again later.", f"{service} gets too many requests from here")
        case _ if status >= 500:
            return StatusMeaning(errors.ServerFailed, "Try again later.", f"{service} answered with status {status}")
        case _:
            return StatusMeaning(errors.InvalidResponse, None, f"{service} answered with status {status}")


_QUOTED = (errors.ServerFailed, errors.InvalidResponse, errors.RateLimited)
"""Errors that quote the service's own message; the others say more than it does."""
