"""An engine in a server process: rendered here, computed there."""

import weakref
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from concurrent.futures import Future
from contextlib import aclosing
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, ClassVar

from openmodels import background, errors
from openmodels.backends.local import generation_config
from openmodels.backends.local.engine_protocol import EngineCapabilities, EngineConfig, EngineRequest, Put
from openmodels.backends.local.engines.server_process import MODEL, ManagedServer, ServerCommand, ServerProcess
from openmodels.backends.local.output_processor import TextOutputProcessor
from openmodels.backends.local.prompt.prepare import (
    CHAT_TEMPLATE_KWARGS,
    PreparedRequest,
    PromptConfig,
    prepare_request,
)
from openmodels.backends.local.prompt.scoring import PreparedScores, prepare_scores
from openmodels.backends.local.runtime import RUNTIME
from openmodels.http import status_errors
from openmodels.http.address import Address, parse_address
from openmodels.http.client import HttpClient
from openmodels.http.messages import BaseResponse, HttpRequest
from openmodels.openai_wire import decode, encode
from openmodels.output.grammar.notation import write_grammar
from openmodels.output.text_scan import REASONING_TAGS, ReasoningTags
from openmodels.types.reply import Delta
from openmodels.types.request import ChatRequest
from openmodels.types.scores import ScoreRequest

PostJson = Callable[[str, Mapping[str, Any]], Awaitable[bytes]]
"""Sends a JSON body to a path below the server's root, and returns the body of the answer."""
_FORMS = frozenset({"grammar", "json_schema", "response_format", "structured_outputs"})
"""Fields of the servers, given in `extra`, that demand a form of the answer."""
_CLOSED = "The model was closed while it answered."
_END_WAIT = 1.0  # seconds in which a server that broke a connection off is seen to have died
_parse_address = lru_cache(8)(parse_address)  # 15 µs, and a server keeps its address over many requests


class ServerEngine(ABC):
    """An engine in a server process; see `Engine`.

    The server lives as long as the model is open. A subclass says how to start it (`prepare_command`) and how it
    spells options.
    """

    name: ClassVar[str]
    device: ClassVar[str]
    honoured: ClassVar[frozenset[str]]  # the fields of a generation config that the server follows

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        self.path: Path | None = None  # where the model is, once the server was started
        # The most tokens that prompt and answer may have together, once the server was started.
        self.context: int | None = None
        # How the model is prompted, once the server was started; None where only the server itself can read the
        # tokenizer, so that it renders the chat template too.
        self.prompt_config: PromptConfig | None = None
        weak_self = weakref.ref(self)

        def prepare(deadline: float | None) -> ServerCommand:
            engine = weak_self()
            if engine is None:
                raise errors.StreamInterrupted(_CLOSED)
            return engine.prepare_command(deadline)

        self.server = ManagedServer(self.name, prepare)
        self.http = HttpClient()
        weakref.finalize(self, self.server.stop)
        weakref.finalize(self, self.http.close)

    @abstractmethod
    def prepare_command(self, deadline: float | None) -> ServerCommand:
        """Find the model's files, set the attributes and return how to serve the model."""

    @abstractmethod
    def sampling_fields(self, prepared: PreparedRequest, generation: Any) -> dict[str, Any]:
        """Return what this server spells in its own way, as fields of the JSON body.

        All are given, for its defaults are not ours. `generation` is the model's `GenerationConfig`.
        """

    @abstractmethod
    def grammar_fields(self, grammar: str) -> dict[str, Any]:
        """Return the grammar (GBNF) of the answer as fields of the JSON body."""

    @abstractmethod
    def control_token_fields(self, markers: list[str], stop_tokens: Mapping[str, int]) -> dict[str, Any]:
        """Return the fields of the JSON body for control tokens that count.

        Args:
            markers: The control tokens that are to be part of the answer's text.
            stop_tokens: The ids of the control tokens that end the answer, by their text, which is also a stop string.
        """

    @abstractmethod
    async def compute_logprobs(self, prepared: PreparedScores, post: PostJson) -> list[list[tuple[float, bool | None]]]:
        """Return (log-probability, is likeliest) of each token of each continuation."""

    def capabilities(self) -> EngineCapabilities:
        """Return what the engine can do."""
        return RUNTIME.engines[self.name].capabilities

    def load(self) -> None:
        """Start the server and wait until it has read the weights."""
        self.server.ensure(None)

    def submit(self, request: EngineRequest, put: Put) -> Future[None]:
        """Send a request to the server, started first where need be; see `Engine.submit`.

        Cancelling the future closes the connection, which ends the server's work.
        """
        return RUNTIME.tasks.start(self._answer(request, put))

    def describe(self) -> dict[str, Any]:
        """Return where model and server are, and which fields of the model's it ignores."""
        config = self.prompt_config
        return {
            "path": str(self.path) if self.path else None,
            "device": self.device,
            "context": self.context,
            "not_honoured": config and generation_config.not_honoured(config.generation_config, self.honoured),
            "pid": self.server.pid,
            "log": str(self.server.log) if self.server.log else None,
        }

    def close(self, timeout: float = 30.0) -> None:  # noqa: ARG002 - a server has its own times to end in
        """Stop the server."""
        if (start := self.server.running_start) is not None:
            start.stop()  # first, so that calls whose connections break learn why
        self.http.close()
        self.server.stop()

    async def _answer(self, request: EngineRequest, put: Put) -> None:
        try:
            if (start := self.server.running_start) is None:
                start = await background.arun(self.server.ensure, request.deadline)
            try:
                if isinstance(request, ScoreRequest):
                    await self._put_scores(start, request, put)
                else:
                    await self._put_deltas(start, request, put)
            except errors.OpenModelsError as error:
                raise await background.arun(self._with_last_words, error, start) from error
        except Exception as error:  # noqa: BLE001 - of any kind: the caller waits for it
            put(error)

    async def _put_scores(self, start: ServerProcess, request: ScoreRequest, put: Put) -> None:
        if (config := self.prompt_config) is None:
            raise errors.UnsupportedFeature(
                f"The engine {self.name!r} has no 'score' for this file: only its server reads the tokenizer."
            )
        prepared = await background.arun(partial(prepare_scores, request, config, allow_extra=True))
        texts = (request.prompt or "", *(message.text for message in request.messages), *request.continuations)
        extra = {name: value for name, value in request.extra.items() if name != CHAT_TEMPLATE_KWARGS}

        async def post(path: str, body: Mapping[str, Any]) -> bytes:
            if reserved := sorted(extra.keys() & body.keys()):
                raise errors.InvalidRequest(f"extra: {reserved[0]!r} is set by openmodels itself.")
            http_request, address = _make_request(start, path, {**body, **extra}, "application/json")
            with await self.http.asend(http_request, request.deadline) as response:
                translate_error = _error_translator(start, address, response, texts)
                with decode.ResponseBody(response.status, response.headers, translate_error) as received:
                    async for data in response:
                        received.feed(data)
                        if received.is_full:
                            break
            return received.finish()

        put(prepared.build(await self.compute_logprobs(prepared, post)))

    async def _put_deltas(self, start: ServerProcess, request: ChatRequest, put: Put) -> None:
        prepared: PreparedRequest | None = None
        if (config := self.prompt_config) is not None:
            # Rendering and tokenizing a long prompt takes seconds.
            prepared = await background.arun(partial(prepare_request, request, config, allow_extra=True))
        prompt = None if prepared is None else prepared.prompt
        is_free = (request.output if prompt is None else prompt.output) is None and not request.extra.keys() & _FORMS
        output = TextOutputProcessor(request, prompt, config, repetition_stop=self.config.repetition_stop and is_free)
        body = self.body(request, prepared)
        tags = REASONING_TAGS if request.prompt is None and output.is_plain else ()
        async with aclosing(self._stream(start, body, request, tags)) as deltas:
            async for delta in deltas:
                put(output.add(delta))
                if output.is_cycle:
                    return

    async def _stream(
        self, start: ServerProcess, body: Mapping[str, Any], request: ChatRequest, tags: tuple[ReasoningTags, ...]
    ) -> AsyncGenerator[Delta]:
        """Yield the deltas of a server's answer; closing it ends the server's work."""
        path = "/v1/chat/completions" if "messages" in body else "/v1/completions"
        http_request, address = _make_request(start, path, body, "text/event-stream")
        texts = [request.prompt or "", *(message.text for message in request.messages)]
        with await self.http.asend(http_request, request.deadline) as response:
            translate_error = _error_translator(start, address, response, texts)
            with decode.ChatDecoder(response.status, response.headers, translate_error, tags=tags) as decoder:
                async for data in response:
                    for delta in decoder.feed(data):
                        yield delta
        for delta in decoder.finish():
            yield delta

    def body(self, request: ChatRequest, prepared: PreparedRequest | None) -> dict[str, Any]:
        """Return the JSON body of a request.

        Without a prepared prompt the server renders its own. It streams: deltas tell what had arrived when the time is
        up or the server dies.

        Raises:
            InvalidRequest: `extra` holds what is set here.
        """
        output = request.output if prepared is None else prepared.prompt.output
        form = {} if output is None else self.grammar_fields(write_grammar(output, "gbnf", self.name))
        if self.prompt_config is None or prepared is None:
            free = request.model_copy(update={"stream": True, "output": None})
            return encode.encode_chat(free, MODEL, encode.OPEN_SERVER_OPTIONS) | form
        prompt, sampling = prepared.prompt, prepared.sampling
        body: dict[str, Any] = {
            "model": MODEL,
            "prompt": prompt.tokens,
            "max_tokens": prepared.max_new_tokens,
            "temperature": sampling.temperature,
            "seed": sampling.seed % (2**32 - 1),
            "stream": True,
            "stream_options": {"include_usage": True},
            "top_p": sampling.top_p,
            "min_p": sampling.min_p,
            "frequency_penalty": request.frequency_penalty or 0.0,
            "presence_penalty": request.presence_penalty or 0.0,
            **self.sampling_fields(prepared, self.prompt_config.generation_config),
            **form,
        }
        stops = [*request.stop, *self.prompt_config.stop_strings]
        stop_tokens = self.prompt_config.stop_tokens(stops)
        if stops or stop_tokens:
            body["stop"] = list(dict.fromkeys((*stops, *stop_tokens)))
        markers = [] if prompt.tool_format is None else [*prompt.tool_format.control_tokens.values()]
        body |= self.control_token_fields(markers, stop_tokens)
        extra = {name: value for name, value in request.extra.items() if name != CHAT_TEMPLATE_KWARGS}
        if reserved := sorted(extra.keys() & body.keys()):
            raise errors.InvalidRequest(f"extra: {reserved[0]!r} is set by openmodels itself.")
        return body | extra

    def _with_last_words(self, error: errors.OpenModelsError, start: ServerProcess) -> errors.OpenModelsError:
        """Return the error with the last words of a server that died of it."""
        if not isinstance(
            error, errors.ConnectionFailed | errors.StreamInterrupted | errors.InvalidResponse | errors.ServerFailed
        ):
            return error
        if start.is_stopped:
            return errors.StreamInterrupted(_CLOSED)
        if not start.has_ended(_END_WAIT):
            return error
        kind = errors.StreamInterrupted if isinstance(error, errors.StreamInterrupted) else errors.ServerFailed
        return kind(
            f"The server of the engine {self.name!r} died. {start.last_words()}",
            next_step="The next call starts it again.",
        )


def _make_request(
    start: ServerProcess, path: str, body: Mapping[str, Any], accepted: str
) -> tuple[HttpRequest, Address]:
    address = _parse_address(start.address.result())
    headers = {"Content-Type": "application/json", "Accept": accepted, "Authorization": f"Bearer {start.key}"}
    url = address.origin + address.target(path)
    return HttpRequest("POST", url, tuple(headers.items()), encode.to_json(body)), address


def _error_translator(
    start: ServerProcess, address: Address, response: BaseResponse, texts: Iterable[str]
) -> decode.TranslateError:
    secrets = (start.key, *filter(None, texts))

    def translate_error(body: bytes | object) -> errors.OpenModelsError:
        failure = status_errors.read_failed_response(
            response.status, response.headers, body, host=address.authority, secrets=secrets
        )
        return status_errors.error_from_response(failure)

    return translate_error
