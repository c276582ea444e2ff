"""From deltas to a reply: the fold, and the two streams that do it while you read."""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from typing import TYPE_CHECKING, Any, Self

from openmodels.core.hooks import Watch
from openmodels.errors import DeadlineExceeded, InvalidRequest, OpenModelsError, StreamInterrupted, shorten
from openmodels.output.structure import Shape
from openmodels.output.tools import Checker
from openmodels.types.messages import ToolCall
from openmodels.types.reply import Delta, Reply, TokenLogprob, Usage


class Fold:
    """Puts deltas together into a reply; `chat` and `stream` both end here.

    Of `n` answers each has a fold of its own: this one is of the first.

    Args:
        reference: The model's reference, for errors.
        deadline: When the answer must be whole, on the clock of `time.monotonic()`; None is never.
        check: Makes the whole reply what the caller asked for.
        watch: Is told of every delta and of the end, where somebody wants to know.
        calls: Checks the tool calls, where tools were offered.
    """

    __slots__ = (
        "calls",
        "check",
        "complete",
        "cost",
        "deadline",
        "finish_reason",
        "logprobs",
        "model",
        "others",
        "raw",
        "reasoning",
        "reference",
        "start",
        "text",
        "tools",
        "usage",
        "watch",
    )

    def __init__(
        self,
        reference: str,
        deadline: float | None = None,
        check: Callable[[Reply], Reply] | None = None,
        watch: Watch | None = None,
        calls: Checker | None = None,
    ) -> None:
        self.reference = reference
        self.calls = calls
        self.check = check
        self.watch = watch
        self.deadline = deadline
        self.start = time.perf_counter()
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.tools: list[ToolCall] = []
        self.logprobs: list[TokenLogprob] = []
        self.others: dict[int, Fold] = {}
        self.finish_reason: str | None = None
        self.usage = Usage()
        self.model: str | None = None
        self.raw: object = None
        self.cost: float | None = None
        self.complete = False

    def add(self, delta: Delta) -> None:
        """Take one delta in. Raises DeadlineExceeded when it came too late."""
        if delta.tool_calls and self.calls is not None:
            delta.tool_calls = self.calls(delta.tool_calls)
        if self.watch is not None:
            self.watch.saw(delta)
        if delta.index == 0:
            self._take(delta)
        else:
            if delta.index not in self.others:
                self.others[delta.index] = Fold(self.reference)
            self.others[delta.index]._take(delta)  # noqa: SLF001 - of its own kind
        if delta.usage is not None:
            self.usage = delta.usage
        if delta.model is not None:
            self.model = delta.model
        if delta.raw is not None:
            self.raw = delta.raw
        if delta.cost is not None:
            self.cost = delta.cost
        # A backend that only checks now and then must not let its answer outlast the deadline.
        if self.deadline is not None and not self.whole and time.monotonic() > self.deadline:
            raise DeadlineExceeded("The call's total time is up.", next_step="Raise `timeout` or lower `max_tokens`.")

    def _take(self, delta: Delta) -> None:
        if delta.text:
            self.text.append(delta.text)
        if delta.reasoning:
            self.reasoning.append(delta.reasoning)
        if delta.tool_calls:
            self.tools.extend(delta.tool_calls)
        if delta.logprobs:
            self.logprobs.extend(delta.logprobs)
        if delta.finish_reason is not None:
            self.finish_reason = delta.finish_reason
        if delta.finish_reason is not None or delta.end:
            self.complete = True

    @property
    def whole(self) -> bool:
        """Whether every answer that has begun has also ended."""
        return self.complete and all(fold.complete for fold in self.others.values())

    def reply(self) -> Reply:
        """Return what has arrived so far; the usage, and what the vendor sent, are those of the whole call."""
        seconds = time.perf_counter() - self.start
        others = tuple(fold._alone(self.model, seconds) for _, fold in sorted(self.others.items()))  # noqa: SLF001 - as above
        reply = self._alone(self.model, seconds)
        whole = {"alternatives": others, "usage": self.usage, "cost": self.cost, "raw": self.raw}
        return reply.model_copy(update=whole)

    def _alone(self, model: str | None, seconds: float) -> Reply:
        return Reply(
            text="".join(self.text),
            reasoning="".join(self.reasoning),
            tool_calls=tuple(self.tools),
            logprobs=tuple(self.logprobs),
            finish_reason=self.finish_reason,
            model=model,
            seconds=seconds,
        )

    def end(self) -> Reply:
        """Return the whole reply.

        Raises:
            StreamInterrupted: It is not whole.
            OutputInvalid: It is not what the caller asked for.
        """
        if not self.whole:
            raise StreamInterrupted(
                "The answer ended without a finish reason or end mark.",
                reference=self.reference,
                next_step="What arrived is in the error's `partial`; ask again for the whole.",
                partial=self.reply(),
            )
        reply = self.reply()
        if self.calls is not None:
            for one in (reply, *reply.alternatives):
                self.calls.ended(one)
        if self.check is not None:
            others = tuple(self.check(other) for other in reply.alternatives)
            reply = self.check(reply).model_copy(update={"alternatives": others})
        if self.watch is not None:
            self.watch.ended(reply)
        return reply

    def explain(self, error: OpenModelsError) -> None:
        """Put the reference and the partial answer into an error on its way out, and tell of it."""
        error.reference = error.reference or self.reference
        if error.partial is None and (self.text or self.reasoning or self.tools or self.others):
            error.partial = self.reply()
        if self.watch is not None:
            self.watch.failed(error, self.reply())


class _Shared:
    def __init__(self, fold: Fold) -> None:
        self._fold = fold
        self._reply: Reply | None = None

    def __repr__(self) -> str:
        state = "read to its end" if self.finished else "not read to its end"
        return f"<{type(self).__name__} of {self._fold.reference}, {state}>"

    def __contains__(self, item: object) -> bool:
        # By its iteration alone, `in` would compare deltas with a text, read all of them and say False.
        raise TypeError(f"`in` does not look into a {type(self).__name__}: read it, then look into `stream.reply`.")

    if not TYPE_CHECKING:  # a declared __getattr__ would make every misspelled name pass

        def __getattr__(self, name: str) -> Any:
            advice = ""
            if name in {"text", "content", "choices"}:
                advice = " Iterate it, then take `stream.reply.text`; `stream.snapshot.text` is what has come."
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}.{advice}")

    @property
    def reply(self) -> Reply:
        """The whole reply, once the stream has been read to its end.

        Raises:
            StreamInterrupted: The stream has not been read to its end; `partial` holds what came.
        """
        if self._reply is None:
            raise StreamInterrupted(
                "The stream was not read to its end.",
                reference=self._fold.reference,
                next_step="Read on, or take `stream.snapshot`.",
                partial=self._fold.reply(),
            )
        return self._reply

    @property
    def finished(self) -> bool:
        """Whether the stream has been read to its end."""
        return self._reply is not None

    @property
    def snapshot(self) -> Reply:
        """The reply as far as it has arrived."""
        return self._reply or self._fold.reply()

    def partial(self) -> Any:
        """Return what has arrived of an answer with `schema` as plain data, not validated yet.

        Dicts and lists grow; their last text or number may still go on. None is nothing yet. The whole,
        as the type asked for, is `stream.reply.parsed`.

        Raises:
            InvalidRequest: The call asked for no `schema`, `choices`, `pattern` or `grammar`.
        """
        if not isinstance(self._fold.check, Shape):
            raise InvalidRequest("partial: the call said nothing of what the answer must look like.")
        return self._fold.check.partial("".join(self._fold.text))


class Stream(_Shared):
    """An answer as it arrives: iterate its deltas, then read `reply`.

    Use it in a `with` block: leaving the block early stops the work behind the stream. Iterating
    raises the same errors as `Model.chat`; each carries what had arrived as `partial`.
    """

    def __init__(self, deltas: Generator[Delta, None, None], fold: Fold) -> None:
        super().__init__(fold)
        self._deltas = deltas
        self._step = threading.RLock()
        self._closing = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Delta:
        try:
            with self._step:
                return self._read()
        except OpenModelsError as error:
            shorten(error)
            raise
        finally:
            if self._closing:  # while this step ran
                self.close()

    def _read(self) -> Delta:
        try:
            delta = next(self._deltas, None)
            if delta is not None:
                self._fold.add(delta)
            elif self._reply is None:
                self._reply = self._fold.end()
        except OpenModelsError as error:
            self.close()
            self._fold.explain(error)
            raise
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
        # A running generator cannot be closed: whoever runs it does it after this step.
        if self._step.acquire(blocking=False):
            try:
                if inspect.getgeneratorstate(self._deltas) != inspect.GEN_RUNNING:
                    self._deltas.close()
            finally:
                self._step.release()


class AsyncStream(_Shared):
    """The asynchronous twin of `Stream`: `async with` and `async for`."""

    def __init__(self, deltas: AsyncGenerator[Delta, None], fold: Fold) -> None:
        super().__init__(fold)
        self._deltas = deltas

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delta:
        try:
            delta = await anext(self._deltas, None)
            if delta is not None:
                self._fold.add(delta)
            elif self._reply is None:
                self._reply = self._fold.end()
        except OpenModelsError as error:
            await self.aclose()
            self._fold.explain(error)
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
