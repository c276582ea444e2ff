"""The loop around a model that calls tools: ask, run what it calls, tell it the results, until it answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

from openmodels import escaping
from openmodels.core import request, retry
from openmodels.errors import DeadlineExceeded, InvalidRequest, OpenModelsError, ToolRoundsExceeded
from openmodels.output.tool_results import ToolResult, without_images
from openmodels.output.tools import failed, toolbox
from openmodels.types.messages import Message, Prompt, ToolCall
from openmodels.types.reply import Reply, Usage

MAX_ROUNDS = 10
"""Answers that a run may have unless it says otherwise."""

_SLOW = "The call's total time is up while tools ran."


@dataclass(frozen=True, slots=True)
class ToolRound:
    """One answer of the model, and what came of the calls in it.

    Attributes:
        reply: The answer.
        results: What came of each call, in their order; empty where none was run.
    """

    reply: Reply
    results: tuple[ToolResult, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolRun:
    """What `run_tools` did.

    Attributes:
        asked: The messages that it began with.
        rounds: The trace: each answer with the results of its calls, the last one last.
    """

    asked: tuple[Message, ...]
    rounds: tuple[ToolRound, ...] = ()

    def __str__(self) -> str:
        return self.text

    @property
    def reply(self) -> Reply:
        """The last answer. Raises IndexError where there was none."""
        return self.rounds[-1].reply

    @property
    def text(self) -> str:
        """The last answer's text; "" where there was none."""
        return self.rounds[-1].reply.text if self.rounds else ""

    @property
    def pending(self) -> tuple[ToolCall, ...]:
        """Calls of the last answer that were not run: the tool has no function, or the rounds were used up."""
        return () if not self.rounds or self.rounds[-1].results else self.reply.tool_calls

    @property
    def messages(self) -> tuple[Message, ...]:
        """The whole conversation, to go on with."""
        said = list(self.asked)
        for one in self.rounds:
            if one.reply.text or one.reply.tool_calls:
                said.append(one.reply.message)
            said += [result.message for result in one.results]
            said += [_shown(result) for result in one.results if result.images]
        return tuple(said)

    @property
    def usage(self) -> Usage:
        """Tokens that all rounds consumed; None where one of them does not say."""
        return reduce(add, [one.reply.usage for one in self.rounds])

    @property
    def cost(self) -> float | None:
        """US dollars that all rounds cost; None where one of them has no price."""
        costs = [one.reply.cost for one in self.rounds]
        return None if None in costs else sum(cost for cost in costs if cost is not None)

    def _repr_html_(self) -> str:
        rows = [
            f"<tr><td>{number}</td><td>{escaping.html(result.call.name)}</td>"
            f"<td>{escaping.html(result.call.raw[:200])}</td><td>{escaping.html(result.message.text[:200])}</td></tr>"
            for number, one in enumerate(self.rounds, start=1)
            for result in one.results
        ]
        head = "<tr><th>round</th><th>tool</th><th>arguments</th><th>result</th></tr>"
        return f"<div style='white-space:pre-wrap'>{escaping.html(self.text)}</div><table>{head}{''.join(rows)}</table>"


class Loop:
    """One run of `run_tools`, which `run` and `arun` drive.

    Args:
        messages: What the model is asked.
        tools: What it may call.
        max_rounds: How many answers there may be.
        parallel: Whether calls of one answer run at the same time.
        options: The options of each call; `timeout` in seconds counts for the whole run.
        timeout: Seconds for the whole run where the options do not say; None is no limit.
        images: Whether the model can be shown the images that tools return.

    Raises:
        InvalidRequest: An argument is wrong.
    """

    def __init__(
        self,
        messages: Prompt,
        tools: Sequence[Any],
        max_rounds: int,
        options: Mapping[str, Any],
        timeout: float | None,
        *,
        parallel: bool,
        images: bool = True,
    ) -> None:
        if isinstance(max_rounds, bool) or not isinstance(max_rounds, int) or max_rounds < 1:
            raise InvalidRequest("max_rounds: expected a whole number, 1 or more.")
        if options.get("n") not in (None, 1):
            raise InvalidRequest("n: `run_tools` goes on with one answer.", next_step="Leave it out.")
        self._tools = {one.name: one for one in toolbox(tools)}
        self._options = dict(options)
        seconds = retry.seconds(self._options.pop("timeout", timeout))
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self._most, self._parallel, self._images = max_rounds, parallel, images
        self._run = ToolRun(request.turns(messages))

    def run(self, chat: Callable[..., Reply]) -> ToolRun:
        """Ask and run tools until an answer calls none.

        Raises:
            OpenModelsError: A call failed, or the rounds or the time are used up; `run` holds what was done.
        """
        with self._kept():
            while (calls := self._take(chat(self._run.messages, **self._next()))) is not None:
                self._tell(self._together(calls) if self._parallel and len(calls) > 1 else map(self._one, calls))
        return self._run

    async def arun(self, achat: Callable[..., Coroutine[Any, Any, Reply]]) -> ToolRun:
        """The asynchronous twin of `run`."""
        with self._kept():
            while (calls := self._take(await achat(self._run.messages, **self._next()))) is not None:
                try:
                    async with asyncio.timeout(self._left()):
                        if self._parallel:
                            self._tell(await asyncio.gather(*map(self._aone, calls)))
                        else:
                            self._tell([await self._aone(call) for call in calls])
                except TimeoutError as error:
                    raise DeadlineExceeded(_SLOW, next_step="Raise `timeout`.") from error
        return self._run

    def _next(self) -> dict[str, Any]:
        options = {**self._options, "tools": list(self._tools.values()), "timeout": self._left()}
        if self._run.rounds and options.get("tool_choice") not in (None, "auto", "none"):
            del options["tool_choice"]  # demanded again and again, a call would never let it answer
        return options

    def _left(self) -> float | None:
        if self._deadline is None:
            return None
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded(_SLOW, next_step="Raise `timeout`.")
        return left

    def _take(self, reply: Reply) -> tuple[ToolCall, ...] | None:
        """Keep an answer; return the calls to run, or None when the run is over."""
        self._run = ToolRun(self._run.asked, (*self._run.rounds, ToolRound(reply)))
        tools = [self._tools.get(call.name) for call in reply.tool_calls]
        if not tools or any(one is not None and one.function is None for one in tools):
            return None
        if len(self._run.rounds) >= self._most:
            raise ToolRoundsExceeded(
                f"After {self._most} answers the model still calls tools.",
                next_step="Raise `max_rounds`; the error's `run` holds what was done, its `messages` go on from there.",
            )
        return reply.tool_calls

    def _tell(self, results: Sequence[ToolResult] | Iterator[ToolResult]) -> None:
        *before, last = self._run.rounds
        kept = tuple(result if self._images or not result.images else without_images(result) for result in results)
        self._run = ToolRun(self._run.asked, (*before, ToolRound(last.reply, kept)))

    def _together(self, calls: Sequence[ToolCall]) -> list[ToolResult]:
        pool = ThreadPoolExecutor(len(calls), thread_name_prefix="openmodels-tool")
        try:
            futures = [pool.submit(copy_context().run, self._one, call) for call in calls]
            if wait(futures, self._left()).not_done:
                raise DeadlineExceeded(_SLOW, next_step="Raise `timeout`.")
            return [future.result() for future in futures]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _one(self, call: ToolCall) -> ToolResult:
        found = self._tools.get(call.name)
        return _unknown(call) if found is None else found.run(call)

    async def _aone(self, call: ToolCall) -> ToolResult:
        found = self._tools.get(call.name)
        return _unknown(call) if found is None else await found.arun(call)

    @contextmanager
    def _kept(self) -> Iterator[None]:
        """Put what was done into an error on its way out."""
        try:
            yield
        except OpenModelsError as error:
            error.run = self._run
            raise


def _shown(result: ToolResult) -> Message:
    return Message(role="user", content=(f"What the tool {result.call.name!r} returned:", *result.images))


def _unknown(call: ToolCall) -> ToolResult:
    return failed(call, InvalidRequest("; ".join(call.errors)), time.perf_counter())
