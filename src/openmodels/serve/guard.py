"""What every request passes first: the checks of Host, Origin and key."""

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from openmodels.serve.exchange import log_failure
from openmodels.serve.failures import Refusal, describe, encode_anthropic, encode_openai, to_json
from openmodels.serve.keys import KeyRing

HEADER_BYTES = 64 * 2**10
"""Bytes of a request's line and headers at most."""
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


class Guard:
    """Checks Host, Origin and key before the application gets a request.

    A name that resolves to this machine is not enough: a page of a stranger may have such a name (DNS rebinding). So
    the Host is a loopback name, an address in numbers, or one of `hosts`.

    Args:
        app: The application.
        keys: The keys of clients.
        hosts: Names of this server beside the loopback ones.
        open_paths: Paths that need no key.
    """

    def __init__(self, app: ASGIApp, keys: KeyRing, hosts: Collection[str], open_paths: Collection[str]) -> None:
        self._app = app
        self._keys = keys
        self._hosts = frozenset(host.lower() for host in hosts)
        self._open_paths = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        try:
            self._check(scope)
        except Refusal as refusal:
            await _refuse(scope, send, refusal)
            return
        try:
            await self._app(scope, receive, send)
        except Exception as error:  # noqa: BLE001 - a traceback in a log might quote a prompt
            log_failure(error)

    def _check(self, scope: Scope) -> None:
        size = len(scope.get("raw_path") or b"") + sum(len(name) + len(value) for name, value in scope["headers"])
        if size > HEADER_BYTES:
            raise Refusal(431, "headers_too_large", f"The headers have more than {HEADER_BYTES} bytes.")
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if [name for name, _ in scope["headers"]].count(b"host") != 1 or not self._is_known(host):
            cause = "The Host of the request is not a name of this server."
            step = "Use the address that the server printed, or start it with --allow-host."
            raise Refusal(421, "wrong_host", cause, next_step=step)
        origin = headers.get(b"origin")
        if origin is not None:
            parts = origin.decode("latin-1").lower().partition("://")
            if parts[0] not in ("http", "https") or parts[2] != host:
                cause = "The request comes from a page of another origin."
                raise Refusal(403, "wrong_origin", cause, next_step="Call the server from a program.")
        elif headers.get(b"sec-fetch-site") in (b"cross-site", b"same-site"):
            raise Refusal(403, "wrong_origin", "The request comes from a page of another origin.")
        key = self._keys.find(_presented_key(headers))
        if key is None and scope["path"] not in self._open_paths:
            raise Refusal(
                401,
                "invalid_api_key",
                "The key is missing or wrong.",
                next_step="Send the server's key as `Authorization: Bearer KEY` or `x-api-key: KEY`.",
            )
        scope["openmodels.key"] = key

    def _is_known(self, host: str) -> bool:
        try:
            parts = urlsplit(f"//{host}")
            name, _ = parts.hostname, parts.port
        except ValueError:
            return False
        if not name or parts.username is not None or parts.path or parts.query:
            return False
        if name in self._hosts or name in _LOOPBACK_NAMES or f"[{name}]" in _LOOPBACK_NAMES:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _presented_key(headers: dict[bytes, bytes]) -> str | None:
    """Return the key that a client sends in one of the headers in use."""
    kind, _, value = headers.get(b"authorization", b"").partition(b" ")
    if kind.lower() == b"bearer" and value.strip():
        return value.strip().decode("latin-1")
    key = headers.get(b"x-api-key") or headers.get(b"api-key")
    return key.strip().decode("latin-1") if key else None


async def _refuse(scope: Scope, send: Send, refusal: Refusal) -> None:
    failure = describe(refusal)
    path = scope["path"]
    body = to_json(encode_anthropic(failure) if path.startswith("/v1/messages") else encode_openai(failure))
    if path == "/v1/systemone":
        detail = {"error_type": failure.type, "message": failure.message}
        body = to_json({**encode_openai(failure), "detail": detail})
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *failure.headers]
    # The body of the request is not read, so the connection cannot be used again.
    headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": failure.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
