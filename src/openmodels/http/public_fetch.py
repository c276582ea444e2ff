"""Images at a stranger's address: fetched by https only, from servers of the public internet only.

A name is resolved once, its addresses are checked, and the connection goes to the address that was
checked; each redirect is checked again. No proxy of the environment is used, which could not be held to that.
"""

from __future__ import annotations

import ipaddress
import time
from urllib.parse import urljoin, urlsplit

import httpx2

from openmodels import settings
from openmodels.errors import ConnectionFailed, DeadlineExceeded, InvalidRequest, InvalidResponse, Offline
from openmodels.http.dial import lookup
from openmodels.http.time_limit import TimeLimit

_REDIRECTS = 3
_SHOWN = 80
"""Characters of an address that an error shows."""
_UNICAST = ipaddress.ip_network("2000::/3")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_NOT_PUBLIC = tuple(
    map(
        ipaddress.ip_network,
        (
            "192.0.0.0/24",  # for protocols, and the metadata of some clouds
            "192.88.99.0/24",  # relays of 6to4
            "168.63.129.16/32",  # Azure's own platform, reachable from every machine there
            "2001::/23",  # Teredo and other protocols
            "2002::/16",  # 6to4, which wraps any IPv4 address
            "3fff::/20",  # documentation
        ),
    )
)
"""Networks that Python takes for global, though their addresses are not servers of the public internet."""


def fetch(url: str, deadline: float, largest: int) -> bytes:
    """Return the bytes of an image at an https address of the public internet.

    Args:
        url: The address.
        deadline: On the clock of `time.monotonic()`.
        largest: Bytes at most.

    Raises:
        InvalidRequest: The address is not public or not https.
        Offline: The network is switched off by the environment.
        ConnectionFailed: No connection.
        DeadlineExceeded: The time is up.
        InvalidResponse: The server does not give it, or it is too large.
    """
    if settings.offline():
        raise Offline("The network is switched off.", next_step="Unset HF_HUB_OFFLINE and OPENMODELS_OFFLINE.")
    for _ in range(_REDIRECTS + 1):
        body, url = _get(url, deadline, largest)
        if body is not None:
            return body
    raise InvalidResponse("The image's address redirects again and again.")


def _get(url: str, deadline: float, largest: int) -> tuple[bytes | None, str]:
    """Return the body, or where the server sends us instead."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 443
    except ValueError:
        raise InvalidRequest(f"image: {url[:_SHOWN]!r} is no address.") from None
    if parts.scheme != "https" or not host or "@" in parts.netloc:
        raise InvalidRequest(f"image: only plain https addresses are fetched, not {(parts.scheme or url)[:40]!r}.")
    pinned = _resolve(host, port, deadline)
    place = f"[{pinned}]" if ":" in pinned else pinned
    target = parts._replace(netloc=f"{place}:{port}", fragment="").geturl()
    # The connection goes to the address that was checked; name and certificate are those that were asked for.
    limit = TimeLimit(deadline, host)
    client = httpx2.Client(trust_env=False, follow_redirects=False, timeout=limit.left)
    headers = {"Host": parts.netloc, "Accept": "image/*", "Accept-Encoding": "identity"}
    extensions = {"sni_hostname": host, **limit.extensions}
    try:
        with limit, client, client.stream("GET", target, headers=headers, extensions=extensions) as answer:
            if answer.is_redirect:
                return None, _joined(url, answer.headers.get("location", ""))
            if answer.status_code != 200:
                raise InvalidResponse(f"{host} answers {answer.status_code}.", status=answer.status_code)
            body = bytearray()
            for chunk in answer.iter_raw():
                body += chunk
                limit.check()
                if len(body) > largest:
                    raise InvalidResponse(f"The image has more than {largest // 10**6} MB.")
            return bytes(body), url
    except httpx2.TimeoutException as error:
        raise _late() from error
    except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError) as error:
        raise ConnectionFailed(f"There is no connection to {host}: {type(error).__name__}.") from error


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        raise InvalidResponse(f"The image's address redirects to {location[:_SHOWN]!r}, which is none.") from None


def _resolve(host: str, port: int, deadline: float) -> str:
    try:
        entries = lookup(host, port).result(_left(deadline))
    except TimeoutError as error:
        raise _late() from error
    except (OSError, ValueError) as error:
        raise ConnectionFailed(f"The name {host[:_SHOWN]!r} cannot be resolved.") from error
    addresses = [str(entry[4][0]) for entry in entries]
    # Were one of them private, which one is connected to would be a matter of luck.
    if not addresses or not all(map(is_public, addresses)):
        raise InvalidRequest(
            f"image: {host[:_SHOWN]} is no public address, and others are not fetched.",
            next_step="Read it yourself, and give the bytes.",
        )
    return addresses[0]


def is_public(address: str) -> bool:
    """Return whether an IP address is that of a server on the public internet.

    Of IPv6, only global unicast addresses are, and those into which NAT64 translates a public IPv4 address;
    every other form that wraps an IPv4 address is not.
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        if ip in _NAT64:
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
        if ip.scope_id is not None or ip not in _UNICAST:
            return False
    refused = any(ip in network for network in _NOT_PUBLIC if network.version == ip.version)
    return ip.is_global and not ip.is_multicast and not ip.is_reserved and not refused


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise _late()
    return left


def _late() -> DeadlineExceeded:
    return DeadlineExceeded("The time to fetch the image is up.", next_step="Raise `timeout`.")
