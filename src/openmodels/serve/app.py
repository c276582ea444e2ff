"""The application of a server: every endpoint, behind the guard."""

import json
from collections.abc import AsyncGenerator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from openmodels import background
from openmodels.model import Model
from openmodels.serve import openapi
from openmodels.serve.admission import Admission
from openmodels.serve.chat import ChatEndpoint, CompletionEndpoint
from openmodels.serve.endpoint import ModelEndpoint
from openmodels.serve.exchange import RequestLimits
from openmodels.serve.failures import Refusal, describe, encode_anthropic, encode_openai
from openmodels.serve.guard import Guard
from openmodels.serve.keys import ApiKey, KeyRing
from openmodels.serve.messages import CountEndpoint, MessagesEndpoint
from openmodels.serve.models_list import describe_model, list_models
from openmodels.serve.responses import ResponsesEndpoint
from openmodels.serve.served_models import ServedModels
from openmodels.serve.state import ServerState
from openmodels.serve.vectors import DecisionEndpoint, EmbeddingsEndpoint, RerankEndpoint

ENDPOINTS: tuple[type[ModelEndpoint[Any]], ...] = (
    ChatEndpoint,
    CompletionEndpoint,
    EmbeddingsEndpoint,
    RerankEndpoint,
    DecisionEndpoint,
    ResponsesEndpoint,
    MessagesEndpoint,
    CountEndpoint,
)
"""The endpoints that ask a model."""
MAX_RUNNING = 256
MAX_WAITING = 512
LONGEST_WAIT = 60.0
TIMEOUT = 600.0


def build_app(
    models: Mapping[str, Model | str] | Sequence[Model | str] | Model | str,
    *,
    keys: Iterable[ApiKey] = (),
    hosts: Collection[str] = (),
    limits: RequestLimits | None = None,
    timeout: float = TIMEOUT,
    max_running: int = MAX_RUNNING,
    max_waiting: int = MAX_WAITING,
    longest_wait: float = LONGEST_WAIT,
    max_output_tokens: int | None = None,
    memory_bytes: int | None = None,
    routes: Sequence[BaseRoute] = (),
    open_paths: Collection[str] = (),
) -> "ServedApp":
    """Return an ASGI application that serves models.

    Args:
        models: Models or references by the names that clients use; without names, the references are the names.
        keys: The keys of clients; without any, every request is answered.
        hosts: Names of the server beside the loopback ones, for the check of the header Host.
        limits: What one request may take.
        timeout: Seconds that a call may take.
        max_running: Requests that run at the same time.
        max_waiting: Requests that wait for their turn; more are refused.
        longest_wait: Seconds that a request waits for its turn.
        max_output_tokens: Tokens that an answer has at most; None leaves it to the model.
        memory_bytes: Bytes that loaded models may take together; None is any number.
        routes: More routes, e.g. of pages.
        open_paths: Paths of theirs that need no key.

    Raises:
        InvalidRequest: `models` is empty.
        OpenModelsError: A reference cannot be opened.
    """
    state = ServerState(
        ServedModels(_open_models(models), memory_bytes),
        KeyRing(keys),
        Admission(max_running, max_waiting, longest_wait),
        limits or RequestLimits(),
        timeout,
        max_output_tokens,
    )
    return ServedApp(state, hosts, routes, open_paths)


class ServedApp:
    """The application; `state` is what its endpoints share."""

    def __init__(
        self, state: ServerState, hosts: Collection[str], routes: Sequence[BaseRoute], open_paths: Collection[str]
    ) -> None:
        self.state = state

        @asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncGenerator[None, None]:
            yield
            await background.arun(state.models.close)

        endpoints = [Route(kind.path, kind(state), methods=["POST"]) for kind in ENDPOINTS]
        plain = [
            Route("/health", self._health, methods=["GET"]),
            Route("/metrics", self._metrics, methods=["GET"]),
            Route("/openapi.json", self._openapi, methods=["GET"]),
            Route("/v1/models", self._list_models, methods=["GET"]),
            Route("/v1/models/{name:path}", self._show_model, methods=["GET"]),
        ]
        app = Starlette(
            routes=[*endpoints, *plain, *routes],
            lifespan=lifespan,
            exception_handlers={HTTPException: _answer_http_error},
        )
        app.router.redirect_slashes = False
        self._guarded = Guard(app, state.keys, hosts, {"/health", *open_paths})

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        await self._guarded(scope, receive, send)

    async def _health(self, _: Request) -> Response:
        if self.state.is_draining:
            return _json({"status": "draining"}, 503)
        return _json({"status": "ok"})

    async def _metrics(self, _: Request) -> Response:
        metrics, admission = self.state.metrics, self.state.admission
        metrics.running.set(admission.active)
        metrics.waiting.set(admission.waiting)
        metrics.loaded.set(sum(served.is_loaded for served in self.state.models))
        return Response(metrics.to_text(), headers={"content-type": metrics.content_type.decode()})

    async def _openapi(self, _: Request) -> Response:
        return _json(openapi.make_document(ENDPOINTS))

    async def _list_models(self, _: Request) -> Response:
        entries = [await background.arun(describe_model, served) for served in self.state.models]
        return _json(list_models(entries))

    async def _show_model(self, request: Request) -> Response:
        from openmodels.errors import OpenModelsError

        try:
            served = self.state.models.find(request.path_params["name"])
        except OpenModelsError as error:
            failure = describe(error)
            return _json(encode_openai(failure), failure.status)
        return _json(await background.arun(describe_model, served))


def _open_models(models: Any) -> dict[str, Model]:
    if isinstance(models, Model | str):
        models = [models]
    if not isinstance(models, Mapping):
        models = {model.reference if isinstance(model, Model) else model: model for model in models}
    return {name: model if isinstance(model, Model) else Model(model) for name, model in models.items()}


def _json(value: Any, status: int = 200) -> Response:
    body = json.dumps(value, ensure_ascii=False, default=str)
    return Response(body, status, media_type="application/json", headers={"x-content-type-options": "nosniff"})


async def _answer_http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    cause = {404: "There is nothing at this path.", 405: "This path does not take this method."}
    failure = describe(
        Refusal(
            status,
            {404: "not_found", 405: "method_not_allowed"}.get(status, "http_error"),
            cause.get(status, "The request cannot be answered."),
            next_step="GET /openapi.json lists what there is.",
        )
    )
    is_anthropic = request.url.path.startswith("/v1/messages")
    response = _json(encode_anthropic(failure) if is_anthropic else encode_openai(failure), status)
    if isinstance(error, HTTPException) and error.headers:
        response.headers.update(error.headers)
    return response
