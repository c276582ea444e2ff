"""TLS: whose certificates are trusted, and the certificate that a client shows."""

import contextlib
import functools
import logging
import os
import re
import ssl
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import truststore

from openmodels.errors import InvalidRequest, NotConfigured, OpenModelsError
from openmodels.http.secrets import Secret, hide

log = logging.getLogger("openmodels.http")

VerifyOption: TypeAlias = bool | str | os.PathLike[str] | ssl.SSLContext
"""Whose certificates are trusted: the system's, nobody's (False), those of a file or folder, or a context's."""
CertificateOption: TypeAlias = (
    str | os.PathLike[str] | tuple[str, str] | tuple[str, str, str | Secret | None] | list[str] | None
)
"""A client's certificate: a PEM file, or (certificate, key) or (certificate, key, password)."""

BUNDLE_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""Environment variables that name trusted certificates, in place of the system's."""


@dataclass(frozen=True, slots=True)
class TLSSettings:
    """Whose certificates a connection trusts, and the certificate it shows."""

    # True for the system's trust store (or what the environment names in its place), False for no check at all, the
    # path of a PEM file or of a folder of them, or a context.
    verify: bool | str | ssl.SSLContext = True
    certificate: str | None = None  # the client's certificate
    key: str | None = None  # its private key, where that is a file of its own
    password: Secret | None = None  # the private key's password

    def context(self) -> ssl.SSLContext:
        """Return the context for connections, cached by settings and environment.

        Raises:
            InvalidRequest: A file of `verify=` or `cert=` is missing or of no use.
            NotConfigured: The same of a file that the environment names.
        """
        if isinstance(self.verify, ssl.SSLContext):
            return self.verify
        return _make_context(self, tuple(os.environ.get(name, "") for name in BUNDLE_VARIABLES))


def parse_tls(verify: VerifyOption = True, cert: CertificateOption = None) -> TLSSettings:  # noqa: FBT002 - as everywhere
    """Check the options `verify=` and `cert=`; no file is read yet.

    Raises:
        InvalidRequest: One is of another type, or both a context and a certificate are given.
    """
    if isinstance(verify, os.PathLike):
        verify = str(verify)
    if not isinstance(verify, bool | str | ssl.SSLContext) or verify == "":
        raise InvalidRequest(
            f"verify: expected True, False, a path or an ssl.SSLContext, not {type(verify).__name__}.",
            next_step="Write verify='/path/to/authorities.pem'.",
        )
    if cert is None:
        return TLSSettings(verify)
    if isinstance(verify, ssl.SSLContext):
        raise InvalidRequest(
            "cert: `verify` is a context of your own, which holds its own certificate.",
            next_step="Call load_cert_chain() of that context, and leave `cert` out.",
        )
    parts = (cert,) if isinstance(cert, str | os.PathLike) else tuple(cert) if isinstance(cert, tuple | list) else ()
    paths = [str(part) for part in parts[:2] if isinstance(part, str | os.PathLike) and str(part)]
    password = hide(parts[2]) if len(parts) == 3 else None
    if not paths or len(paths) != len(parts[:2]) or len(parts) > 3 or not isinstance(password, Secret | None):
        raise InvalidRequest(
            "cert: expected a path, (certificate, key) or (certificate, key, password).",
            next_step="Write cert=('client.pem', 'client.key').",
        )
    files = [str(Path(path).expanduser()) for path in paths]
    return TLSSettings(verify, files[0], files[1] if len(files) == 2 else None, password)


@functools.lru_cache(maxsize=32)
def _make_context(settings: TLSSettings, bundles: tuple[str, ...]) -> ssl.SSLContext:
    # Cached: reading a system's 144 authorities takes 22 ms, ten times a whole call on loopback.
    if settings.verify is False:
        log.warning("verify=False: any machine in between can read and change what is sent, keys included.")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif isinstance(settings.verify, str):
        context = _trusting([("verify", settings.verify)], InvalidRequest)
    else:
        # All of them count: conda sets SSL_CERT_FILE by itself, beside a company's REQUESTS_CA_BUNDLE.
        sources = [(name, path) for name, path in zip(BUNDLE_VARIABLES, bundles, strict=True) if path]
        context = _trusting(sources, NotConfigured) if sources else _system_context()
    context.set_alpn_protocols(["http/1.1"])
    if settings.certificate is not None:
        _load_client_certificate(context, settings.certificate, settings.key, settings.password)
    return context


_SYSTEM_BUNDLES = (
    "/etc/ssl/cert.pem",  # Alpine, Arch, Fedora, BSD
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # RHEL
    "/etc/pki/tls/cert.pem",
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu
    "/etc/ssl/ca-bundle.pem",  # SUSE
)
"""Where distributions keep what they trust, for a Python whose OpenSSL was built to look elsewhere."""
_HASHED_NAME = re.compile(r"[0-9a-f]{8}\.r?\d+")
"""A name by which OpenSSL looks up an authority's certificate in a folder."""


def _system_context() -> ssl.SSLContext:
    if sys.platform in {"darwin", "win32"}:
        return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # On Linux truststore would read the same files again for each connection: 24 ms each time, against 0.006 ms.
    context = ssl.create_default_context()
    if context.get_ca_certs() or _has_hashed_names(ssl.get_default_verify_paths().capath):
        return context
    bundle = next(filter(os.path.isfile, _SYSTEM_BUNDLES), None)
    if bundle is None:
        # A minimal image has no certificates; certifi is there wherever huggingface_hub's own client is.
        with contextlib.suppress(ImportError):
            import certifi

            bundle = certifi.where()
    if bundle is not None:
        context.load_verify_locations(cafile=bundle)
    return context


def _has_hashed_names(folder: str | os.PathLike[str] | None) -> bool:
    return folder is not None and any(_HASHED_NAME.fullmatch(entry.name) for entry in os.scandir(folder))


def _trusting(sources: list[tuple[str, str]], error: type[OpenModelsError]) -> ssl.SSLContext:
    """Return a context that trusts the certificates of (name, path) pairs."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # companies hand out intermediate authorities
    for name, value in sources:
        # OpenSSL takes several folders in SSL_CERT_DIR.
        for path in value.split(os.pathsep) if name == "SSL_CERT_DIR" else [value]:
            try:
                _load_authorities(context, Path(path).expanduser())
            except ssl.SSLError as failure:
                raise error(
                    f"{name}: {path!r} holds no certificate in PEM form.",
                    next_step="Export the authority's certificate as PEM, which begins with BEGIN CERTIFICATE.",
                ) from failure
            except OSError as failure:
                raise error(
                    f"{name}: {path!r} cannot be read: {failure.strerror}.",
                    next_step="Check the path." if error is InvalidRequest else f"Correct or unset {name}.",
                ) from failure
    return context


def _load_authorities(context: ssl.SSLContext, path: Path) -> None:
    """Trust the certificates of a file, or of all files of a folder."""
    if not path.is_dir():
        context.load_verify_locations(cafile=path)
        return
    is_empty = True
    for file in sorted(path.iterdir()):
        # Beside certificates there may be keys and requests; c_rehash's links name certificates a second time.
        with contextlib.suppress(ssl.SSLError):
            if file.is_file() and not _HASHED_NAME.fullmatch(file.name):
                context.load_verify_locations(cafile=file)
                is_empty = False
    if is_empty:
        context.load_verify_locations(capath=path)  # perhaps only hashed names, which OpenSSL looks up by itself
        if not _has_hashed_names(path):
            raise ssl.SSLError(0, "no certificate")


def _load_client_certificate(
    context: ssl.SSLContext, certificate: str, key: str | None, password: Secret | None
) -> None:
    for path in (certificate, key):
        if path is not None and not Path(path).is_file():
            raise InvalidRequest(f"cert: there is no file {path!r}.", next_step="Check the path.")
    try:
        # Without a callback OpenSSL would ask for a password on the terminal.
        context.load_cert_chain(certificate, key, lambda: password.reveal() if password is not None else "")
    except (ssl.SSLError, OSError, ValueError) as error:
        raise InvalidRequest(
            f"cert: {certificate!r} cannot be used with the key in {key or certificate!r}.",
            next_step="Both must be PEM and belong together; "
            "an encrypted key needs its password: cert=(certificate, key, password).",
        ) from error
