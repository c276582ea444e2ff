"""An exchange whose requests go through the client of `azure-ai-inference`.

The client's pipeline of policies authenticates, answers challenges, traces and logs. At the end of a
pipeline stands a transport, and that one is ours: the two that come with it know no total deadline,
follow what a server says of lengths and encodings, and leave connections to the loop they began in.
"""

from __future__ import annotations

import asyncio
import weakref
from asyncio import AbstractEventLoop
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Self

from azure.ai.inference import ChatCompletionsClient
from azure.ai.inference.aio import ChatCompletionsClient as AsyncChatCompletionsClient
from azure.core.pipeline import PipelineRequest
from azure.core.pipeline.policies import SansIOHTTPPolicy
from azure.core.pipeline.transport import AsyncHttpTransport, HttpTransport
from azure.core.rest import HttpRequest as AzureRequest
from azure.core.utils import CaseInsensitiveDict

from openmodels.backends.azure import credential
from openmodels.backends.azure.credential import AsyncCredential, SyncCredential, Tokens
from openmodels.errors import AuthenticationFailed, OpenModelsError
from openmodels.http.address import Address, Secret
from openmodels.http.async_transport import AsyncHttpResponse
from openmodels.http.client import HttpClient
from openmodels.http.messages import BaseResponse, HttpRequest
from openmodels.http.network_errors import deadline_exceeded, seconds_left
from openmodels.http.sync_transport import HttpResponse

# In the places of retries and redirects: even told to do neither, Azure's own read what a server says of waiting.
_OFF: dict[str, Any] = {"retry_policy": SansIOHTTPPolicy(), "redirect_policy": SansIOHTTPPolicy()}


class AzureExchange:
    """Requests to one endpoint, authenticated and traced by Azure's client.

    Args:
        to: The endpoint.
        authentication: A key, a source of tokens, or None to send neither.
        scope: What a token must be for.
    """

    def __init__(self, to: Address, authentication: Secret | Tokens | None, scope: str) -> None:
        self._to = to
        self._authentication = authentication
        self._scope = scope
        self._wire = HttpClient()
        self._client = ChatCompletionsClient(
            str(to),
            transport=_Transport(self._wire),
            **_OFF,
            **self._identity(SyncCredential),
        )
        # Its policies hold locks that belong to an event loop, so each loop has a client of its own.
        self._clients: weakref.WeakKeyDictionary[AbstractEventLoop, AsyncChatCompletionsClient]
        self._clients = weakref.WeakKeyDictionary()

    def send(self, outgoing: HttpRequest, deadline: float | None) -> HttpResponse:
        """Return the answer, its headers read; see `openmodels.http.client.Exchange`."""
        answers: list[HttpResponse] = []
        before = credential.deadline.set(deadline)
        try:
            with _guarded(answers):
                self._client.send_request(self._request(outgoing), stream=True, **self._options(answers, deadline))
        finally:
            credential.deadline.reset(before)
        _close(answers[:-1])
        return answers[-1]

    async def asend(self, outgoing: HttpRequest, deadline: float | None) -> AsyncHttpResponse:
        """The asynchronous twin of `send`."""
        answers: list[AsyncHttpResponse] = []
        client, request = self._client_here(), self._request(outgoing)
        # The transport keeps the deadline itself, a credential does not.
        rest = seconds_left(deadline) if isinstance(self._authentication, Tokens) else None
        with _guarded(answers):
            async with asyncio.timeout(rest):
                await client.send_request(request, stream=True, **self._options(answers, deadline))
        _close(answers[:-1])
        return answers[-1]

    def close(self) -> None:
        """Close idle connections; the exchange stays usable."""
        self._wire.close()

    def _client_here(self) -> AsyncChatCompletionsClient:
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            client = self._clients[loop] = AsyncChatCompletionsClient(
                str(self._to),
                transport=_AsyncTransport(self._wire),
                **_OFF,
                **self._identity(AsyncCredential),
            )
        return client

    def _identity(self, kind: type[SyncCredential | AsyncCredential]) -> dict[str, Any]:
        match self._authentication:
            case Secret() as key:
                return {"credential": kind(Tokens()), "authentication_policy": _KeyPolicy(key)}
            case Tokens() as tokens:
                return {"credential": kind(tokens), "credential_scopes": [self._scope]}
            case _:
                return {"credential": kind(Tokens()), "authentication_policy": SansIOHTTPPolicy()}

    def _request(self, outgoing: HttpRequest) -> AzureRequest:
        # The client fills {names} into addresses.
        url = outgoing.url.replace("{", "%7B").replace("}", "%7D")
        return AzureRequest(outgoing.method, url, headers=dict(outgoing.headers), content=outgoing.body or None)

    def _options(self, answers: list[Any], deadline: float | None) -> dict[str, Any]:
        # Whether http is acceptable, the address has been asked already.
        return {"answers": answers, "deadline": deadline, "enforce_https": self._to.scheme == "https"}


class _KeyPolicy(SansIOHTTPPolicy[Any, Any]):
    """Sends a key as the client's own policies do, which would keep it open in their attributes."""

    def __init__(self, key: Secret) -> None:
        super().__init__()
        self._key = key

    def on_request(self, request: PipelineRequest[Any]) -> None:
        """Put the key into the headers that the two kinds of endpoints read."""
        request.http_request.headers["Authorization"] = f"Bearer {self._key.reveal()}"
        request.http_request.headers["api-key"] = self._key.reveal()


class _Reached:
    """An answer as policies look at it: they read its status and headers, and leave the body alone."""

    def __init__(self, request: AzureRequest, answer: BaseResponse) -> None:
        self.request = request
        self.status_code = answer.status
        self.headers = CaseInsensitiveDict(answer.headers)
        self.reason = ""
        self.content_type = answer.headers.get("content-type")


class _Transport(HttpTransport[Any, Any]):
    def __init__(self, wire: HttpClient) -> None:
        self._wire = wire

    def send(self, request: AzureRequest, **options: Any) -> _Reached:
        """Send a request; `AzureExchange` reads the answer itself, the client sees its head."""
        answer = self._wire.send(_outgoing(request), options["deadline"])
        options["answers"].append(answer)
        return _Reached(request, answer)

    def open(self) -> None:
        """Nothing to do: connections are made when needed."""

    def close(self) -> None:
        """Nothing to do: the exchange closes its connections."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass


class _AsyncTransport(AsyncHttpTransport[Any, Any]):
    def __init__(self, wire: HttpClient) -> None:
        self._wire = wire

    async def send(self, request: AzureRequest, **options: Any) -> _Reached:
        """The asynchronous twin of the other transport's `send`."""
        answer = await self._wire.asend(_outgoing(request), options["deadline"])
        options["answers"].append(answer)
        return _Reached(request, answer)

    async def open(self) -> None:
        """Nothing to do: connections are made when needed."""

    async def close(self) -> None:
        """Nothing to do: the exchange closes its connections."""

    async def __aexit__(self, *error: object) -> None:
        pass


def _outgoing(request: AzureRequest) -> HttpRequest:
    headers = tuple((name, value) for name, value in request.headers.items() if name.lower() != "content-length")
    return HttpRequest(request.method, request.url, headers, request.content or b"")


def _close(answers: Iterable[BaseResponse]) -> None:
    for answer in answers:
        answer.close()


@contextmanager
def _guarded(answers: list[Any]) -> Iterator[None]:
    """Close the answers that nobody will read when the block fails, and tell its errors as ours."""
    try:
        yield
    except BaseException as error:
        _close(answers)
        if isinstance(error, OpenModelsError) or not isinstance(error, Exception):
            raise
        if isinstance(error, TimeoutError):
            raise deadline_exceeded() from error
        # The connection is ours and so are its errors: what remains is a policy that failed to authenticate.
        raise AuthenticationFailed(
            f"The request could not be authenticated: {type(error).__name__}.",
            next_step="Check `api_key=` or `credential=`.",
        ) from error
