"""An engine behind a server of ours: the chat template rendered here, the tokens sent over the usual wire."""

from __future__ import annotations

import threading
import weakref
from abc import abstractmethod
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import aclosing, closing
from functools import partial
from typing import Any, ClassVar

from openmodels import background
from openmodels.backends.base import Backend
from openmodels.backends.local import generation_config, tool_calls
from openmodels.backends.local.engines.managed_server import ManagedServer, Start
from openmodels.backends.local.prompt.prepare import (
    CHAT_TEMPLATE_KWARGS,
    PromptConfig,
    SamplingParams,
    check_tokens,
    prepare_prompt,
    resolve_max_new_tokens,
)
from openmodels.backends.local.repetition import RepetitionDetector
from openmodels.backends.openai_compatible import OpenAICompatible, Sent
from openmodels.errors import (
    ConnectionFailed,
    InvalidRequest,
    InvalidResponse,
    OpenModelsError,
    ServerFailed,
    StreamInterrupted,
)
from openmodels.openai_wire import encode
from openmodels.types.reply import Delta
from openmodels.types.request import ChatRequest, OutputFormat

_FORMS = frozenset({"grammar", "json_schema", "response_format", "structured_outputs"})
"""Fields of the servers, given in `extra`, that demand a form of the answer."""
MODEL = "model"
"""The name under which our servers serve their one model."""
_CLOSED = "The model was closed while it answered."


class Served(Backend):
    """An engine in a server process, which lives as long as the model is open.

    A subclass says how to start it (`prepare`) and how it spells options (`fields`).

    Attributes:
        prompt_config: What the model's files say of its prompts and answers, once the server was started; None
            where only the server itself can read the tokenizer, so that it renders the chat template too.
    """

    engine: ClassVar[str]
    prompt_config: PromptConfig | None = None

    def __init__(self, rest: str, *, repetition_stop: bool = True) -> None:
        super().__init__(rest)
        self._repetition_stop = repetition_stop
        self._lock = threading.Lock()
        self._wire: _Wire | None = None
        itself = weakref.ref(self)

        def prepare(deadline: float | None) -> Start:
            backend = itself()
            if backend is None:
                raise StreamInterrupted(_CLOSED)
            return backend.prepare(deadline)

        self.server = ManagedServer(self.engine, prepare)
        weakref.finalize(self, self.server.stop)

    @abstractmethod
    def prepare(self, deadline: float | None) -> Start:
        """Find the model's files and return how to serve them; sets `prompt_config`.

        Raises:
            OpenModelsError: They cannot be found or served.
        """

    @abstractmethod
    def fields(self, sampling: SamplingParams, prompt: int) -> dict[str, Any]:
        """Return what this server spells in its own way, as fields of the JSON body: its defaults are not ours.

        Args:
            sampling: How tokens are chosen.
            prompt: The prompt's length in tokens.
        """

    @abstractmethod
    def shape(self, output: OutputFormat) -> dict[str, Any]:
        """Return what the answer must look like as fields of the JSON body."""

    @abstractmethod
    def markers(self, texts: list[str], ends: Mapping[str, int]) -> dict[str, Any]:
        """Return the fields of the JSON body for control tokens that count.

        Args:
            texts: Those that are to be part of the answer's text.
            ends: Those that end the answer, by their text, which is also among the stop strings.
        """

    def run(self, request: ChatRequest) -> Generator[Delta, None, None]:
        """Yield the answer's deltas; closing the generator closes the connection, which ends the work."""
        wire = self._ready(request.deadline)
        try:
            reader = wire.reader(request, repetition_stop=self._repetition_stop)
            with closing(wire.run(_streamed(request))) as deltas:
                for delta in deltas:
                    delta.model = self.rest
                    yield reader(delta)
                    if reader.repeats:
                        return
        except OpenModelsError as error:
            raise self._explained(error, wire) from error

    async def arun(self, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        """The asynchronous twin of `run`; only a start of the server and the prompt's rendering take threads."""
        wire = self._wire
        if wire is None or self.server.pid is None:
            wire = await background.arun(self._ready, request.deadline)
        try:
            # Rendering a long prompt takes seconds; without tools nothing is rendered.
            read = partial(wire.reader, request, repetition_stop=self._repetition_stop)
            reader = await background.arun(read) if request.tools else read()
            async with aclosing(wire.arun(_streamed(request))) as deltas:
                async for delta in deltas:
                    delta.model = self.rest
                    yield reader(delta)
                    if reader.repeats:
                        return
        except OpenModelsError as error:
            raise await background.arun(self._explained, error, wire) from error

    def not_honoured(self, honoured: frozenset[str]) -> list[str] | None:
        """Return the fields of the model's generation config that are not in `honoured`; None where it is not read."""
        if self.prompt_config is None:
            return None
        return list(generation_config.not_honoured(self.prompt_config.generation_config, honoured))

    def describe(self) -> dict[str, Any]:
        """Return where the server is."""
        return {"pid": self.server.pid, "log": str(self.server.log) if self.server.log else None}

    def load(self) -> None:
        """Start the server and wait until it has read the weights."""
        self._ready(None)

    def close(self) -> None:
        """Stop the server."""
        with self._lock:
            wire, self._wire = self._wire, None
        if wire is not None:
            wire.closed = True
            wire.close()
        self.server.stop()

    def _ready(self, deadline: float | None) -> _Wire:
        address = self.server.ensure(deadline)
        with self._lock:
            if self._wire is None or self._wire.base_url != address:
                self._wire = _Wire(self, address, self.server.key)
            return self._wire

    def _explained(self, error: OpenModelsError, wire: _Wire) -> OpenModelsError:
        """Return the error with what a server said that died of it."""
        if not isinstance(error, ConnectionFailed | StreamInterrupted | InvalidResponse | ServerFailed):
            return error
        if wire.closed:
            return StreamInterrupted(_CLOSED)
        words = self.server.died()
        if words is None:
            return error
        kind = StreamInterrupted if isinstance(error, StreamInterrupted) else ServerFailed
        return kind(
            f"The server of the engine {self.engine!r} died. {words}", next_step="The next call starts it again."
        )


class _Wire(OpenAICompatible):
    """One start of a server, asked for completions of tokens."""

    name: ClassVar[str] = "local"
    wire_options: ClassVar[frozenset[str]] = encode.OPEN_SERVER_OPTIONS

    def __init__(self, served: Served, base_url: str, key: str | None) -> None:
        super().__init__(MODEL, base_url=f"{base_url}/v1", api_key=key)
        self.base_url = base_url
        self.closed = False
        self._fields, self._shape, self._prompt_config = served.fields, served.shape, served.prompt_config
        self._markers = served.markers

    def path(self, request: ChatRequest) -> str:
        return super().path(request) if self._prompt_config is None else "/completions"

    async def _achat(self, request: ChatRequest, model: str | None) -> Sent:
        return await background.arun(self._chat, request, model)  # a long prompt takes seconds

    def body(self, request: ChatRequest, model: str | None) -> dict[str, Any]:
        if self._prompt_config is None:
            bare = request.model_copy(update={"output": None})
            return super().body(bare, model) | self._shaped(request.output)
        own = prepare_prompt(request, self._prompt_config.tokenizer, self._prompt_config.context)
        tokens = own.tokens
        check_tokens(tokens, self._prompt_config.vocab_size)
        sampling = SamplingParams.from_request(request, self._prompt_config.generation_config)
        body: dict[str, Any] = {
            "model": model,
            "prompt": tokens,
            "max_tokens": resolve_max_new_tokens(len(tokens), request, self._prompt_config),
            "temperature": sampling.temperature,
            "seed": sampling.seed % (2**32 - 1),
            "stream": True,
            "stream_options": {"include_usage": True},
            "top_p": sampling.top_p,
            "min_p": sampling.min_p,
            "frequency_penalty": request.frequency_penalty or 0.0,
            "presence_penalty": request.presence_penalty or 0.0,
            **self._fields(sampling, len(tokens)),
            **self._shaped(own.output),
        }
        stops = [*request.stop, *self._prompt_config.stop_strings]
        tokens_at_end = self._prompt_config.stop_tokens(stops)
        if stops or tokens_at_end:
            body["stop"] = list(dict.fromkeys((*stops, *tokens_at_end)))
        markers = [] if own.calling is None else [*own.calling.hidden.values()]
        body |= self._markers(markers, tokens_at_end)
        extra = {name: value for name, value in request.extra.items() if name != CHAT_TEMPLATE_KWARGS}
        if taken := sorted(extra.keys() & body.keys()):
            raise InvalidRequest(f"extra: {taken[0]!r} is set by openmodels itself.")
        return body | extra

    def reader(self, request: ChatRequest, *, repetition_stop: bool) -> DeltaReader:
        """Return what reads the deltas of one answer: its tool calls are text here, and a cycle ends it."""
        plan = None
        if self._prompt_config is not None and tool_calls.offered(request) and request.prompt is None:
            plan = prepare_prompt(request, self._prompt_config.tokenizer, self._prompt_config.context).calling
        free = request.output is None and (plan is None or plan.output is None)
        free = free and not request.extra.keys() & _FORMS
        return DeltaReader(plan, RepetitionDetector() if repetition_stop and free else None)

    def _shaped(self, output: OutputFormat | None) -> dict[str, Any]:
        return {} if output is None else self._shape(output)


class DeltaReader:
    """Reads one answer of a server of ours as it streams.

    Args:
        plan: How the tools that it offers are spoken of; None where it offers none.
        repetition: Watches for a cycle; None where none ends the answer.

    Attributes:
        repeats: Whether a cycle has ended the answer, so that the rest of the stream is not wanted.
    """

    def __init__(self, plan: tool_calls.Calling | None, repetition: RepetitionDetector | None) -> None:
        self._caller = None if plan is None else tool_calls.Caller(plan._replace(hidden={}))
        self._repetition = repetition
        self.repeats = False

    def __call__(self, delta: Delta) -> Delta:
        """Return a delta with the calls that became complete with it, their text left out."""
        last = delta.finish_reason is not None or delta.end
        # Deltas of a stream are tokens, or a few of them where the server is faster than we read.
        if not last and self._repetition is not None and self._repetition.add(delta.reasoning + delta.text):
            delta.finish_reason, last, self.repeats = "repetition", True, True
        if self._caller is None:
            return delta
        whole = delta.finish_reason == "stop"
        thought, delta.text, delta.tool_calls = self._caller.feed(delta.text, -1, last=last, whole=whole)
        delta.reasoning += thought
        if whole and self._caller.called:
            delta.finish_reason = "tool_calls"
        return delta


def _streamed(request: ChatRequest) -> ChatRequest:
    # Deltas tell what had arrived when the time is up or the server dies.
    return request.model_copy(update={"stream": True})
