"""Work on daemon threads: neither Ctrl-C nor a deadline of the caller tears it, and no exit waits for it."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from openmodels.errors import StreamInterrupted

_Result = TypeVar("_Result")


_abandoned: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
_ending = threading.Event()


def abandon(thread: threading.Thread) -> None:
    """Let what a thread does end soon, as far as it looks: nobody wants its result any more."""
    _abandoned.add(thread)


def abandon_all() -> None:
    """Let all threads that look end soon: the process ends."""
    _ending.set()


def check() -> None:
    """Look whether somebody still wants what this thread does.

    Raises:
        StreamInterrupted: Nobody does.
    """
    if _ending.is_set() or threading.current_thread() in _abandoned:
        raise StreamInterrupted("The model was closed while it was being made ready.")


def start(work: Callable[..., _Result], *arguments: Any) -> Future[_Result]:
    """Begin a call on a thread of its own; return its future."""
    future: Future[_Result] = Future()

    def run() -> None:
        try:
            result = work(*arguments)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the caller waits for it
            outcome, value = future.set_exception, error
        else:
            outcome, value = future.set_result, result  # type: ignore[assignment]
        if future.set_running_or_notify_cancel():
            outcome(value)

    threading.Thread(target=run, name="openmodels-background", daemon=True).start()
    return future


async def arun(work: Callable[..., _Result], *arguments: Any) -> _Result:
    """Return what a call on a thread of its own returns.

    Unlike `asyncio.to_thread`, neither the end of the event loop nor that of the process waits for it.
    """
    return await asyncio.wrap_future(start(work, *arguments))
