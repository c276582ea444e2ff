"""Errors of sockets, resolvers and clocks, as errors of `openmodels.errors`."""

from __future__ import annotations

import socket
import ssl
import time

from openmodels.errors import ConnectionFailed, DeadlineExceeded, NotConfigured, OpenModelsError


def deadline_exceeded() -> DeadlineExceeded:
    """Return the error for a passed deadline."""
    return DeadlineExceeded("The call's total time is up.", next_step="Raise `timeout` or lower `max_tokens`.")


def read_timeout(seconds: float) -> ConnectionFailed:
    """Return the error for a server that has stopped sending."""
    return ConnectionFailed(f"The server has sent nothing for {seconds:g} s; the connection was given up.")


def connect_timeout(seconds: float, peer: str) -> ConnectionFailed:
    """Return the error for a connection that was not made in time."""
    return ConnectionFailed(f"No connection to {peer} within {seconds:g} s.", next_step="Check address and network.")


def proxy_refused(status: int, peer: str) -> OpenModelsError:
    """Return the error for a proxy that answers a CONNECT request with this status."""
    if status == 407:
        return NotConfigured(
            f"{peer[:1].upper()}{peer[1:]} asks for a name and password.",
            next_step="Put them into HTTPS_PROXY or `proxy=`: http://name:password@host:port.",
            status=407,
        )
    return ConnectionFailed(f"{peer[:1].upper()}{peer[1:]} answered {status} instead of connecting.", status=status)


def network_error(error: OSError | EOFError, peer: str) -> OpenModelsError:
    """Return what an error of a socket means.

    Args:
        error: The error; EOFError for a connection that was closed too early.
        peer: The other side, as an error names it: "host:port".
    """
    check = "Check `base_url` and the network."
    if isinstance(error, socket.gaierror):
        passing = error.errno == socket.EAI_AGAIN
        return ConnectionFailed(f"The name of {peer} could not be resolved (DNS).", next_step=check, retryable=passing)
    if isinstance(error, ssl.SSLCertVerificationError):
        return ConnectionFailed(
            f"The certificate of {peer} is not trusted (TLS): {error.verify_message}.",
            next_step="Check `base_url`; a private authority's certificate goes into `verify=` or SSL_CERT_FILE.",
            retryable=False,
        )
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        reason = (error.reason or "handshake failed").replace("_", " ").lower()
        return ConnectionFailed(
            f"No encrypted connection to {peer} (TLS: {reason}).",
            next_step="Check whether the server speaks https at this address.",
            retryable=False,
        )
    if isinstance(error, ConnectionRefusedError):
        return ConnectionFailed(f"{peer} refused the connection.", next_step="Check that the server runs there.")
    if isinstance(error, ConnectionResetError | BrokenPipeError | ConnectionAbortedError):
        return ConnectionFailed(f"{peer} reset the connection.")
    if isinstance(error, EOFError | ssl.SSLError):
        return ConnectionFailed(f"{peer} closed the connection before the end of its answer.")
    return ConnectionFailed(f"No connection to {peer}: {error.strerror or type(error).__name__}.", next_step=check)


def seconds_left(deadline: float | None) -> float | None:
    """Return the seconds until a deadline, or None for no limit.

    Args:
        deadline: On the clock of `time.monotonic()`, or None.

    Raises:
        DeadlineExceeded: There are none.
    """
    if deadline is None:
        return None
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise deadline_exceeded()
    return seconds
