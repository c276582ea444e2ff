"""HTTP/1.1 without sockets: any split of an answer is read alike, and no garbage is an untyped error."""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, strategies as st

from openmodels.errors import InvalidRequest, OpenModelsError
from openmodels.http import http1
from openmodels.http.address import Address, address, headers, key, proxy
from openmodels.http.exchange import Outgoing
from openmodels.http.pipes import CHUNK, numeric

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


class Played:
    """A pipe that gives what it was given, and then the end."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = [piece for piece in pieces if piece]
        self.deadline = self.idle = None
        self.heard = self.closed = False

    def write(self, data: bytes) -> None:
        assert data.startswith(b"POST /v1 HTTP/1.1\r\nHost: h\r\n")

    def read(self) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""

    def close(self) -> None:
        self.closed = True


def _read(pieces: list[bytes]) -> tuple[Any, ...]:
    pipe, kept = Played(pieces), deque()
    link = http1._Link(pipe, Address("http", "h", 80), None)
    body = b""
    try:
        response = http1._talk(link, link.request(Outgoing("POST", "/v1", (("A", "b"),), b"{}")))
        with http1._Answer(link, response, kept, 1.0) as answer:
            for data in answer:
                body += data
    except OpenModelsError as error:
        assert not kept
        return body, f"{type(error).__name__} {error}"
    return answer.status, answer.headers, body, len(kept), pipe.closed


def _cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({min(place, len(data)) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(edges)]


@given(st.sampled_from(_ANSWERS), _places)
def test_any_split_gives_the_same_answer(data: bytes, places: list[int]) -> None:
    whole = _read([data])
    assert isinstance(whole[0], int), whole
    assert _read(_cut(data, places)) == whole


@given(st.sampled_from(_ANSWERS[:2]), st.integers(0, 400))
def test_an_answer_cut_short_is_never_taken_for_a_whole(data: bytes, length: int) -> None:
    told = _read([data[: min(length, len(data) - 1)]])
    assert str(told[-1]).startswith("ConnectionFailed")


@given(
    st.sampled_from(_STARTS),
    st.binary(max_size=200) | st.text(max_size=50).map(str.encode),
    _places,
)
def test_garbage_is_a_typed_error_or_an_answer(start: bytes, data: bytes, places: list[int]) -> None:
    told = _read(_cut(start + data, places))
    if isinstance(told[0], int):
        assert told[-1] != bool(told[-2]), "either kept or closed"
    else:
        assert told[-1].split()[0] in ("ConnectionFailed", "InvalidResponse")


def test_bytes_behind_an_answer_are_not_the_next_one() -> None:
    assert _read([_ANSWERS[0] + b"HTTP/1.1 200 OK\r\n"])[-2:] == (0, True)
    assert _read([_ANSWERS[0]])[-2:] == (1, False)


_texts = st.text(max_size=30) | st.text(st.sampled_from("a0.:/@[]%\\?#- \r\n\u00e9\u3002xn"), max_size=20)


@given(st.sampled_from(["https://", "http://", "", "https://h"]), _texts)
def test_an_address_is_refused_or_usable(scheme: str, rest: str) -> None:
    try:
        found = address(scheme + rest, allow_http=True)
    except InvalidRequest as error:
        assert str(error).isprintable()
        return
    assert numeric(found.host, found.port) is not None
    wanted = Outgoing("POST", found.target("/x"), (), b"{}")
    assert http1._Link(Played([]), found, None).request(wanted).endswith(b"{}")


@given(_texts, _texts)
def test_keys_and_headers_are_refused_or_sendable(name: str, value: str) -> None:
    sent = []
    for check in (
        lambda: sent.append(("Authorization", f"Bearer {key(value).reveal()}")),
        lambda: sent.extend((name, value.reveal()) for name, value in headers({name: value}).items()),
    ):
        try:
            check()
        except InvalidRequest as error:
            assert len(value) < 8 or value in name or value not in str(error)
    data = http1._Link(Played([]), Address("http", "h", 80), None).request(Outgoing("POST", "/", tuple(sent), b""))
    assert data.count(b"\r\n") == 4 + len(sent)


@pytest.mark.parametrize(("length", "status"), [(100, 200), (200_000, b"")])
def test_headers_have_a_limit(length: int, status: object) -> None:
    data = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: " + b"a" * length + b"\r\n\r\n"
    assert _read(_cut(data, list(range(0, len(data), CHUNK))))[0] == status


@pytest.mark.parametrize(
    ("exceptions", "host", "is_direct"),
    [
        ("172.16.0.0/12", "172.20.1.1", True),
        ("172.16.0.0/12", "172.32.1.1", False),
        ("x.test, 172.20.1.1", "172.20.1.1", True),
        ("2001:db8:1::/48", "[2001:db8:1::7]", True),
        ("2001:db8:1::/48", "[2001:db8:2::7]", False),
        ("[2001:db8::9]", "[2001:db8::9]", True),
        ("*.inner.test", "a.b.inner.test", True),
        ("*.inner.test", "inner.test.outer.test", False),
        ("300.0.0.0/8,/,*", "172.20.1.1", True),
        ("300.0.0.0/8,/,", "172.20.1.1", False),
    ],
)
def test_networks_and_wildcards_of_no_proxy(monkeypatch, exceptions: str, host: str, is_direct: bool) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", "http://proxy.test:3128")
    monkeypatch.setenv("no_proxy", exceptions)
    assert (proxy(address(f"https://{host}/v1")) is None) is is_direct
