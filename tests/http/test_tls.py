"""Encrypted connections, and proxies from the environment."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import trustme
from proxy_servers import HOST, proxy

import openmodels as om
from openmodels.errors import ConnectionFailed, NotConfigured
from openmodels.testing import SURFACES, Driver
from openmodels.testing.faults import KEY, PROMPT, TEXT, FaultServer


def _serve(authority: trustme.CA, *names: str, **options) -> FaultServer:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, **options).configure_cert(context)
    return FaultServer(context)


@pytest.fixture
def trusted(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Trust the authority."""
    with authority.cert_pem.tempfile() as file:
        monkeypatch.setenv("SSL_CERT_FILE", file)
        yield


def _model(url: str, **options: object) -> om.Model:
    return om.Model("server:tiny", base_url=url, api_key=KEY, timeout=20, **options)


@pytest.mark.parametrize("surface", SURFACES)
def test_a_certificate_nobody_vouches_for(secure: FaultServer, surface: str) -> None:
    url, before = secure.url("ok"), secure.opened
    with pytest.raises(ConnectionFailed, match=r"certificate of 127\.0\.0\.1:\d+ is not trusted \(TLS\)") as caught:
        Driver(_model(url), surface)(PROMPT)
    assert "SSL_CERT_FILE" in str(caught.value)
    assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
    assert secure.opened == before + 1  # waiting does not make it trusted
    assert not secure.seen(url)


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_certificate_trusted_by_the_environment(secure: FaultServer, host: str, surface: str) -> None:
    with _model(secure.url("ok", host)) as model:
        assert Driver(model, surface)(PROMPT).reply.text == TEXT
        assert Driver(model, surface)(PROMPT).reply.text == TEXT
    assert secure.wait_open(0)


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize(
    ("names", "options", "says"),
    [
        (["other.example"], {}, "mismatch"),
        (["127.0.0.1"], {"not_after": datetime(2020, 1, 1, tzinfo=UTC)}, "expired"),
    ],
)
@pytest.mark.parametrize("surface", ["chat", "achat"])
def test_a_certificate_for_another_name_or_time(
    authority: trustme.CA, names: list[str], options: dict[str, object], says: str, surface: str
) -> None:
    with _serve(authority, *names, **options) as server:
        with pytest.raises(ConnectionFailed, match=rf"not trusted \(TLS\): .*{says}"):
            Driver(_model(server.url("ok")), surface)(PROMPT)
        assert server.opened == 1


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("surface", ["chat", "achat"])
@pytest.mark.parametrize(
    ("name", "error"), [("silent", om.DeadlineExceeded), ("reset-always", ConnectionFailed), ("ok", None)]
)
def test_faults_over_tls(secure: FaultServer, name: str, error: type[Exception] | None, surface: str) -> None:
    with om.Model("server:tiny", base_url=secure.url(name), timeout=1 if name == "silent" else 20, max_retries=0) as m:
        if error is None:
            assert Driver(m, surface)(PROMPT).reply.text == TEXT
        else:
            with pytest.raises(error):
                Driver(m, surface)(PROMPT)
    assert secure.wait_open(0)


@pytest.mark.parametrize("surface", ["chat", "achat"])
def test_https_where_plain_http_is_spoken(surface: str) -> None:
    def answer() -> None:
        sock, _ = listener.accept()
        with sock:
            sock.recv(65536)
            sock.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(ConnectionFailed, match=r"TLS.*https"):
            Driver(_model(f"https://127.0.0.1:{listener.getsockname()[1]}/v1"), surface)(PROMPT)
        thread.join()


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_proxy_for_http(server: FaultServer, variable: str, surface: str, monkeypatch: pytest.MonkeyPatch) -> None:
    url = server.url("ok", HOST)
    with proxy(server.port) as between:
        monkeypatch.setenv(variable, f"http://name:pass%20word@{between.address}")
        with _model(url, allow_http=True) as model:
            assert Driver(model, surface)(PROMPT).reply.text == TEXT
    (head,) = between.heads
    assert head.startswith(f"post http://{HOST}:{server.port}/")
    assert "proxy-authorization: basic bmftztpwyxnzihdvcmq=" in head  # in lower case, as everything there
    assert server.seen(url)[0].headers["host"] == f"{HOST}:{server.port}"


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("surface", SURFACES)
def test_a_proxy_for_https_sees_neither_key_nor_prompt(
    secure: FaultServer, surface: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = secure.url("ok", HOST)
    with proxy(secure.port) as between:
        monkeypatch.setenv("HTTPS_PROXY", f"http://name:password@{between.address}")
        with _model(url) as model:
            assert Driver(model, surface)(PROMPT).reply.text == TEXT
    (head,) = between.heads
    assert head.startswith(f"connect {HOST}:{secure.port} ")
    assert "proxy-authorization: " in head
    assert "\r\nauthorization: " not in head
    (request,) = secure.seen(url)
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert "proxy-authorization" not in request.headers


@pytest.mark.parametrize("surface", ["chat", "achat"])
def test_an_untrusted_certificate_behind_a_proxy(
    secure: FaultServer, surface: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxy(secure.port) as between:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{between.address}")
        with pytest.raises(ConnectionFailed, match=rf"certificate of {HOST}:\d+ is not trusted"):
            Driver(_model(secure.url("ok", HOST)), surface)(PROMPT)


@pytest.mark.parametrize("surface", ["chat", "achat"])
@pytest.mark.parametrize("exception", [HOST, ".invalid", "*"])
def test_no_proxy(server: FaultServer, exception: str, surface: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with proxy(server.port) as between:
        monkeypatch.setenv("HTTP_PROXY", f"http://{between.address}")
        monkeypatch.setenv("NO_PROXY", exception)
        with pytest.raises(ConnectionFailed, match="DNS"):
            Driver(_model(server.url("ok", HOST), allow_http=True, max_retries=0), surface)(PROMPT)
    assert not between.heads


@pytest.mark.parametrize("surface", ["chat", "achat"])
def test_what_is_on_this_machine_needs_no_proxy(
    server: FaultServer, surface: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxy(server.port) as between:
        monkeypatch.setenv("HTTP_PROXY", f"http://{between.address}")
        with _model(server.url("ok")) as model:
            assert Driver(model, surface)(PROMPT).reply.text == TEXT
    assert not between.heads


@pytest.mark.parametrize("surface", ["chat", "achat"])
@pytest.mark.parametrize(
    ("scheme", "status", "error", "says"),
    [
        ("http", b"407 Login", NotConfigured, "407.*proxy"),
        ("https", b"407 Login", NotConfigured, "asks for a name and password.*HTTPS_PROXY"),
        ("https", b"502 Bad Gateway", ConnectionFailed, "answered 502 instead of connecting"),
    ],
)
def test_a_proxy_that_refuses(  # noqa: PLR0917 - a table's row
    scheme: str,
    status: bytes,
    error: type[om.OpenModelsError],
    says: str,
    surface: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with proxy(1, b"HTTP/1.1 " + status) as between:
        monkeypatch.setenv(f"{scheme.upper()}_PROXY", f"http://name:pass-canary@{between.address}")
        model = _model(f"{scheme}://{HOST}/v1", allow_http=True, max_retries=0)
        with pytest.raises(error, match=says) as caught:
            Driver(model, surface)(PROMPT)
    assert "pass-canary" not in f"{caught.value!r} {vars(caught.value)}"


@pytest.mark.parametrize("surface", ["chat", "achat"])
def test_a_proxy_that_is_not_there(surface: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    with pytest.raises(ConnectionFailed, match=r"the proxy 127\.0\.0\.1:1 refused"):
        Driver(_model(f"https://{HOST}/v1", max_retries=0), surface)(PROMPT)


@pytest.mark.parametrize("surface", ["chat", "achat"])
@pytest.mark.parametrize("value", ["socks4://127.0.0.1:1", "ftp://127.0.0.1:1", "http://[::1", "http://a..b:1"])
def test_a_proxy_of_an_unknown_kind(value: str, surface: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", value)
    with pytest.raises(NotConfigured, match="proxy for https"):
        Driver(_model(f"https://{HOST}/v1"), surface)(PROMPT)
