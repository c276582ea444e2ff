"""How connections are made: through which proxy, and with which certificates."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Self

from openmodels.http.address import Address
from openmodels.http.proxies import ProxyServer, environment_proxy, parse_proxy
from openmodels.http.secrets import Secret
from openmodels.http.tls import CertificateOption, TLSSettings, VerifyOption, parse_tls


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """The options `proxy=`, `verify=` and `cert=`, checked.

    Attributes:
        proxy: The proxy for every request, or None.
        uses_environment_proxy: Whether the environment names the proxy where `proxy` is None.
        tls: Whose certificates are trusted, and the certificate to show.
    """

    proxy: ProxyServer | None = None
    uses_environment_proxy: bool = True
    tls: TLSSettings = field(default_factory=TLSSettings)

    @classmethod
    def from_options(
        cls,
        *,
        proxy: str | Secret | None = None,
        verify: VerifyOption = True,
        cert: CertificateOption = None,
    ) -> Self:
        """Check the options of a backend.

        Args:
            proxy: The address of a proxy; None takes the environment's, "" takes none.
            verify: Whose certificates are trusted.
            cert: The certificate to show to a server that asks for one.

        Raises:
            InvalidRequest: An option is not acceptable; no password is shown.
            MissingExtra: The proxy speaks SOCKS, and the packages for that are not installed.
        """
        tls = parse_tls(verify, cert)
        if proxy is None:
            return cls(tls=tls)
        is_direct = proxy == "" or (isinstance(proxy, Secret) and not proxy.reveal())
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

    def ssl_context(self) -> ssl.SSLContext:
        """Return the context for encrypted connections.

        Raises:
            InvalidRequest: A file of `verify=` or `cert=` is missing or holds no certificate.
            NotConfigured: The same of a file that the environment names.
        """
        return self.tls.context()
