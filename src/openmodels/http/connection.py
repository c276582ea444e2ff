"""How connections are made: proxies, certificates, times and numbers."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from openmodels.http.address import Address
from openmodels.http.proxies import ProxyServer, environment_proxy, parse_proxy
from openmodels.http.secrets import Secret
from openmodels.http.tls import CertificateOption, TLSSettings, VerifyOption, parse_tls


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How long connections are waited for and kept, and how many there are."""

    connect_timeout: float = 10.0  # seconds for name, connection and TLS together
    read_timeout: float = 120.0  # seconds between two pieces of a body that has begun
    # Connections to one origin that are open at a time; further requests wait in order. As in httpx and aiohttp; a
    # process may open 1,024 files by default.
    max_connections: int = 100
    keep_alive: float = 30.0  # seconds that an idle connection is kept
    is_allowed: Callable[[str], bool] | None = None  # whether an IP address may be connected to; None allows all


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """The options `proxy=`, `verify=` and `cert=`, checked."""

    proxy: ProxyServer | None = None  # the proxy for every request, or None
    uses_environment_proxy: bool = True  # whether the environment names the proxy where `proxy` is None
    tls: TLSSettings = field(default_factory=TLSSettings)  # whose certificates are trusted, and the certificate to show

    @classmethod
    def from_options(
        cls, *, proxy: str | Secret | None = None, verify: VerifyOption = True, cert: CertificateOption = None
    ) -> Self:
        """Check a backend's options; the proxy None is the environment's, "" is none.

        Raises:
            InvalidRequest: An option is not acceptable; no password is shown.
            MissingExtra: The proxy speaks SOCKS, and the packages for that are not installed.
        """
        tls = parse_tls(verify, cert)
        if proxy is None:
            return cls(tls=tls)
        is_direct = proxy in ("", Secret(""))
        return cls(None if is_direct else parse_proxy(proxy), uses_environment_proxy=False, tls=tls)

    def proxy_for(self, target: Address) -> ProxyServer | None:
        """Return the proxy for an address, or None for a direct connection.

        Raises:
            NotConfigured: The environment's proxy has no usable address.
            MissingExtra: It speaks SOCKS, and the packages for that are not installed.
        """
        if self.proxy is not None or not self.uses_environment_proxy:
            return self.proxy
        return environment_proxy(target)
