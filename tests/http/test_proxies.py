"""Which proxy a request goes through."""

from __future__ import annotations

import traceback

import pytest

from openmodels.errors import InvalidRequest, MissingExtra, NotConfigured
from openmodels.http import proxies
from openmodels.http.address import Address
from openmodels.http.connection import ConnectionSettings
from openmodels.http.proxies import environment_proxy, parse_proxy
from openmodels.http.secrets import Secret

PASSWORD = "pass-canary-0123456789"
TARGET = Address("https", "model.example", 443)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    ("url", "scheme", "port"),
    [
        ("http://proxy.example:3128", "http", 3128),
        ("proxy.example:3128", "http", 3128),
        ("http://proxy.example", "http", 80),
        ("https://proxy.example/", "https", 443),
        ("socks5://proxy.example", "socks5", 1080),
        ("SOCKS5H://proxy.example:9050", "socks5h", 9050),
        ("socks://proxy.example:1080/", "socks5h", 1080),  # as GNOME writes it
    ],
)
def test_an_address_is_read(url: str, scheme: str, port: int) -> None:
    proxy = parse_proxy(url)
    assert (proxy.scheme, proxy.host, proxy.port) == (scheme, "proxy.example", port)
    assert proxy.authorization is None
    assert proxy.url.reveal() == f"{scheme}://proxy.example:{port}"


def test_name_and_password_are_decoded_and_shown_nowhere() -> None:
    proxy = parse_proxy(f"http://na%40me:{PASSWORD}%20@[::1]:3128")
    assert proxy.host == "::1"
    assert proxy.authority == "[::1]:3128"
    assert proxy.username is not None
    assert proxy.username.reveal() == "na@me"
    assert proxy.authorization is not None
    assert proxy.authorization.reveal() == "Basic bmFAbWU6cGFzcy1jYW5hcnktMDEyMzQ1Njc4OSA="
    assert proxy.url.reveal() == f"http://na%40me:{PASSWORD}%20@[::1]:3128"
    assert PASSWORD not in f"{proxy!r} {proxy} {proxy.origin} {ConnectionSettings(proxy)!r}"


@pytest.mark.parametrize(
    "url",
    ["ftp://x:1", "socks4://x:1", "http://[::1", "http://a..b:1", "http://x:port", "http://x:1 2", "http://", "://"],
)
def test_what_is_no_proxy_is_refused_without_its_password(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    url = url.replace("://", f"://name:{PASSWORD}@", 1)
    with pytest.raises(InvalidRequest, match="no http, https or socks5 address") as caught:
        parse_proxy(Secret(url))
    monkeypatch.setenv("HTTPS_PROXY", url)
    with pytest.raises(NotConfigured, match="HTTPS_PROXY") as caught_too:
        environment_proxy(TARGET)
    for error in (caught.value, caught_too.value):
        assert PASSWORD not in f"{error} {error!r} {vars(error)}"
        trace = traceback.TracebackException.from_exception(error, capture_locals=True)
        frames = [frame for frame in trace.stack if "/tests/" not in frame.filename]
        assert frames
        assert not [frame for frame in frames if PASSWORD in str(frame.locals)]


def test_another_type_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="not int"):
        parse_proxy(7)


@pytest.mark.parametrize(
    ("variables", "host"),
    [
        ({}, None),
        ({"HTTPS_PROXY": ""}, None),
        ({"HTTPS_PROXY": "http://upper:1"}, "upper"),
        ({"https_proxy": "http://lower:1"}, "lower"),
        ({"HTTPS_PROXY": "http://upper:1", "https_proxy": "http://lower:1"}, "lower"),
        ({"HTTP_PROXY": "http://plain:1"}, None),
        ({"ALL_PROXY": "socks5h://all:1"}, "all"),
        ({"ALL_PROXY": "http://all:1", "HTTPS_PROXY": "http://upper:1"}, "upper"),
    ],
)
def test_the_variables(variables: dict[str, str], host: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    proxy = environment_proxy(TARGET)
    assert (proxy and proxy.host) == host


@pytest.mark.parametrize("host", ["localhost", "api.localhost", "127.0.0.1", "127.8.8.8", "::1", "0.0.0.0"])
def test_this_machine_is_reached_directly(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://proxy.example:1")
    assert environment_proxy(Address("http", host, 8000)) is None
    # A proxy that the caller names is another matter.
    assert ConnectionSettings.from_options(proxy="http://p:1").proxy_for(Address("http", host, 8000)) is not None


@pytest.mark.parametrize(
    ("no_proxy", "host", "is_direct"),
    [
        ("model.example", "model.example", True),
        ("model.example", "sub.model.example", True),
        ("model.example", "other-model.example", False),
        (".example", "model.example", True),
        ("*.example", "model.example", True),
        ("*.example", "example.org", False),
        ("a.org, model.example", "model.example", True),
        ("a.org model.example", "model.example", True),
        ("MODEL.example.", "model.example", True),
        ("model.example:443", "model.example", True),
        ("model.example:8443", "model.example", False),
        ("*", "model.example", True),
        ("a.org,*", "model.example", True),
        ("10.0.0.0/8", "10.20.30.40", True),
        ("10.0.0.0/8", "11.20.30.40", False),
        ("10.20.30.40", "10.20.30.40", True),
        ("10.20.30.40:443", "10.20.30.40", True),
        ("10.20.30.40:80", "10.20.30.40", False),
        ("fd00::/8", "fd00::1", True),
        ("fd00::1", "fd00::1", True),
        ("[fd00::1]", "fd00::1", True),
        ("[fd00::1]:443", "fd00::1", True),
        ("[fd00::1]:80", "fd00::1", False),
        ("fd00::/8", "fe00::1", False),
        (",", "model.example", False),
        (".", "model.example", False),
    ],
)
@pytest.mark.parametrize("variable", ["NO_PROXY", "no_proxy"])
def test_exceptions(variable: str, no_proxy: str, host: str, is_direct: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:1")
    monkeypatch.setenv(variable, no_proxy)
    assert (environment_proxy(Address("https", host, 443)) is None) == is_direct


def test_socks_needs_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxies, "_SOCKS_PACKAGES", ("socks", "not_installed_anywhere"))
    with pytest.raises(MissingExtra, match=r"\[socks\]") as caught:
        parse_proxy(f"socks5://name:{PASSWORD}@proxy.example:1080")
    assert "socks5://proxy.example:1080" in str(caught.value)
    assert PASSWORD not in str(caught.value)
    assert parse_proxy("http://proxy.example:1080")


def test_the_option_comes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://environment:1")

    def host(**options: str) -> str | None:
        proxy = ConnectionSettings.from_options(**options).proxy_for(TARGET)
        return proxy and proxy.host

    assert host() == "environment"
    assert host(proxy="http://option:1") == "option"
    assert host(proxy="") is None
    monkeypatch.setenv("NO_PROXY", "*")
    assert host() is None
    assert host(proxy="http://option:1") == "option"
