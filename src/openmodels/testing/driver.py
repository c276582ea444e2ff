"""One way to ask through any of the four surfaces, and a way to see what reaches the backend."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import pytest

from openmodels.backends.base import Backend
from openmodels.conversation import Conversation
from openmodels.model import Model
from openmodels.types.reply import Delta, Reply
from openmodels.types.request import ChatRequest

SURFACES = ("chat", "stream", "achat", "astream")
"""The four ways to ask for the same answer."""

PATHS = ("chat", "astream")
"""One for each method of a backend, where all four would only take longer."""

_IN_A_TALK = {"chat": "send", "achat": "asend"}


@dataclass(frozen=True)
class Answer:
    """What one call gave: its deltas (none for `chat` and `achat`) and its reply."""

    deltas: tuple[Delta, ...]
    reply: Reply


class Driver:
    """Asks a model or goes on with a conversation through one surface.

    Args:
        target: A `Model` or a `Conversation`.
        surface: One of `SURFACES`.
    """

    def __init__(self, target: Model | Conversation, surface: str) -> None:
        self.target = target
        self.surface = surface
        name = _IN_A_TALK.get(surface, surface) if isinstance(target, Conversation) else surface
        self._call: Callable[..., Any] = getattr(target, name)

    @property
    def model(self) -> Model:
        """The model that answers."""
        return self.target.model if isinstance(self.target, Conversation) else self.target

    def __call__(self, messages: Any, **options: Any) -> Answer:
        """Ask and read the answer to its end; asynchronous surfaces get an event loop of their own."""
        if self.surface.startswith("a"):
            return asyncio.run(self.within_loop(messages, **options))
        return self._sync(messages, options)

    async def within_loop(self, messages: Any, **options: Any) -> Answer:
        """Ask inside the running event loop; synchronous surfaces are simply called there."""
        if self.surface == "achat":
            return Answer((), await self._call(messages, **options))
        if self.surface == "astream":
            async with self._call(messages, **options) as stream:
                deltas = [delta async for delta in stream]
            return Answer(tuple(deltas), stream.reply)
        return self._sync(messages, options)

    def _sync(self, messages: Any, options: dict[str, Any]) -> Answer:
        if self.surface == "chat":
            return Answer((), self._call(messages, **options))
        with self._call(messages, **options) as stream:
            deltas = tuple(stream)
        return Answer(deltas, stream.reply)


class Spy:
    """Stands before a backend's `run` and `arun` and notes what they are asked and whether they go on.

    Attributes:
        requests: What reached the backend, oldest first.
    """

    def __init__(self, backend: Backend, patch: pytest.MonkeyPatch) -> None:
        self.requests: list[ChatRequest] = []
        self._going = 0
        self._lock = threading.Lock()
        self._run, self._arun = backend.run, backend.arun
        # A default `arun` calls `run`: looked up on the object it would be counted twice.
        self._derived = type(backend).arun is Backend.arun
        patch.setattr(backend, "run", self.run)
        patch.setattr(backend, "arun", self.arun)

    def working(self) -> int:
        """Return how many answers are neither read to their end nor closed."""
        return self._going

    def run(self, request: ChatRequest) -> Generator[Delta, None, None]:
        """Note the request and pass the deltas on."""
        self._begin(request)
        try:
            yield from self._run(request)
        finally:
            self._end()

    async def arun(self, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        """Note the request and pass the deltas on."""
        if not self._derived:
            self._begin(request)
        try:
            async with aclosing(self._arun(request)) as deltas:
                async for delta in deltas:
                    yield delta
        finally:
            if not self._derived:
                self._end()

    def _begin(self, request: ChatRequest) -> None:
        with self._lock:
            self.requests.append(request)
            self._going += 1

    def _end(self) -> None:
        with self._lock:
            self._going -= 1


def wait_until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Return as soon as `condition()` is true.

    Raises:
        AssertionError: It is still false after `seconds`.
    """
    # Work in another thread, process or server can only be watched from outside.
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"not within {seconds} s: {condition}")
        time.sleep(0.002)
