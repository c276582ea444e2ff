"""The tool loop: request an answer and run its tools, until it calls none."""

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
from openmodels.core.request import read_messages
from openmodels.deadline import check_timeout, deadline_after, deadline_exceeded, seconds_left
from openmodels.errors import InvalidRequest, OpenModelsError, ToolRoundsExceeded
from openmodels.output.tool_results import ToolResult, without_images
from openmodels.output.tools import make_error_result, make_tools
from openmodels.types.messages import Message, Prompt, ToolCall
from openmodels.types.reply import Reply, Usage

MAX_ROUNDS = 10  # answers that a run may have by default

_PHASE = "while tools ran"


@dataclass(frozen=True, slots=True)
class ToolRound:
    """An answer of the model, and the results of the calls in it.

    Attributes:
        reply: The answer.
        results: The results of its calls, in their order; empty where none was run.
    """

    reply: Reply
    results: tuple[ToolResult, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolRun:
    """The outcome of `run_tools`.

    Attributes:
        asked: The messages that the run began with.
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
        """Calls of the last answer that were not run.

        Their tool has no function, or the rounds were used up.
        """
        return () if not self.rounds or self.rounds[-1].results else self.reply.tool_calls

    @property
    def messages(self) -> tuple[Message, ...]:
        """The whole conversation, to continue from."""
        messages = list(self.asked)
        for turn in self.rounds:
            if turn.reply.text or turn.reply.tool_calls:
                messages.append(turn.reply.message)
            messages += [result.message for result in turn.results]
            messages += [
                Message(role="user", content=(f"What the tool {result.call.name!r} returned:", *result.images))
                for result in turn.results
                if result.images
            ]
        return tuple(messages)

    @property
    def usage(self) -> Usage:
        """Tokens that all rounds consumed; None where one of them does not say."""
        return reduce(add, [turn.reply.usage for turn in self.rounds])

    @property
    def cost(self) -> float | None:
        """US dollars that all rounds cost; None where one of them has no price."""
        costs = [turn.reply.cost for turn in self.rounds]
        return None if None in costs else sum(cost for cost in costs if cost is not None)

    def _repr_html_(self) -> str:
        rows = [
            f"<tr><td>{number}</td><td>{escaping.escape_html(result.call.name)}</td>"
            f"<td>{escaping.escape_html(result.call.raw[:200])}</td><td>{escaping.escape_html(result.message.text[:200])}</td></tr>"
            for number, turn in enumerate(self.rounds, start=1)
            for result in turn.results
        ]
        head = "<tr><th>round</th><th>tool</th><th>arguments</th><th>result</th></tr>"
        text = escaping.escape_html(self.text)
        return f"<div style='white-space:pre-wrap'>{text}</div><table>{head}{''.join(rows)}</table>"


class ToolLoop:
    """One run of `run_tools`, which `run` and `arun` drive.

    Args:
        messages: What `chat` takes.
        tools: The tools that the model may call.
        max_rounds: How many answers there may be.
        options: The options of each call; `timeout` in seconds counts for the whole run.
        timeout: Seconds for the whole run where the options do not set it; None lifts the limit.
        parallel: Whether calls of one answer run at the same time.
        images: Whether the model takes the images that tools return.

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
            raise InvalidRequest("n: `run_tools` continues with one answer.", next_step="Leave it out.")
        self._tools = {tool.name: tool for tool in make_tools(tools)}
        self._options = dict(options)
        self._deadline = deadline_after(check_timeout(self._options.pop("timeout", timeout)))
        self._max_rounds, self._parallel, self._images = max_rounds, parallel, images
        self._run = ToolRun(read_messages(messages))

    def run(self, chat: Callable[..., Reply]) -> ToolRun:
        """Request answers and run tools until an answer calls none.

        Raises:
            OpenModelsError: A call failed, or the rounds or the time are used up; `run` holds what was done.
        """
        with self._attach_run():
            while (calls := self._add_reply(chat(self._run.messages, **self._call_options()))) is not None:
                is_concurrent = self._parallel and len(calls) > 1
                self._add_results(self._run_concurrently(calls) if is_concurrent else map(self._run_call, calls))
        return self._run

    async def arun(self, achat: Callable[..., Coroutine[Any, Any, Reply]]) -> ToolRun:
        """The asynchronous twin of `run`."""
        with self._attach_run():
            while (calls := self._add_reply(await achat(self._run.messages, **self._call_options()))) is not None:
                try:
                    async with asyncio.timeout(self._seconds_left()):
                        if self._parallel:
                            self._add_results(await asyncio.gather(*map(self._arun_call, calls)))
                        else:
                            self._add_results([await self._arun_call(call) for call in calls])
                except TimeoutError as error:
                    raise deadline_exceeded(_PHASE) from error
        return self._run

    def _call_options(self) -> dict[str, Any]:
        options = {**self._options, "tools": list(self._tools.values()), "timeout": self._seconds_left()}
        if self._run.rounds and options.get("tool_choice") not in (None, "auto", "none"):
            del options["tool_choice"]  # demanded again and again, a call would never let it answer
        return options

    def _seconds_left(self) -> float | None:
        return seconds_left(self._deadline, _PHASE)

    def _add_reply(self, reply: Reply) -> tuple[ToolCall, ...] | None:
        """Add an answer; return the calls to run, or None when the run is over."""
        self._run = ToolRun(self._run.asked, (*self._run.rounds, ToolRound(reply)))
        tools = [self._tools.get(call.name) for call in reply.tool_calls]
        if not tools or any(tool is not None and tool.function is None for tool in tools):
            return None
        if len(self._run.rounds) >= self._max_rounds:
            raise ToolRoundsExceeded(
                f"After {self._max_rounds} answers the model still calls tools.",
                next_step="Raise `max_rounds`; the error's `run` holds what was done, its `messages` go on from there.",
            )
        return reply.tool_calls

    def _add_results(self, results: Sequence[ToolResult] | Iterator[ToolResult]) -> None:
        *earlier, last = self._run.rounds
        kept = tuple(result if self._images or not result.images else without_images(result) for result in results)
        self._run = ToolRun(self._run.asked, (*earlier, ToolRound(last.reply, kept)))

    def _run_concurrently(self, calls: Sequence[ToolCall]) -> list[ToolResult]:
        pool = ThreadPoolExecutor(len(calls), thread_name_prefix="openmodels-tool")
        try:
            futures = [pool.submit(copy_context().run, self._run_call, call) for call in calls]
            if wait(futures, self._seconds_left()).not_done:
                raise deadline_exceeded(_PHASE)
            return [future.result() for future in futures]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _run_call(self, call: ToolCall) -> ToolResult:
        tool = self._tools.get(call.name)
        return _unknown_tool(call) if tool is None else tool.run(call)

    async def _arun_call(self, call: ToolCall) -> ToolResult:
        tool = self._tools.get(call.name)
        return _unknown_tool(call) if tool is None else await tool.arun(call)

    @contextmanager
    def _attach_run(self) -> Iterator[None]:
        """Add what was done to an error on its way out."""
        try:
            yield
        except OpenModelsError as error:
            error.run = self._run
            raise


def _unknown_tool(call: ToolCall) -> ToolResult:
    return make_error_result(call, InvalidRequest("; ".join(call.errors)), time.perf_counter())
