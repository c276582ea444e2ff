"""Whose certificates are trusted, and which certificate is shown."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from openmodels.errors import InvalidRequest, NotConfigured
from openmodels.http import tls
from openmodels.http.secrets import Secret
from openmodels.http.tls import BUNDLE_VARIABLES, parse_tls


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in BUNDLE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    tls._make_context.cache_clear()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def bundle(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(path)
    return path


def _handshake(client: ssl.SSLContext, server: ssl.SSLContext) -> bytes | None:
    """Shake hands over a pair of sockets; return the client's certificate as the server sees it."""
    client_socket, server_socket = socket.socketpair()
    certificates: list[bytes | None] = []

    def serve() -> None:
        with server_socket:
            try:
                with server.wrap_socket(server_socket, server_side=True) as connection:
                    certificates.append(connection.getpeercert(binary_form=True))
                    connection.sendall(b"x")
            except ssl.SSLError:
                certificates.append(None)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client_socket, client.wrap_socket(client_socket, server_hostname="localhost") as connection:
            assert connection.recv(1) == b"x"
    finally:
        thread.join()
    return certificates[0]


def _server(authority: trustme.CA, **options: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    if options.get("demands"):
        context.verify_mode = ssl.CERT_REQUIRED
        authority.configure_trust(context)
    return context


def test_a_stranger_is_not_trusted(authority: trustme.CA) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(parse_tls().context(), _server(authority))


@pytest.mark.parametrize("variable", [*BUNDLE_VARIABLES, "verify", "verify as a Path"])
@pytest.mark.parametrize("form", ["file", "folder"])
def test_a_private_authority(
    variable: str, form: str, authority: trustme.CA, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bundle.parent / "key.pem").write_text("-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n")
    path = bundle if form == "file" else bundle.parent
    if variable.startswith("verify"):
        context = parse_tls(path if "Path" in variable else str(path)).context()
    else:
        monkeypatch.setenv(variable, str(path))
        context = parse_tls().context()
    assert _handshake(context, _server(authority)) is None


def test_all_that_the_environment_names_is_trusted(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = trustme.CA()
    second = bundle.with_name("second.pem")
    other.cert_pem.write_to_path(second)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(second))
    assert len(parse_tls().context().get_ca_certs()) == 2
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    assert len(parse_tls().context().get_ca_certs()) == 1
    assert parse_tls().context() is parse_tls().context()


def test_a_context_is_used_as_it_is() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    assert parse_tls(context).context() is context


def test_no_check_is_warned_of(authority: trustme.CA, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "openmodels.http"):
        context = parse_tls(verify=False).context()
    assert "verify=False" in caplog.text
    assert _handshake(context, _server(authority)) is None


def _files(authority: trustme.CA, folder: Path, password: bytes | None = None) -> tuple[Path, Path]:
    leaf = authority.issue_cert("client@example.org")
    certificate, key = folder / "client.pem", folder / "client.key"
    leaf.cert_chain_pems[0].write_to_path(certificate)
    data = leaf.private_key_pem.bytes()
    if password is not None:
        private = serialization.load_pem_private_key(data, None)
        data = private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(password),
        )
    key.write_bytes(data)
    return certificate, key


@pytest.mark.parametrize("form", ["one file", "two files", "list", "paths", "password", "secret password"])
def test_a_clients_certificate(form: str, authority: trustme.CA, bundle: Path) -> None:
    certificate, key = _files(authority, bundle.parent, b"pass" if "password" in form else None)
    both = bundle.with_name("both.pem")
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    cert: Any = {
        "one file": str(both),
        "two files": (str(certificate), str(key)),
        "list": [str(certificate), str(key)],
        "paths": (certificate, key),
        "password": (str(certificate), str(key), "pass"),
        "secret password": (str(certificate), str(key), Secret("pass")),
    }[form]
    settings = parse_tls(str(bundle), cert)
    assert "pass'" not in repr(settings)
    assert _handshake(settings.context(), _server(authority, demands=True)) is not None


@pytest.mark.parametrize("password", [None, "wrong"])
def test_an_encrypted_key_without_its_password(password: str | None, authority: trustme.CA, bundle: Path) -> None:
    certificate, key = _files(authority, bundle.parent, b"pass")
    cert = (str(certificate), str(key)) if password is None else (str(certificate), str(key), password)
    with pytest.raises(InvalidRequest, match="its password"):
        parse_tls(True, cert).context()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"verify": "/nowhere/authority.pem"}, "verify: '/nowhere/authority.pem' cannot be read"),
        ({"verify": ""}, "verify: expected"),
        ({"verify": 7}, "verify: expected .* not int"),
        ({"cert": "/nowhere/client.pem"}, "cert: there is no file '/nowhere/client.pem'"),
        ({"cert": 7}, "cert: expected"),
        ({"cert": ()}, "cert: expected"),
        ({"cert": ("a", "")}, "cert: expected"),
        ({"cert": ("a", "b", "c", "d")}, "cert: expected"),
        ({"cert": ("a", "b", 7)}, "cert: expected"),
        ({"cert": "a", "verify": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)}, "context of your own"),
    ],
)
def test_what_cannot_be_used_says_so(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says) as caught:
        parse_tls(**options).context()
    assert caught.value.next_step


@pytest.mark.parametrize("variable", ["verify", *BUNDLE_VARIABLES])
@pytest.mark.parametrize("form", ["a file without one", "an empty folder", "no file"])
def test_a_path_without_certificates(variable: str, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "authority.pem"
    if form == "an empty folder":
        path.mkdir()
    elif form == "a file without one":
        path.write_text("no certificate")
    kind: type[Exception] = InvalidRequest if variable == "verify" else NotConfigured
    if variable != "verify":
        monkeypatch.setenv(variable, str(path))
    with pytest.raises(kind, match=rf"{variable}: '.*authority.pem' (holds no|cannot be read)"):
        parse_tls(str(path) if variable == "verify" else True).context()


def test_a_certificate_and_a_key_that_do_not_belong_together(authority: trustme.CA, tmp_path: Path) -> None:
    certificate, _ = _files(authority, tmp_path)
    (tmp_path / "other").mkdir()
    _, key = _files(authority, tmp_path / "other")
    with pytest.raises(InvalidRequest, match="belong together"):
        parse_tls(True, (str(certificate), str(key))).context()


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_other_systems_have_a_store_that_truststore_reads(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    class Context(ssl.SSLContext):
        def __init__(self, protocol: int) -> None:
            made.append(protocol)

    monkeypatch.setattr(tls.sys, "platform", platform)
    monkeypatch.setattr(tls.truststore, "SSLContext", Context)
    assert isinstance(parse_tls().context(), Context)
    assert made == [ssl.PROTOCOL_TLS_CLIENT]


def test_a_system_without_certificates_gets_those_of_certifi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = ssl.DefaultVerifyPaths(None, None, "SSL_CERT_FILE", "", "SSL_CERT_DIR", "")
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", lambda *_: None)
    monkeypatch.setattr(tls, "_SYSTEM_BUNDLES", ())
    assert len(parse_tls().context().get_ca_certs()) > 50
    tls._make_context.cache_clear()
    distribution = tmp_path / "ca-bundle.pem"
    trustme.CA().cert_pem.write_to_path(distribution)
    monkeypatch.setattr(tls, "_SYSTEM_BUNDLES", ("/nowhere", str(distribution)))
    assert len(parse_tls().context().get_ca_certs()) == 1
