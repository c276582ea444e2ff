"""The options `proxy=`, `verify=` and `cert=`, and the environment's, against real proxies and servers."""

from __future__ import annotations

import asyncio
import copy
import pickle
import socket
import ssl
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from proxy_servers import HOST, proxy

import openmodels as om
from openmodels.cli.chat import open_model
from openmodels.errors import ConnectionFailed, InvalidRequest, MissingExtra, NotConfigured
from openmodels.http import proxies, secrets
from openmodels.http.client import HttpClient, HttpRequest
from openmodels.http.connection import ConnectionLimits
from openmodels.http.public_fetch import is_public
from openmodels.http.tls import BUNDLE_VARIABLES
from openmodels.testing import SURFACES, Driver
from openmodels.testing.faults import KEY, PROMPT, TEXT, FaultServer

BACKENDS = ("server", "hf", "azure")
LOGIN = "name:pass word-bluebird"
URL_LOGIN = "name:pass%20word-bluebird"
"""The same as it stands in a proxy's address."""


@pytest.fixture
def bundle(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


def _model(url: str, backend: str = "server", **options: Any) -> om.Model:
    return om.Model(f"{backend}:tiny", base_url=url, api_key=KEY, **{"timeout": 20, "max_retries": 0, **options})


def _ask(model: om.Model, surface: str) -> str:
    with model:
        return Driver(model, surface)(PROMPT).reply.text


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("encrypted", [False, True])
def test_a_socks_proxy(  # noqa: PLR0917 - the fixtures of a table
    encrypted: bool, backend: str, surface: str, server: FaultServer, secure: FaultServer, bundle: str
) -> None:
    origin = secure if encrypted else server
    with proxy(origin.port, is_socks=True, login=LOGIN) as between:
        model = _model(
            origin.url("ok", HOST),
            backend,
            allow_http=True,
            verify=bundle,
            proxy=f"socks5h://{URL_LOGIN}@{between.address}",
        )
        assert _ask(model, surface) == TEXT
    (request,) = between.socks_requests
    assert (request.host, request.port, request.is_name) == (HOST, origin.port, True)


@pytest.mark.parametrize("surface", ["chat", "achat"])
def test_socks5_without_h_resolves_names_here(server: FaultServer, surface: str) -> None:
    with proxy(server.port, is_socks=True) as between:
        url = server.url("ok", "localhost")
        assert _ask(_model(url, proxy=f"socks5://{between.address}"), surface) == TEXT
        assert not between.socks_requests[0].is_name
        with pytest.raises(ConnectionFailed, match=rf"The name of {HOST}:\d+ could not be resolved \(DNS\)"):
            _ask(_model(server.url("ok", HOST), allow_http=True, proxy=f"socks5://{between.address}"), surface)
        assert len(between.socks_requests) == 1


@pytest.mark.parametrize("surface", ["chat", "achat"])
def test_a_socks_proxy_that_refuses(server: FaultServer, surface: str) -> None:
    options: dict[str, Any] = {"allow_http": True}
    with proxy(server.port, is_socks=True, login="other:login") as between:
        url = f"socks5h://{URL_LOGIN}@{between.address}"
        with pytest.raises(NotConfigured, match=r"proxy 127\.0\.0\.1:\d+ .*name and password") as caught:
            _ask(_model(server.url("ok", HOST), proxy=url, **options), surface)
        assert "bluebird" not in _everything(caught.value)
    with proxy(server.port, b"refuses", is_socks=True) as between:
        url = f"socks5h://{between.address}"
        with pytest.raises(ConnectionFailed, match=rf"{HOST}:\d+ refused|proxy"):
            _ask(_model(server.url("ok", HOST), proxy=url, **options), surface)
    with pytest.raises(ConnectionFailed, match=r"the proxy 127\.0\.0\.1:1 refused"):
        _ask(_model(server.url("ok", HOST), proxy="socks5h://127.0.0.1:1", **options), surface)


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_http_proxy_with_a_login(  # noqa: PLR0917 - the fixtures of a table
    scheme: str,
    encrypted: bool,
    backend: str,
    surface: str,
    server: FaultServer,
    secure: FaultServer,
    authority: trustme.CA,
    bundle: str,
) -> None:
    origin = secure if encrypted else server
    context = None
    if scheme == "https":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
    url = origin.url("ok", HOST)
    with proxy(origin.port, login=LOGIN, context=context) as between:
        options = {"allow_http": True, "verify": bundle, "proxy": f"{scheme}://{URL_LOGIN}@{between.address}"}
        assert _ask(_model(url, backend, **options), surface) == TEXT
    assert len(between.heads) == 1
    assert between.heads[0].startswith(f"connect {HOST}:" if encrypted else f"post http://{HOST}:")
    assert "proxy-authorization" not in origin.seen(url)[-1].headers or not encrypted


@pytest.mark.parametrize("surface", ["chat", "achat"])
def test_an_https_proxy_that_is_not_trusted(
    secure: FaultServer, authority: trustme.CA, bundle: str, surface: str
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with (
        proxy(secure.port, context=context) as between,
        pytest.raises(ConnectionFailed, match=r"certificate of the proxy 127\.0\.0\.1:\d+ is not trusted"),
    ):
        _ask(_model(secure.url("ok", HOST), verify=bundle, proxy=f"https://{between.address}"), surface)
    assert not between.heads


@pytest.mark.parametrize("surface", ["chat", "achat"])
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("encrypted", [False, True])
def test_a_wrong_login_is_not_shown(  # noqa: PLR0917 - the fixtures of a table
    scheme: str, encrypted: bool, surface: str, secure: FaultServer, authority: trustme.CA, bundle: str
) -> None:
    context = None
    if scheme == "https":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
    url = secure.url("ok", HOST)
    url = url if encrypted else url.replace("https:", "http:")
    with proxy(secure.port, login="other:login", context=context) as between:
        options = {"allow_http": True, "verify": bundle, "proxy": f"{scheme}://{URL_LOGIN}@{between.address}"}
        model = _model(url, **options)
        with pytest.raises(NotConfigured, match=r"407|name and password") as caught:
            _ask(model, surface)
    assert "bluebird" not in _everything(caught.value) + repr(model) + repr(vars(model.backend))


@pytest.mark.parametrize("surface", ["chat", "achat"])
@pytest.mark.parametrize("scheme", ["http", "https", "socks5h"])
def test_a_proxy_that_never_answers_is_bound_by_the_deadline(scheme: str, surface: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(om.DeadlineExceeded):
            _ask(_model(f"https://{HOST}/v1", proxy=f"{scheme}://{address}", timeout=0.5), surface)
        assert time.monotonic() - began < 5


def test_the_command_takes_the_options() -> None:
    options = {"base_url": "https://model.example/v1", "proxy": "socks5h://127.0.0.1:1", "verify": "false"}
    connection = open_model("server:tiny", options | {"cert": '["client.pem", "client.key"]'}).backend.connection
    assert connection.proxy is not None
    assert connection.proxy.origin == "socks5h://127.0.0.1:1"
    assert connection.tls.verify is False
    assert (connection.tls.certificate, connection.tls.key) == ("client.pem", "client.key")
    connection = open_model(
        "server:tiny", options | {"verify": "/a/b.pem", "proxy": "", "cert": "x.pem"}
    ).backend.connection
    assert (connection.proxy, connection.uses_environment_proxy) == (None, False)
    assert (connection.tls.verify, connection.tls.certificate) == ("/a/b.pem", "x.pem")


def _everything(error: BaseException) -> str:
    """Return an error with its causes, and the variables of the frames outside the tests."""
    trace = traceback.TracebackException.from_exception(error, capture_locals=True)
    parts = [f"{error!r} {vars(error)}"]
    pending: list[traceback.TracebackException | None] = [trace]
    while pending:
        if (current := pending.pop()) is not None:
            parts += [str(current), *(str(f.locals) for f in current.stack if "/tests/" not in f.filename)]
            pending += [current.__cause__, current.__context__]
    return " ".join(parts)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("surface", ["chat", "achat"])
def test_no_proxy_at_all(backend: str, surface: str, server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with pytest.raises(ConnectionFailed, match="DNS"):
        _ask(_model(server.url("ok", HOST), backend, allow_http=True, proxy=""), surface)


@pytest.mark.parametrize("backend", BACKENDS)
def test_options_are_checked_when_the_model_is_made(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidRequest, match="proxy"):
        _model("https://model.example/v1", backend, proxy="ftp://x")
    with pytest.raises(InvalidRequest, match="cert"):
        _model("https://model.example/v1", backend, cert=7)
    with pytest.raises(InvalidRequest, match="verify"):
        _model("https://model.example/v1", backend, verify=7)
    monkeypatch.setattr(proxies, "_SOCKS_PACKAGES", ("not_installed_anywhere",))
    with pytest.raises(MissingExtra, match=r"\[socks\]"):
        _model("https://model.example/v1", backend, proxy="socks5h://x")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("surface", ["chat", "achat"])
@pytest.mark.parametrize("source", [*BUNDLE_VARIABLES, "verify"])
def test_a_private_authority(  # noqa: PLR0917 - the fixtures of a table
    source: str, backend: str, surface: str, secure: FaultServer, bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConnectionFailed, match="not trusted"):
        _ask(_model(secure.url("ok"), backend), surface)
    options = {}
    if source == "verify":
        options["verify"] = bundle
    else:
        monkeypatch.setenv(source, str(Path(bundle).parent) if source == "SSL_CERT_DIR" else bundle)
    assert _ask(_model(secure.url("ok"), backend, **options), surface) == TEXT


@pytest.mark.parametrize("surface", ["chat", "achat"])
def test_no_check_and_a_context_of_the_callers_own(secure: FaultServer, bundle: str, surface: str) -> None:
    assert _ask(_model(secure.url("ok"), verify=False), surface) == TEXT
    assert _ask(_model(secure.url("ok"), verify=ssl.create_default_context(cafile=bundle)), surface) == TEXT


@pytest.fixture(scope="module")
def demanding(authority: trustme.CA) -> Iterator[FaultServer]:
    """A server that demands a client's certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", HOST).configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    with FaultServer(context) as server:
        yield server


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_clients_certificate(  # noqa: PLR0917 - the fixtures of a table
    backend: str, surface: str, demanding: FaultServer, authority: trustme.CA, bundle: str, tmp_path: Path
) -> None:
    leaf = authority.issue_cert("client@example.org")
    certificate, key = tmp_path / "client.crt.txt", tmp_path / "client.key"
    leaf.cert_chain_pems[0].write_to_path(certificate)
    leaf.private_key_pem.write_to_path(key)
    options = {"verify": bundle, "cert": (str(certificate), str(key))}
    assert _ask(_model(demanding.url("ok"), backend, **options), surface) == TEXT
    with pytest.raises(ConnectionFailed):
        _ask(_model(demanding.url("ok"), backend, verify=bundle), surface)


def test_a_model_with_a_proxy_is_copied_and_pickled(server: FaultServer) -> None:
    with proxy(server.port, login=LOGIN) as between:
        model = _model(server.url("ok"), proxy=f"http://{URL_LOGIN}@{between.address}", cert=None)
        assert b"bluebird" not in pickle.dumps(model)
        for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert _ask(twin, "chat") == TEXT
    assert len(between.heads) == 2


def test_a_login_stays_in_the_process_that_pickled_it(monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = ("client.pem", "client.key", "pass-bluebird")
    model = _model("https://model.example/v1", proxy=f"http://{URL_LOGIN}@127.0.0.1:1")
    other = _model("https://model.example/v1", proxy="http://127.0.0.1:1", cert=certificate)
    data, other_data = pickle.dumps(model), pickle.dumps(other)
    assert b"bluebird" not in data + other_data
    twin = pickle.loads(other_data).backend.connection.tls
    assert twin.password is not None
    assert twin.password.reveal() == "pass-bluebird"
    monkeypatch.setattr(secrets, "_pickled", {})  # as in another process
    with pytest.raises(NotConfigured, match="stayed where the model was pickled"):  # a direct way is not what was meant
        pickle.loads(data)
    stranger = pickle.loads(other_data).backend.connection
    assert stranger.proxy is not None
    assert (stranger.tls.certificate, stranger.tls.password) == ("client.pem", None)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f.1", "[::1]"])
@pytest.mark.parametrize("is_async", [False, True])
def test_an_address_that_is_not_allowed_is_not_connected_to(is_async: bool, host: str, server: FaultServer) -> None:
    client = HttpClient(limits=ConnectionLimits(is_allowed=is_public))
    request = HttpRequest("GET", f"http://{host}:{server.port}/v1/models")
    before, deadline = server.opened, time.monotonic() + 10
    with pytest.raises(InvalidRequest, match="no public address"):
        asyncio.run(client.asend(request, deadline)) if is_async else client.send(request, deadline)
    assert server.opened == before
