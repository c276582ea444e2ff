"""The base of the endpoints that ask a model."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Generic, Protocol, TypeVar
from uuid import uuid4

from starlette.types import Receive, Scope, Send

from openmodels.core.stream import AsyncStream
from openmodels.errors import OpenModelsError, OutputInvalid, UnsupportedFeature
from openmodels.images import Image
from openmodels.model import Model
from openmodels.openai_wire.bodies import WireBody
from openmodels.serve.exchange import CLIENT_LEFT, LOG, ClientLeft, HttpExchange
from openmodels.serve.failures import EncodeFailure, ErrorAnswer, Refusal, describe, encode_openai
from openmodels.serve.served_models import ServedModel
from openmodels.serve.state import ServerState
from openmodels.types.reply import CUT_SHORT, Delta, Reply, Usage

_Body = TypeVar("_Body", bound=WireBody)
_MOST_FETCHED = 20  # images that one request may have fetched
_HINTS = frozenset({"reasoning_effort", "verbosity"})
"""Fields that clients always send, and that models without them answer all the same."""


class ModelEndpoint(ABC, Generic[_Body]):
    """An endpoint that reads a body and asks a model; an ASGI application.

    Attributes:
        path: Its path.
        body: What its body is.
        generates: Whether it asks for text, so that the model may be loaded ahead.
        encode_failure: What makes an error the body of an answer.
        validation_status: The status where the request is wrong.
    """

    path: ClassVar[str]
    body: type[_Body]
    generates: ClassVar[bool] = True
    encode_failure: ClassVar[EncodeFailure] = staticmethod(encode_openai)
    validation_status: ClassVar[int] = 400

    def __init__(self, state: ServerState) -> None:
        self.state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        encode_failure = type(self).encode_failure
        exchange = HttpExchange(
            scope, receive, send, self.state.limits, encode_failure, validation_status=self.validation_status
        )
        try:
            try:
                await self._answer(exchange)
            except ClientLeft:
                exchange.status = CLIENT_LEFT
            except (Exception, asyncio.CancelledError) as error:
                if isinstance(error, asyncio.CancelledError) and not self.state.is_draining:
                    raise
                await exchange.send_error(end_of_server() if isinstance(error, asyncio.CancelledError) else error)
        except ClientLeft:
            exchange.status = CLIENT_LEFT
        finally:
            seconds = time.perf_counter() - exchange.began
            self.state.metrics.record(self.path, exchange, seconds)
            LOG.info("%s %s %s %d %.3f s", exchange.id, self.path, exchange.model, exchange.status, seconds)

    async def _answer(self, exchange: HttpExchange) -> None:
        if self.state.is_draining:
            raise end_of_server()
        body = self.body.read(await exchange.read_json())
        served = self.find_model(body)
        exchange.model = served.name
        exchange.ignored = body.ignored()
        async with exchange.cancelled_with_client(), self.state.admission.enter(exchange.key.name):
            with_budget = self._budgeted(exchange, body)
            async with with_budget, self.state.models.use(served, generates=self.generates) as model:
                await self.answer(exchange, body, model)

    @abstractmethod
    async def answer(self, exchange: HttpExchange, body: _Body, model: Model) -> None:
        """Ask the model and send its answer.

        Raises:
            OpenModelsError: The request is wrong, or the model fails.
        """

    def find_model(self, body: _Body) -> ServedModel:
        """Return the model that a body names.

        Raises:
            ModelNotFound: None is served under the name.
        """
        return self.state.models.find(body.model)

    def most_tokens(self, body: _Body) -> int:  # noqa: ARG002 - a subclass reads it
        """Return the tokens that the answer to a body may have."""
        return 0

    @asynccontextmanager
    async def _budgeted(self, exchange: HttpExchange, body: _Body) -> AsyncGenerator[None, None]:
        reserved = self.most_tokens(body)
        exchange.reserve(reserved)
        try:
            yield
        except OpenModelsError as error:
            if error.partial is not None:  # what failed has been generated all the same
                self.note(exchange, error.partial)
            raise
        finally:
            exchange.settle()

    def limit(self, options: dict[str, Any], model: Model) -> dict[str, Any]:
        """Return the options of a call within the server's limits."""
        options["timeout"] = self.state.timeout
        most = self.state.max_output_tokens
        if most is not None and "max_tokens" in model.backend.options:
            options["max_tokens"] = min(most, options.get("max_tokens", most))
        return options

    def options_of(self, body: _Body, *names: str) -> dict[str, Any]:
        """Return those fields of a body that are set as options, and the timeout."""
        fields = body.set_fields()
        return {"timeout": self.state.timeout, **{name: fields[name] for name in names if name in fields}}

    def note(self, exchange: HttpExchange, reply: Reply) -> None:
        """Take what a reply has consumed into the books."""
        exchange.settle(reply.usage, reply.cost)


def head_of(kind: str, prefix: str, model: str) -> dict[str, Any]:
    """Return what an answer of OpenAI's API begins with."""
    return {"id": f"{prefix}-{uuid4().hex}", "object": kind, "created": int(time.time()), "model": model}


def forward(options: dict[str, Any], fields: Mapping[str, Any], exchange: HttpExchange, model: Model) -> None:
    """Pass fields without an option of ours on to the server of a model.

    Raises:
        UnsupportedFeature: The model has no server, and a field is more than a hint.
    """
    if not fields:
        return
    if model.backend.origin is not None:
        options["extra"] = {**fields, **options.get("extra", {})}
        return
    if others := sorted(fields.keys() - _HINTS):
        raise UnsupportedFeature(
            f"{others[0]}: the backend {model.backend.name!r} cannot honour it.", next_step="Leave it out."
        )
    exchange.ignored = sorted({*exchange.ignored, *fields})


async def fetch_images(messages: list[dict[str, Any]], model: Model) -> list[dict[str, Any]]:
    """Return messages in OpenAI's spelling with images in place of their addresses.

    Only https addresses of the public internet are fetched, whoever answers: a server behind the model might reach
    what the client must not.

    Raises:
        UnsupportedFeature: The model takes no images.
        Refusal: There are too many.
        OpenModelsError: One cannot be fetched.
    """
    places: list[tuple[list[Any], int, Any]] = []
    read: list[dict[str, Any]] = []
    for message in messages:
        content = message.get("content")
        if isinstance(content, list):
            parts = list(content)
            message = {**message, "content": parts}  # noqa: PLW2901 - a copy of it
            for at, part in enumerate(parts):
                kind = part.get("type") if isinstance(part, dict) else None
                if kind not in ("image_url", "input_image"):
                    continue
                if "images" not in model.backend.features:
                    raise UnsupportedFeature(f"The backend {model.backend.name!r} takes no 'images' in messages.")
                image = part.get("image_url")
                url = image.get("url") if isinstance(image, dict) else image
                if isinstance(url, str) and url[:5].lower() != "data:":
                    places.append((parts, at, url))
        read.append(message)
    if len(places) > _MOST_FETCHED:
        raise Refusal(400, "too_many_images", f"More than {_MOST_FETCHED} images have addresses to fetch.")
    for parts, at, url in places:
        try:
            parts[at] = await Image.afetch(url)
        except OpenModelsError as error:
            status = error.status if error.status is not None and 400 <= error.status < 500 else 400
            raise Refusal(status, "image_not_fetched", error.cause, next_step=error.next_step) from None
    return read


async def read_reply(model: Model, messages: Any, options: dict[str, Any]) -> Reply:
    """Return a model's answer; one that was cut off need not have its form.

    Raises:
        OpenModelsError: As `Model.achat` does.
    """
    try:
        return await model.achat(messages, **options)
    except OutputInvalid as error:
        if error.reply.finish_reason in CUT_SHORT:
            return error.reply
        raise


class ReplyStream:
    """The deltas of a model's answer, then its reply.

    Attributes:
        reply: What has arrived; complete behind the last delta.
        error: What ended the stream in its middle, or None.
    """

    def __init__(self, stream: AsyncStream) -> None:
        self._stream = stream
        self.reply = Reply()
        self.error: OpenModelsError | None = None

    async def deltas(self) -> AsyncIterator[Delta]:
        """Yield the deltas.

        Raises:
            OpenModelsError: What fails before the first one; what fails later is in `error`.
        """
        has_begun = False
        try:
            async for delta in self._stream:
                yield delta
                has_begun = True
        except OutputInvalid as error:
            if error.reply.finish_reason not in CUT_SHORT:
                self.error = error
            self.reply = error.reply
        except OpenModelsError as error:
            if not has_begun:
                raise
            self.error = error
            self.reply = self._stream.snapshot
        else:
            self.reply = self._stream.reply


class StreamEncoder(Protocol):
    """Encodes deltas as the events of a wire."""

    def feed(self, delta: Delta) -> Iterator[bytes]:
        """Yield the events of a delta."""

    def finish(self, reply: Reply) -> Iterator[bytes]:
        """Yield the last events."""


async def stream_events(
    endpoint: ModelEndpoint[Any],
    exchange: HttpExchange,
    stream: AsyncStream,
    encoder: StreamEncoder,
    encode_failure: Callable[[ErrorAnswer], bytes],
) -> AsyncIterator[bytes]:
    """Yield the events of a stream; one that fails in its middle ends with an error.

    Raises:
        OpenModelsError: What fails before the first delta.
    """
    source = ReplyStream(stream)
    try:
        async for delta in source.deltas():
            for event in encoder.feed(delta):
                yield event
    except asyncio.CancelledError:
        if not endpoint.state.is_draining:
            raise
        source.error = end_of_server()
    finally:
        endpoint.note(exchange, stream.snapshot)
    if source.error is not None:
        yield encode_failure(describe(source.error))
        return
    for event in encoder.finish(source.reply):
        yield event


def with_one_call(reply: Reply) -> Reply:
    """Return a reply that calls at most one tool."""
    alternatives = tuple(map(with_one_call, reply.alternatives))
    return reply.model_copy(update={"tool_calls": reply.tool_calls[:1], "alternatives": alternatives})


def joined_usage(replies: Iterable[Reply]) -> Usage:
    """Return what several replies consumed together."""
    usages = [reply.usage for reply in replies]
    return sum(usages[1:], usages[0])


def end_of_server() -> Refusal:
    """Return the error of requests that the end of the server meets."""
    return Refusal(503, "shutting_down", "The server ends.", next_step="Try again later.", retry_after=5.0)
