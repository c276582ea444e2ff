"""Errors of sockets, resolvers and proxies, as errors of `openmodels.errors`."""

import socket
import ssl

from openmodels.errors import ConnectionFailed, NotConfigured, OpenModelsError

_CHECK = "Check the address and the network."


def read_timeout(seconds: float) -> ConnectionFailed:
    """Return the error for a server that has stopped sending."""
    return ConnectionFailed(f"The server has sent nothing for {seconds:g} s; the connection was given up.")


def connect_timeout(seconds: float, peer: str) -> ConnectionFailed:
    """Return the error for a connection that was not made in time."""
    return ConnectionFailed(f"No connection to {peer} within {seconds:g} s.", next_step=_CHECK)


def proxy_error(status: int, peer: str) -> OpenModelsError:
    """Return the error for a proxy that answers a CONNECT request with this status."""
    name = f"{peer[:1].upper()}{peer[1:]}"
    if status == 407:
        next_step = "Put them into HTTPS_PROXY or `proxy=`: http://name:password@host:port."
        return NotConfigured(f"{name} asks for a name and password.", next_step=next_step, status=status)
    return ConnectionFailed(f"{name} answered {status} instead of connecting.", status=status)


def network_error(error: OSError | EOFError, peer: str) -> OpenModelsError:
    """Return what an error of a socket means.

    EOFError is a connection that was closed too early; `peer` is the other side, as an error names it: "host:port".
    """
    next_step: str | None = _CHECK
    retryable = True
    if isinstance(error, socket.gaierror):
        cause, retryable = f"The name of {peer} could not be resolved (DNS)", error.errno == socket.EAI_AGAIN
    elif isinstance(error, ssl.SSLCertVerificationError):
        cause, retryable = f"The certificate of {peer} is not trusted (TLS): {error.verify_message}", False
        next_step = "Check the address; a private authority's certificate goes into `verify=` or SSL_CERT_FILE."
    elif isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        reason = (error.reason or "handshake failed").replace("_", " ").lower()
        cause, retryable = f"No encrypted connection to {peer} (TLS: {reason})", False
        next_step = "Check whether the server speaks https at this address."
    elif isinstance(error, ConnectionRefusedError):
        cause, next_step = f"{peer} refused the connection", "Check that the server runs there."
    elif isinstance(error, ConnectionResetError | BrokenPipeError | ConnectionAbortedError):
        cause, next_step = f"{peer} reset the connection", None
    elif isinstance(error, EOFError | ssl.SSLError):
        cause, next_step = f"{peer} closed the connection before the end of its answer", None
    else:
        cause = f"No connection to {peer}: {error.strerror or type(error).__name__}"
    return ConnectionFailed(f"{cause}.", next_step=next_step, retryable=retryable)
