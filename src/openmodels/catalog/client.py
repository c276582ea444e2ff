"""The requests that all catalogs make: bounded, retried, paced."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx2

from openmodels import files
from openmodels.core import retry
from openmodels.errors import (
    AccessDenied,
    AuthenticationFailed,
    ConnectionFailed,
    InvalidResponse,
    ModelNotFound,
    OpenModelsError,
    RateLimited,
    ServerFailed,
)
from openmodels.http import status_errors
from openmodels.http.address import Secret
from openmodels.http.bearer import Bearer
from openmodels.http.time_limit import TimeLimit

_LARGEST = 64 * 2**20
_PATIENCE = 30.0
"""Seconds of silence after which a connection counts as dead."""
TOTAL = 40.0
"""Seconds a request may take in all, tries and redirects included; a page of the Hub takes one to five."""
_RATE = re.compile(r"r=(\d+)(?:.*?;)?\s*t=(\d+)")


@dataclass
class Client:
    """Requests to one origin: bounded, retried, paced by what the server says is left.

    Attributes:
        origin: The address all paths are under; the token is sent nowhere else.
        who: The catalog's name for errors.
        token: Sent with each request, or None.
        retries: How often a request is tried again.
        deadline: When all requests together must be done, on the clock of `time.monotonic()`, or None.
        sleep: Waits; replaced in tests.
    """

    origin: str
    who: str
    token: Secret | None = field(default=None, repr=False)
    retries: int = 4
    deadline: float | None = None
    sleep: Callable[[float], None] = time.sleep
    _pause: float = field(default=0.0, init=False, repr=False)

    def __post_init__(self) -> None:
        self.origin = self.origin.rstrip("/")

    def json(self, method: str, path: str, *, body: object = None, params: Any = None) -> tuple[Any, Mapping[str, str]]:
        """Return the JSON of an answer and its headers.

        Args:
            method: "GET" or "POST".
            path: Below the origin, or a full address there.
            body: Sent as JSON.
            params: The query string.

        Raises:
            OpenModelsError: The catalog cannot be reached, refuses, or answers something else.
        """
        answer = self.send(method, path, body=body, params=params)
        try:
            text = answer.content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InvalidResponse(f"{self.who} answered something that is not JSON.") from error
        return files.parse_json(text, f"What {self.who} answered", kind=InvalidResponse), answer.headers

    def text(self, path: str) -> str:
        """Return the text of a file.

        Raises:
            OpenModelsError: As for `json`.
        """
        return self.send("GET", path).text

    def send(self, method: str, path: str, *, body: object = None, params: Any = None) -> httpx2.Response:
        """Return an answer of status 200.

        Raises:
            OpenModelsError: As for `json`.
        """
        address = path if path.startswith(("http://", "https://")) else self.origin + path
        self._check_origin(address)
        if self._pause:
            left = math.inf if self.deadline is None else self.deadline - time.monotonic()
            self.sleep(max(0.0, min(self._pause, retry.LONGEST_ASKED, left)))
            self._pause = 0.0
        end = min(time.monotonic() + TOTAL, self.deadline or math.inf)
        return retry.call(
            lambda: self._once(method, address, body, params, TimeLimit(end, self.who)),
            retries=self.retries,
            deadline=end,
        )

    def _once(self, method: str, address: str, body: object, params: Any, limit: TimeLimit) -> httpx2.Response:
        try:
            # A client per request: a catalog is asked seldom, and an idle connection may be dead by then.
            with limit, httpx2.Client(timeout=_PATIENCE, auth=Bearer(self.token), follow_redirects=False) as client:
                for _ in range(4):
                    answer = self._read(client, limit, method, address, body=body, params=params)
                    if answer.status_code not in (301, 302, 303, 307, 308) or method != "GET":
                        break
                    address, params = urljoin(address, answer.headers.get("location", "")), None
                    self._check_origin(address)
        except httpx2.HTTPError as error:
            raise ConnectionFailed(
                f"{self.who} at {self.origin} cannot be reached: {_reason(error)}.",
                next_step="Check the network; models already listed can be searched offline.",
            ) from error
        if answer.status_code != 200:
            raise self._refused(answer)
        left = _RATE.search(answer.headers.get("ratelimit", "")[:200])
        if left and int(left[1]) == 0:
            self._pause = float(left[2])
        return answer

    def _read(
        self, client: httpx2.Client, limit: TimeLimit, method: str, address: str, *, body: object, params: Any
    ) -> httpx2.Response:
        patience = min(_PATIENCE, limit.left)
        with client.stream(
            method, address, json=body, params=params, timeout=patience, extensions=limit.extensions
        ) as answer:
            parts, size = [], 0
            for part in answer.iter_bytes():
                limit.check()
                size += len(part)
                if size > _LARGEST:
                    raise InvalidResponse(f"{self.who} sent more than {_LARGEST >> 20} MB in one answer.")
                parts.append(part)
        headers = [(name, value) for name, value in answer.headers.multi_items() if name != "content-encoding"]
        return httpx2.Response(answer.status_code, headers=headers, content=b"".join(parts), request=answer.request)

    def _check_origin(self, address: str) -> None:
        ours, theirs = urlsplit(self.origin), urlsplit(address)
        if (ours.scheme, ours.netloc) != (theirs.scheme, theirs.netloc):
            # A token must not follow a link to another host.
            raise InvalidResponse(f"{self.who} points to another host, {theirs.netloc[:100]!r}; this is not followed.")

    def _refused(self, answer: httpx2.Response) -> OpenModelsError:
        status, asked = answer.status_code, answer.request.url.path
        request_id = answer.headers.get("x-request-id")
        match status:
            case 401 if answer.headers.get("x-error-code") == "RepoNotFound" or "/api/models/" in asked:
                error: OpenModelsError = ModelNotFound(
                    f"{self.who} has no such model, or it is private.", next_step="Check the spelling."
                )
            case 401:
                error = AuthenticationFailed(f"{self.who} refused the token.", next_step="Renew HF_TOKEN.")
            case 403:
                error = AccessDenied(f"{self.who} does not allow this.", next_step="Check the token's rights.")
            case 404:
                error = ModelNotFound(f"{self.who} has no such model.", next_step="Check the spelling.")
            case 429:
                error = RateLimited(
                    f"{self.who} gets too many requests from here.",
                    next_step="Set HF_TOKEN, or try again later.",
                    retry_after=_wait(answer.headers),
                )
            case _ if status >= 500:
                error = ServerFailed(
                    f"{self.who} answered with status {status}{self._words(answer)}.", next_step="Try again later."
                )
            case _:
                error = InvalidResponse(f"{self.who} answered with status {status}{self._words(answer)}.")
        error.status, error.request_id = status, request_id
        return error

    def _words(self, answer: httpx2.Response) -> str:
        """Return what an answer says of its failure, as the end of a sentence."""
        secrets = () if self.token is None else (self.token.reveal(),)
        message = status_errors.read(answer.status_code, {}, answer.content, host=self.who, secrets=secrets).message
        return f": {message.rstrip('.')}" if message else ""


def _wait(headers: Mapping[str, str]) -> float | None:
    if left := _RATE.search(headers.get("ratelimit", "")[:200]):
        return float(left[2]) + 1
    return status_errors.retry_after(
        {name.lower(): value for name, value in headers.items()}, time.time(), limited=True
    )


def _reason(error: Exception) -> str:
    if isinstance(error, httpx2.TimeoutException):
        return "no answer in time"
    return f"{type(error).__name__}: {str(error)[:200]}".rstrip(".: ")
