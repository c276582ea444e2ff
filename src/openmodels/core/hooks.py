"""What is told of a call while it runs: the caller's hooks, and OpenTelemetry where an application uses it.

Nothing is imported or measured for a model without hooks in a process without OpenTelemetry.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing, closing
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from openmodels.backends.base import Backend, Outcome, Request
from openmodels.errors import InvalidRequest, OpenModelsError
from openmodels.types.reply import Delta, Reply

if TYPE_CHECKING:
    from openmodels.core.telemetry import Span

OnRequest = Callable[[Request], object]
"""Called with each checked request before the backend gets it."""
OnReply = Callable[[Outcome], object]
"""Called with each whole answer before the caller gets it."""


@dataclass(frozen=True)
class Observer:
    """What a model's calls are told to.

    Attributes:
        on_request: See `OnRequest`; may raise to prevent the call.
        on_reply: See `OnReply`.
        capture_content: Whether spans hold what is said; None leaves it to the environment.

    Raises:
        InvalidRequest: A hook is no plain function.
    """

    on_request: OnRequest | None = None
    on_reply: OnReply | None = None
    capture_content: bool | None = None

    def __post_init__(self) -> None:
        for name in ("on_request", "on_reply"):
            hook = getattr(self, name)
            if hook is not None and (not callable(hook) or inspect.iscoroutinefunction(hook)):
                raise InvalidRequest(
                    f"{name}: expected a plain function, not {type(hook).__name__}.",
                    next_step="It is called where the call is made; let it start a task if it must wait.",
                )

    def watch(self, backend: Backend, request: Request) -> Watch | None:
        """Return what watches one call, or None where nobody wants to know."""
        # An application that has set up OpenTelemetry has imported it.
        begin = None
        if "opentelemetry.trace" in sys.modules or "opentelemetry.metrics" in sys.modules:
            from openmodels.core import telemetry

            if telemetry.active():
                begin = partial(telemetry.Span, backend, request, capture=self.capture_content)
        if begin is None and self.on_request is None and self.on_reply is None:
            return None
        return Watch(request, self, begin)


class Watch:
    """Watches one call from the moment its work begins; as a context manager, a call without deltas.

    Args:
        request: What the backend gets.
        observer: Whom to tell.
        begin: Starts the span, or None.
    """

    def __init__(
        self,
        request: Request,
        observer: Observer,
        begin: Callable[[], Span] | None = None,
    ) -> None:
        self._request = request
        self._observer = observer
        self._begin = begin
        self._span: Span | None = None

    def __enter__(self) -> Self:
        self.began()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None:
            self.failed(error, None)

    def began(self) -> None:
        """Tell that the backend gets the request now; what the hook raises prevents it."""
        if self._observer.on_request is not None:
            self._observer.on_request(self._request)
        if self._begin is not None:
            self._span = self._begin()

    def saw(self, delta: Delta) -> None:
        """Take notice of a delta."""
        if self._span is not None and (delta.text or delta.reasoning or delta.tool_calls):
            self._span.first()

    def ended(self, reply: Any) -> None:
        """Tell of the whole answer; what the hook raises goes to the caller."""
        self._close(reply, None)
        if self._observer.on_reply is not None:
            self._observer.on_reply(reply)

    def failed(self, error: BaseException, partial: Reply | None) -> None:
        """Tell of what ended the call before its answer was whole; leaving a stream is no error."""
        self._close(partial, None if isinstance(error, GeneratorExit) else error)

    def _close(self, reply: Outcome | None, error: BaseException | None) -> None:
        span, self._span = self._span, None
        if span is not None:
            span.end(reply, error)


def watched(
    deltas: Generator[Delta, None, None], watch: Watch | None, arrived: Callable[[], Reply]
) -> Generator[Delta, None, None]:
    """Pass an answer's deltas on, telling the watch of the beginning and of an end that their fold misses.

    Args:
        deltas: The deltas.
        watch: Is told, if there is one.
        arrived: Returns the reply as far as it has arrived.
    """
    return deltas if watch is None else _watched(deltas, watch, arrived)


def awatched(
    deltas: AsyncGenerator[Delta, None], watch: Watch | None, arrived: Callable[[], Reply]
) -> AsyncGenerator[Delta, None]:
    """The asynchronous twin of `watched`."""
    return deltas if watch is None else _awatched(deltas, watch, arrived)


def _watched(
    deltas: Generator[Delta, None, None], watch: Watch, arrived: Callable[[], Reply]
) -> Generator[Delta, None, None]:
    watch.began()
    try:
        with closing(deltas):
            yield from deltas
    except OpenModelsError:
        raise  # the fold tells of it, with what had arrived
    except BaseException as error:
        watch.failed(error, arrived())
        raise


async def _awatched(
    deltas: AsyncGenerator[Delta, None], watch: Watch, arrived: Callable[[], Reply]
) -> AsyncGenerator[Delta, None]:
    watch.began()
    try:
        async with aclosing(deltas):
            async for delta in deltas:
                yield delta
    except OpenModelsError:
        raise
    except BaseException as error:
        watch.failed(error, arrived())
        raise
