"""`Model`: the one interface. It checks, waits, retries and folds; the backend translates and fetches."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from typing_extensions import Unpack

from openmodels import ref, settings
from openmodels.backends import registry
from openmodels.backends.base import Backend
from openmodels.bulk.job import MapOptions, plan
from openmodels.bulk.runs import AsyncBulk, Bulk
from openmodels.core import hooks, request as request_, retry
from openmodels.core.attempts import Attempts
from openmodels.core.stream import AsyncStream, Fold, Stream
from openmodels.core.tool_loop import MAX_ROUNDS, Loop, ToolRun
from openmodels.errors import ErrorBoundary, InvalidRequest, OutputInvalid
from openmodels.http import address as addresses
from openmodels.output.tools import Checker
from openmodels.types.capabilities import Capabilities
from openmodels.types.embeddings import Embeddings
from openmodels.types.messages import Prompt
from openmodels.types.options import CallOptions, EmbedOptions, RerankOptions, ToolRunOptions
from openmodels.types.rankings import Ranking
from openmodels.types.reply import Reply

if TYPE_CHECKING:
    from openmodels.catalog.record import ModelRecord

_SECRET_OPTIONS = ("api_key", "headers", "proxy", "cert")
"""Options of backends that hold keys or passwords."""


class Model:
    """A model, wherever it runs.

    Args:
        reference: `BACKEND:REST`, e.g. "local:HuggingFaceTB/SmolLM2-135M-Instruct" or "echo:"; the path of a
            model's folder or GGUF file as a `Path`; a record of a model on this disk; or a `Backend` object.
        timeout: Total seconds each call may take unless it says otherwise; None is no limit.
        max_retries: How often a failed call is tried again before its first token.
        on_request: Called with each checked request before the backend gets it; may raise to prevent that.
        on_reply: Called with each whole answer before the caller gets it.
        capture_content: Whether OpenTelemetry's spans hold what is said; None leaves it to the environment.
        **backend_options: The backend's own options, e.g. `device="cuda"` for "local".

    Raises:
        InvalidReference: The reference cannot be read; the message shows what it could mean.
        MissingExtra: The backend's optional dependencies are not installed.
        UnsupportedFeature: The backend has no such option.
        InvalidRequest: `timeout` or `max_retries` is no usable number.

    The model opens lazily: weights are read and connections made by the first call or `load()`.
    A Model may be shared by threads and tasks, used inside a running event loop and after a fork.
    """

    @ErrorBoundary()
    def __init__(
        self,
        reference: str | os.PathLike[str] | ModelRecord | Backend,
        *,
        timeout: float | None = settings.DEFAULT_TIMEOUT,
        max_retries: int = 2,
        on_request: hooks.OnRequest | None = None,
        on_reply: hooks.OnReply | None = None,
        capture_content: bool | None = None,
        **backend_options: Any,
    ) -> None:
        self.timeout = retry.seconds(timeout)
        self.max_retries = request_.retry_count(max_retries)
        self._observer = hooks.Observer(on_request, on_reply, capture_content)
        # Keys are wrapped at once: neither the model nor a frame of a traceback shows them.
        backend_options = {
            name: addresses.hide_option(name, value) if name in _SECRET_OPTIONS else value
            for name, value in backend_options.items()
        }
        self._opened_as = reference, backend_options
        if isinstance(reference, Backend):
            if backend_options:
                raise InvalidRequest(f"{', '.join(backend_options)}: options belong to the backend's own constructor.")
            self.backend = reference
            self.reference = f"{reference.name}:{reference.rest}"
        else:
            parsed = ref.parse(_text_of(reference), registry.names())
            self.reference = str(parsed)
            self.backend = _open(parsed, backend_options)
        self._attempts = Attempts(self.backend, self._observer)

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
        core = {"timeout": self.timeout, "max_retries": self.max_retries, **vars(self._observer)}
        return partial(type(self), **core, **options), (reference,)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def capabilities(self) -> Capabilities:
        """What the model can be asked for, known before a call, without loading it and without the network."""
        return self.backend.capabilities()

    def load(self) -> Self:
        """Do now what the first call would do: download, read the weights. Returns the model itself.

        Raises:
            LoadFailed: The files are missing, broken, unsafe or too large.
            Offline: They are not on this disk and the network is off or out of reach.
        """
        with self._boundary():
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
            OpenModelsError: Anything else of the tree, as the backend tells it.
        """
        with self._boundary():
            return self._whole("chat", messages, options)

    def stream(self, messages: Prompt, **options: Unpack[CallOptions]) -> Stream:
        """Return the model's answer as a stream of deltas; takes and raises what `chat` does.

        Arguments are checked now, the work begins with the first delta read.

        Raises:
            InvalidRequest: An argument is wrong; nothing was sent.
        """
        with self._boundary():
            return self._stream(self._call("chat", messages, options, stream=True))

    def run_tools(
        self,
        messages: Prompt,
        tools: Sequence[Any],
        *,
        max_rounds: int = MAX_ROUNDS,
        parallel: bool = True,
        **options: Unpack[ToolRunOptions],
    ) -> ToolRun:
        """Let the model call tools: run what it calls, tell it the results, ask again, until it answers.

        What a tool raises is told to the model. The run also ends where it calls a tool that has no
        function, for the caller to answer.

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
        with self._boundary():
            return self._loop(messages, tools, max_rounds, options, parallel=parallel).run(self.chat)

    def complete(self, prompt: str, **options: Unpack[CallOptions]) -> Reply:
        """Return the continuation of a text, without a chat template: for base models.

        Args:
            prompt: The text to go on from.
            **options: See `CallOptions`; `timeout` in seconds, lengths in tokens.

        Raises:
            UnsupportedFeature: The backend only chats.
            OpenModelsError: As for `chat`.
        """
        with self._boundary():
            return self._whole("complete", prompt, options)

    def embed(self, texts: str | Sequence[str], **options: Unpack[EmbedOptions]) -> Embeddings:
        """Return the vectors of some texts.

        Args:
            texts: The texts, or a single one.
            **options: See `EmbedOptions`; `timeout` in seconds.

        Raises:
            InvalidRequest: An argument is wrong; nothing was sent.
            UnsupportedFeature: The backend has no embeddings or cannot honour an option.
            ContextTooLong: A text does not fit.
            OpenModelsError: Anything else of the tree, as the backend tells it.
        """
        with self._boundary():
            request, retries = request_.embedding(self.backend, texts, options, self._limits)
            return self._attempts.once(request, retries, self.backend.embed)

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
            OpenModelsError: Anything else of the tree, as the backend tells it.
        """
        with self._boundary():
            request, retries = request_.reranking(self.backend, query, documents, options, self._limits)
            return self._attempts.once(request, retries, self.backend.rerank)

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
        with self._boundary():
            return Bulk(plan(self, self._call, prompts, options))

    async def achat(self, messages: Prompt, **options: Unpack[CallOptions]) -> Reply:
        """The asynchronous twin of `chat`; cancelling it stops the work behind it.

        Raises:
            OpenModelsError: As for `chat`.
        """
        with self._boundary():
            return await self._awhole("chat", messages, options)

    def astream(self, messages: Prompt, **options: Unpack[CallOptions]) -> AsyncStream:
        """The asynchronous twin of `stream`: `async with model.astream(…) as stream`.

        Raises:
            InvalidRequest: An argument is wrong; nothing was sent.
        """
        with self._boundary():
            return self._astream(self._call("chat", messages, options, stream=True))

    async def arun_tools(
        self,
        messages: Prompt,
        tools: Sequence[Any],
        *,
        max_rounds: int = MAX_ROUNDS,
        parallel: bool = True,
        **options: Unpack[ToolRunOptions],
    ) -> ToolRun:
        """The asynchronous twin of `run_tools`: coroutine functions run here, plain ones on threads.

        Raises:
            OpenModelsError: As for `run_tools`.
        """
        with self._boundary():
            return await self._loop(messages, tools, max_rounds, options, parallel=parallel).arun(self.achat)

    async def acomplete(self, prompt: str, **options: Unpack[CallOptions]) -> Reply:
        """The asynchronous twin of `complete`.

        Raises:
            OpenModelsError: As for `complete`.
        """
        with self._boundary():
            return await self._awhole("complete", prompt, options)

    async def aembed(self, texts: str | Sequence[str], **options: Unpack[EmbedOptions]) -> Embeddings:
        """The asynchronous twin of `embed`.

        Raises:
            OpenModelsError: As for `embed`.
        """
        with self._boundary():
            request, retries = request_.embedding(self.backend, texts, options, self._limits)
            return await self._attempts.aonce(request, retries, self.backend.aembed)

    async def arerank(self, query: str, documents: Sequence[str], **options: Unpack[RerankOptions]) -> Ranking:
        """The asynchronous twin of `rerank`.

        Raises:
            OpenModelsError: As for `rerank`.
        """
        with self._boundary():
            request, retries = request_.reranking(self.backend, query, documents, options, self._limits)
            return await self._attempts.aonce(request, retries, self.backend.arerank)

    def amap(self, prompts: Iterable[Prompt], **options: Unpack[MapOptions]) -> AsyncBulk:
        """The asynchronous twin of `map`: `async for item in model.amap(…)`.

        Raises:
            OpenModelsError: As for `map`.
        """
        with self._boundary():
            return AsyncBulk(plan(self, self._call, prompts, options))

    def _whole(self, feature: str, said: Any, options: CallOptions) -> Reply:
        call = self._call(feature, said, options, stream=False)
        while True:
            try:
                with self._stream(call) as stream:
                    for _ in stream:
                        pass
                    return stream.reply
            except OutputInvalid as error:
                if (again := call.corrected(error)) is None:
                    raise
                call = again

    async def _awhole(self, feature: str, said: Any, options: CallOptions) -> Reply:
        call = self._call(feature, said, options, stream=False)
        while True:
            try:
                async with self._astream(call) as stream:
                    async for _ in stream:
                        pass
                    return stream.reply
            except OutputInvalid as error:
                if (again := call.corrected(error)) is None:
                    raise
                call = again

    def _stream(self, call: request_.Call) -> Stream:
        fold = self._fold(call)
        deltas = self._attempts.deltas(call.request, call.retries)
        return Stream(hooks.watched(deltas, fold.watch, fold.reply), fold)

    def _astream(self, call: request_.Call) -> AsyncStream:
        fold = self._fold(call)
        return AsyncStream(
            hooks.awatched(self._attempts.adeltas(call.request, call.retries), fold.watch, fold.reply), fold
        )

    def _fold(self, call: request_.Call) -> Fold:
        watch = self._observer.watch(self.backend, call.request)
        calls = Checker(call.request) if call.request.tools else None
        return Fold(self.reference, call.request.deadline, call.check, watch, calls)

    def _loop(self, messages: Any, tools: Any, max_rounds: int, options: Mapping[str, Any], *, parallel: bool) -> Loop:
        images = "images" in self.backend.features
        return Loop(messages, tools, max_rounds, options, self.timeout, parallel=parallel, images=images)

    @property
    def _limits(self) -> request_.Limits:
        return request_.Limits(self.timeout, self.max_retries)

    def _call(self, feature: str, said: Any, options: CallOptions, *, stream: bool) -> request_.Call:
        return request_.chat(self.backend, feature, said, options, self._limits, stream=stream)

    def _boundary(self) -> ErrorBoundary:
        return ErrorBoundary(self.reference)


def _text_of(reference: Any) -> Any:
    """Return the reference of a path, or of a record that is on this disk; anything else as it is."""
    if isinstance(reference, os.PathLike):
        return f"local:{os.fspath(reference)}"
    folder = getattr(reference, "local", None)
    return f"local:{folder}" if isinstance(folder, str) and folder else reference


def _open(parsed: ref.Reference, options: Mapping[str, Any]) -> Backend:
    backend = registry.find(parsed.backend)
    parameters = list(inspect.signature(backend).parameters.values())
    known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    if unknown := [name for name in options if name not in known]:
        error = request_.no_such_option(unknown[0], known, f"backend {parsed.backend!r}")
        error.reference = str(parsed)
        raise error
    with ErrorBoundary(str(parsed)):
        return backend(parsed.rest, **_accepted(backend, options))


def _accepted(backend: type[Backend], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options as a backend takes them: one of another package may know keys as plain text only."""
    if getattr(backend, "takes_secrets", False):
        return dict(options)
    return {name: addresses.shown(value) if name in _SECRET_OPTIONS else value for name, value in options.items()}
