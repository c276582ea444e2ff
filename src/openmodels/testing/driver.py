"""A driver for all four surfaces, and a spy on the requests to a backend."""

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
"""The four methods that give the same answer."""

PATHS = ("chat", "astream")
"""A surface for each method of a backend, where all four would only take longer."""

_CONVERSATION_METHODS = {"chat": "send", "achat": "asend"}


@dataclass(frozen=True)
class Answer:
    """The result of one call: its deltas (none for `chat` and `achat`) and its reply."""

    deltas: tuple[Delta, ...]
    reply: Reply


class Driver:
    """Calls a model or a conversation through one surface.

    Args:
        target: A `Model` or a `Conversation`.
        surface: One of `SURFACES`.
    """

    def __init__(self, target: Model | Conversation, surface: str) -> None:
        self.target = target
        self.surface = surface
        name = _CONVERSATION_METHODS.get(surface, surface) if isinstance(target, Conversation) else surface
        self._call: Callable[..., Any] = getattr(target, name)

    @property
    def model(self) -> Model:
        """The model that answers."""
        return self.target.model if isinstance(self.target, Conversation) else self.target

    def __call__(self, messages: Any, **options: Any) -> Answer:
        """Send messages and return the complete answer.

        Asynchronous surfaces run in an event loop of their own.
        """
        if self.surface.startswith("a"):
            return asyncio.run(self.within_loop(messages, **options))
        return self._sync(messages, options)

    async def within_loop(self, messages: Any, **options: Any) -> Answer:
        """Send messages inside the running event loop and return the answer.

        Synchronous surfaces are called directly.
        """
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
    """Wraps `run` and `arun` of a backend and records requests and running calls.

    Attributes:
        requests: The requests that reached the backend, oldest first.
    """

    def __init__(self, backend: Backend, patch: pytest.MonkeyPatch) -> None:
        self.requests: list[ChatRequest] = []
        self._running = 0
        self._lock = threading.Lock()
        self._run, self._arun = backend.run, backend.arun
        # A default `arun` calls `run`: looked up on the object it would be counted twice.
        self._derived = type(backend).arun is Backend.arun
        patch.setattr(backend, "run", self.run)
        patch.setattr(backend, "arun", self.arun)

    def working(self) -> int:
        """Return the number of answers neither read to their end nor closed."""
        return self._running

    def run(self, request: ChatRequest) -> Generator[Delta, None, None]:
        """Record the request and yield the deltas."""
        self._begin(request)
        try:
            yield from self._run(request)
        finally:
            self._end()

    async def arun(self, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        """Record the request and yield the deltas."""
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
            self._running += 1

    def _end(self) -> None:
        with self._lock:
            self._running -= 1


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
