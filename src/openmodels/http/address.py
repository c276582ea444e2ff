"""Addresses of servers, checked before anything is sent."""

import ipaddress
import re
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import parse_qsl, urlsplit

from openmodels.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Address:
    """A checked http or https address."""

    scheme: str  # "http" or "https"
    host: str  # the host in ASCII, without brackets
    port: int
    path: str = ""  # the path without a slash at its end; may be ""
    query: str = field(default="", repr=False)  # the query without "?"; may be ""

    @property
    def authority(self) -> str:
        """Host and port as in a Host header; the scheme's own port is left out."""
        return join_host(self.host, None if self.port == PORTS[self.scheme] else self.port)

    @property
    def origin(self) -> str:
        """Scheme, host and port: what a key belongs to."""
        return f"{self.scheme}://{self.authority}"

    def target(self, path: str) -> str:
        """Return the request target of a path below this address, e.g. "/v1/models"."""
        return f"{self.path}{path}" + (f"?{self.query}" if self.query else "")

    def __str__(self) -> str:
        return f"{self.origin}{self.path}"


PORTS = {"http": 80, "https": 443}
_KEY_PARAMETERS = frozenset(
    {"key", "api-key", "api_key", "apikey", "subscription-key", "token", "access_token", "password", "secret", "sig"}
)


def parse_address(base_url: str, *, allow_http: bool = False) -> Address:
    """Read a `base_url`.

    Args:
        base_url: For example "http://127.0.0.1:8000/v1".
        allow_http: Accept http to other machines than this one.

    Raises:
        InvalidRequest: It is not an http(s) address, holds a name or password, or is http to another
            machine while `allow_http` is not set.
    """
    if not isinstance(base_url, str):
        raise InvalidRequest(f"base_url: expected an address, not {type(base_url).__name__}.")
    text = base_url.strip()
    if not text.isprintable() or re.search(r"[\s\\]", text):
        raise InvalidRequest("base_url: it contains a space, a backslash or a control character.")
    try:
        parts = urlsplit(text)
        port, host = parts.port, parts.hostname or ""
    except ValueError:
        raise InvalidRequest("base_url: it is no valid address.", next_step=_EXAMPLE) from None
    if parts.scheme not in PORTS or not is_host_name(host):
        # urlsplit takes "localhost" of "localhost:8000" for a scheme.
        lacks_scheme = re.fullmatch(r"(localhost|\d+(\.\d+){3}|\[[0-9a-fA-F:]+\])(:\d+)?(/[\w./-]*)?", text)
        step = f"Write it with http:// before it: http://{text}" if lacks_scheme else _EXAMPLE
        raise InvalidRequest("base_url: it is no http or https address.", next_step=step)
    has_login = "@" in parts.netloc
    if has_login or any(name.lower() in _KEY_PARAMETERS for name, _ in parse_qsl(parts.query)):
        what = "name or password" if has_login else "key"
        raise InvalidRequest(
            f"base_url: a {what} inside an address ends up in logs, so it is refused.",
            next_step="Pass it as `api_key=` or in `headers=`.",
        )
    if parts.scheme == "http" and not allow_http and not is_loopback(host):
        raise InvalidRequest(
            f"base_url: http to {host} would send the prompt and the key unencrypted.",
            next_step="Use https, or say allow_http=True when the network in between is yours.",
        )
    path = re.sub(r"/(chat/completions|completions|models|embeddings)?/*$", "", parts.path)
    if not text.isascii():
        # Two standards translate some names differently: guessing could send the key to another host.
        raise InvalidRequest("base_url: write its host as xn--… and percent-encode the rest: it must be ASCII.")
    return Address(parts.scheme, host, port if port is not None else PORTS[parts.scheme], path, parts.query)


_EXAMPLE = "Write it like http://127.0.0.1:8000/v1 or https://host/v1."


def join_host(host: str, port: int | None) -> str:
    """Return host and port as in an address; None leaves the port out."""
    host = f"[{host}]" if ":" in host else host
    return host if port is None else f"{host}:{port}"


def is_host_name(host: str) -> bool:
    """Return whether a text can be looked up as a host's name."""
    # Python's own codec for names raises a UnicodeError on what is not.
    return all(0 < len(label) < 64 for label in host.removesuffix(".").split("."))


@lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Return whether a host is this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        number = ipaddress.ip_address(host)
    except ValueError:
        return False
    return number.is_loopback or number.is_unspecified
