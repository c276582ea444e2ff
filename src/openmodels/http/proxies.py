"""Proxies, as the caller or the environment names them."""

import ipaddress
import re
import urllib.request
from base64 import b64encode
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from openmodels import settings
from openmodels.errors import InvalidRequest, MissingExtra, NotConfigured
from openmodels.http.address import Address, is_host_name, is_loopback, join_host
from openmodels.http.secrets import Secret, WithheldSecret, hide
from openmodels.imports import is_installed

_DEFAULT_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
_SOCKS_PACKAGES = ("python_socks", "aiohttp_socks")  # the modules that speak SOCKS


@dataclass(frozen=True, slots=True)
class ProxyServer:
    """A proxy."""

    # "http" or "https" for a proxy that takes requests and CONNECT; "socks5" or "socks5h" for SOCKS version 5, where
    # with "socks5h" the proxy resolves names.
    scheme: str
    host: str  # its host, without brackets
    port: int  # its port
    username: Secret | None = None  # the name to log in with
    password: Secret | None = None  # the password that goes with it

    @property
    def is_socks(self) -> bool:
        """Whether the proxy speaks SOCKS."""
        return self.scheme.startswith("socks")

    @property
    def authority(self) -> str:
        """Host and port, for messages."""
        return join_host(self.host, self.port)

    @property
    def origin(self) -> str:
        """The proxy's address without name and password."""
        return f"{self.scheme}://{self.authority}"

    @property
    def url(self) -> Secret:
        """The proxy's address with name and password, as client libraries take it."""
        if self.username is None:
            return Secret(self.origin)
        login = ":".join(quote(part.reveal(), safe="") for part in (self.username, self.password) if part is not None)
        return Secret(f"{self.scheme}://{login}@{self.authority}")

    @property
    def authorization(self) -> Secret | None:
        """The value of the header Proxy-Authorization, or None."""
        if self.username is None:
            return None
        pair = f"{self.username.reveal()}:{self.password.reveal() if self.password is not None else ''}"
        return Secret(f"Basic {b64encode(pair.encode()).decode()}")


def parse_proxy(url: str | Secret) -> ProxyServer:
    """Read the option `proxy=`.

    Args:
        url: For example "http://name:password@proxy.example:3128" or "socks5h://127.0.0.1:1080".

    Raises:
        InvalidRequest: It is not the address of a proxy; no password is shown.
        NotConfigured: It is that of a model which was pickled elsewhere.
        MissingExtra: It is a SOCKS proxy, and the packages for these are not installed.
    """
    if isinstance(url, WithheldSecret):
        raise NotConfigured(
            "The proxy's name and password stayed where the model was pickled.",
            next_step="Set HTTPS_PROXY where it is unpickled, and leave `proxy` out.",
        )
    url = hide(url)  # the error must not find the password in this frame
    step = "Write proxy='http://name:password@host:port', or https://, socks5:// or socks5h://."
    if not isinstance(url, Secret):
        raise InvalidRequest(f"proxy: expected an address, not {type(url).__name__}.", next_step=step)
    proxy = _parse_url(url)
    if proxy is None:
        raise InvalidRequest("proxy: it is no http, https or socks5 address.", next_step=step)
    return _with_packages(proxy)


def environment_proxy(target: Address) -> ProxyServer | None:
    """Return the proxy that the environment names for an address, or None.

    HTTPS_PROXY or HTTP_PROXY by the address's scheme, else ALL_PROXY, each in upper or lower case, else what
    macOS or Windows is set to. NO_PROXY excepts hosts with their subdomains, hosts with a port, networks
    such as 10.0.0.0/8, and with "*" everything. This machine is never reached through a proxy.

    Raises:
        NotConfigured: The variable holds no address of a proxy; no password is shown.
        MissingExtra: It names a SOCKS proxy, and the packages for these are not installed.
    """
    if is_loopback(target.host):
        return None
    proxies = {name: Secret(value) for name, value in urllib.request.getproxies().items() if value}
    url = proxies.get(target.scheme) or proxies.get("all")
    if url is None or _is_excepted(target, proxies.get("no")):
        return None
    proxy = _parse_url(url)
    if proxy is None:
        raise NotConfigured(
            f"The environment names a proxy for {target.scheme} that is no http, https or socks5 address.",
            next_step=f"Set {target.scheme.upper()}_PROXY to http://host:port, or add the server to NO_PROXY.",
        )
    return _with_packages(proxy)


def _with_packages(proxy: ProxyServer) -> ProxyServer:
    """Return the proxy, or raise MissingExtra where SOCKS is not installed."""
    if proxy.is_socks and not all(map(is_installed, _SOCKS_PACKAGES)):
        raise MissingExtra(
            f"The proxy {proxy.origin} speaks SOCKS, for which packages are not installed.",
            next_step=f"Run: {settings.install_hint('socks')}",
        )
    return proxy


def _parse_url(url: Secret) -> ProxyServer | None:
    text = url.reveal().strip()
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    # GNOME writes socks://, and means what everyone else calls socks5h.
    scheme = "socks5h" if parts.scheme == "socks" else parts.scheme
    if scheme not in _DEFAULT_PORTS or not host or not is_host_name(host) or re.search(r"\s", text):
        return None
    username, password = (None if part is None else Secret(unquote(part)) for part in (parts.username, parts.password))
    return ProxyServer(scheme, host, _DEFAULT_PORTS[scheme] if port is None else port, username, password)


def _is_excepted(target: Address, no_proxy: Secret | None) -> bool:
    """Return whether NO_PROXY, or the system's own list, excepts an address."""
    # Python reads names, suffixes and the system's settings, but no networks, IPv6 addresses and *.domain.
    if urllib.request.proxy_bypass(f"{target.host}:{target.port}"):
        return True
    entries = re.split(r"[,\s]+", no_proxy.reveal().lower()) if no_proxy is not None else []
    return any(_covers(entry, target) for entry in entries if entry)


def _covers(entry: str, target: Address) -> bool:
    host = target.host.lower().removesuffix(".")
    if entry == "*":
        return True
    if match := re.fullmatch(r"(\[.*\]|[^:]*):(\d+)", entry):
        if int(match[2]) != target.port:
            return False
        entry = match[1]
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        domain = entry.lstrip("*").strip(".")
        return domain != "" and (host == domain or host.endswith(f".{domain}"))
