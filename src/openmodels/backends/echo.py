"""A backend without a model, for tests and docs: it echoes or plays a script.

It honours every sampling option: it has one possible answer, so they cannot change it, and each of its
words is certain. What an answer must look like (`schema`, `choices`, `pattern`) is checked as everywhere. A tool
is called only where `tool_choice` demands it, with the message as its arguments where that is a JSON object.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import AsyncGenerator, Generator, Iterable, Iterator, Sequence
from contextlib import aclosing, closing
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

from pydantic_core import from_json, to_json

from openmodels.backends.base import Backend
from openmodels.deadline import deadline_exceeded
from openmodels.errors import InvalidRequest
from openmodels.openai_wire import encode
from openmodels.output.text_scan import StopStringFilter
from openmodels.types.messages import ToolCall
from openmodels.types.reply import Delta, TokenLogprob, Usage
from openmodels.types.request import ChatRequest

Step = str | Delta | BaseException | float
"""What a script is made of: text or a delta to give, an error to raise, seconds to wait."""


_KEPT = 1000  # requests that are kept; a server would keep all prompts for ever


class EchoBackend(Backend):
    """Repeats the last message word by word; a word counts as a token.

    Args:
        rest: Becomes the model's name in replies.
        script: What to answer instead, one item an answer: a text, or a list of steps (text, a
            `Delta`, an exception to raise, a number of seconds to wait). An exhausted script
            starts again.
    """

    name: ClassVar[str] = "echo"
    features: frozenset[str] = frozenset({"chat", "complete"})
    options = encode.OPEN_SERVER_OPTIONS | encode.FORM_OPTIONS | {"pattern", "extra"}

    def __init__(self, rest: str = "", *, script: Sequence[str | Sequence[Step]] | None = None) -> None:
        if script is not None and (isinstance(script, str) or not script):
            raise InvalidRequest("script: give a non-empty list, one item a call.")
        super().__init__(rest)
        self.script = script
        self.requests: list[ChatRequest] = []  # the last thousand requests received, oldest first
        self.closed = 0  # how many answers were closed before their end
        self._turn = 0
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), script=self.script), (self.rest,)

    def run(self, request: ChatRequest) -> Generator[Delta, None, None]:
        """Yield the echo or the next item of the script, whose exceptions are raised."""
        yield from self._answer(request)

    async def arun(self, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        """Yield what `run` does; without a script nothing waits, so no thread is needed."""
        if self.script is not None or type(self).run is not EchoBackend.run:  # a subclass may wait
            async with aclosing(super().arun(request)) as scripted:
                async for delta in scripted:
                    yield delta
            return
        with closing(self._answer(request)) as deltas:
            for number, delta in enumerate(deltas):
                if number % 4 == 3:
                    await asyncio.sleep(0)  # a long answer must not keep the event loop from other calls
                yield delta

    def _answer(self, request: ChatRequest) -> Generator[Delta, None, None]:
        answers = request.n or 1
        with self._lock:
            turn, self._turn = self._turn, self._turn + answers
            self.requests.append(request)
            del self.requests[:-_KEPT]
        total = 0
        try:
            for index in range(answers):
                for delta in self._play(self._steps(turn + index, request), request):
                    usage = delta.usage
                    if usage is not None and answers > 1:
                        total += usage.output_tokens or 0
                        usage = usage.model_copy(update={"output_tokens": total})
                    yield delta if answers == 1 else replace(delta, index=index, usage=usage)
        except GeneratorExit:
            with self._lock:
                self.closed += 1
            raise

    def _steps(self, turn: int, request: ChatRequest) -> Iterable[Step]:
        if not self.script:
            if (call := _demanded_call(request)) is not None:
                usage = Usage(input_tokens=_count_words(request), output_tokens=1)
                return [Delta(tool_calls=(call,), finish_reason="tool_calls", usage=usage, model=self._model)]
            return [request.prompt if request.prompt is not None else request.messages[-1].text]
        item = self.script[turn % len(self.script)]
        return [item] if isinstance(item, str) else item

    def _play(self, steps: Iterable[Step], request: ChatRequest) -> Generator[Delta, None, None]:
        words, reason = 0, "stop"
        stops = StopStringFilter(request.stop)
        for step in _split_words(steps):
            if isinstance(step, BaseException):
                raise step
            if isinstance(step, Delta):
                yield step
                if step.finish_reason or step.end:
                    return
            elif not isinstance(step, str):
                _wait(step, request.deadline)
            elif words == request.max_tokens:
                reason = "length"
                break
            else:
                words += 1
                piece = stops.feed(step)
                likely = _certain_logprob(piece if stops.matched else step, request)
                if piece or likely:
                    yield Delta(text=piece, model=self._model, logprobs=likely)
                if stops.matched:
                    break
        if rest := stops.flush():
            yield Delta(text=rest, model=self._model)
        usage = Usage(input_tokens=_count_words(request), output_tokens=words)
        yield Delta(finish_reason=reason, usage=usage, model=self._model)

    @property
    def _model(self) -> str:
        return self.rest or "echo"

    def describe(self) -> dict[str, Any]:
        """Return the backend's and the model's name."""
        return {"backend": self.name, "model": self._model}


def _certain_logprob(word: str, request: ChatRequest) -> tuple[TokenLogprob, ...]:
    if request.logprobs is None or not word:
        return ()
    return (TokenLogprob(word, 0.0, ((word, 0.0),) if request.logprobs else ()),)


def _demanded_call(request: ChatRequest) -> ToolCall | None:
    if request.tool_choice in (None, "auto", "none"):
        return None
    name = request.tools[0].name if request.tool_choice == "required" else request.tool_choice
    try:
        arguments = from_json(request.messages[-1].text)
    except ValueError:
        arguments = None
    arguments = arguments if isinstance(arguments, dict) else {}
    return ToolCall(id="call_0", name=name, arguments=arguments, raw=to_json(arguments).decode())


def _count_words(request: ChatRequest) -> int:
    texts = [request.prompt] if request.prompt is not None else [message.text for message in request.messages]
    return sum(len(text.split()) for text in texts)


def _split_words(steps: Iterable[Step]) -> Iterator[Step]:
    for step in steps:
        yield from re.findall(r"\s*\S+|\s+", step) if isinstance(step, str) else [step]


def _wait(seconds: float, deadline: float | None) -> None:
    left = float("inf") if deadline is None else deadline - time.monotonic()
    time.sleep(max(0.0, min(seconds, left)))
    if seconds > left:
        raise deadline_exceeded()
