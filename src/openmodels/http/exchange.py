"""One exchange: a request goes out, an answer comes back as status, headers and bytes.

This is the whole interface between the wire and the network. `http1.Exchange` is what `server` and
`hf` use; a vendor's own client fits behind it with a class of this shape.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request, ready to go.

    Attributes:
        method: "POST" or "GET".
        target: Path and query, e.g. "/v1/chat/completions".
        headers: Names and values; may hold keys, so they are not shown.
        body: The body's bytes; may hold prompts, so they are not shown.
    """

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)


class _Incoming(Protocol):
    """What both kinds of answer have.

    Attributes:
        status: The HTTP status.
        headers: By lower-case name; of a repeated header the values joined by ", ".
    """

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...

    def hurry(self, seconds: float) -> None:
        """Wait at most this much longer for the rest: the answer is whole, only its end is missing."""

    def close(self) -> None:
        """Let go of the connection: kept when the answer was read to its end, closed otherwise."""


class Answer(_Incoming, Protocol):
    """An answer; iterate it for the body's raw bytes, use it in a `with` block."""

    def __iter__(self) -> Iterator[bytes]: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


class AsyncAnswer(_Incoming, Protocol):
    """The asynchronous twin of `Answer`; closing does not wait, so `with` stays `with`."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


class Exchange(Protocol):
    """Sends requests to one origin.

    `deadline` is on the clock of `time.monotonic()`, or None. Nothing outlasts it: neither
    connecting nor headers or bodies that come byte by byte. Redirects are answers like any other.

    Raises:
        ConnectionFailed: No connection, or it was lost; `retryable` says whether that may pass.
        DeadlineExceeded: The deadline has passed.
        InvalidResponse: What came back is no HTTP.
    """

    def send(self, outgoing: Outgoing, deadline: float | None) -> Answer:
        """Return the answer, its headers read and its body not."""

    async def asend(self, outgoing: Outgoing, deadline: float | None) -> AsyncAnswer:
        """The asynchronous twin of `send`."""

    def close(self) -> None:
        """Close idle connections. The exchange stays usable."""
