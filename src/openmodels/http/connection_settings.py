"""What holds for every connection of a client: limits, certificates, proxies, allowed addresses."""

from __future__ import annotations

import functools
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from openmodels.http.address import Address, Proxy, proxy


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """How connections are made.

    Attributes:
        connect_timeout: Seconds for name, connection and TLS together.
        read_timeout: Seconds between two pieces of a body that has begun.
        max_connections: Connections to one origin that are open at a time; further requests wait in order.
        keep_alive: Seconds that an idle connection is kept.
        is_allowed: Whether to connect to an IP address; None allows all.
    """

    connect_timeout: float = 10.0
    read_timeout: float = 120.0
    max_connections: int = 100  # as httpx and aiohttp have it; below the 1,024 files that a process may open
    keep_alive: float = 30.0
    is_allowed: Callable[[str], bool] | None = None

    def ssl_context(self) -> ssl.SSLContext:
        """Return the TLS context for servers and https proxies."""
        return _ssl_context(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))

    def proxy(self, address: Address) -> Proxy | None:
        """Return the proxy on the way to an address, or None.

        Raises:
            NotConfigured: The environment names a proxy that is not supported.
        """
        return proxy(address)


@functools.lru_cache(maxsize=4)  # reading the certificates takes longer than a call
def _ssl_context(*_environment: str | None) -> ssl.SSLContext:
    import certifi

    # The environment's certificates, then the system's; certifi's only where the system has none.
    context = ssl.create_default_context()
    if not any(_environment) and not context.get_ca_certs() and not _has_system_folder():
        context.load_verify_locations(cafile=certifi.where())
    context.set_alpn_protocols(["http/1.1"])
    return context


def _has_system_folder() -> bool:
    folder = ssl.get_default_verify_paths().capath
    return folder is not None and any(os.scandir(folder))
