"""Decompression in pieces, so that a small body cannot become a large one unnoticed."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from openmodels.errors import InvalidResponse, StreamInterrupted

PIECE = 2**20
"""Bytes of one decompressed piece at most."""

ACCEPTED = "gzip, deflate"
"""The value for Accept-Encoding."""


class Inflater:
    """Undoes a Content-Encoding. `feed` gives pieces of at most `PIECE` bytes, lazily.

    Raises:
        InvalidResponse: The encoding is unknown, or the data is damaged; raised by `feed`.
    """

    def __init__(self, encoding: str) -> None:
        names = [
            name for name in (part.strip().lower() for part in encoding.split(",")) if name not in ("", "identity")
        ]
        self._unknown = len(names) > 1 or (bool(names) and names[0] not in ("gzip", "x-gzip", "deflate"))
        self._encoding = names[0] if names else ""
        self._engine = zlib.decompressobj(47) if names else None  # 47: gzip or zlib, told by the header
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what `data` decompresses to."""
        if self._unknown:
            raise InvalidResponse(f"The answer is encoded as {self._encoding[:40]!r}, which was not asked for.")
        if self._engine is None:
            if data:
                yield data
            return
        while data:
            if self._engine.eof:
                if self._encoding == "deflate" or not data.startswith(b"\x1f\x8b"):
                    return  # padding behind the last member
                self._engine = zlib.decompressobj(47)
            piece = self._inflate(data)
            data = self._engine.unconsumed_tail or self._engine.unused_data
            self._begun = True
            if piece:
                yield piece

    def _inflate(self, data: bytes) -> bytes:
        assert self._engine is not None  # noqa: S101 - for the type checker
        try:
            return self._engine.decompress(data, PIECE)
        except zlib.error as error:
            if self._encoding == "deflate" and not self._begun:
                # "deflate" means a zlib stream, but some servers send it bare.
                self._engine = zlib.decompressobj(-zlib.MAX_WBITS)
                self._begun = True
                return self._inflate(data)
            raise InvalidResponse("The answer's compressed data is damaged (bad gzip).") from error

    def end(self) -> None:
        """Check that the compressed data was whole. Raises StreamInterrupted when it was not."""
        if self._engine is not None and self._begun and not self._engine.eof:
            raise StreamInterrupted("The answer's compressed data ends before its end.")
