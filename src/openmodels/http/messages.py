"""Requests, and the common part of blocking and asynchronous responses."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Self

from openmodels.errors import InvalidResponse
from openmodels.http.decompression import Inflater


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request, ready to be sent."""

    method: str  # "GET", "POST" or "HEAD"
    url: str  # the address, with its query
    # Names and values; may hold keys, so they are not shown.
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)  # the body's bytes; may hold prompts, so they are not shown


def add_header(headers: dict[str, str], raw_name: bytes, raw_value: bytes) -> None:
    """Add a header in lower case; values of a repeated one are joined by ", "."""
    name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
    headers[name] = f"{headers[name]}, {value}" if name in headers else value


class BodyCollector:
    """Collects a body, decompressed and capped.

    A body of more than `max_bytes` decompressed bytes is cut if `truncate`; else it is an error.
    """

    def __init__(self, encoding: str, max_bytes: int, *, truncate: bool) -> None:
        self.is_full = False  # whether enough of the body has been read: the rest is cut
        self._inflater = Inflater(encoding)
        self._max_bytes = max_bytes
        self._truncate = truncate
        self._pieces: list[bytes] = []
        self._size = 0

    def decompress(self, data: bytes) -> Iterator[bytes]:
        """Yield what `data` decompresses to, without collecting it."""
        for piece in self._inflater.feed(data):
            yield piece
            if self.is_full:
                return

    def feed(self, data: bytes) -> None:
        """Take raw bytes. Raises InvalidResponse for a large or damaged body."""
        for piece in self.decompress(data):
            self.collect(piece)

    def collect(self, piece: bytes) -> None:
        """Collect decompressed bytes. Raises InvalidResponse when the body is too large."""
        self._size += len(piece)
        self._pieces.append(piece)
        if self._size > self._max_bytes:
            if not self._truncate:
                raise InvalidResponse(f"The answer is larger than {self._max_bytes / 2**20:.3g} MiB.")
            self.is_full = True

    def end(self) -> bytes:
        """Return the body. Raises StreamInterrupted where it is not complete."""
        if not self.is_full:
            self._inflater.end()
        return b"".join(self._pieces)[: self._max_bytes]


class BaseResponse:
    """A response whose headers have been read."""

    def __init__(self, status: int, headers: Mapping[str, str], url: str, deadline: float | None) -> None:
        self.status = status
        self.headers = headers  # by lower-case name; of a repeated header the values joined by ", "
        self.url = url  # where the response came from, after redirects
        self._deadline = deadline

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Keep the connection when the response was read to its end, else close it."""
        raise NotImplementedError

    def shorten_deadline(self, seconds: float) -> None:
        """Wait at most this many seconds for the rest."""
        end = time.monotonic() + seconds
        self._deadline = end if self._deadline is None else min(end, self._deadline)

    def _collector(self, max_bytes: int, *, truncate: bool) -> BodyCollector:
        return BodyCollector(self.headers.get("content-encoding", ""), max_bytes, truncate=truncate)
