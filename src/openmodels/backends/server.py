"""The backend of servers with an OpenAI-compatible API.

These are vLLM, llama.cpp, SGLang, TGI, Ollama, LM Studio and `transformers serve`, among others.

`top_k` and `repetition_penalty` are not OpenAI's, but vLLM, SGLang, llama.cpp and LM Studio honour
them, so they are sent, under each of their names. A server that does not know them says so or
ignores them.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any, ClassVar, TypeVar
from urllib.parse import urlsplit

from typing_extensions import Unpack

from openmodels.backends.openai_compatible import EncodedRequest, OpenAICompatible, ServerOptions
from openmodels.backends.server_scoring import ServerScoring, Step
from openmodels.errors import InvalidReference, ModelNotFound, NotConfigured, OpenModelsError
from openmodels.openai_wire import decode, encode
from openmodels.types.decisions import DecideRequest, Decisions
from openmodels.types.request import ChatRequest
from openmodels.types.scores import ScoreRequest, Scores

_Outcome = TypeVar("_Outcome", Scores, Decisions)
_SHOWN = 20  # names of models that an error lists at most


class ServerBackend(OpenAICompatible):
    """A model behind an OpenAI-compatible server.

    Args:
        rest: The model's name for the server; "" takes the only model that the server lists.
        base_url: The server's address, e.g. "http://127.0.0.1:8000"; "/v1" is added when it has no path.
        **options: As for `OpenAICompatible`.

    Raises:
        NotConfigured: `base_url` is missing.
        InvalidRequest: The address, the key or a header is not acceptable.
    """

    name: ClassVar[str] = "server"
    wire_options: ClassVar[frozenset[str]] = encode.OPEN_SERVER_OPTIONS
    features: frozenset[str] = OpenAICompatible.features | {"rerank", "score", "decide"}

    def __init__(self, rest: str = "", *, base_url: str | None = None, **options: Unpack[ServerOptions]) -> None:
        if base_url is None:
            raise NotConfigured(
                "The backend 'server' needs the server's address.",
                next_step='Write Model("server:NAME", base_url="http://127.0.0.1:8000/v1").',
            )
        super().__init__(rest, base_url=_with_v1(base_url), **options)
        self._only: str | None = None
        self._scoring = ServerScoring()

    def body(self, request: ChatRequest, model: str | None) -> dict[str, Any]:
        """Return the JSON body of a request; a tool demanded by name is the only one."""
        # llama.cpp's server takes the object that names a tool for "auto"; every server knows "required".
        if request.tool_choice not in (None, "auto", "none", "required"):
            chosen = tuple(tool for tool in request.tools if tool.name == request.tool_choice)
            request = request.model_copy(update={"tools": chosen, "tool_choice": "required"})
        return super().body(request, model)

    def score(self, request: ScoreRequest) -> Scores:
        """Return the log-probabilities of the continuations; see `Backend.score`."""
        return self._drive(self._scoring.score(request, self.resolve_model(request.deadline)), request)

    async def ascore(self, request: ScoreRequest) -> Scores:
        """The asynchronous twin of `score`; cancelling it closes the connection."""
        return await self._adrive(self._scoring.score(request, await self.aresolve_model(request.deadline)), request)

    def decide(self, request: DecideRequest) -> Decisions:
        """Return a decision for each question; see `Backend.decide`."""
        return self._drive(self._scoring.decide(request, self.resolve_model(request.deadline)), request)

    async def adecide(self, request: DecideRequest) -> Decisions:
        """The asynchronous twin of `decide`; cancelling it closes the connection."""
        return await self._adrive(self._scoring.decide(request, await self.aresolve_model(request.deadline)), request)

    def _drive(self, steps: Generator[Step, bytes, _Outcome], request: ScoreRequest | DecideRequest) -> _Outcome:
        try:
            step = next(steps)
            while True:
                try:
                    body = self._fetch(self._prepare_step(step, request), request.deadline).finish()
                except OpenModelsError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(body)
        except StopIteration as end:
            outcome: _Outcome = end.value
            return outcome

    async def _adrive(self, steps: Generator[Step, bytes, _Outcome], request: ScoreRequest | DecideRequest) -> _Outcome:
        try:
            step = next(steps)
            while True:
                try:
                    body = (await self._afetch(self._prepare_step(step, request), request.deadline)).finish()
                except OpenModelsError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(body)
        except StopIteration as end:
            outcome: _Outcome = end.value
            return outcome

    def _prepare_step(self, step: Step, request: ScoreRequest | DecideRequest) -> EncodedRequest:
        # vLLM and llama.cpp tokenize beside "/v1", not below it.
        address = replace(self.address, path=self.address.path.removesuffix("/v1")) if step.is_root else self.address
        return self._prepare_texts(request, step.texts, address.target(step.path), step.body)

    def load(self) -> None:
        """Ask the server for its only model when the reference names none."""
        self.resolve_model(None)

    def resolve_model(self, deadline: float | None) -> str | None:
        """Return the model's name, asking the server once when the reference has none.

        Raises:
            InvalidReference: The server lists several; the message names them.
            ModelNotFound: The server lists none.
        """
        if not self.rest and self._only is None:
            self._only = _choose_only(decode.read_models(self.get("/models", deadline)), self.name)
        return self.rest or self._only

    async def aresolve_model(self, deadline: float | None) -> str | None:
        """The asynchronous twin of `resolve_model`."""
        if not self.rest and self._only is None:
            self._only = _choose_only(decode.read_models(await self.aget("/models", deadline)), self.name)
        return self.rest or self._only


def _choose_only(names: list[str], backend: str) -> str:
    if not names:
        raise ModelNotFound("The server lists no model.", next_step=f"Load one there, or name it: '{backend}:NAME'.")
    if len(names) > 1:
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        raise InvalidReference(
            f"The server has {len(names)} models: {', '.join(names[:_SHOWN])}{more}.",
            next_step=f"Name one of them, e.g. '{backend}:{names[0]}'.",
        )
    return names[0]


def _with_v1(base_url: str) -> str:
    # A malformed address is told by the check that follows.
    try:
        bare = not urlsplit(base_url).path.strip("/")
    except (ValueError, TypeError, AttributeError):
        return base_url
    return f"{base_url.strip().rstrip('/')}/v1" if bare and "?" not in base_url else base_url
