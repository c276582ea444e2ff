"""Responses of HTTP/1.1: any split is read alike, and no garbage is an untyped error."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, strategies as st

from openmodels.errors import InvalidRequest
from openmodels.http import sync_transport
from openmodels.http.address import parse_address
from openmodels.http.client import split_url
from openmodels.http.connection import ConnectionLimits, ConnectionSettings
from openmodels.http.http1_parser import Http1ResponseParser
from openmodels.http.messages import HttpRequest
from openmodels.http.secrets import check_headers, check_key
from openmodels.http.tcp import parse_numeric

_BODY = b'{"choices": []}' * 9
_CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n" + b"5;x=y\r\nhello\r\n87\r\n" + _BODY + b"\r\n0\r\nTrailer: x\r\n\r\n"
_ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(_BODY), _BODY),
    b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 500 No\r\nSet: a\r\nSet: b\r\n" + _CHUNKED,
    b"HTTP/1.0 200 OK\r\n\r\n" + _BODY,
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 200 OK\nContent-Length: 3\n\nabc",
]
_STARTS = [b"", b"HTTP/1.1 200 OK\r\n", _ANSWERS[0], b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]
_places = st.lists(st.integers(0, 400), max_size=20)


def _read(pieces: list[bytes]) -> tuple[Any, ...]:
    """Return status, headers, body and whether the connection can be used again; or what is wrong."""
    parser, body = Http1ResponseParser("POST", "host:1"), b""
    for piece in pieces:
        if piece and parser.error is None and not (parser.is_complete and not parser.is_reusable):
            body += parser.feed(piece)
    if parser.error is not None:
        return body, str(parser.error)
    if not parser.is_complete and not parser.feed_eof():
        return body, "cut"
    return parser.status, parser.headers, body, parser.is_reusable


def _cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({min(place, len(data)) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(edges)]


@given(st.sampled_from(_ANSWERS), _places)
def test_any_split_gives_the_same_answer(data: bytes, places: list[int]) -> None:
    expected = _read([data])
    assert isinstance(expected[0], int), expected
    assert _read(_cut(data, places)) == expected


@given(st.sampled_from(_ANSWERS[:2]), st.integers(0, 400))
def test_an_answer_cut_short_is_never_taken_for_a_whole(data: bytes, length: int) -> None:
    assert _read([data[: min(length, len(data) - 1)]])[-1] == "cut"


@given(
    st.sampled_from(_STARTS),
    st.binary(max_size=200) | st.text(max_size=50).map(str.encode),
    _places,
)
def test_garbage_is_a_typed_error_or_an_answer(start: bytes, data: bytes, places: list[int]) -> None:
    result = _read(_cut(start + data, places))
    assert (
        isinstance(result[0], int) or result[-1] == "cut" or "no valid HTTP" in result[-1] or "switches" in result[-1]
    )


def test_bytes_behind_an_answer_are_not_the_next_one() -> None:
    assert _read([_ANSWERS[0] + b"HTTP/1.1 200 OK\r\n"])[-1] is False
    assert _read([_ANSWERS[0] + b"garbage"])[-1] is False
    assert _read([_ANSWERS[0]])[-1] is True


@pytest.mark.parametrize("size", [b"0x3", b"+3", b"-3", b"3_0", b" 3", b"", b"f" * 30])
def test_a_chunk_size_is_hexadecimal_digits(size: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert "no valid HTTP" in _read([head + size + b"\r\nabc\r\n0\r\n\r\n"])[-1]


def test_a_chunk_ends_where_it_says() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert _read([head + b"3\r\nabcd\r\n0\r\n\r\n"])[0] == b"abc"


@pytest.mark.parametrize(
    "header",
    [
        b"X: a\r\n b",
        b"X : a",
        b"Content-Length: 3\r\nContent-Length: 4",
        b"Content-Length: 3, 4",
        b"no colon",
        b"X: a\0",
    ],
)
def test_a_header_that_can_be_read_in_two_ways_is_refused(header: bytes) -> None:
    assert "no valid HTTP" in _read([b"HTTP/1.1 200 OK\r\n" + header + b"\r\n\r\nabc"])[-1]


@pytest.mark.parametrize("kind", [b"X-%d: a\r\n", b"X: %d" + b"a" * 50])
@pytest.mark.parametrize(
    "start", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"]
)
def test_headers_and_trailers_without_an_end_are_given_up(start: bytes, kind: bytes) -> None:
    result = _read([start, *(kind % number for number in range(20_000))])
    assert "headers have no end" in result[-1]


_texts = st.text(max_size=30) | st.text(st.sampled_from("a0.:/@[]%\\?#- \r\n\u00e9\u3002xn"), max_size=20)


def _request(request: HttpRequest, target: str) -> bytes:
    pool = sync_transport._Pool(split_url(request.url)[0], ConnectionSettings(), ConnectionLimits())
    return sync_transport._request_bytes(sync_transport._Connection("h"), request, target, pool)


@given(st.sampled_from(["https://", "http://", "", "https://h"]), _texts)
def test_an_address_is_refused_or_usable(scheme: str, rest: str) -> None:
    try:
        found = parse_address(scheme + rest, allow_http=True)
    except InvalidRequest as error:
        assert str(error).isprintable()
        return
    assert parse_numeric(found.host, found.port) is not None
    origin, target = split_url(found.origin + found.target("/x"))
    assert (origin.scheme, origin.host, origin.port) == (found.scheme, found.host, found.port)
    assert b"\r\nHost: " in _request(HttpRequest("POST", str(found), (), b"{}"), target)


@given(_texts, _texts)
def test_keys_and_headers_are_refused_or_sendable(name: str, value: str) -> None:
    sent = []
    for check in (
        lambda: sent.append(("Authorization", f"Bearer {check_key(value).reveal()}")),
        lambda: sent.extend((name, value.reveal()) for name, value in check_headers({name: value}).items()),
    ):
        try:
            check()
        except InvalidRequest as error:
            assert len(value) < 8 or value in name or value not in str(error)
    assert _request(HttpRequest("POST", "http://h", tuple(sent)), "/").count(b"\r\n") == 4 + len(sent)


@pytest.mark.parametrize(("length", "status"), [(100, 200), (200_000, b"")])
def test_headers_have_a_limit(length: int, status: object) -> None:
    data = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: " + b"a" * length + b"\r\n\r\n"
    assert _read(_cut(data, list(range(0, len(data), 65536))))[0] == status
