"""From deltas to a reply: the assembler, and the two streams that drive it."""

import atexit
import inspect
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, Self
from weakref import WeakSet

from openmodels.core.events import CallEvents
from openmodels.deadline import deadline_exceeded
from openmodels.errors import InvalidRequest, OpenModelsError, StreamInterrupted, shorten
from openmodels.output.structure import OutputValidator
from openmodels.output.tools import ToolCallValidator
from openmodels.types.messages import ToolCall
from openmodels.types.reply import Attempt, Delta, Reply, TokenLogprob, Usage


class ReplyValidator(Protocol):
    """What makes a complete reply the one that the caller asked for, or refuses it."""

    def check_reply(self, reply: Reply) -> Reply:
        """Return the reply, completed.

        Raises:
            OutputInvalid: It is not what the caller asked for.
        """


def validate_reply(reply: Reply, validators: Sequence[ReplyValidator]) -> Reply:
    """Return a reply and its alternatives as the validators complete them.

    Raises:
        OutputInvalid: One of them is not what was asked for.
    """
    for validator in validators:
        alternatives = tuple(map(validator.check_reply, reply.alternatives))
        reply = validator.check_reply(reply)
        if alternatives:
            reply = reply.model_copy(update={"alternatives": alternatives})
    return reply


@dataclass(slots=True)
class _PartialAnswer:
    """The parts of one of the `n` answers, as far as they have arrived."""

    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    tool_calls: list[ToolCall] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish_reason: str | None = None
    is_complete: bool = False

    def add_rest(self, delta: Delta) -> None:
        if delta.reasoning:
            self.reasoning.append(delta.reasoning)
        self.tool_calls += delta.tool_calls
        self.logprobs += delta.logprobs
        if delta.finish_reason is not None:
            self.finish_reason = delta.finish_reason
        self.is_complete = self.is_complete or delta.end or delta.finish_reason is not None

    def fields(self) -> dict[str, Any]:
        return {
            "text": "".join(self.text),
            "reasoning": "".join(self.reasoning),
            "tool_calls": tuple(self.tool_calls),
            "logprobs": tuple(self.logprobs),
            "finish_reason": self.finish_reason,
        }


class ReplyAssembler:
    """Assembles deltas into a reply; `chat` and `stream` both end here.

    Args:
        reference: The model's reference, for errors.
        deadline: When the answer must be complete, on the clock of `time.monotonic()`; None is never.
        validators: What checks the complete reply, in their order.
        tool_calls: What checks each tool call, where tools are offered.
        events: The events of the call, where something observes it.
    """

    def __init__(
        self,
        reference: str,
        deadline: float | None = None,
        validators: Sequence[ReplyValidator] = (),
        tool_calls: ToolCallValidator | None = None,
        events: CallEvents | None = None,
    ) -> None:
        self.reference = reference
        self.validators = validators
        self._tool_calls = tool_calls
        self._events = events
        self._deadline = deadline
        self._start = time.perf_counter()
        self._first_token_seconds: float | None = None
        self._first = _PartialAnswer()
        self._answers = {0: self._first}
        self._usage = Usage()
        self._model: str | None = None
        self._raw: object = None
        self._cost: float | None = None
        self._trace: tuple[Attempt, ...] = ()

    def add(self, delta: Delta) -> Delta:
        """Add a delta and return it, with its tool calls checked.

        Raises:
            DeadlineExceeded: It came after the deadline.
        """
        if delta.tool_calls and self._tool_calls is not None:
            delta = replace(delta, tool_calls=self._tool_calls.check_calls(delta.tool_calls))
        if self._events is not None:
            self._events.received(delta)
        if self._first_token_seconds is None and (delta.text or delta.reasoning or delta.tool_calls):
            self._first_token_seconds = time.perf_counter() - self._start
        answer = self._first if delta.index == 0 else self._answers.setdefault(delta.index, _PartialAnswer())
        # Most deltas hold a text and nothing else: what they pay for the rest is one condition.
        if delta.text:
            answer.text.append(delta.text)
        if delta.finish_reason is not None or delta.reasoning or delta.tool_calls or delta.logprobs or delta.end:
            answer.add_rest(delta)
        if delta.usage is not None or delta.cost is not None or delta.trace:
            self._usage = delta.usage or self._usage
            self._trace = delta.trace or self._trace
            self._cost = self._cost if delta.cost is None else delta.cost
        if delta.model is not None:
            self._model = delta.model
        if delta.raw is not None:
            self._raw = delta.raw
        # A backend that checks only now and then must not let its answer outlast the deadline.
        if self._deadline is not None and time.monotonic() > self._deadline and not self.is_complete:
            raise deadline_exceeded()
        return delta

    @property
    def is_complete(self) -> bool:
        """Whether every answer that has begun has also ended."""
        return all(answer.is_complete for answer in self._answers.values())

    @property
    def text(self) -> str:
        """The text of the first answer as far as it has arrived."""
        return "".join(self._first.text)

    def snapshot(self) -> Reply:
        """Return the reply so far; usage, cost and `raw` are those of the call."""
        common: dict[str, Any] = {"model": self._model, "seconds": time.perf_counter() - self._start}
        alternatives = tuple(
            Reply(**answer.fields(), **common) for index, answer in sorted(self._answers.items()) if index
        )
        return Reply(
            **self._first.fields(),
            **common,
            alternatives=alternatives,
            first_token_seconds=self._first_token_seconds,
            usage=self._usage,
            cost=self._cost,
            raw=self._raw,
            trace=self._trace,
        )

    def finish(self) -> Reply:
        """Return the complete reply.

        Raises:
            StreamInterrupted: It is not complete.
            OutputInvalid: It is not what the caller asked for.
        """
        reply = self.snapshot()
        if not self.is_complete:
            raise StreamInterrupted(
                "The answer ended without a finish reason or end mark.",
                reference=self.reference,
                next_step="What arrived is in the error's `partial`; ask again for the whole.",
                partial=reply,
            )
        if self._tool_calls is not None:
            reply = validate_reply(reply, (self._tool_calls,))
        reply = validate_reply(reply, self.validators)
        if self._events is not None:
            self._events.completed(reply)
        return reply

    def fail(self, error: OpenModelsError) -> None:
        """Add reference and partial reply to an error on its way out; report it."""
        error.reference = error.reference or self.reference
        answer = self._first
        has_arrived = answer.text or answer.reasoning or answer.tool_calls or len(self._answers) > 1
        if error.partial is None and has_arrived:
            error.partial = self.snapshot()
        if self._events is not None:
            self._events.failed(error, self.snapshot())


class _StreamBase:
    def __init__(self, assembler: ReplyAssembler) -> None:
        self._assembler = assembler
        self._reply: Reply | None = None

    def __repr__(self) -> str:
        state = "read to its end" if self.finished else "not read to its end"
        return f"<{type(self).__name__} of {self._assembler.reference}, {state}>"

    def __contains__(self, item: object) -> bool:
        # By its iteration alone, `in` would compare deltas with a text, read all of them and say False.
        raise TypeError(f"`in` does not look into a {type(self).__name__}: read it, then look into `stream.reply`.")

    if not TYPE_CHECKING:  # a declared __getattr__ would make every misspelled name pass

        def __getattr__(self, name: str) -> Any:
            advice = ""
            if name in {"text", "content", "choices"}:
                advice = " Iterate it, then take `stream.reply.text`; `stream.snapshot.text` is what has come."
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}.{advice}")

    def _add(self, delta: Delta | None) -> Delta | None:
        """Add a delta to the reply, which is complete with the None at the end."""
        if delta is not None:
            return self._assembler.add(delta)
        self._reply = self._reply or self._assembler.finish()
        return None

    @property
    def reply(self) -> Reply:
        """The complete reply, once the stream has been read to its end.

        Raises:
            StreamInterrupted: The stream has not been read to its end; `partial` holds what came.
        """
        if self._reply is None:
            raise StreamInterrupted(
                "The stream was not read to its end.",
                reference=self._assembler.reference,
                next_step="Read on, or take `stream.snapshot`.",
                partial=self._assembler.snapshot(),
            )
        return self._reply

    @property
    def finished(self) -> bool:
        """Whether the stream has been read to its end."""
        return self._reply is not None

    @property
    def snapshot(self) -> Reply:
        """The reply as far as it has arrived."""
        return self._reply or self._assembler.snapshot()

    def partial(self) -> Any:
        """Return what has arrived of an answer with `schema`, as plain data.

        Dicts and lists grow; their last text or number may be unfinished. None is nothing yet. The complete
        value, as the type asked for, is `stream.reply.parsed`.

        Raises:
            InvalidRequest: The call asked for no `schema`, `choices`, `pattern` or `grammar`.
        """
        for validator in self._assembler.validators:
            if isinstance(validator, OutputValidator):
                return validator.partial(self._assembler.text)
        raise InvalidRequest("partial: the call asks for no `schema`, `choices`, `pattern` or `grammar`.")


class Stream(_StreamBase, Iterator[Delta]):
    """An answer as it arrives: iterate its deltas, then read `reply`.

    Use it in a `with` block: leaving the block early stops the work behind the stream. Iterating
    raises the same errors as `Model.chat`; each carries what had arrived as `partial`.
    """

    def __init__(self, deltas: Generator[Delta, None, None], assembler: ReplyAssembler) -> None:
        super().__init__(assembler)
        self._deltas = deltas
        self._lock = threading.RLock()
        self._closing = False
        _close_open_streams_at_exit()
        _OPEN_STREAMS.add(self)

    def __next__(self) -> Delta:
        try:
            with self._lock:
                delta = self._add(next(self._deltas, None))
        except OpenModelsError as error:
            self.close()
            self._assembler.fail(error)
            shorten(error)
            raise
        finally:
            if self._closing:  # while this step ran
                self.close()
        if delta is None:
            raise StopIteration
        return delta

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the work behind the stream; what has arrived stays in `snapshot`.

        From another thread than the one that reads, the work stops as soon as the delta that is
        being read has come; reading on raises `StreamInterrupted`.
        """
        self._closing = True
        # A running generator cannot be closed: the thread that runs it does it after this step.
        if self._lock.acquire(blocking=False):
            try:
                if inspect.getgeneratorstate(self._deltas) != inspect.GEN_RUNNING:
                    self._deltas.close()
            finally:
                self._lock.release()


_OPEN_STREAMS: WeakSet[Stream] = WeakSet()


@cache
def _close_open_streams_at_exit() -> None:
    """Close streams that are open when the process ends.

    It happens while every module still has its names. Where something holds `__main__`, as dill does, a stream there
    outlives the names of the modules that end it. It is registered with the first stream, behind what engines have
    registered, so that they end after their streams.
    """
    atexit.register(_close_open_streams)


def _close_open_streams() -> None:
    for stream in list(_OPEN_STREAMS):
        with suppress(Exception):  # what fails now has no caller
            stream.close()


class AsyncStream(_StreamBase, AsyncIterator[Delta]):
    """The asynchronous twin of `Stream`: `async with` and `async for`."""

    def __init__(self, deltas: AsyncGenerator[Delta, None], assembler: ReplyAssembler) -> None:
        super().__init__(assembler)
        self._deltas = deltas

    async def __anext__(self) -> Delta:
        try:
            delta = self._add(await anext(self._deltas, None))
        except OpenModelsError as error:
            await self.aclose()
            self._assembler.fail(error)
            shorten(error)
            raise
        if delta is None:
            raise StopAsyncIteration
        return delta

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop the work behind the stream; what has arrived stays in `snapshot`."""
        await self._deltas.aclose()
