"""The base of every backend that speaks the OpenAI dialect over HTTP.

A subclass says where the server is, who may ask, how options are spelled and what errors mean. The
rest (encoding, the exchange, decoding, sync and async) is here.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, ClassVar, TypeVar

from typing_extensions import TypedDict

from openmodels import settings
from openmodels.backends.base import Backend, Request
from openmodels.backends.batch_limits import Batches, join_embeddings, join_rankings
from openmodels.errors import OpenModelsError
from openmodels.http import decompression, status_errors, tls
from openmodels.http.address import parse_address
from openmodels.http.client import Exchange, HttpClient
from openmodels.http.connection import ConnectionSettings
from openmodels.http.messages import BaseResponse, HttpRequest
from openmodels.http.secrets import Secret, check_headers, check_key
from openmodels.openai_wire import decode, embeddings as vectors, encode, rerank as rankings
from openmodels.openai_wire.parameter_fallbacks import ParameterFallbacks
from openmodels.output.text_scan import REASONING_TAGS
from openmodels.types.embeddings import Embeddings, EmbedRequest
from openmodels.types.rankings import Ranking, RerankRequest
from openmodels.types.reply import Delta
from openmodels.types.request import ChatRequest

_Texts = TypeVar("_Texts", EmbedRequest, RerankRequest)
_Outcome = TypeVar("_Outcome", Embeddings, Ranking)


class ServerOptions(TypedDict, total=False):
    """The options of `OpenAICompatible`, for constructors that pass them on."""

    api_key: str | Secret | None
    headers: Mapping[str, str | Secret] | None
    allow_http: bool
    proxy: str | Secret | None
    verify: tls.VerifyOption
    cert: tls.CertificateOption


@dataclass(frozen=True, slots=True)
class EncodedRequest:
    """A request as it is prepared."""

    http_request: HttpRequest
    # What the caller asks for; None for requests of the backend itself.
    request: Request | None = field(default=None, repr=False)
    body: dict[str, Any] = field(default_factory=dict, repr=False)
    texts: tuple[str, ...] = field(default=(), repr=False)  # the prompt's texts, which no error may quote


_Prepare = Callable[[_Texts, str | None], EncodedRequest]
_Read = Callable[[bytes, _Texts, decode.TranslateError], _Outcome]
_PLAIN_HEADERS = frozenset({"Content-Type", "Accept", "Accept-Encoding", "User-Agent"})  # headers that hold no secret

AFTER_FINISH = 5.0  # seconds to wait for usage and end mark once the finish reason is there
AFTER_END = 0.25  # seconds to wait for the connection to become free once the end mark is there


class OpenAICompatible(Backend):
    """Speaks to one server.

    Args:
        rest: The model's name for the server.
        base_url: The address that "/chat/completions" is appended to.
        api_key: Sent as a bearer token, to this address only.
        headers: More headers, sent to this address only.
        allow_http: Accept unencrypted http to other machines than this one.
        proxy: The proxy of all requests, e.g. "http://name:password@host:3128" or "socks5h://host:1080"; None
            takes the environment's, "" none.
        verify: Whose certificates are trusted: the system's (or the environment's), those of a PEM file or
            folder, those of an `ssl.SSLContext`, or with False any.
        cert: The client's certificate: a PEM file, (certificate, key) or (certificate, key, password).

    Raises:
        InvalidRequest: The address, the key or a header is not acceptable; no key is shown.
    """

    wire_options: ClassVar[frozenset[str]] = encode.OPENAI_OPTIONS
    features: frozenset[str] = frozenset({"chat", "complete", "embed", "images"})
    takes_secrets: ClassVar[bool] = True
    """Whether keys and headers may come wrapped, so that no frame on the way shows them."""

    def __init__(
        self,
        rest: str = "",
        *,
        base_url: str,
        api_key: str | Secret | None = None,
        headers: Mapping[str, str | Secret] | None = None,
        allow_http: bool = False,
        proxy: str | Secret | None = None,
        verify: tls.VerifyOption = True,
        cert: tls.CertificateOption = None,
    ) -> None:
        super().__init__(rest)
        self.options = self.wire_options | {"extra", *encode.FORM_OPTIONS}
        self.address = parse_address(base_url, allow_http=allow_http)
        self.api_key = check_key(api_key)
        self.headers = check_headers(headers)
        # How connections are made: `proxy`, `verify` and `cert`, checked.
        self.connection = ConnectionSettings.from_options(proxy=proxy, verify=verify, cert=cert)
        self.fallbacks = ParameterFallbacks()  # what the server has shown that it takes
        self._batch: int | None = None  # the most texts that the server takes at once, once it has said so
        self._exchange: Exchange | None = None
        self._lock = threading.Lock()

    @property
    def origin(self) -> str | None:
        """The server's address."""
        return str(self.address)

    def make_exchange(self) -> Exchange:
        """Return what carries the requests; called once."""
        return HttpClient(self.connection)

    def authorization(self) -> dict[str, str]:
        """Return the headers that carry the key; asked for each request."""
        return {} if self.api_key is None else {"Authorization": f"Bearer {self.api_key.reveal()}"}

    def path(self, request: ChatRequest) -> str:
        """Return the path below the address for a request."""
        return "/chat/completions" if request.prompt is None else "/completions"

    def body(self, request: ChatRequest, model: str | None) -> dict[str, Any]:
        """Return the JSON body of a request."""
        return encode.encode_chat(request, model, self.wire_options)

    def encode_embedding(self, request: EmbedRequest, model: str | None) -> tuple[str, dict[str, Any]]:
        """Return the target (path and query) and JSON body of a request for embeddings."""
        return self.address.target("/embeddings"), vectors.encode_request(request, model)

    def rerank_target(self) -> str:
        """Return the request target of rankings: path and query."""
        return self.address.target("/rerank")

    def read_embeddings(self, body: bytes, request: EmbedRequest, translate_error: decode.TranslateError) -> Embeddings:
        """Return what the answer to a request for embeddings holds."""
        return vectors.read_embeddings(body, request, translate_error)

    def translate_error(self, failure: status_errors.FailedResponse) -> OpenModelsError:
        """Return the error that a failed answer is."""
        return status_errors.error_from_response(failure)

    def resolve_model(self, deadline: float | None) -> str | None:  # noqa: ARG002 - a subclass may ask the server
        """Return the model's name for the server, or None to send none."""
        return self.rest or None

    async def aresolve_model(self, deadline: float | None) -> str | None:
        """The asynchronous twin of `resolve_model`."""
        return self.resolve_model(deadline)

    def compute_cost(self, last: Delta, headers: Mapping[str, str]) -> float | None:  # noqa: ARG002 - a subclass may know
        """Return what a call costs in US dollars, or None where no price is known."""
        return None

    def can_recover(self, error: OpenModelsError, prepared: EncodedRequest) -> bool:
        """Return whether to send a refused request again, in the form it demands."""
        if not isinstance(prepared.request, ChatRequest):
            return False
        return self.fallbacks.learn(error.status, error.refusal, prepared.body, prepared.request)

    def record_success(self, prepared: EncodedRequest, reasoning: str | None = None) -> None:  # noqa: ARG002 - a subclass looks at it
        """Note that a request was answered, and the field in which reasoning came."""
        self.fallbacks.observe(reasoning)

    def run(self, request: ChatRequest) -> Generator[Delta, None, None]:
        """Yield the answer's deltas as they come; see `Backend.run`."""
        model = self.resolve_model(request.deadline)
        while True:
            decoder = None
            prepared = self._prepare_chat(request, model)
            try:
                with (
                    self.exchange.send(prepared.http_request, request.deadline) as response,
                    self._decoder(response, prepared, request) as decoder,
                ):
                    for data in response:
                        yield from decoder.feed(data)
                        if _has_enough(decoder, response):
                            break
                for delta in decoder.finish():
                    yield self._last_delta(delta, decoder, response, prepared)
            except OpenModelsError as error:
                if (decoder and decoder.has_begun) or not self.can_recover(error, prepared):
                    raise
            else:
                return

    async def arun(self, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        """The asynchronous twin of `run`; cancelling it closes the connection."""
        model = await self.aresolve_model(request.deadline)
        while True:
            decoder = None
            prepared = self._prepare_chat(request, model)
            try:
                with (
                    await self.exchange.asend(prepared.http_request, request.deadline) as response,
                    self._decoder(response, prepared, request) as decoder,
                ):
                    async for data in response:
                        for delta in decoder.feed(data):
                            yield delta
                        if _has_enough(decoder, response):
                            break
                for delta in decoder.finish():
                    yield self._last_delta(delta, decoder, response, prepared)
            except OpenModelsError as error:
                if (decoder and decoder.has_begun) or not self.can_recover(error, prepared):
                    raise
            else:
                return

    def _last_delta(
        self, delta: Delta, decoder: decode.ChatDecoder, response: BaseResponse, prepared: EncodedRequest
    ) -> Delta:
        self.record_success(prepared, decoder.reasoning_field)
        delta.cost = self.compute_cost(delta, response.headers)
        return delta

    def embed(self, request: EmbedRequest) -> Embeddings:
        """Return the vectors of the texts, in batches where the server asks for them."""
        return join_embeddings(self._run_batches(request, self._prepare_embedding, self.read_embeddings))

    async def aembed(self, request: EmbedRequest) -> Embeddings:
        """The asynchronous twin of `embed`; cancelling it closes the connection."""
        return join_embeddings(await self._arun_batches(request, self._prepare_embedding, self.read_embeddings))

    def rerank(self, request: RerankRequest) -> Ranking:
        """Return the ranking of the documents, in batches where the server asks for them."""
        return join_rankings(self._run_batches(request, self._prepare_ranking, rankings.read_ranking), request)

    async def arerank(self, request: RerankRequest) -> Ranking:
        """The asynchronous twin of `rerank`."""
        return join_rankings(await self._arun_batches(request, self._prepare_ranking, rankings.read_ranking), request)

    def _run_batches(
        self, request: _Texts, prepare: _Prepare[_Texts], read: _Read[_Texts, _Outcome]
    ) -> list[tuple[int, _Outcome]]:
        model = self.resolve_model(request.deadline)
        batches: Batches[_Texts, _Outcome] = Batches(request, self._batch)
        for piece in batches:
            prepared = prepare(piece, model)
            with self._batch_of(prepared, batches):
                body = self._fetch(prepared, request.deadline)
                batches.add(read(body.finish(), piece, body.translate_error))
        return batches.parts

    async def _arun_batches(
        self, request: _Texts, prepare: _Prepare[_Texts], read: _Read[_Texts, _Outcome]
    ) -> list[tuple[int, _Outcome]]:
        model = await self.aresolve_model(request.deadline)
        batches: Batches[_Texts, _Outcome] = Batches(request, self._batch)
        for piece in batches:
            prepared = prepare(piece, model)
            with self._batch_of(prepared, batches):
                body = await self._afetch(prepared, request.deadline)
                batches.add(read(body.finish(), piece, body.translate_error))
        return batches.parts

    @contextmanager
    def _batch_of(self, prepared: EncodedRequest, batches: Batches[Any, Any]) -> Generator[None, None, None]:
        """Swallow the refusal of a batch that is sent again, in another form or size."""
        try:
            yield
            self.record_success(prepared)
        except OpenModelsError as error:
            if self.can_recover(error, prepared):
                return
            if not batches.shrink(error):
                if error.next_step is None and batches.is_too_large(error):
                    error.next_step = "Send fewer or shorter texts."
                raise
            self._batch = batches.learned or self._batch

    def get(self, path: str, deadline: float | None) -> bytes:
        """Return the body of a GET, at most `decode.LONGEST_BODY` bytes."""
        return self._fetch(self._prepare_get(path), deadline).finish()

    async def aget(self, path: str, deadline: float | None) -> bytes:
        """The asynchronous twin of `get`."""
        return (await self._afetch(self._prepare_get(path), deadline)).finish()

    @property
    def exchange(self) -> Exchange:
        """What carries the requests, made by the first one."""
        if self._exchange is None:
            with self._lock:
                self._exchange = self._exchange or self.make_exchange()
        return self._exchange

    def close(self) -> None:
        """Close idle connections; a later call opens new ones."""
        if self._exchange is not None:
            self._exchange.close()

    def describe(self) -> dict[str, Any]:
        """Return the backend's name, the model's and the address."""
        return {"backend": self.name, "model": self.rest or None, "address": str(self.address)}

    def _prepare_chat(self, request: ChatRequest, model: str | None) -> EncodedRequest:
        body = self.fallbacks.adapt(self.body(request, model), request)
        texts = [message.text for message in request.messages] if request.prompt is None else [request.prompt]
        http_request = self._http_request(self.address.target(self.path(request)), body, stream=request.stream)
        return EncodedRequest(http_request, request, body, tuple(texts))

    def _prepare_embedding(self, request: EmbedRequest, model: str | None) -> EncodedRequest:
        return self._prepare_texts(request, request.texts, *self.encode_embedding(request, model))

    def _prepare_ranking(self, request: RerankRequest, model: str | None) -> EncodedRequest:
        texts = (request.query, *request.documents)
        return self._prepare_texts(request, texts, self.rerank_target(), rankings.encode_request(request, model))

    def _prepare_texts(
        self, request: Request, texts: tuple[str, ...], target: str, body: dict[str, Any]
    ) -> EncodedRequest:
        # Joined, for each long secret costs time; a text of a few letters is part of any error anyway.
        secrets = ("\n".join(texts), *(text for text in texts if 8 <= len(text) <= status_errors.ECHO))
        return EncodedRequest(self._http_request(target, body), request, body, secrets)

    def _prepare_get(self, path: str) -> EncodedRequest:
        return EncodedRequest(self._http_request(self.address.target(path)))

    def _http_request(self, target: str, body: dict[str, Any] | None = None, *, stream: bool = False) -> HttpRequest:
        method, data = ("GET", b"") if body is None else ("POST", encode.to_json(body))
        return HttpRequest(method, self.address.origin + target, self._headers(stream=stream), data)

    def _fetch(self, prepared: EncodedRequest, deadline: float | None) -> decode.ResponseBody:
        with (
            self.exchange.send(prepared.http_request, deadline) as response,
            self._response_body(response, prepared) as body,
        ):
            for data in response:
                body.feed(data)
                if body.is_full:
                    break
        return body

    async def _afetch(self, prepared: EncodedRequest, deadline: float | None) -> decode.ResponseBody:
        with (
            await self.exchange.asend(prepared.http_request, deadline) as response,
            self._response_body(response, prepared) as body,
        ):
            async for data in response:
                body.feed(data)
                if body.is_full:
                    break
        return body

    def _response_body(self, response: BaseResponse, prepared: EncodedRequest) -> decode.ResponseBody:
        return decode.ResponseBody(
            response.status, response.headers, partial(self._translate_error_response, response, prepared)
        )

    def _headers(self, *, stream: bool) -> tuple[tuple[str, str], ...]:
        headers = {
            "Content-Type": "application/json",
            "Accept": "text/event-stream" if stream else "application/json",
            # Compression makes proxies collect a stream before they pass it on.
            "Accept-Encoding": "identity" if stream else decompression.ACCEPTED,
            "User-Agent": _user_agent(),
        }
        headers |= self.authorization()
        headers |= {name: value.reveal() for name, value in self.headers.items()}
        return tuple(headers.items())

    def _secrets(self, prepared: EncodedRequest) -> tuple[str, ...]:
        """Return what no error may quote, in full or in part."""
        # A server may quote the credential without its scheme: of "Bearer KEY" each word counts by itself.
        headers = [pair for pair in prepared.http_request.headers if pair[0] not in _PLAIN_HEADERS]
        keys = [value.removeprefix("Bearer ") for name, value in headers if name == "Authorization"]
        words = [word for _, value in headers for word in (value, *value.split()) if len(word) >= 8]
        return (*keys, *words, *prepared.texts)

    def _decoder(self, response: BaseResponse, prepared: EncodedRequest, request: ChatRequest) -> decode.ChatDecoder:
        return decode.ChatDecoder(
            response.status,
            response.headers,
            partial(self._translate_error_response, response, prepared),
            answers=request.n or 1,
            top_logprobs=request.logprobs,
            # Without a chat template, tags are text like any other.
            tags=REASONING_TAGS if request.prompt is None else (),
        )

    def _translate_error_response(
        self, response: BaseResponse, prepared: EncodedRequest, body: bytes | object
    ) -> OpenModelsError:
        failure = status_errors.read_failed_response(
            response.status, response.headers, body, host=self.address.authority, secrets=self._secrets(prepared)
        )
        error = self.translate_error(failure)
        error.refusal = failure.words
        return error


def _has_enough(decoder: decode.ChatDecoder, response: BaseResponse) -> bool:
    """Return whether to stop reading; a complete answer may take a moment to end."""
    if not decoder.is_complete:
        return decoder.is_ended
    response.shorten_deadline(AFTER_END if decoder.is_ended else AFTER_FINISH)
    return False


@lru_cache(maxsize=1)
def _user_agent() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"openmodels/{version(settings.DISTRIBUTION)}"
    except PackageNotFoundError:
        return "openmodels"
