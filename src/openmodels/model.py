"""`Model`: the interface to every backend."""

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from typing_extensions import Unpack

from openmodels import model_reference, settings
from openmodels.backends import registry
from openmodels.backends.base import Backend
from openmodels.bulk.iterators import AsyncBulk, Bulk
from openmodels.bulk.run import BulkRun, MapOptions
from openmodels.core import events, request as requests
from openmodels.core.call_runner import CallRunner
from openmodels.core.stream import AsyncStream, ReplyAssembler, Stream
from openmodels.core.tool_loop import MAX_ROUNDS, ToolLoop, ToolRun
from openmodels.deadline import check_timeout
from openmodels.errors import ErrorBoundary, InvalidRequest, OutputInvalid
from openmodels.http.secrets import hide_option, reveal_option
from openmodels.output.tools import ToolCallValidator
from openmodels.types.capabilities import Capabilities
from openmodels.types.decisions import Decision
from openmodels.types.embeddings import Embeddings
from openmodels.types.messages import Prompt
from openmodels.types.options import CallOptions, EmbedOptions, RerankOptions, ScoreOptions, ToolRunOptions
from openmodels.types.rankings import Ranking
from openmodels.types.reply import Reply
from openmodels.types.scores import ContinuationScore

if TYPE_CHECKING:
    from openmodels.catalog.record import ModelRecord

_SECRET_OPTIONS = ("api_key", "headers", "proxy", "cert")  # options of backends that hold keys or passwords


class Model:
    """A model, wherever it runs.

    Args:
        reference: `BACKEND:REST`, e.g. "local:HuggingFaceTB/SmolLM2-135M-Instruct" or "echo:"; the path of a
            model's folder or GGUF file as a `Path`; a record of a model on this disk; or a `Backend` object.
        timeout: Total seconds of each call that does not set its own; None lifts the limit.
        max_retries: How often a failed call is tried again before its first token.
        on_request: Called with each checked request before the backend gets it; may raise to prevent that.
        on_reply: Called with each complete answer before the caller gets it.
        capture_content: Whether OpenTelemetry's spans hold prompts and answers; None leaves it to the environment.
        **backend_options: The backend's own options, e.g. `device="cuda"` for "local".

    Raises:
        InvalidReference: The reference cannot be read; the message shows what it could mean.
        MissingExtra: The backend's optional dependencies are not installed.
        UnsupportedFeature: The backend has no such option.
        InvalidRequest: `timeout` or `max_retries` is not a usable number.

    The model opens lazily: weights are read and connections made by the first call or `load()`.
    A Model may be shared by threads and tasks, used inside a running event loop and after a fork.
    """

    @ErrorBoundary()
    def __init__(
        self,
        reference: "str | os.PathLike[str] | ModelRecord | Backend",
        *,
        timeout: float | None = settings.DEFAULT_TIMEOUT,
        max_retries: int = 2,
        on_request: events.OnRequest | None = None,
        on_reply: events.OnReply | None = None,
        capture_content: bool | None = None,
        **backend_options: Any,
    ) -> None:
        self.timeout = check_timeout(timeout)
        self.max_retries = requests.check_retries(max_retries)
        self._hooks = events.Hooks(on_request, on_reply, capture_content)
        # Keys are wrapped at once: neither the model nor a frame of a traceback shows them.
        backend_options = {
            name: hide_option(name, value) if name in _SECRET_OPTIONS else value
            for name, value in backend_options.items()
        }
        self._opened_as = reference, backend_options
        if isinstance(reference, Backend):
            if backend_options:
                raise InvalidRequest(f"{', '.join(backend_options)}: options belong to the backend's own constructor.")
            self.backend = reference
            self.reference = f"{reference.name}:{reference.rest}"
        else:
            parsed = model_reference.parse(_text_of(reference), registry.list_names())
            self.reference = str(parsed)
            self.backend = _open(parsed, backend_options)
        self._boundary = ErrorBoundary(self.reference)
        self._runner = CallRunner(self.backend, self._hooks)

    def __repr__(self) -> str:
        return f"Model({self.reference!r})"

    if not TYPE_CHECKING:  # a declared __getattr__ would make every misspelled name pass

        def __getattr__(self, name: str) -> Any:
            advice = ""
            if name in {"ask", "generate", "invoke", "predict", "prompt", "respond", "run", "send"}:
                advice = " Write model.chat(…), or model.complete(…) to continue a text without a chat template."
            raise AttributeError(f"'Model' object has no attribute {name!r}.{advice}")

    def __reduce__(self) -> tuple[Any, ...]:
        reference, options = self._opened_as
        core = {"timeout": self.timeout, "max_retries": self.max_retries, **vars(self._hooks)}
        return partial(type(self), **core, **options), (reference,)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def capabilities(self) -> Capabilities:
        """What the model can do, without loading it and without the network."""
        return self.backend.capabilities()

    def load(self) -> Self:
        """Do what the first call would do: download, read the weights.

        Returns the model itself.

        Raises:
            LoadFailed: The files are missing, broken, unsafe or too large.
            Offline: They are not on this disk and the network is off or out of reach.
        """
        with self._boundary:
            self.backend.load()
        return self

    def close(self) -> None:
        """Free memory, threads and connections; a later call opens the model again."""
        self.backend.close()

    def chat(self, messages: Prompt, **options: Unpack[CallOptions]) -> Reply:
        """Return the model's answer to a conversation.

        Args:
            messages: A string, a `Message` or dict, or a list of them.
            **options: See `CallOptions`; `timeout` in seconds, lengths in tokens.

        Raises:
            InvalidRequest: An argument is wrong; nothing was sent.
            UnsupportedFeature: The backend cannot honour an option.
            ContextTooLong: The conversation does not fit.
            DeadlineExceeded: The time is up; `partial` holds what had arrived.
            StreamInterrupted: The answer was cut off; `partial` holds what had arrived.
            OpenModelsError: Anything else of the tree, as the backend classifies it.
        """
        with self._boundary:
            return self._chat("chat", messages, options)

    def stream(self, messages: Prompt, **options: Unpack[CallOptions]) -> Stream:
        """Return the model's answer as a stream of deltas; otherwise as `chat`.

        Arguments are checked now, the work begins with the first delta read.

        Raises:
            InvalidRequest: An argument is wrong; nothing was sent.
        """
        with self._boundary:
            return self._stream(self._build_call("chat", messages, options, stream=True))

    def run_tools(
        self,
        messages: Prompt,
        tools: Sequence[Any],
        *,
        max_rounds: int = MAX_ROUNDS,
        parallel: bool = True,
        **options: Unpack[ToolRunOptions],
    ) -> ToolRun:
        """Run the tools that the model calls, until it answers without a call.

        The model gets what a tool raises as that tool's result. The run also ends where the model calls a tool
        without a function, for the caller to answer.

        Args:
            messages: What `chat` takes.
            tools: What `chat` takes as `tools`: functions, mostly.
            max_rounds: How many answers the model may give.
            parallel: Run the calls of one answer at the same time, on threads; else one after the other, here.
            **options: As for `chat`; `timeout` in seconds is for the whole run, and `tool_choice` demands a
                call of the first answer only.

        Raises:
            ToolRoundsExceeded: The model still calls tools in its last answer.
            OpenModelsError: As for `chat`; `run` holds what was done before.
        """
        with self._boundary:
            return self._tool_loop(messages, tools, max_rounds, options, parallel=parallel).run(self.chat)

    def complete(self, prompt: str, **options: Unpack[CallOptions]) -> Reply:
        """Return the continuation of a text, without a chat template: for base models.

        Args:
            prompt: The text to continue.
            **options: See `CallOptions`; `timeout` in seconds, lengths in tokens.

        Raises:
            UnsupportedFeature: The backend only chats.
            OpenModelsError: As for `chat`.
        """
        with self._boundary:
            return self._chat("complete", prompt, options)

    def embed(self, texts: str | Sequence[str], **options: Unpack[EmbedOptions]) -> Embeddings:
        """Return the vectors of some texts.

        Args:
            texts: The texts, or a single one.
            **options: See `EmbedOptions`; `timeout` in seconds.

        Raises:
            InvalidRequest: An argument is wrong; nothing was sent.
            UnsupportedFeature: The backend has no embeddings or cannot honour an option.
            ContextTooLong: A text does not fit.
            OpenModelsError: Anything else of the tree, as the backend classifies it.
        """
        with self._boundary:
            request, retries = requests.build_embed(self.backend, texts, options, self._defaults)
            return self._runner.run(request, retries, self.backend.embed)

    def rerank(self, query: str, documents: Sequence[str], **options: Unpack[RerankOptions]) -> Ranking:
        """Return documents by how well they answer a query, the best first.

        Args:
            query: What is looked for.
            documents: The texts to rank.
            **options: See `RerankOptions`; `timeout` in seconds.

        Raises:
            InvalidRequest: An argument is wrong; nothing was sent.
            UnsupportedFeature: The backend or the model has no rankings.
            ContextTooLong: A document with the query does not fit.
            OpenModelsError: Anything else of the tree, as the backend classifies it.
        """
        with self._boundary:
            request, retries = requests.build_rerank(self.backend, query, documents, options, self._defaults)
            return self._runner.run(request, retries, self.backend.rerank)

    def score(
        self, prompt: Prompt, continuations: Sequence[str], **options: Unpack[ScoreOptions]
    ) -> list[ContinuationScore]:
        """Return how likely the model holds each continuation of a prompt.

        The tokens of the prompt and those of a continuation are made separately and joined. A log-probability is a
        sum over tokens and not divided by their number: `token_count` is beside it.

        Args:
            prompt: A text, scored as it stands; or a `Message`, a dict or a list of them, which the chat template
                renders, so that a continuation is the beginning of the answer.
            continuations: The texts to score, without special tokens.
            **options: See `ScoreOptions`; `timeout` in seconds.

        Raises:
            InvalidRequest: An argument is wrong; nothing was sent.
            UnsupportedFeature: The backend, engine or server does not give the probabilities of a given text.
            ContextTooLong: The prompt, or a continuation behind it, does not fit.
            OpenModelsError: Anything else of the tree, as the backend classifies it.
        """
        with self._boundary:
            request, retries = requests.build_score(self.backend, prompt, continuations, options, self._defaults)
            return list(self._runner.run(request, retries, self.backend.score).continuations)

    def decide(
        self, state: Any, questions: Mapping[str, Mapping[str, Any]], **options: Unpack[ScoreOptions]
    ) -> dict[str, Decision]:
        """Return a decision for each question about a state.

        It holds a probability for every option. A question is {"type": …, "instructions": …, "criteria": …}. Of type
        "choice", its criteria map the options (255 at most) to descriptions or None; of type "noul" it is answered with
        "yes" or "no", and its criteria, if any, say what "true" and "false" mean; of type "score", its criteria are the
        levels (10 at most), the lowest first, and the value is the expected level, counted from 0.

        Args:
            state: What the questions are about: a text, or a dict or list as JSON.
            questions: The questions by name, 64 at most.
            **options: See `ScoreOptions`; `timeout` in seconds.

        Raises:
            InvalidRequest: An argument is wrong; nothing was sent.
            UnsupportedFeature: The backend, engine or server does not give the probabilities of the options.
            ContextTooLong: The state with a question does not fit.
            OpenModelsError: Anything else of the tree, as the backend classifies it.
        """
        with self._boundary:
            request, retries = requests.build_decide(self.backend, state, questions, options, self._defaults)
            return self._runner.run(request, retries, self.backend.decide).decisions

    def map(self, prompts: Iterable[Prompt], **options: Unpack[MapOptions]) -> Bulk:
        """Answer many prompts: a `BulkItem` each, in their order, as they become ready.

        An item's error is kept beside the others' replies. What would fail every item (a refused
        key, a missing model, a spent quota, a server that stays away) ends the run and is raised
        while iterating. A rate limit slows the whole run down.

        Args:
            prompts: What `chat` takes, any number of times; read lazily, some way ahead.
            **options: See `MapOptions`; `timeout` in seconds counts for each call alone.

        Raises:
            InvalidRequest: An option is wrong, or the file `save` belongs to something else.
            OSError: The file cannot be read or written.
            OpenModelsError: What ends the whole run.
        """
        with self._boundary:
            return Bulk(BulkRun(self, self._build_call, prompts, options))

    async def achat(self, messages: Prompt, **options: Unpack[CallOptions]) -> Reply:
        """The asynchronous twin of `chat`; cancelling it stops the work behind it.

        Raises: what `chat` does.
        """
        with self._boundary:
            return await self._achat("chat", messages, options)

    def astream(self, messages: Prompt, **options: Unpack[CallOptions]) -> AsyncStream:
        """The asynchronous twin of `stream`: `async with model.astream(…) as stream`.

        Raises:
            InvalidRequest: An argument is wrong; nothing was sent.
        """
        with self._boundary:
            return self._astream(self._build_call("chat", messages, options, stream=True))

    async def arun_tools(
        self,
        messages: Prompt,
        tools: Sequence[Any],
        *,
        max_rounds: int = MAX_ROUNDS,
        parallel: bool = True,
        **options: Unpack[ToolRunOptions],
    ) -> ToolRun:
        """The asynchronous twin of `run_tools`; plain functions run on threads.

        Raises: what `run_tools` does.
        """
        with self._boundary:
            return await self._tool_loop(messages, tools, max_rounds, options, parallel=parallel).arun(self.achat)

    async def acomplete(self, prompt: str, **options: Unpack[CallOptions]) -> Reply:
        """The asynchronous twin of `complete`. Raises: what `complete` does."""
        with self._boundary:
            return await self._achat("complete", prompt, options)

    async def aembed(self, texts: str | Sequence[str], **options: Unpack[EmbedOptions]) -> Embeddings:
        """The asynchronous twin of `embed`. Raises: what `embed` does."""
        with self._boundary:
            request, retries = requests.build_embed(self.backend, texts, options, self._defaults)
            return await self._runner.arun(request, retries, self.backend.aembed)

    async def arerank(self, query: str, documents: Sequence[str], **options: Unpack[RerankOptions]) -> Ranking:
        """The asynchronous twin of `rerank`. Raises: what `rerank` does."""
        with self._boundary:
            request, retries = requests.build_rerank(self.backend, query, documents, options, self._defaults)
            return await self._runner.arun(request, retries, self.backend.arerank)

    async def ascore(
        self, prompt: Prompt, continuations: Sequence[str], **options: Unpack[ScoreOptions]
    ) -> list[ContinuationScore]:
        """The asynchronous twin of `score`. Raises: what `score` does."""
        with self._boundary:
            request, retries = requests.build_score(self.backend, prompt, continuations, options, self._defaults)
            return list((await self._runner.arun(request, retries, self.backend.ascore)).continuations)

    async def adecide(
        self, state: Any, questions: Mapping[str, Mapping[str, Any]], **options: Unpack[ScoreOptions]
    ) -> dict[str, Decision]:
        """The asynchronous twin of `decide`. Raises: what `decide` does."""
        with self._boundary:
            request, retries = requests.build_decide(self.backend, state, questions, options, self._defaults)
            return (await self._runner.arun(request, retries, self.backend.adecide)).decisions

    def amap(self, prompts: Iterable[Prompt], **options: Unpack[MapOptions]) -> AsyncBulk:
        """The asynchronous twin of `map`: `async for item in model.amap(…)`.

        Raises: what `map` does.
        """
        with self._boundary:
            return AsyncBulk(BulkRun(self, self._build_call, prompts, options))

    def _chat(self, feature: str, prompt: Any, options: CallOptions) -> Reply:
        call = self._build_call(feature, prompt, options, stream=False)
        while True:
            try:
                with self._stream(call) as stream:
                    for _ in stream:
                        pass
                    return stream.reply
            except OutputInvalid as error:
                if (corrected := call.correct(error)) is None:
                    raise
                call = corrected

    async def _achat(self, feature: str, prompt: Any, options: CallOptions) -> Reply:
        call = self._build_call(feature, prompt, options, stream=False)
        while True:
            try:
                async with self._astream(call) as stream:
                    async for _ in stream:
                        pass
                    return stream.reply
            except OutputInvalid as error:
                if (corrected := call.correct(error)) is None:
                    raise
                call = corrected

    def _stream(self, call: requests.ChatCall) -> Stream:
        assembler, call_events = self._assemble(call)
        deltas = self._runner.stream(call.request, call.retries)
        if call_events is not None:
            deltas = events.observe_deltas(deltas, call_events, assembler.snapshot)
        return Stream(deltas, assembler)

    def _astream(self, call: requests.ChatCall) -> AsyncStream:
        assembler, call_events = self._assemble(call)
        deltas = self._runner.astream(call.request, call.retries)
        if call_events is not None:
            deltas = events.aobserve_deltas(deltas, call_events, assembler.snapshot)
        return AsyncStream(deltas, assembler)

    def _assemble(self, call: requests.ChatCall) -> tuple[ReplyAssembler, events.CallEvents | None]:
        call_events = self._hooks.observe(self.backend, call.request)
        tool_calls = ToolCallValidator(call.request) if call.request.tools else None
        deadline = call.request.deadline
        return ReplyAssembler(self.reference, deadline, call.validators, tool_calls, call_events), call_events

    def _tool_loop(
        self, messages: Any, tools: Any, max_rounds: int, options: Mapping[str, Any], *, parallel: bool
    ) -> ToolLoop:
        images = "images" in self.backend.features
        return ToolLoop(messages, tools, max_rounds, options, self.timeout, parallel=parallel, images=images)

    @property
    def _defaults(self) -> requests.CallDefaults:
        return requests.CallDefaults(self.timeout, self.max_retries)

    def _build_call(self, feature: str, prompt: Any, options: CallOptions, *, stream: bool) -> requests.ChatCall:
        return requests.build_chat(self.backend, feature, prompt, options, self._defaults, stream=stream)


def _text_of(reference: Any) -> Any:
    """Return the reference of a path or of a record on this disk."""
    if isinstance(reference, os.PathLike):
        return f"local:{os.fspath(reference)}"
    folder = getattr(reference, "local", None)
    return f"local:{folder}" if isinstance(folder, str) and folder else reference


def _open(parsed: model_reference.Reference, options: Mapping[str, Any]) -> Backend:
    backend = registry.find(parsed.backend)
    known = list(registry.list_parameters(backend))
    if unknown := [name for name in options if name not in known]:
        error = requests.unknown_option(unknown[0], known, f"backend {parsed.backend!r}")
        error.reference = str(parsed)
        raise error
    if not getattr(backend, "takes_secrets", False):  # one of another package may take keys as plain text only
        options = {name: reveal_option(value) if name in _SECRET_OPTIONS else value for name, value in options.items()}
    with ErrorBoundary(str(parsed)):
        return backend(parsed.rest, **options)
