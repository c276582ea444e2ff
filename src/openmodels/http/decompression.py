"""Decompression in pieces of a bounded size."""

import zlib
from collections.abc import Iterator
from typing import Any

from openmodels.errors import InvalidResponse, StreamInterrupted

PIECE = 2**20  # bytes of one decompressed piece at most
ACCEPTED = "gzip, deflate"  # the value for Accept-Encoding
_GZIP = b"\x1f\x8b"


class Inflater:
    """Undoes a Content-Encoding, in pieces of at most `PIECE` bytes."""

    def __init__(self, encoding: str) -> None:
        names = (part.strip().lower() for part in encoding.split(","))
        self._encoding = ", ".join(name for name in names if name not in ("", "identity"))
        self._engine: Any = None  # for the member that is being read
        self._start = b""  # too little of a member to know its kind
        self._has_begun = False
        self._is_over = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what `data` decompresses to.

        Raises:
            InvalidResponse: The encoding is unknown, or the data is damaged.
        """
        if not self._encoding:
            if data:
                yield data
            return
        if self._encoding not in ("gzip", "x-gzip", "deflate"):
            raise InvalidResponse(f"The answer is encoded as {self._encoding[:40]!r}, which was not asked for.")
        pending = False
        while (data or pending) and not self._is_over:
            if self._engine is None and not self._open(data):
                return
            data, self._start = self._start + data, b""
            try:
                piece = self._engine.decompress(data, PIECE)
            except zlib.error as error:
                raise InvalidResponse(f"The answer's compressed data is damaged (bad {self._encoding}).") from error
            data = self._engine.unconsumed_tail or self._engine.unused_data
            if self._engine.eof:
                self._engine = None
            # It may have taken all of the data and still hold back what did not fit into the piece.
            pending = self._engine is not None and len(piece) == PIECE
            if piece:
                yield piece

    def _open(self, data: bytes) -> bool:
        """Begin a member; return whether there is one, as far as is known."""
        start = self._start + data
        if len(start) < 2:
            self._start = start
            return False
        if self._has_begun and not start.startswith(_GZIP):
            self._is_over = True  # padding behind the last member
            return False
        # "deflate" means a zlib stream, but some servers send it bare.
        has_header = start.startswith(_GZIP) or (start[0] & 15 == 8 and int.from_bytes(start[:2]) % 31 == 0)
        self._engine = zlib.decompressobj(-zlib.MAX_WBITS if self._encoding == "deflate" and not has_header else 47)
        self._has_begun = True
        return True

    def end(self) -> None:
        """Raise StreamInterrupted where the compressed data is not complete."""
        if self._engine is not None or (self._start and not self._has_begun):
            raise StreamInterrupted("The answer's compressed data ends before its end.")
