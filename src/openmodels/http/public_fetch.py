"""Images from public https addresses.

Every name is resolved once, all its addresses are checked, and the connection goes to one that was checked; each
redirect is checked again. Proxies of the environment are not used, since they could connect to others.
"""

import ipaddress
from urllib.parse import quote, urlsplit

from openmodels import settings
from openmodels.errors import DeadlineExceeded, InvalidRequest, InvalidResponse, Offline
from openmodels.http.client import HttpClient
from openmodels.http.connection import ConnectionLimits, ConnectionSettings
from openmodels.http.messages import HttpRequest

_MAX_REDIRECTS = 3
_HEADERS = (("Accept", "image/*"), ("Accept-Encoding", "identity"))
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


def fetch(url: str, deadline: float, max_bytes: int) -> bytes:
    """Return the bytes of an image at an https address of the public internet.

    Raises:
        InvalidRequest: The address is not public or not https.
        Offline: The network is switched off by the environment.
        ConnectionFailed: No connection.
        DeadlineExceeded: The time is up.
        InvalidResponse: The server does not give it, or it is too large.
    """
    if settings.is_offline():
        raise Offline("The network is switched off.", next_step="Unset HF_HUB_OFFLINE and OPENMODELS_OFFLINE.")
    request = HttpRequest("GET", _encode(url), _HEADERS)
    client = HttpClient(ConnectionSettings(uses_environment_proxy=False), ConnectionLimits(is_allowed=is_public))
    try:
        with client.send(request, deadline, redirects=_MAX_REDIRECTS) as response:
            if response.status != 200:
                host = urlsplit(response.url).netloc
                raise InvalidResponse(f"{host} answers {response.status}.", status=response.status)
            return response.read(max_bytes)
    except DeadlineExceeded as error:
        raise DeadlineExceeded("The time to fetch the image is up.", next_step="Raise `timeout`.") from error
    finally:
        client.close()


def _encode(url: str) -> str:
    """Return an https address in ASCII, as a browser would send it."""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").encode("idna").decode(), parts.port
    except ValueError:
        raise InvalidRequest(f"image: {url[:80]!r} is not an address.") from None
    if parts.scheme != "https" or not host or "@" in parts.netloc:
        raise InvalidRequest(f"image: only plain https addresses are fetched, not {(parts.scheme or url)[:40]!r}.")
    netloc = (f"[{host}]" if ":" in host else host) + (f":{port}" if port is not None else "")
    path, query = (quote(part, safe="%/:;=&?~+!$,'@()*[]") for part in (parts.path, parts.query))
    return parts._replace(netloc=netloc, path=path, query=query, fragment="").geturl()


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
    is_excepted = any(ip in network for network in _NOT_PUBLIC)
    return ip.is_global and not ip.is_multicast and not ip.is_reserved and not is_excepted
