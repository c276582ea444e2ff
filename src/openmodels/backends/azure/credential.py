"""Microsoft Entra tokens from any credential, within a call's deadline."""

import asyncio
import contextvars
import inspect
import ssl
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from azure.core.credentials import AccessTokenInfo
from azure.core.exceptions import AzureError, ServiceRequestError, ServiceResponseError

from openmodels import background
from openmodels.backends import registry
from openmodels.deadline import deadline_exceeded, seconds_left
from openmodels.errors import AuthenticationFailed, ConnectionFailed, OpenModelsError, UnsupportedFeature
from openmodels.http import status_errors
from openmodels.http.connection import ConnectionSettings
from openmodels.http.secrets import Secret, check_key

deadline: ContextVar[float | None] = ContextVar("deadline", default=None)
"""When the call that asks for a token must be over, on the clock of `time.monotonic()`."""


class TokenSource:
    """Where the clients get their tokens: a credential.

    Args:
        credential: Any object with `get_token` or `get_token_info`, synchronous or asynchronous;
            None is azure-identity's `DefaultAzureCredential`, made when the first token is needed.
        connection: The proxy and certificates for that one.
    """

    def __init__(self, credential: Any = None, *, connection: ConnectionSettings | None = None) -> None:
        self._credential = credential
        self._connection = connection or ConnectionSettings()
        self._lock = threading.Lock()
        self.seen: tuple[Secret, ...] = ()  # the tokens given last, for no error to quote them

    def get_token_info(self, *scopes: str, options: Mapping[str, Any] | None = None) -> AccessTokenInfo:
        """Return a token, waiting for it until the call's deadline.

        Raises:
            AuthenticationFailed: The credential gives none.
            ConnectionFailed: The identity service cannot be reached.
            UnsupportedFeature: The credential is asynchronous.
            DeadlineExceeded: It takes too long.
        """
        future = self._start(scopes, options)
        if not wait([future], seconds_left(deadline.get())).done:
            raise deadline_exceeded()
        with _translated_errors():
            token = future.result()
        if inspect.iscoroutine(token):
            token.close()
            raise UnsupportedFeature(
                "credential: it is asynchronous, and this call is not.",
                next_step="Use the class of the same name from azure.identity, which serves both kinds of call.",
            )
        return self._check(token)

    async def aget_token_info(self, *scopes: str, options: Mapping[str, Any] | None = None) -> AccessTokenInfo:
        """The asynchronous twin of `get_token_info`; no credential blocks the event loop."""
        with _translated_errors():
            token = await asyncio.wrap_future(self._start(scopes, options))
            if inspect.isawaitable(token):
                token = await token
        return self._check(token)

    def _start(self, scopes: tuple[str, ...], options: Mapping[str, Any] | None) -> Future[Any]:
        # Credentials start processes and try addresses that never answer: only a thread can be left behind.
        context = contextvars.copy_context()
        return background.start(context.run, self._request_token, scopes, options or {})

    def _request_token(self, scopes: tuple[str, ...], options: Mapping[str, Any]) -> Any:
        with self._lock:
            if self._credential is None:
                from azure.identity import DefaultAzureCredential

                self._credential = DefaultAzureCredential(**_identity_options(self._connection))
        if hasattr(self._credential, "get_token_info"):
            return self._credential.get_token_info(*scopes, options=options)
        return self._credential.get_token(*scopes, **options)

    def _check(self, answer: Any) -> AccessTokenInfo:
        """Return a credential's answer as a token, or raise AuthenticationFailed."""
        token, expires_on = getattr(answer, "token", None), getattr(answer, "expires_on", None)
        if not isinstance(token, str) or not token or not isinstance(expires_on, int | float):
            raise AuthenticationFailed(f"The credential gave no token but an object of {type(answer).__name__}.")
        secret = check_key(token, "credential: its token")
        self.seen = (*self.seen[-1:], *([secret] if secret else []))
        if isinstance(answer, AccessTokenInfo):
            return answer
        return AccessTokenInfo(token, int(expires_on))


def _identity_options(connection: ConnectionSettings) -> dict[str, Any]:
    """Return a connection's proxy and certificates as options of azure-identity."""
    # What the environment says of both, azure-identity reads by itself.
    options: dict[str, Any] = {}
    if connection.proxy is not None:
        url = connection.proxy.url.reveal()
        options["proxies"] = {"http": url, "https": url}
    elif not connection.uses_environment_proxy:
        options["use_env_settings"] = False
    tls = connection.tls
    if not isinstance(tls.verify, ssl.SSLContext) and tls.verify is not True:
        options["connection_verify"] = tls.verify
    if tls.certificate is not None and tls.password is None:
        options["connection_cert"] = tls.certificate if tls.key is None else (tls.certificate, tls.key)
    return options


@contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except OpenModelsError:
        raise
    except ModuleNotFoundError as error:
        raise registry.missing_extra("azure", "azure", error) from error
    except (ServiceRequestError, ServiceResponseError) as error:
        raise ConnectionFailed(f"No token, for the identity service was not reached: {_describe(error)}") from error
    except Exception as error:
        raise AuthenticationFailed(
            f"The credential gave no token: {_describe(error)}",
            next_step="Sign in with `az login`, or pass `api_key=` or another `credential=`.",
        ) from error


def _describe(error: Exception) -> str:
    # Only Azure's own messages are known to hold no secret.
    text = status_errors.redact(str(error), ()) if isinstance(error, AzureError) else type(error).__name__
    return text if text.endswith((".", "…")) else f"{text}."
