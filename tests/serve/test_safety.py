"""Keys, Host, Origin, sizes and hostile bodies: a clear 4xx each, and the server stays up."""

from __future__ import annotations

import json
import re
import socket
import time

import pytest
from running_server import KEY, running

import openmodels as om
from openmodels.serve import exchange, run

BODY = {"model": "fake", "messages": [{"role": "user", "content": "hi"}]}
PATHS = ["/v1/chat/completions"]


def raw(server, data, *, wait=5.0):
    """Send bytes, and return the status of the answer and the rest of it."""
    with socket.create_connection(("127.0.0.1", int(server.address.rpartition(":")[2])), wait) as connection:
        connection.sendall(data)
        received = b""
        while part := connection.recv(65536):
            received += part
            head, end, body = received.partition(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head)
            if end and length and len(body) >= int(length[1]):
                break
    return int(received.split()[1]), received


class TestKeys:
    @pytest.mark.parametrize("name", ["Authorization", "x-api-key", "api-key"])
    def test_each_header_in_use(self, http, name):
        headers = {"Authorization": "", name: f"Bearer {KEY}" if name == "Authorization" else KEY}
        assert http.get("/v1/models", headers=headers).status_code == 200

    @pytest.mark.parametrize("value", ["", "Bearer", "Bearer wrong", f"Basic {KEY}", f"Bearer {KEY}x", "Bearer ☃"])
    @pytest.mark.parametrize("path", ["/v1/models", "/metrics", "/openapi.json", "/none", "/"])
    def test_another_is_refused(self, http, value, path):
        answer = http.get(path, headers={"Authorization": value.encode()})
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "key is missing or wrong" in answer.json()["error"]["message"]

    def test_health_needs_none(self, http):
        assert http.get("/health", headers={"Authorization": ""}).json() == {"status": "ok"}


class TestOrigins:
    @pytest.mark.parametrize(
        "host",
        ["evil.example", "127.0.0.1.evil.example", "localhost.evil", "user@127.0.0.1", "127.0.0.1/x", "[::1", ""],
    )
    def test_a_strange_host(self, http, host):
        assert http.get("/health", headers={"Host": host}).status_code == 421

    @pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "[::1]:8000", "192.168.1.5"])
    def test_a_host_of_ours(self, http, host):
        assert http.get("/health", headers={"Host": host}).status_code == 200

    @pytest.mark.parametrize(
        "headers",
        [
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Origin": "file://"},
            {"Sec-Fetch-Site": "cross-site"},
        ],
    )
    def test_another_page(self, http, headers):
        answer = http.post("/v1/chat/completions", json=BODY, headers=headers)
        assert answer.status_code == 403
        assert not any(name.startswith("access-control") for name in answer.headers)

    def test_a_page_of_the_server_itself(self, http, server):
        assert http.post("/v1/chat/completions", json=BODY, headers={"Origin": server.address}).status_code == 200

    def test_a_preflight_allows_nothing(self, http):
        answer = http.options("/v1/chat/completions", headers={"Origin": "http://evil.example"})
        assert answer.status_code == 403


HOSTILE = [
    *(b"", b"{", b"null", b"[]", b'"x"', b"1", b"\xff\xfe", b"{}" * 2, b"\0", b'{"a":}', b"NaN", b'{"model": NaN}'),
    b"[" * 100_000,
    b'{"messages":' * 5_000,
    b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
    b'{"model": "fake", "messages": ' + b"9" * 10_000 + b"}",
    *(
        json.dumps({"model": "fake", **fields}).encode()
        for fields in (
            {"messages": []},
            {"messages": "hi"},
            {"messages": [1]},
            {"messages": [{}]},
            {"messages": [{"role": "robot", "content": "x"}]},
            {"messages": [{"role": "user"}]},
            {"messages": [{"role": "user", "content": 5}]},
            {"messages": [{"role": "user", "content": [{"type": "audio"}]}]},
            {"messages": [{"role": "user", "content": "x", "tool_calls": 3}]},
            {"messages": [{"role": "tool", "content": "x"}]},
            {**BODY, "temperature": "hot"},
            {**BODY, "temperature": -1},
            {**BODY, "n": 0},
            {**BODY, "n": 10**9},
            {**BODY, "max_tokens": -5},
            {**BODY, "max_tokens": True},
            {**BODY, "stop": [1]},
            {**BODY, "top_logprobs": 3},
            {**BODY, "stream": "perhaps"},
            {**BODY, "tools": "all"},
            {**BODY, "tools": [{"type": "web_search"}]},
            {**BODY, "tools": [{"type": "function", "function": {}}]},
            {**BODY, "tools": [{"type": "function", "function": {"name": "a b"}}]},
            {**BODY, "tool_choice": "required"},
            {**BODY, "response_format": {"type": "json_schema"}},
            {**BODY, "response_format": {"type": "xml"}},
            {**BODY, "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "no"}}}},
            {**BODY, "logit_bias": {"1": 5}},
            {**BODY, "functions": []},
            {**BODY, "audio": {}},
            {**BODY, "extra": {"model": "x"}, "pattern": "("},
            {**BODY, "model": "x" * 10_000},
            {**BODY, "model": 7},
            {**BODY, "unknown": 1},
            {**BODY, "messages": BODY["messages"] * 20_001},
            {**BODY, "tools": [{"type": "function", "function": {"name": "a"}}] * 1025},
        )
    ),
]


@pytest.mark.parametrize("path", PATHS)
def test_hostile_bodies(http, path):
    for body in HOSTILE:
        answer = http.post(path, content=body)
        assert 400 <= answer.status_code < 500, body[:200]
        error = answer.json()["error"]
        assert error["message"], body[:200]
        assert len(answer.content) < 5_000
    assert http.get("/health").status_code == 200


def test_a_name_cannot_end_a_header(http):
    body = {"model": "fake", "input": "hi", "include": ["a\r\nset-cookie: b=c", "ü" * 5000]}
    answer = http.post("/v1/responses", json=body)
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers
    assert answer.headers["openmodels-ignored"].startswith("include.a??set-cookie: b=c, include.?")


def test_the_message_names_the_field(http):
    for field, value in (("temperature", "hot"), ("stop", 5), ("response_format", "x"), ("temprature", 1)):
        error = http.post("/v1/chat/completions", json={**BODY, field: value}).json()["error"]
        assert field in error["message"]
        assert (error["param"] or "").partition(".")[0] == field


class TestSizes:
    def test_a_body_that_is_too_large(self):
        limits = exchange.RequestLimits(body_bytes=1000, body_seconds=1.0)
        with running({"echo": om.Model("echo:")}, limits=limits) as server:
            start = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nx-api-key: {KEY}\r\n".encode()
            status, answer = raw(server, start + b"content-length: 5000\r\n\r\n" + b"x" * 5000)
            assert (status, b"larger than 1000 bytes" in answer) == (413, True)
            chunk = b"400\r\n" + b"x" * 0x400 + b"\r\n"
            assert raw(server, start + b"transfer-encoding: chunked\r\n\r\n" + chunk * 3)[0] == 413
            assert raw(server, start + b"content-length: 10\r\n\r\n{")[0] == 408
            assert raw(server, start + b"content-encoding: gzip\r\ncontent-length: 2\r\n\r\nxx")[0] == 415

    def test_headers_without_end(self, server, monkeypatch):
        start = b"GET /health HTTP/1.1\r\nhost: localhost\r\n"
        bomb = start + b"".join(b"x-%d: %s\r\n" % (number, b"y" * 500) for number in range(1000))
        assert raw(server, bomb)[0] == 431
        assert raw(server, start + b"x: " + b"y" * 200_000 + b"\r\n\r\n")[0] == 431
        assert raw(server, b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nhost: localhost\r\n\r\n")[0] in (400, 431)
        monkeypatch.setattr(run, "HEADER_SECONDS", 0.1)
        began = time.monotonic()
        assert raw(server, start)[0] == 408
        assert time.monotonic() - began < 3

    @pytest.mark.parametrize(
        "path",
        [
            *(
                "/v1/../v1/models",
                "//v1/models",
                "/v1/models/../../etc/passwd",
                "/v1/%2e%2e/models",
                "/static/..%2f..%2f",
            ),
            *("/v1/chat/completions/", "/V1/models", "/%00", "/v1/models/%ff", "/\xe9"),
        ],
    )
    def test_tricks_with_paths(self, server, path):
        request = f"GET {path} HTTP/1.1\r\nhost: localhost\r\nx-api-key: {KEY}\r\n\r\n".encode("latin-1")
        status, answer = raw(server, request)
        assert status in (400, 404, 405)
        assert b"root:" not in answer

    def test_what_is_not_http(self, server):
        for data in (
            b"\0\1\2\3\r\n\r\n",
            b"GET\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"\x16\x03\x01\x02\0\1\0\1\xfc\3\3",
        ):
            assert raw(server, data)[0] == 400
        assert raw(server, b"GET /health HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\n\r\n")[0] in (400, 421)


def test_no_log_holds_prompt_or_key(http, caplog):
    caplog.set_level(0)
    secret = "the-secret-of-the-prompt"
    for text in (secret, f"fail ServerFailed {secret}", "crash"):
        http.post("/v1/chat/completions", json={**BODY, "messages": [{"role": "user", "content": text}]})
        http.post("/v1/chat/completions", json={**BODY, "stream": True, "user": secret})
    http.post("/v1/chat/completions", content=f'{{"model": "{secret}"}}')
    http.post("/v1/chat/completions", json={**BODY, secret: 1})
    http.get(f"/v1/models/{secret}?key={KEY}")
    logs = [record for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    text = "\n".join(f"{record.getMessage()} {record.exc_text} {record.args}" for record in logs)
    assert "/v1/chat/completions" in text
    assert secret not in text
    assert KEY not in text


def test_other_methods_and_paths(http):
    answer = http.get("/v1/chat/completions")
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")
    assert http.post("/nothing").json()["error"]["code"] == "not_found"
