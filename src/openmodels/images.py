"""Images for messages: from files, bytes, addresses and PIL; fetched only where the caller asks for it."""

from __future__ import annotations

import asyncio
import base64
import binascii
import ipaddress
import os
import socket
import time
from io import BytesIO
from typing import Any, Self
from urllib.parse import urljoin, urlsplit

import httpx2

from openmodels import settings
from openmodels.errors import (
    ConnectionFailed,
    DeadlineExceeded,
    ErrorBoundary,
    InvalidRequest,
    InvalidResponse,
    Offline,
)
from openmodels.messages import ImagePart

LARGEST = 20 * 10**6
"""Bytes of an encoded image at most: what vendors take."""
_REDIRECTS = 3
_KINDS = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"))
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class Image(ImagePart):
    """An image for a message: `om.user("What is this?", om.Image("cat.png"))`.

    Args:
        source: A file's path, the encoded bytes (PNG, JPEG, GIF or WebP), an http(s) or data address, or a
            PIL image. An http(s) address is passed on for the one who answers to fetch; `fetch` fetches it here.

    Raises:
        InvalidRequest: It is none of these, no such image, or too large.
    """

    @ErrorBoundary()
    def __init__(self, source: str | os.PathLike[str] | bytes | Any) -> None:
        super().__init__(**_read(source))

    @classmethod
    @ErrorBoundary()
    def fetch(cls, url: str, *, timeout: float = 30.0) -> Self:
        """Return the image at an https address, fetched now.

        Only public addresses are connected to, whatever the name resolves to and wherever it redirects;
        no proxy of the environment is used, which could not be held to that.

        Args:
            url: Its address.
            timeout: Total seconds.

        Raises:
            InvalidRequest: The address is not public or not https, or what is there is no image.
            Offline: The network is switched off by the environment.
            ConnectionFailed: No connection.
            DeadlineExceeded: The time is up.
            InvalidResponse: The server does not give it, or it is too large.
        """
        return cls(_fetch(url, time.monotonic() + timeout))

    @classmethod
    async def afetch(cls, url: str, *, timeout: float = 30.0) -> Self:  # noqa: ASYNC109 - the twin's
        """The asynchronous twin of `fetch`.

        Raises:
            OpenModelsError: As for `fetch`.
        """
        return await asyncio.to_thread(cls.fetch, url, timeout=timeout)


def _read(source: Any) -> dict[str, Any]:
    if isinstance(source, str) and source.partition(":")[0].lower() in ("http", "https"):
        if not urlsplit(source).hostname:
            raise InvalidRequest(f"image: {source[:80]!r} is no address.")
        return {"url": source}
    if isinstance(source, str) and source.startswith("data:"):
        return _encoded(_data(source))
    if isinstance(source, str | os.PathLike):
        try:
            with open(source, "rb") as file:  # noqa: PTH123 - takes whatever names a file
                return _encoded(file.read(LARGEST + 1))
        except OSError as error:
            raise InvalidRequest(f"image: the file {os.fspath(source)!r} cannot be read: {error.strerror}.") from error
    if isinstance(source, bytes | bytearray | memoryview):
        return _encoded(bytes(source))
    if hasattr(source, "save") and hasattr(source, "mode"):  # PIL's, which need not be installed
        buffer = BytesIO()
        (source if source.mode in ("1", "L", "LA", "P", "RGB", "RGBA") else source.convert("RGB")).save(buffer, "PNG")
        return _encoded(buffer.getvalue())
    raise InvalidRequest(
        f"image: expected a path, bytes, an address or a PIL image, not {type(source).__name__}.",
        next_step='Write om.Image("picture.png").',
    )


def _encoded(data: bytes) -> dict[str, Any]:
    if len(data) > LARGEST:
        raise InvalidRequest(f"image: it has more than {LARGEST // 10**6} MB.", next_step="Scale it down.")
    kind = next((kind for start, kind in _KINDS if data.startswith(start)), None)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        kind = "image/webp"
    if kind is None:
        raise InvalidRequest("image: this is no PNG, JPEG, GIF or WebP.", next_step="Convert it to one of these.")
    return {"data": data, "media_type": kind}


def _data(address: str) -> bytes:
    head, _, body = address.partition(",")
    try:
        if not head.endswith(";base64"):
            raise ValueError
        return base64.b64decode(body, validate=True)
    except (ValueError, binascii.Error):
        raise InvalidRequest("image: a data address must hold base64.") from None


def _fetch(url: str, deadline: float) -> bytes:
    if settings.offline():
        raise Offline("The network is switched off.", next_step="Unset HF_HUB_OFFLINE and OPENMODELS_OFFLINE.")
    for _ in range(_REDIRECTS + 1):
        found, url = _get(url, deadline)
        if found is not None:
            return found
    raise InvalidResponse("The image's address redirects again and again.")


def _get(url: str, deadline: float) -> tuple[bytes | None, str]:
    """Return the body, or where the server sends us instead."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "https" or not host or parts.username or parts.password:
        raise InvalidRequest(f"image: only plain https addresses are fetched, not {parts.scheme or url[:40]!r}.")
    pinned = _resolve(host, parts.port or 443)
    place = f"[{pinned}]" if ":" in pinned else pinned
    target = parts._replace(netloc=f"{place}:{parts.port or 443}", fragment="").geturl()
    # The connection goes to the address that was checked; name and certificate are those that were asked for.
    client = httpx2.Client(trust_env=False, follow_redirects=False, timeout=_left(deadline))
    headers = {"Host": parts.netloc, "Accept": "image/*", "Accept-Encoding": "identity"}
    try:
        with client, client.stream("GET", target, headers=headers, extensions={"sni_hostname": host}) as answer:
            if answer.is_redirect:
                return None, urljoin(url, answer.headers.get("location", ""))
            if answer.status_code != 200:
                raise InvalidResponse(f"{host} answers {answer.status_code}.", status=answer.status_code)
            body = bytearray()
            for chunk in answer.iter_raw():
                body += chunk
                _left(deadline)
                if len(body) > LARGEST:
                    raise InvalidResponse(f"The image has more than {LARGEST // 10**6} MB.")
            return bytes(body), url
    except httpx2.TimeoutException as error:
        raise _late() from error
    except httpx2.TransportError as error:
        raise ConnectionFailed(f"There is no connection to {host}: {type(error).__name__}.") from error


def _resolve(host: str, port: int) -> str:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ConnectionFailed(f"The name {host} cannot be resolved.") from error
    addresses = [str(entry[4][0]) for entry in found]
    # Were one of them private, which one is connected to would be a matter of luck.
    if not addresses or not all(map(is_public, addresses)):
        raise InvalidRequest(
            f"image: {host} is no public address, and others are not fetched.",
            next_step="Read it yourself, and give the bytes.",
        )
    return addresses[0]


def is_public(address: str) -> bool:
    """Return whether an IP address is one of the public internet, with what is wrapped in it."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise _late()
    return left


def _late() -> DeadlineExceeded:
    return DeadlineExceeded("The time to fetch the image is up.", next_step="Raise `timeout`.")
