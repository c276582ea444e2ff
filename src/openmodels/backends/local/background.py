"""Work on daemon threads: neither Ctrl-C nor a deadline of the caller tears it, and no exit waits for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

_Result = TypeVar("_Result")


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
