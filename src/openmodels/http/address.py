"""Where a request may go and what may go with it: addresses, keys, headers, proxies.

Everything is checked before anything is sent, and no error here repeats a secret.
"""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from secrets import compare_digest, token_hex
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from openmodels.errors import InvalidRequest

log = logging.getLogger("openmodels")

_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding", "content-type"})


class Secret:
    """A key that does not show itself: not in `repr`, `str`, `vars`, a pickle or a traceback."""

    __slots__ = ("_name", "_value")

    def __init__(self, value: str) -> None:
        self._value = value
        self._name = ""

    def __repr__(self) -> str:
        return "Secret('…')"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self._value)

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        # A pickle is a file or a message that others may read, so it holds a name for the key. This process
        # and its forks know what it stands for; elsewhere the environment has to provide the key.
        self._name = self._name or token_hex(16)
        _pickled[self._name] = self
        return _unpickled, (self._name,)

    def reveal(self) -> str:
        """Return the key itself."""
        return self._value


class Withheld:
    """A key that was pickled in another process and did not travel."""


_pickled: dict[str, Secret] = {}


def _unpickled(name: str) -> Secret | Withheld:
    return _pickled.get(name) or Withheld()


class Secrets:
    """Texts that no error may quote: keys and prompts. Does not show them."""

    __slots__ = ("_values",)

    def __init__(self, *values: str) -> None:
        self._values = values

    def __repr__(self) -> str:
        return f"Secrets({len(self._values)})"

    def and_(self, other: Secrets) -> Secrets:
        """Return these and those of another."""
        return Secrets(*self._values, *other.reveal())

    def reveal(self) -> tuple[str, ...]:
        """Return the texts themselves."""
        return self._values


class HiddenBytes(bytes):
    """Bytes of a request, which hold its key: a traceback that shows variables shows only their number."""

    def __repr__(self) -> str:
        return f"<{len(self)} bytes>"


@dataclass(frozen=True, slots=True)
class Address:
    """A checked http or https address.

    Attributes:
        scheme: "http" or "https".
        host: The host in ASCII, without brackets.
        port: The port.
        path: The path without a slash at its end; may be "".
        query: The query without "?"; may be "".
    """

    scheme: str
    host: str
    port: int
    path: str = ""
    query: str = field(default="", repr=False)

    @property
    def authority(self) -> str:
        """Host and port as in a Host header; the scheme's own port is left out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

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


def address(base_url: str, *, allow_http: bool = False) -> Address:
    """Read a `base_url`.

    Args:
        base_url: For example "http://127.0.0.1:8000/v1".
        allow_http: Accept http to other machines than this one.

    Raises:
        InvalidRequest: It is no http(s) address, holds a name or password, or is http to another
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
        scheme_missing = re.fullmatch(r"(localhost|\d+(\.\d+){3}|\[[0-9a-fA-F:]+\])(:\d+)?(/[\w./-]*)?", text)
        step = f"Write it with http:// before it: http://{text}" if scheme_missing else _EXAMPLE
        raise InvalidRequest("base_url: it is no http or https address.", next_step=step)
    if "@" in parts.netloc:
        raise InvalidRequest(
            "base_url: a name or password inside an address ends up in logs, so it is refused.",
            next_step="Pass it as `api_key=` or in `headers=`.",
        )
    if any(name.lower() in _KEY_PARAMETERS for name, _ in parse_qsl(parts.query)):
        raise InvalidRequest(
            "base_url: a key inside an address ends up in logs, so it is refused.",
            next_step="Pass it as `api_key=` or in `headers=`.",
        )
    if parts.scheme == "http" and not allow_http and not loopback(host):
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


def is_host_name(host: str) -> bool:
    """Return whether a text can be looked up as a host's name."""
    # Python's own codec for names raises a UnicodeError on what is not.
    return all(0 < len(label) < 64 for label in host.removesuffix(".").split("."))


@lru_cache(maxsize=256)
def loopback(host: str) -> bool:
    """Return whether a host is this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        number = ipaddress.ip_address(host)
    except ValueError:
        return False
    return number.is_loopback or number.is_unspecified


def key(value: str | Secret | None, name: str = "api_key") -> Secret | None:
    """Check a key and wrap it.

    Raises:
        InvalidRequest: It holds line breaks, spaces or other characters that no header may have.
    """
    if value is None:
        return None
    value = hidden(value)  # the error must not find the key in this frame
    if not isinstance(value, Secret):
        raise InvalidRequest(f"{name}: expected text, not {type(value).__name__}.")
    position, length, broken = _flaw(value)
    # The position is told, never the key: that is enough to find a pasted line break.
    if position is not None:
        what = "a line break" if broken else "a character that a key cannot have"
        raise InvalidRequest(
            f"{name}: {what} at position {position} of {length}.", next_step="Copy the key again, alone."
        )
    if not length:
        raise InvalidRequest(f"{name}: it is empty.", next_step="Leave it out for a server that asks for none.")
    return value


def _flaw(secret: Secret) -> tuple[int | None, int, bool]:
    """Return the place of a character that a key cannot have, the length, and whether it is a line break."""
    value = secret.reveal()
    match = re.search(r"[^\x21-\x7e]", value)
    return (match.start() if match else None), len(value), bool(match and match[0] in "\r\n")


def hidden(value: Any) -> Any:
    """Return texts as secrets: a text itself, the values of a mapping; anything else as it is.

    What was withheld from a pickle is None, and left out of a mapping.
    """
    if isinstance(value, str):
        return Secret(value)
    if isinstance(value, Withheld):
        log.warning("The key of a pickled model stayed where it was pickled; the environment has to provide it.")
        return None
    if isinstance(value, Mapping):
        hidden_values = {name: hidden(text) for name, text in value.items()}
        return {name: text for name, text in hidden_values.items() if not isinstance(value[name], Withheld)}
    return value


def hide_option(name: str, value: Any) -> Any:
    """Return the value of a backend's option with its secrets wrapped.

    Of a proxy only an address with a password is one, and of a client's certificate only the third part;
    addresses and paths travel in a pickle, and what is withheld from it stays `Withheld`.
    """
    if name == "proxy":
        return Secret(value) if isinstance(value, str) and "@" in value else value
    if name == "cert":
        if not isinstance(value, tuple | list) or len(value) != 3:
            return value
        return (*value[:2], Secret(value[2]) if isinstance(value[2], str) else value[2])
    return hidden(value)


def shown(value: Any) -> Any:
    """Return what `hide_option` wrapped as it was."""
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, tuple):
        return tuple(map(shown, value))
    return {name: shown(text) for name, text in value.items()} if isinstance(value, Mapping) else value


def headers(given: Mapping[str, str | Secret] | None) -> dict[str, Secret]:
    """Check a caller's own headers; values are wrapped, since they may be keys.

    Raises:
        InvalidRequest: A name or value is not allowed in a header, or the name is set by openmodels.
    """
    checked: dict[str, Secret] = {}
    if given is not None and not isinstance(given, Mapping):
        raise InvalidRequest(f"headers: expected a mapping, not {type(given).__name__}.")
    given = hidden(given)
    for name, value in (given or {}).items():
        if not isinstance(name, str) or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            raise InvalidRequest("headers: one of the names is no header name.")
        if name.lower() in _OURS:
            raise InvalidRequest(f"headers: {name!r} is set by openmodels itself.")
        if not isinstance(value, Secret) or not _is_header_value(value):
            raise InvalidRequest(f"headers: the value of {name!r} is empty or holds a line break or non-ASCII text.")
        checked[name] = value
    return checked


def _is_header_value(secret: Secret) -> bool:
    return re.fullmatch(r"[\x21-\x7e]([\t\x20-\x7e]*[\x21-\x7e])?", secret.reveal()) is not None
