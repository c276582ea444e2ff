"""The base of every backend that speaks the OpenAI dialect over HTTP.

A subclass says where the server is, who may ask, how options are spelled and what errors mean. The
rest (encoding, the exchange, decoding, sync and async) is here.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Generator, Mapping
from functools import lru_cache, partial
from typing import Any, ClassVar

from openmodels import settings
from openmodels.backends.base import Backend
from openmodels.embeddings import Embeddings, EmbedRequest
from openmodels.errors import ConnectionFailed, DeadlineExceeded, OpenModelsError
from openmodels.rankings import Ranking, RerankRequest
from openmodels.reasoning import TAGS
from openmodels.types import ChatRequest, Delta
from openmodels.wire import address as addresses, classify, decode, encode, inflate, rankings, vectors
from openmodels.wire.exchange import Answer, AsyncAnswer, Exchange, Outgoing
from openmodels.wire.http1 import Http1Exchange

AFTER_FINISH = 5.0
"""Seconds to wait for usage and end mark once the finish reason is there."""
AFTER_END = 0.25
"""Seconds to wait for the connection to become free once the end mark is there."""


class OpenAICompatible(Backend):
    """Speaks to one server.

    Args:
        rest: The model's name for the server.
        base_url: The address that "/chat/completions" is appended to.
        api_key: Sent as a bearer token, to this address only.
        headers: More headers, sent to this address only.
        allow_http: Accept unencrypted http to other machines than this one.

    A subclass overrides what differs:
        `names`: how options are spelled; one not in it is refused before anything is sent.
        `body(request, model)`: the JSON body; `path(request)`: the path below `base_url`.
        `embed_target(model)`, `embed_body(request, model)`, `embeddings(body, request, explain)`: the
            same for embeddings, and what their answer holds.
        `authorization()`: the headers that carry the key.
        `make_exchange()`: what carries requests, if not our own HTTP.
        `explain(failure)`: the error that a failed answer is; call `super` for what is not special.
        `model(deadline)` and `amodel(deadline)`: the model's name, if it must be asked for first.

    Raises:
        InvalidRequest: The address, the key or a header is not acceptable; no key is shown.
    """

    names: ClassVar[encode.Names] = encode.OPENAI
    features: ClassVar[frozenset[str]] = frozenset({"chat", "complete", "embed", "images"})

    def __init__(
        self,
        rest: str = "",
        *,
        base_url: str,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        allow_http: bool = False,
    ) -> None:
        super().__init__(rest)
        self.options = frozenset(self.names) | {"extra", *encode.SHAPED}
        self.address = addresses.address(base_url, allow_http=allow_http)
        self.api_key = addresses.key(api_key)
        self.headers = addresses.headers(headers)
        self._exchange: Exchange | None = None
        self._lock = threading.Lock()

    def make_exchange(self) -> Exchange:
        """Return what carries the requests; called once."""
        return Http1Exchange(self.address)

    def authorization(self) -> dict[str, str]:
        """Return the headers that carry the key; asked for each request."""
        return {} if self.api_key is None else {"Authorization": f"Bearer {self.api_key.reveal()}"}

    def path(self, request: ChatRequest) -> str:
        """Return the path below the address for a request."""
        return "/chat/completions" if request.prompt is None else "/completions"

    def body(self, request: ChatRequest, model: str | None) -> dict[str, Any]:
        """Return the JSON body of a request."""
        return encode.payload(request, model, self.names)

    def embed_target(self, model: str | None) -> str:  # noqa: ARG002 - a subclass puts it into the path
        """Return the request target of embeddings: path and query."""
        return self.address.target("/embeddings")

    def embed_body(self, request: EmbedRequest, model: str | None) -> dict[str, Any]:
        """Return the JSON body of a request for embeddings."""
        return vectors.payload(request, model)

    def rerank_target(self) -> str:
        """Return the request target of rankings: path and query."""
        return self.address.target("/rerank")

    def embeddings(self, body: bytes, request: EmbedRequest, explain: decode.Explain) -> Embeddings:
        """Return what the answer to a request for embeddings holds."""
        return vectors.embeddings(body, request, explain)

    def explain(self, failure: classify.Failure) -> OpenModelsError:
        """Return the error that a failed answer is."""
        return classify.error(failure)

    def model(self, deadline: float | None) -> str | None:  # noqa: ARG002 - a subclass may ask the server
        """Return the model's name for the server, or None to send none."""
        return self.rest or None

    async def amodel(self, deadline: float | None) -> str | None:  # noqa: ARG002
        """The asynchronous twin of `model`."""
        return self.rest or None

    def cost(self, last: Delta, headers: Mapping[str, str]) -> float | None:  # noqa: ARG002 - a subclass may know
        """Return what a call costs in US dollars, or None where no price is known.

        Args:
            last: An answer's last delta, with the usage.
            headers: The answer's headers, by lower-case name.
        """
        return None

    def run(self, request: ChatRequest) -> Generator[Delta, None, None]:
        """Yield the answer's deltas as they come; see `Backend.run`."""
        outgoing, secrets = self._outgoing(request, self.model(request.deadline))
        with self.exchange.send(outgoing, request.deadline) as answer:
            decoder = self._decoder(answer, secrets, request)
            try:
                for data in answer:
                    yield from decoder.feed(data)
                    if _over(decoder, answer):
                        break
            except (ConnectionFailed, DeadlineExceeded) as error:
                decoder.lost(error)
        for delta in decoder.end():
            delta.cost = self.cost(delta, answer.headers)
            yield delta

    async def arun(self, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        """The asynchronous twin of `run`: nothing blocks, and cancelling closes the connection."""
        outgoing, secrets = self._outgoing(request, await self.amodel(request.deadline))
        with await self.exchange.asend(outgoing, request.deadline) as answer:
            decoder = self._decoder(answer, secrets, request)
            try:
                async for data in answer:
                    for delta in decoder.feed(data):
                        yield delta
                    if _over(decoder, answer):
                        break
            except (ConnectionFailed, DeadlineExceeded) as error:
                decoder.lost(error)
        for delta in decoder.end():
            delta.cost = self.cost(delta, answer.headers)
            yield delta

    def embed(self, request: EmbedRequest) -> Embeddings:
        """Return the vectors of the texts; see `Backend.embed`."""
        outgoing, secrets = self._embedding(request, self.model(request.deadline))
        body, explain = self._fetch(outgoing, secrets, request.deadline)
        return self.embeddings(body, request, explain)

    async def aembed(self, request: EmbedRequest) -> Embeddings:
        """The asynchronous twin of `embed`: nothing blocks, and cancelling closes the connection."""
        outgoing, secrets = self._embedding(request, await self.amodel(request.deadline))
        body, explain = await self._afetch(outgoing, secrets, request.deadline)
        return self.embeddings(body, request, explain)

    def rerank(self, request: RerankRequest) -> Ranking:
        """Return the ranking of the documents; see `Backend.rerank`."""
        outgoing, secrets = self._ranking(request, self.model(request.deadline))
        body, explain = self._fetch(outgoing, secrets, request.deadline)
        return rankings.ranking(body, request, explain)

    async def arerank(self, request: RerankRequest) -> Ranking:
        """The asynchronous twin of `rerank`."""
        outgoing, secrets = self._ranking(request, await self.amodel(request.deadline))
        body, explain = await self._afetch(outgoing, secrets, request.deadline)
        return rankings.ranking(body, request, explain)

    def get(self, path: str, deadline: float | None) -> bytes:
        """Return the body of a GET below the address, at most `decode.LONGEST_BODY` bytes.

        Raises:
            OpenModelsError: As for a call.
        """
        return self._fetch(self._asking(path), self._secrets(), deadline)[0]

    async def aget(self, path: str, deadline: float | None) -> bytes:
        """The asynchronous twin of `get`."""
        return (await self._afetch(self._asking(path), self._secrets(), deadline))[0]

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

    def _outgoing(self, request: ChatRequest, model: str | None) -> tuple[Outgoing, list[str]]:
        body = encode.dumps(self.body(request, model))
        said = [message.text for message in request.messages] if request.prompt is None else [request.prompt]
        headers = self._headers(stream=request.stream)
        return Outgoing("POST", self.address.target(self.path(request)), headers, body), said + self._secrets()

    def _embedding(self, request: EmbedRequest, model: str | None) -> tuple[Outgoing, list[str]]:
        return self._texts(request.texts, self.embed_target(model), self.embed_body(request, model))

    def _ranking(self, request: RerankRequest, model: str | None) -> tuple[Outgoing, list[str]]:
        given = (request.query, *request.documents)
        return self._texts(given, self.rerank_target(), rankings.payload(request, model))

    def _texts(self, texts: tuple[str, ...], target: str, body: dict[str, Any]) -> tuple[Outgoing, list[str]]:
        # Joined, for each long secret costs time; a text of a few letters is part of any error anyway.
        said = ["\n".join(texts), *(text for text in texts if 8 <= len(text) <= classify.ECHO)]
        outgoing = Outgoing("POST", target, self._headers(stream=False), encode.dumps(body))
        return outgoing, said + self._secrets()

    def _fetch(self, outgoing: Outgoing, secrets: list[str], deadline: float | None) -> tuple[bytes, decode.Explain]:
        with self.exchange.send(outgoing, deadline) as answer:
            explain = self._explainer(answer, secrets)
            body = decode.Body(answer.status, answer.headers, explain)
            try:
                for data in answer:
                    body.feed(data)
                    if body.full:
                        break
            except (ConnectionFailed, DeadlineExceeded):
                if not (body.failed and body):  # else the status says enough
                    raise
        return body.end(), explain

    async def _afetch(
        self, outgoing: Outgoing, secrets: list[str], deadline: float | None
    ) -> tuple[bytes, decode.Explain]:
        with await self.exchange.asend(outgoing, deadline) as answer:
            explain = self._explainer(answer, secrets)
            body = decode.Body(answer.status, answer.headers, explain)
            try:
                async for data in answer:
                    body.feed(data)
                    if body.full:
                        break
            except (ConnectionFailed, DeadlineExceeded):
                if not (body.failed and body):
                    raise
        return body.end(), explain

    def _asking(self, path: str) -> Outgoing:
        return Outgoing("GET", self.address.target(path), self._headers(stream=False))

    def _headers(self, *, stream: bool) -> tuple[tuple[str, str], ...]:
        headers = {
            "Content-Type": "application/json",
            "Accept": "text/event-stream" if stream else "application/json",
            # Compression makes proxies collect a stream before they pass it on.
            "Accept-Encoding": "identity" if stream else inflate.ACCEPTED,
            "User-Agent": _user_agent(),
        }
        headers |= self.authorization()
        headers |= {name: value.reveal() for name, value in self.headers.items()}
        return tuple(headers.items())

    def _secrets(self) -> list[str]:
        """Return what no error may quote, whole or in part."""
        own = [value.reveal() for value in self.headers.values()]
        keys = [value.removeprefix("Bearer ") for value in self.authorization().values()]
        return keys + [value for value in own if len(value) >= 8]

    def _decoder(self, answer: Answer | AsyncAnswer, secrets: list[str], request: ChatRequest) -> decode.Decoder:
        return decode.Decoder(
            answer.status,
            answer.headers,
            self._explainer(answer, secrets),
            answers=request.n or 1,
            likeliest=request.logprobs,
            # Without a chat template, tags are text like any other.
            tags=TAGS if request.prompt is None else (),
        )

    def _explainer(self, answer: Answer | AsyncAnswer, secrets: list[str]) -> decode.Explain:
        return partial(self._explain, answer.status, answer.headers, secrets)

    def _explain(
        self, status: int, headers: Mapping[str, str], secrets: list[str], body: bytes | object
    ) -> OpenModelsError:
        return self.explain(classify.read(status, headers, body, host=self.address.authority, secrets=secrets))


def _over(decoder: decode.Decoder, answer: Answer | AsyncAnswer) -> bool:
    """Say whether to stop reading; once the answer is whole, wait for its end only a moment."""
    if not decoder.finished:
        return decoder.ended
    answer.hurry(AFTER_END if decoder.ended else AFTER_FINISH)
    return False


@lru_cache(maxsize=1)
def _user_agent() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"openmodels/{version(settings.DISTRIBUTION)}"
    except PackageNotFoundError:
        return "openmodels"
