"""The client of the Hub against a server on the loopback interface."""

from __future__ import annotations

import asyncio
import gzip
import socket
import threading
import time
from contextlib import contextmanager, suppress

import pytest

from openmodels import retry
from openmodels.errors import DeadlineExceeded, GatedModel, InvalidResponse, ModelNotFound, RateLimited, ServerFailed
from openmodels.http.json_client import JSONClient, RequestPacer
from openmodels.hub.client import HubClient, RouterClient
from openmodels.openness.github import GitHubClient


@contextmanager
def serve(answer):
    """Serve every connection by a function of its socket; yield the address and the requests."""
    requests = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=work, args=(connection,), daemon=True).start()

        def work(connection):
            with connection:
                data = b""
                while b"\r\n\r\n" not in data:
                    if not (piece := connection.recv(65536)):
                        return
                    data += piece
                requests.append(data.decode())
                with suppress(OSError):  # the client has left, which is what some tests want
                    answer(connection, data.decode().split(" ")[1])

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", requests
        listener.shutdown(socket.SHUT_RDWR)


def response(status=200, body=b"{}", **headers):
    """Return the bytes of a response that ends its connection."""
    fields = {"Content-Length": len(body), "Connection": "close"} | headers
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + body


def trickle(connection, _):
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    ended = threading.Event()
    while not ended.wait(0.05):
        connection.sendall(b" ")


@pytest.mark.parametrize(
    "get",
    [lambda hub: hub.get_json("/api/models/a/b"), lambda hub: asyncio.run(hub.aget_json("/api/models/a/b"))],
    ids=["get_json", "aget_json"],
)
def test_a_body_that_trickles_ends_at_the_deadline(get):
    with serve(trickle) as (address, _):
        hub = HubClient(address)
        hub.request_seconds = 0.5
        start = time.monotonic()
        with pytest.raises(DeadlineExceeded, match="The Hub did not answer in full"):
            get(hub)
        assert time.monotonic() - start < 10
        hub.close()


@pytest.mark.parametrize(
    "cut",
    [
        response(body=b'{"id": "a/b"}')[:-5],
        response(Transfer_Encoding="chunked", Content_Length="")[:40],
        b"HTTP/1.1 2",
    ],
)
def test_a_response_that_is_cut_is_asked_for_again(cut):
    answers = [cut, response(body=b'{"id": "a/b"}')]
    with serve(lambda connection, _: connection.sendall(answers.pop(0))) as (address, requests):
        hub = HubClient(address)
        with retry.override_retries(attempts=2):
            assert hub.get_model("a/b") == {"id": "a/b"}
        hub.close()
    assert len(requests) == 2


def test_requests_of_a_bounded_client_end_together():
    with serve(trickle) as (address, _):
        hub = HubClient(address).with_deadline(time.monotonic() + 0.3)
        for _ in range(2):
            with pytest.raises(DeadlineExceeded):
                hub.get_json("/api/models/a/b")
        hub.close()


def test_the_beginning_of_a_file_is_read_and_no_more():
    sent = []

    def endless(connection, _):
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65536)
            sent.append(65536)

    with serve(endless) as (address, _):
        hub = HubClient(address)
        assert hub.get_file("a/b", "README.md", 100_000) == "x" * 100_000
        hub.close()
    assert sum(sent) < 50_000_000


def test_a_compressed_file_is_read():
    body = gzip.compress(b"text " * 1000)
    with serve(lambda connection, _: connection.sendall(response(body=body, Content_Encoding="gzip"))) as (address, _):
        hub = HubClient(address)
        assert hub.get_file("a/b", "README.md", 10) == "text text "
        hub.close()


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "RepoNotFound", ModelNotFound), (401, "", ModelNotFound), (403, "GatedRepo", GatedModel),
        (401, "GatedRepo", GatedModel), (404, "EntryNotFound", ModelNotFound), (429, "", RateLimited),
        (500, "", ServerFailed), (503, "", ServerFailed), (418, "", InvalidResponse),
    ],
)  # fmt: skip
def test_refusals_of_the_hub(status, code, kind):
    refusal = response(status, b'{"error": "no"}', X_Error_Code=code, X_Request_Id="r-1")
    with serve(lambda connection, _: connection.sendall(refusal)) as (address, _):
        hub = HubClient(address)
        with retry.override_retries(), pytest.raises(kind) as caught:
            hub.get_model("a/b")
        hub.close()
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.request_id) == (status, "r-1")


def test_a_token_goes_with_the_hub_in_use_alone(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_canary")
    monkeypatch.delenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", raising=False)
    with serve(lambda connection, _: connection.sendall(response(body=b'{"data": []}'))) as (address, requests):
        monkeypatch.setenv("HF_ENDPOINT", address)
        clients = HubClient(), HubClient(address.replace("127.0.0.1", "localhost")), HubClient(token="")
        for client in clients:
            client.get_model("a/b")
        router = RouterClient(address)
        router.list_providers()
        monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
        unasked = HubClient()
        unasked.get_model("a/b")
        for client in (*clients, router, unasked):
            client.close()
    assert ["hf_canary" in request for request in requests] == [True, False, False, False, False]


def test_a_saved_login_is_used(monkeypatch, tmp_path):
    (tmp_path / "token").write_text("hf_saved")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example")
    assert HubClient().token.reveal() == "hf_saved"


def test_github_is_not_asked_again_by_copies_either():
    used_up = response(403, b"{}", X_RateLimit_Remaining="0")
    with serve(lambda connection, _: connection.sendall(used_up)) as (address, requests):
        github = GitHubClient(address)
        for client in (github, github.with_deadline(time.monotonic() + 60)):
            with pytest.raises(RateLimited, match="rate limit") as caught:
                client.get_repository("a/b")
            assert not caught.value.retryable
        github.close()
    assert len(requests) == 1


def test_redirects_without_an_end():
    again = response(302, b"", Location="/again")
    with serve(lambda connection, _: connection.sendall(again)) as (address, requests):
        client = JSONClient(address, "the service")
        with pytest.raises(InvalidResponse, match="again and again"):
            client.get_json("/")
        with pytest.raises(InvalidResponse, match="again and again"):
            asyncio.run(client.aget_json("/"))
        client.close()
    assert len(requests) == 8


def test_the_pace_is_that_of_all_threads():
    pacer = RequestPacer(interval=10.0)
    waits = [pacer.reserve(None) for _ in range(3)]
    assert waits == [0.0, pytest.approx(10, abs=1), pytest.approx(20, abs=1)]
    assert pacer.reserve(time.monotonic() + 5) <= 5
    pacer = RequestPacer()
    pacer.pause(7)
    assert [pacer.reserve(None) for _ in range(2)] == [pytest.approx(7, abs=1)] * 2
