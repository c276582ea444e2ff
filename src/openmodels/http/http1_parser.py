"""Responses of HTTP/1.1, parsed by llhttp: the parser that aiohttp has too.

`http.client`, which urllib3 parses with, takes an end of file inside the headers for their end, a chunk size of
"0x5" or "-5" for a number, and any two bytes behind a chunk for a line break; on a connection that is
used again each of these lets one answer become part of the next. llhttp refuses them all, and parses a stream
of 20,000 chunks in 2.3 ms, where urllib3's reader takes 22.
"""

from typing import Any

import httptools

from openmodels.errors import InvalidResponse
from openmodels.http.messages import add_header

LONGEST_HEADERS = 64 * 2**10
"""Bytes without any of a body in them that are read at most: headers, interim responses, trailers."""


class Http1ResponseParser:
    """Parses the response to one request.

    `peer` is the server, as errors name it.
    """

    def __init__(self, method: str, peer: str) -> None:
        self.status = 0  # the HTTP status; 0 before the headers have been read
        self.headers: dict[str, str] = {}  # by lower-case name; of a repeated header the values joined by ", "
        self.has_head = False  # whether the headers have been read
        self.is_complete = False  # whether the response has been read to its end
        self.is_reusable = False  # whether its connection can take another request
        self.error: InvalidResponse | None = None  # what is wrong with the response
        self._peer = peer
        self._is_bodyless = method == "HEAD"
        self._body: list[bytes] = []
        self._overhead = 0
        self._parser: Any = httptools.HttpResponseParser(self)
        # What servers really send, and what cannot be read in two ways.
        self._parser.set_dangerous_leniencies(lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True)

    def feed(self, data: bytes) -> bytes:
        """Return the part of the body in these bytes; set `error` if they are malformed."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.error = InvalidResponse(f"What {self._peer} sent is no answer to a request: it switches protocols.")
        except httptools.HttpParserError as error:
            if self.is_complete:
                self.is_reusable = False  # bytes behind the response, which belong to none
            else:
                self.error = InvalidResponse(f"What {self._peer} sent is no valid HTTP: {str(error)[:100]}.")
        self._overhead = 0 if self._body else self._overhead + len(data)
        if self._overhead > LONGEST_HEADERS and not self.is_complete and self.error is None:
            self.error = InvalidResponse(f"What {self._peer} sent is no valid HTTP: its headers have no end.")
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        return body

    def feed_eof(self) -> bool:
        """Take the end of the connection; return whether the response is complete."""
        is_chunked = self.headers.get("transfer-encoding", "").endswith("chunked")
        has_length = is_chunked or "content-length" in self.headers
        self.is_complete = self.is_complete or (self.has_head and not has_length)
        return self.is_complete

    def close(self) -> None:
        """Break the cycle between this object and the parser that calls its methods."""
        self._parser = None

    def on_message_begin(self) -> None:
        """Take note of another message behind the response."""
        if self.is_complete:
            self.is_reusable = False  # bytes behind a response would become the next request's response

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; trailers are dropped."""
        if not self.has_head:
            add_header(self.headers, name, value)

    def on_headers_complete(self) -> None:
        """Take the head as complete, unless it is that of an interim response."""
        if self.is_complete:
            return
        self.status = self._parser.get_status_code()
        if self.status < 200 and self.status != 101:
            self.headers = {}  # an interim response: the real one follows
        else:
            self.has_head = True
            self.is_complete = self._is_bodyless

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body."""
        if not self.is_complete:
            self._body.append(data)

    def on_message_complete(self) -> None:
        """Take the response as complete."""
        if self.has_head and not self.is_complete:
            self.is_complete = True
            self.is_reusable = self._parser.should_keep_alive()
