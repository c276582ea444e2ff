"""Getting pages for evidence: the Hub's and GitHub's APIs, paced, capped, and never past a rate limit."""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx2

from openmodels import files, settings
from openmodels.core import retry
from openmodels.errors import (
    AccessDenied,
    ConnectionFailed,
    InvalidResponse,
    ModelNotFound,
    Offline,
    OpenModelsError,
    RateLimited,
    ServerFailed,
)
from openmodels.http import address as addresses
from openmodels.http.address import Secret
from openmodels.http.bearer import Bearer
from openmodels.http.time_limit import TimeLimit
from openmodels.hub import token as hub_token

LARGEST = 10_000_000
"""Bytes of an answer that are read."""
_RETRIES = 2
_REDIRECTS = 3


@dataclass
class Fetcher:
    """Fetches from the Hub and from GitHub.

    Attributes:
        hub: Address of the Hub, HF_ENDPOINT or the public one.
        github: Address of GitHub's API.
        pace: Least seconds between two requests to the same host.
        timeout: Seconds of silence after which a connection counts as dead; a request may take three times as long.
    """

    hub: str = field(default_factory=hub_token.endpoint)
    github: str = "https://api.github.com"
    pace: float = 0.0
    timeout: float = 20.0

    def __post_init__(self) -> None:
        # A client for each thread: its connections can be ended without ending those of others.
        self._threads = threading.local()
        self._clients: list[httpx2.Client] = []
        self._turns: dict[str, float] = {}
        self._lock = threading.Lock()
        self.github_exhausted = ""
        """Why GitHub is asked no more, "" while it is."""

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            for client in self._clients:
                client.close()
            self._clients.clear()
        self._threads = threading.local()

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Let all requests of this thread inside the block take at most so many seconds together."""
        self._threads.deadline = time.monotonic() + seconds
        try:
            yield
        finally:
            self._threads.deadline = math.inf

    def hub_json(self, path: str) -> Any:
        """Return the JSON at a path of the Hub.

        Raises:
            ModelNotFound: Nothing is there.
            OpenModelsError: As `text` raises.
        """
        return _json(self.get(f"{self.hub.rstrip('/')}/{path}"))

    def hub_text(self, path: str, largest: int = LARGEST) -> str:
        """Return the first `largest` bytes of a text at a path of the Hub."""
        return self.get(f"{self.hub.rstrip('/')}/{path}", largest).decode("utf-8", "replace")

    def github_json(self, path: str) -> Any:
        """Return the JSON at a path of GitHub's API.

        Raises:
            RateLimited: The hourly limit is used up; no more requests are made.
            ModelNotFound: No such repository.
        """
        if self.github_exhausted:
            raise RateLimited(self.github_exhausted, retryable=False)
        try:
            return _json(self.get(f"{self.github.rstrip('/')}/{path}"))
        except RateLimited as error:
            self.github_exhausted = error.cause
            raise

    def get(self, url: str, largest: int = LARGEST) -> bytes:
        """Return the body at an address.

        Raises:
            Offline: The network is switched off.
            ConnectionFailed: No connection.
            DeadlineExceeded: The answer did not come in full in time.
            ModelNotFound, AccessDenied, RateLimited, ServerFailed, InvalidResponse: By the answer.
        """
        if settings.read().offline:
            raise Offline(
                "The network is switched off, and openness needs it to gather evidence.",
                next_step="Unset HF_HUB_OFFLINE and OPENMODELS_OFFLINE, or give evidence='a saved folder'.",
            )
        end = min(time.monotonic() + 3 * self.timeout, getattr(self._threads, "deadline", math.inf))
        return retry.call(lambda: self._get(url, largest, end), retries=_RETRIES, deadline=end)

    def _get(self, url: str, largest: int, end: float) -> bytes:
        origin = urlsplit(url)[:2]
        client, sockets = self._of_thread()
        for _ in range(_REDIRECTS + 1):
            self._wait(origin[1])
            try:
                limit = TimeLimit(end, origin[1], sockets=sockets)
                request = client.build_request(
                    "GET",
                    url,
                    timeout=min(self.timeout, limit.left),
                    extensions=limit.extensions,
                )
                with limit, closing(client.send(request, stream=True, auth=Bearer(self._token(url)))) as answer:
                    if answer.is_redirect:
                        url = urljoin(url, answer.headers.get("location", ""))
                        if urlsplit(url)[:2] != origin:
                            raise InvalidResponse("A page redirects to another host, which is not followed.")
                        continue
                    _check(answer)
                    body = bytearray()
                    for chunk in answer.iter_bytes():
                        limit.check()
                        body += chunk
                        if len(body) >= largest:
                            break
                    return bytes(body[:largest])
            except httpx2.TransportError as error:
                host = origin[1]
                raise ConnectionFailed(
                    f"There is no connection to {host}: {type(error).__name__}.",
                    next_step="Check the network, or give evidence='a saved folder'.",
                ) from error
        raise InvalidResponse("A page redirects in a circle.")

    def _of_thread(self) -> tuple[httpx2.Client, list[socket.socket]]:
        """Return this thread's client and the sockets of its connections."""
        if not hasattr(self._threads, "client"):
            self._threads.sockets = []
            self._threads.client = httpx2.Client(
                timeout=self.timeout, follow_redirects=False, headers={"User-Agent": settings.DISTRIBUTION}
            )
            with self._lock:
                self._clients.append(self._threads.client)
        return self._threads.client, self._threads.sockets

    def _token(self, url: str) -> Secret | None:
        """Return the token for an address: GitHub's or Hugging Face's, and only for the origin it belongs to."""
        if urlsplit(url)[:2] == urlsplit(self.github)[:2]:
            token = os.environ.get("GITHUB_TOKEN") if hub_token.is_confidential(url) else None
            return addresses.key(token or None, "GITHUB_TOKEN")
        return hub_token.of(url, self.hub) if urlsplit(url)[:2] == urlsplit(self.hub)[:2] else None

    def _wait(self, host: str) -> None:
        if self.pace <= 0:
            return
        with self._lock:
            turn = max(time.monotonic(), self._turns.get(host, 0.0))
            self._turns[host] = turn + self.pace
        time.sleep(max(0.0, turn - time.monotonic()))


def _check(answer: httpx2.Response) -> None:
    status = answer.status_code
    if status < 300:
        return
    used_up = answer.headers.get("x-ratelimit-remaining") == "0"
    if status == 429 or (status == 403 and used_up):
        raise RateLimited(
            f"The rate limit of {answer.url.host} is used up.",
            status=status,
            retryable=False,
            next_step="Set GITHUB_TOKEN for a higher limit, or try again in an hour.",
        )
    kind: type[OpenModelsError] = (
        ServerFailed if status >= 500 else ModelNotFound if status in (401, 404, 410) else AccessDenied
    )
    raise kind(f"{answer.url.host} answers {status}.", status=status)


def _json(body: bytes) -> Any:
    return files.parse_json(body, "The answer", kind=InvalidResponse)
