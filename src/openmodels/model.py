"""`Model`: the one interface. It checks, waits, retries and folds; the backend translates and fetches."""

from __future__ import annotations

import difflib
import inspect
import time
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import aclosing, closing
from dataclasses import replace
from functools import partial
from typing import Any, Self

from pydantic import ValidationError
from typing_extensions import Unpack

from openmodels import ref, retry, settings
from openmodels.backends import registry
from openmodels.backends.base import Backend
from openmodels.errors import InvalidRequest, InvalidResponse, OpenModelsError, UnsupportedFeature
from openmodels.stream import AsyncStream, Fold, Stream
from openmodels.types import (
    CallOptions,
    ChatRequest,
    Delta,
    Embeddings,
    EmbedOptions,
    EmbedRequest,
    Message,
    Prompt,
    Reply,
)


class Model:
    """A model, wherever it runs.

    Args:
        reference: `BACKEND:REST`, e.g. "local:HuggingFaceTB/SmolLM2-135M-Instruct" or "echo:";
            or a `Backend` object.
        timeout: Total seconds each call may take unless it says otherwise; None is no limit.
        max_retries: How often a failed call is tried again before its first token.
        **backend_options: The backend's own options, e.g. `device="cuda"` for "local".

    Raises:
        InvalidReference: The reference cannot be read; the message shows what it could mean.
        MissingExtra: The backend's optional dependencies are not installed.
        UnsupportedFeature: The backend has no such option.
        InvalidRequest: `timeout` or `max_retries` is no usable number.

    The model opens lazily: weights are read and connections made by the first call or `load()`.
    A Model may be shared by threads and tasks, used inside a running event loop and after a fork.
    """

    def __init__(
        self,
        reference: str | Backend,
        *,
        timeout: float | None = settings.DEFAULT_TIMEOUT,
        max_retries: int = 2,
        **backend_options: Any,
    ) -> None:
        self.timeout = retry.seconds(timeout)
        self.max_retries = _retries(max_retries)
        self._opened_as = reference, backend_options
        self._budget = retry.Budget()
        if isinstance(reference, Backend):
            if backend_options:
                raise InvalidRequest(f"{', '.join(backend_options)}: options belong to the backend's own constructor.")
            self.backend = reference
            self.reference = f"{reference.name}:{reference.rest}"
        else:
            parsed = ref.parse(reference, registry.names())
            self.reference = str(parsed)
            self.backend = _open(parsed, backend_options)

    def __repr__(self) -> str:
        return f"Model({self.reference!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        reference, options = self._opened_as
        return partial(type(self), timeout=self.timeout, max_retries=self.max_retries, **options), (reference,)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def load(self) -> Self:
        """Do now what the first call would do: download, read the weights. Returns the model itself.

        Raises:
            LoadFailed: The files are missing, broken, unsafe or too large.
            Offline: They are not on this disk and the network is off or out of reach.
        """
        with self._explained():
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
        with self._stream("chat", messages, options, stream=False) as stream:
            for _ in stream:
                pass
            return stream.reply

    def stream(self, messages: Prompt, **options: Unpack[CallOptions]) -> Stream:
        """Return the model's answer as a stream of deltas; takes and raises what `chat` does.

        Arguments are checked now, the work begins with the first delta read.

        Raises:
            InvalidRequest: An argument is wrong; nothing was sent.
        """
        return self._stream("chat", messages, options, stream=True)

    def complete(self, prompt: str, **options: Unpack[CallOptions]) -> Reply:
        """Return the continuation of a text, without a chat template: for base models.

        Args:
            prompt: The text to go on from.
            **options: See `CallOptions`; `timeout` in seconds, lengths in tokens.

        Raises:
            UnsupportedFeature: The backend only chats.
            OpenModelsError: As for `chat`.
        """
        with self._stream("complete", prompt, options, stream=False) as stream:
            for _ in stream:
                pass
            return stream.reply

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
        began = time.perf_counter()
        with self._explained():
            request, retries = self._embed_request(texts, options)

            def start() -> Embeddings:
                return self.backend.embed(request)

            found = retry.call(start, retries=retries, deadline=request.deadline, budget=self._budget)
            return _timed(found, len(request.texts), began)

    async def achat(self, messages: Prompt, **options: Unpack[CallOptions]) -> Reply:
        """The asynchronous twin of `chat`; cancelling it stops the work behind it.

        Raises:
            OpenModelsError: As for `chat`.
        """
        async with self._astream("chat", messages, options, stream=False) as stream:
            async for _ in stream:
                pass
            return stream.reply

    def astream(self, messages: Prompt, **options: Unpack[CallOptions]) -> AsyncStream:
        """The asynchronous twin of `stream`: `async with model.astream(…) as stream`.

        Raises:
            InvalidRequest: An argument is wrong; nothing was sent.
        """
        return self._astream("chat", messages, options, stream=True)

    async def acomplete(self, prompt: str, **options: Unpack[CallOptions]) -> Reply:
        """The asynchronous twin of `complete`.

        Raises:
            OpenModelsError: As for `complete`.
        """
        async with self._astream("complete", prompt, options, stream=False) as stream:
            async for _ in stream:
                pass
            return stream.reply

    async def aembed(self, texts: str | Sequence[str], **options: Unpack[EmbedOptions]) -> Embeddings:
        """The asynchronous twin of `embed`.

        Raises:
            OpenModelsError: As for `embed`.
        """
        began = time.perf_counter()
        with self._explained():
            request, retries = self._embed_request(texts, options)

            async def start() -> Embeddings:
                return await self.backend.aembed(request)

            found = await retry.acall(start, retries=retries, deadline=request.deadline, budget=self._budget)
            return _timed(found, len(request.texts), began)

    def _stream(self, feature: str, said: Any, options: CallOptions, *, stream: bool) -> Stream:
        request, retries = self._request(feature, said, options, stream=stream)
        return Stream(self._deltas(request, retries), Fold(self.reference, request.deadline))

    def _astream(self, feature: str, said: Any, options: CallOptions, *, stream: bool) -> AsyncStream:
        request, retries = self._request(feature, said, options, stream=stream)
        return AsyncStream(self._adeltas(request, retries), Fold(self.reference, request.deadline))

    def _deltas(self, request: ChatRequest, retries: int) -> Generator[Delta, None, None]:
        def start() -> tuple[Generator[Delta, None, None], Delta | None]:
            deltas = self.backend.run(request)
            return deltas, next(deltas, None)

        deltas, first = retry.call(start, retries=retries, deadline=request.deadline, budget=self._budget)
        with closing(deltas):
            if first is not None:
                yield first
            yield from deltas

    async def _adeltas(self, request: ChatRequest, retries: int) -> AsyncGenerator[Delta, None]:
        async def start() -> tuple[AsyncGenerator[Delta, None], Delta | None]:
            deltas = self.backend.arun(request)
            try:
                return deltas, await anext(deltas, None)
            except BaseException:
                await deltas.aclose()
                raise

        deltas, first = await retry.acall(start, retries=retries, deadline=request.deadline, budget=self._budget)
        async with aclosing(deltas):
            if first is not None:
                yield first
            async for delta in deltas:
                yield delta

    def _request(self, feature: str, said: Any, options: CallOptions, *, stream: bool) -> tuple[ChatRequest, int]:
        with self._explained():
            fields, deadline, retries = self._options(feature, options, CallOptions.__annotations__)
            fields |= {"prompt": _text(said)} if feature == "complete" else {"messages": _messages(said)}
            try:
                request = ChatRequest(stream=stream, deadline=deadline, **fields)
            except ValidationError as error:
                raise InvalidRequest(faults(error)) from error
            if missing := sorted(request.options - self.backend.options):
                raise UnsupportedFeature(
                    f"The backend {self.backend.name!r} cannot honour the option {missing[0]!r}.",
                    next_step="Leave it out, or use another backend.",
                )
            return request, retries

    def _embed_request(self, texts: Any, options: EmbedOptions) -> tuple[EmbedRequest, int]:
        fields, deadline, retries = self._options("embed", options, EmbedOptions.__annotations__)
        if not isinstance(texts, Sequence) or isinstance(texts, bytes | bytearray):
            raise InvalidRequest(f"texts: expected a list of texts, not {type(texts).__name__}.")
        try:
            given = (texts,) if isinstance(texts, str) else tuple(texts)
            return EmbedRequest(texts=given, deadline=deadline, **fields), retries
        except ValidationError as error:
            raise InvalidRequest(faults(error)) from error

    def _options(
        self, feature: str, options: Mapping[str, Any], known: Mapping[str, Any]
    ) -> tuple[dict[str, Any], float | None, int]:
        """Return the options that were given, the deadline and the number of retries."""
        if feature not in self.backend.features:
            raise UnsupportedFeature(f"The backend {self.backend.name!r} has no {feature!r}.")
        if unknown := [name for name in options if name not in known]:
            raise _no_such_option(unknown[0], known, "call")
        given = dict(options)
        timeout = retry.seconds(given.pop("timeout", self.timeout))
        retries = _retries(given.pop("max_retries", self.max_retries))
        deadline = None if timeout is None else time.monotonic() + timeout
        return {name: value for name, value in given.items() if value is not None}, deadline, retries

    def _explained(self) -> _Explained:
        return _Explained(self.reference)


class _Explained:
    """Puts the model's reference into errors raised inside the block."""

    def __init__(self, reference: str) -> None:
        self.reference = reference

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OpenModelsError):
            error.reference = error.reference or self.reference


def _open(parsed: ref.Reference, options: Mapping[str, Any]) -> Backend:
    backend = registry.find(parsed.backend)
    parameters = list(inspect.signature(backend).parameters.values())
    known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    if unknown := [name for name in options if name not in known]:
        error = _no_such_option(unknown[0], known, f"backend {parsed.backend!r}")
        error.reference = str(parsed)
        raise error
    with _Explained(str(parsed)):
        return backend(parsed.rest, **options)


def _no_such_option(name: str, known: Mapping[str, Any] | Sequence[str], owner: str) -> UnsupportedFeature:
    near = difflib.get_close_matches(name, list(known), n=1)
    guess = f"Did you mean {near[0]!r}? " if near else ""
    return UnsupportedFeature(
        f"The {owner} has no option {name!r}.", next_step=f"{guess}It knows: {', '.join(sorted(known)) or 'none'}."
    )


def _timed(found: Embeddings, texts: int, began: float) -> Embeddings:
    if found.vectors.ndim != 2 or len(found) != texts:
        raise InvalidResponse(f"The backend gave vectors of the shape {found.vectors.shape} for {texts} texts.")
    return replace(found, seconds=time.perf_counter() - began)


def _text(said: Any) -> str:
    if not isinstance(said, str):
        raise InvalidRequest(f"prompt: expected text, not {type(said).__name__}.")
    return said


def _messages(said: Any) -> tuple[Any, ...]:
    items = [said] if isinstance(said, str | Message | Mapping) else said
    if not isinstance(items, Sequence) or isinstance(items, bytes | bytearray):
        raise InvalidRequest(f"messages: expected text, a message or a list of them, not {type(said).__name__}.")
    return tuple(_turn(item) for item in items)


def _turn(item: Any) -> Any:
    # A bare string is the user speaking; everything else is checked by the request itself.
    if isinstance(item, str):
        return {"role": "user", "content": item}
    return dict(item) if isinstance(item, Mapping) else item


def faults(error: ValidationError) -> str:
    """Return what pydantic found wrong, each fault with its place, in one line and without the input."""
    lines = []
    for fault in error.errors(include_url=False, include_input=False):
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in fault["loc"]).lstrip(".")
        message = fault["msg"].removeprefix("Value error, ")
        lines.append(f"{place}: {message}" if place else message)
    return "; ".join(dict.fromkeys(lines)) + "."


def _retries(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidRequest("max_retries: expected a whole number, 0 or more.")
    return value
