"""The events of a call, observed by the caller's hooks and by OpenTelemetry.

A model without hooks in a process without OpenTelemetry has no events: nothing is imported or measured.
"""

import inspect
import sys
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import aclosing, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from openmodels.backends.base import Backend, Outcome, Request
from openmodels.errors import InvalidRequest, OpenModelsError
from openmodels.types.reply import Delta, Reply

if TYPE_CHECKING:
    from openmodels.core.telemetry import CallSpan

OnRequest = Callable[[Request], object]  # called with each checked request before the backend gets it
OnReply = Callable[[Outcome], object]  # called with each complete answer before the caller gets it


@dataclass(frozen=True)
class Hooks:
    """What observes the calls of a model.

    Raises:
        InvalidRequest: A hook is not a plain function.
    """

    on_request: OnRequest | None = None  # see `OnRequest`; may raise to prevent the call
    on_reply: OnReply | None = None  # see `OnReply`
    capture_content: bool | None = None  # whether spans hold prompts and answers; None leaves it to the environment

    def __post_init__(self) -> None:
        for name in ("on_request", "on_reply"):
            hook = getattr(self, name)
            if hook is not None and (not callable(hook) or inspect.iscoroutinefunction(hook)):
                raise InvalidRequest(
                    f"{name}: expected a plain function, not {type(hook).__name__}.",
                    next_step="It is called where the call is made; let it start a task if it must wait.",
                )

    def observe(self, backend: Backend, request: Request) -> "CallEvents | None":
        """Return the events of one call, or None where nothing observes it."""
        # An application that has set up OpenTelemetry has imported it.
        start_span = None
        if "opentelemetry.trace" in sys.modules or "opentelemetry.metrics" in sys.modules:
            from openmodels.core import telemetry

            if telemetry.is_active():
                start_span = partial(telemetry.CallSpan, backend, request, capture=self.capture_content)
        if start_span is None and self.on_request is None and self.on_reply is None:
            return None
        return CallEvents(request, self, start_span)


class CallEvents:
    """The events of one call; `start_span` starts its span."""

    def __init__(self, request: Request, hooks: Hooks, start_span: "Callable[[], CallSpan] | None" = None) -> None:
        self._request = request
        self._hooks = hooks
        self._start_span = start_span
        self._span: CallSpan | None = None

    def started(self) -> None:
        """The backend gets the request now; what the hook raises prevents it."""
        if self._hooks.on_request is not None:
            self._hooks.on_request(self._request)
        if self._start_span is not None:
            self._span = self._start_span()

    def received(self, delta: Delta) -> None:
        """A delta has arrived."""
        if self._span is not None and (delta.text or delta.reasoning or delta.tool_calls):
            self._span.record_first_chunk()

    def completed(self, reply: Any) -> None:
        """The answer is complete; what the hook raises goes to the caller."""
        self._end_span(reply, None)
        if self._hooks.on_reply is not None:
            self._hooks.on_reply(reply)

    def failed(self, error: BaseException, partial_reply: Reply | None) -> None:
        """The call ended before its answer was complete.

        Leaving a stream does not count as an error.
        """
        self._end_span(partial_reply, None if isinstance(error, GeneratorExit) else error)

    def _end_span(self, reply: Outcome | None, error: BaseException | None) -> None:
        span, self._span = self._span, None
        if span is not None:
            span.end(reply, error)


@contextmanager
def _observing(events: CallEvents, snapshot: Callable[[], Reply]) -> Iterator[None]:
    events.started()
    try:
        yield
    except OpenModelsError:
        raise  # the stream reports it, with what had arrived
    except BaseException as error:
        events.failed(error, snapshot())
        raise


def observe_deltas(
    deltas: Generator[Delta, None, None], events: CallEvents, snapshot: Callable[[], Reply]
) -> Generator[Delta, None, None]:
    """Yield an answer's deltas, reporting their start and an unseen end.

    `snapshot` returns the reply as far as it has arrived.
    """
    with _observing(events, snapshot), closing(deltas):
        yield from deltas


async def aobserve_deltas(
    deltas: AsyncGenerator[Delta, None], events: CallEvents, snapshot: Callable[[], Reply]
) -> AsyncGenerator[Delta, None]:
    """The asynchronous twin of `observe_deltas`."""
    with _observing(events, snapshot):
        async with aclosing(deltas):
            async for delta in deltas:
                yield delta
