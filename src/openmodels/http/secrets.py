"""Keys, passwords and prompts: what errors, logs and pickles do not show."""

import logging
import re
from collections.abc import Mapping
from secrets import token_hex
from typing import Any, Self

from openmodels.errors import InvalidRequest

log = logging.getLogger("openmodels")

_RESERVED_HEADERS = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "accept-encoding", "content-type"}
)


class Secret:
    """A key that `repr`, `str`, `vars`, pickles and tracebacks do not show."""

    __slots__ = ("_name", "_value")

    def __init__(self, value: str) -> None:
        self._value = value
        self._name = ""

    def __repr__(self) -> str:
        return "Secret('…')"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __deepcopy__(self, memo: object = None) -> Self:
        return self

    __copy__ = __deepcopy__

    def __reduce__(self) -> tuple[Any, ...]:
        # A pickle is a file or a message that others may read, so it holds a name for the key. This process
        # and its forks know what it stands for; elsewhere the environment has to provide the key.
        self._name = self._name or token_hex(16)
        _pickled[self._name] = self
        return _unpickle, (self._name,)

    def reveal(self) -> str:
        """Return the key itself."""
        return self._value


class WithheldSecret:
    """A key that was pickled in another process and has stayed there."""


_pickled: dict[str, Secret] = {}


def _unpickle(name: str) -> Secret | WithheldSecret:
    return _pickled.get(name) or WithheldSecret()


class HiddenBytes(bytes):
    """Bytes of a request, of which `repr` shows only their number: they hold the key."""

    def __repr__(self) -> str:
        return f"<{len(self)} bytes>"


def check_key(value: str | Secret | None, name: str = "api_key") -> Secret | None:
    """Return a key, checked and wrapped; None stays None.

    Raises:
        InvalidRequest: It holds line breaks, spaces or other characters that no header may have.
    """
    if value is None:
        return None
    value = hide(value)  # the error must not find the key in this frame
    if not isinstance(value, Secret):
        raise InvalidRequest(f"{name}: expected text, not {type(value).__name__}.")
    if flaw := _find_flaw(value):
        raise InvalidRequest(f"{name}: {flaw}.", next_step="Copy the key again, alone.")
    if value == Secret(""):
        raise InvalidRequest(f"{name}: it is empty.", next_step="Leave it out for a server that asks for none.")
    return value


def _find_flaw(secret: Secret) -> str | None:
    """Return what is wrong with a key, and where: that finds a pasted line break."""
    value = secret.reveal()
    if (match := re.search(r"[^\x21-\x7e]", value)) is None:
        return None
    what = "a line break" if match[0] in "\r\n" else "a character that a key cannot have"
    return f"{what} at position {match.start()} of {len(value)}"


def hide(value: Any) -> Any:
    """Return a text, or the texts of a mapping, as secrets; other values as they are.

    What was withheld from a pickle is None, and left out of a mapping.
    """
    if isinstance(value, str):
        return Secret(value)
    if isinstance(value, WithheldSecret):
        log.warning("The key of a pickled model stayed where it was pickled; the environment has to provide it.")
        return None
    if isinstance(value, Mapping):
        hidden_values = {name: hide(text) for name, text in value.items()}
        return {name: text for name, text in hidden_values.items() if not isinstance(value[name], WithheldSecret)}
    return value


def hide_option(name: str, value: Any) -> Any:
    """Return the value of a backend's option with its secrets wrapped.

    Of `proxy`, an address with a password is one; of `cert`, the third part. Other addresses and paths travel in
    a pickle.
    """
    if name == "proxy" and isinstance(value, str):
        return Secret(value) if "@" in value else value
    if name == "cert" and isinstance(value, tuple | list) and len(value) == 3:
        return (*value[:2], Secret(value[2]) if isinstance(value[2], str) else value[2])
    return value if name in ("proxy", "cert") else hide(value)


def reveal_option(value: Any) -> Any:
    """Return the value that `hide_option` has wrapped."""
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, tuple):
        return tuple(map(reveal_option, value))
    return {name: reveal_option(text) for name, text in value.items()} if isinstance(value, Mapping) else value


def check_headers(headers: Mapping[str, str | Secret] | None) -> dict[str, Secret]:
    """Return a caller's headers, checked and wrapped, since they may be keys.

    Raises:
        InvalidRequest: A name or value is not allowed in a header, or the name is set by openmodels.
    """
    checked: dict[str, Secret] = {}
    if headers is not None and not isinstance(headers, Mapping):
        raise InvalidRequest(f"headers: expected a mapping, not {type(headers).__name__}.")
    for name, value in hide(headers or {}).items():
        if not isinstance(name, str) or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            raise InvalidRequest("headers: one of the names is no header name.")
        if name.lower() in _RESERVED_HEADERS:
            raise InvalidRequest(f"headers: {name!r} is set by openmodels itself.")
        if not isinstance(value, Secret) or not _is_header_value(value):
            raise InvalidRequest(f"headers: the value of {name!r} is empty or holds a line break or non-ASCII text.")
        checked[name] = value
    return checked


def _is_header_value(secret: Secret) -> bool:
    return re.fullmatch(r"[\x21-\x7e]([\t\x20-\x7e]*[\x21-\x7e])?", secret.reveal()) is not None
