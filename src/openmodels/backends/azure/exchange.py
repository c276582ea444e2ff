"""Requests to Azure: the pipeline of `azure-ai-inference` before the HTTP client.

The pipeline authenticates, answers challenges, traces and logs. Its transport is the HTTP client: the transports
of azure-core have no total deadline, and leave their connections to the event loop in which they began.
"""

import asyncio
from asyncio import AbstractEventLoop
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from azure.ai.inference import ChatCompletionsClient
from azure.ai.inference.aio import ChatCompletionsClient as AsyncChatCompletionsClient
from azure.core.pipeline import PipelineRequest, policies, transport
from azure.core.rest import HttpRequest as AzureRequest
from azure.core.utils import CaseInsensitiveDict

from openmodels.backends.azure import credential
from openmodels.backends.azure.credential import TokenSource
from openmodels.deadline import deadline_exceeded, seconds_left
from openmodels.errors import AuthenticationFailed, OpenModelsError
from openmodels.http.address import Address
from openmodels.http.async_transport import AsyncHttpResponse
from openmodels.http.client import HttpClient
from openmodels.http.messages import BaseResponse, HttpRequest
from openmodels.http.secrets import Secret
from openmodels.http.sync_transport import HttpResponse

_Client = TypeVar("_Client", ChatCompletionsClient, AsyncChatCompletionsClient)

# In the places of retries and redirects: even switched off, Azure's own read what a server says of waiting.
_OFF: dict[str, Any] = {"retry_policy": policies.SansIOHTTPPolicy(), "redirect_policy": policies.SansIOHTTPPolicy()}


class AzureExchange:
    """Sends requests to one endpoint, authenticated and traced by Azure's client.

    It sends a key, tokens for `scope`, or neither.
    """

    def __init__(
        self, address: Address, authentication: Secret | TokenSource | None, scope: str, client: HttpClient
    ) -> None:
        self._address = address
        self._authentication = authentication
        self._scope = scope
        self._http_client = client
        # Whether plain http is acceptable, `allow_http` has decided already.
        self._options: dict[str, Any] = {"stream": True, "enforce_https": address.scheme == "https"}
        self._client = self._make_client(ChatCompletionsClient, _PipelineTransport(client))
        # Its policies hold locks that belong to an event loop, so each loop has a client of its own.
        self._async_clients: WeakKeyDictionary[AbstractEventLoop, AsyncChatCompletionsClient] = WeakKeyDictionary()

    def send(self, request: HttpRequest, deadline: float | None) -> HttpResponse:
        """Return the response, its headers read; see `HttpClient.send`."""
        with _running_call(deadline):
            response: Any = self._client.send_request(self._azure_request(request), **self._options)
        http_response: HttpResponse = response.internal_response
        return http_response

    async def asend(self, request: HttpRequest, deadline: float | None) -> AsyncHttpResponse:
        """The asynchronous twin of `send`."""
        client, azure_request = self._async_client(), self._azure_request(request)
        # The transport keeps the deadline itself, a credential does not.
        seconds = seconds_left(deadline) if isinstance(self._authentication, TokenSource) else None
        with _running_call(deadline):
            async with asyncio.timeout(seconds):
                response: Any = await client.send_request(azure_request, **self._options)
        http_response: AsyncHttpResponse = response.internal_response
        return http_response

    def close(self) -> None:
        """Close idle connections; the exchange stays usable."""
        self._http_client.close()

    def _async_client(self) -> AsyncChatCompletionsClient:
        loop = asyncio.get_running_loop()
        if loop not in self._async_clients:
            sender = _AsyncPipelineTransport(self._http_client)
            self._async_clients[loop] = self._make_client(AsyncChatCompletionsClient, sender)
        return self._async_clients[loop]

    def _make_client(self, kind: type[_Client], sender: "_PipelineTransport | _AsyncPipelineTransport") -> _Client:
        policy: Any
        match self._authentication:
            case Secret() as key:
                policy = _KeyPolicy(key)
            case TokenSource() as tokens if kind is AsyncChatCompletionsClient:
                token_getter: Any = SimpleNamespace(get_token_info=tokens.aget_token_info)
                policy = policies.AsyncBearerTokenCredentialPolicy(token_getter, self._scope)
            case TokenSource() as tokens:
                token_getter = tokens
                policy = policies.BearerTokenCredentialPolicy(token_getter, self._scope)
            case None:
                policy = policies.SansIOHTTPPolicy()
        # With a policy the client does not look at its credential.
        make: Any = kind
        client: _Client = make(str(self._address), object(), authentication_policy=policy, transport=sender, **_OFF)
        return client

    def _azure_request(self, request: HttpRequest) -> AzureRequest:
        # The client fills {names} into addresses.
        url = request.url.replace("{", "%7B").replace("}", "%7D")
        return AzureRequest(request.method, url, headers=dict(request.headers), content=request.body or None)


class _KeyPolicy(policies.SansIOHTTPPolicy[Any, Any]):
    """Sends a key that no attribute shows, as the client's own policy would."""

    def __init__(self, key: Secret) -> None:
        super().__init__()
        self._key = key

    def on_request(self, request: PipelineRequest[Any]) -> None:
        """Put the key into the headers that the two kinds of endpoints read."""
        request.http_request.headers["Authorization"] = f"Bearer {self._key.reveal()}"
        request.http_request.headers["api-key"] = self._key.reveal()


_responses: ContextVar[list[BaseResponse]] = ContextVar("openmodels_azure_responses")
"""The responses to the running call; a policy that answers a challenge sends the request again."""


@contextmanager
def _running_call(deadline: float | None) -> Iterator[None]:
    """Close the responses that are not returned, and raise our errors."""
    responses: list[BaseResponse] = []
    responses_before, deadline_before = _responses.set(responses), credential.deadline.set(deadline)
    try:
        yield
    except BaseException as error:
        _close(responses)
        if isinstance(error, OpenModelsError) or not isinstance(error, Exception):
            raise
        if isinstance(error, TimeoutError):
            raise deadline_exceeded() from error
        # The transport raises our own errors: what remains is a policy that failed to authenticate.
        raise AuthenticationFailed(
            f"The request could not be authenticated: {type(error).__name__}.",
            next_step="Check `api_key=` or `credential=`.",
        ) from error
    else:
        _close(responses[:-1])
    finally:
        _responses.reset(responses_before)
        credential.deadline.reset(deadline_before)


def _close(responses: list[BaseResponse]) -> None:
    for response in responses:
        response.close()


class _PipelineTransport:
    """The end of a pipeline, which sends through the HTTP client."""

    def __init__(self, client: HttpClient) -> None:
        self._client = client

    def send(self, request: AzureRequest, **_: Any) -> Any:
        """Return the response to a request, its headers read."""
        response = self._client.send(_http_request(request), credential.deadline.get())
        return _pipeline_response(transport.HttpResponse, request, response)


class _AsyncPipelineTransport:
    """The asynchronous twin of `_PipelineTransport`."""

    def __init__(self, client: HttpClient) -> None:
        self._client = client

    async def send(self, request: AzureRequest, **_: Any) -> Any:
        """Return the response to a request, its headers read."""
        response = await self._client.asend(_http_request(request), credential.deadline.get())
        return _pipeline_response(transport.AsyncHttpResponse, request, response)


def _pipeline_response(kind: Any, request: AzureRequest, response: BaseResponse) -> Any:
    """Return a response as policies read it, around that of the HTTP client."""
    _responses.get().append(response)
    pipeline_response = kind(request, response)
    pipeline_response.status_code = response.status
    pipeline_response.headers = CaseInsensitiveDict(response.headers)
    pipeline_response.content_type = response.headers.get("content-type")
    return pipeline_response


def _http_request(request: AzureRequest) -> HttpRequest:
    headers = tuple((name, value) for name, value in request.headers.items() if name.lower() != "content-length")
    return HttpRequest(request.method, request.url, headers, request.content or b"")
