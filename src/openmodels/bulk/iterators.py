"""`Bulk` and `AsyncBulk`: the iterators that drive a bulk run.

The calls are asynchronous: `AsyncBulk` makes them in the caller's event loop, `Bulk` in a private
one on a thread of its own, so that it works inside a running loop too. The prompts are read in the
caller's thread, at most `BulkRun.window_size` ahead.
"""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Iterator
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Self, TypeVar

from openmodels.bulk.items import BulkItem, BulkSummary
from openmodels.bulk.run import BulkRun
from openmodels.errors import ErrorBoundary

_Call = TypeVar("_Call")
_Result = TypeVar("_Result")


class _BulkIterator:
    def __init__(self, run: BulkRun) -> None:
        self._run = run

    def __repr__(self) -> str:
        return f"<{type(self).__name__} with {self._run.reference}: {self.summary}>"

    @property
    def summary(self) -> BulkSummary:
        """Items, seconds, tokens and cost so far."""
        return self._run.summary


class Bulk(_BulkIterator, Iterator[BulkItem]):
    """An iterator over the items of `Model.map`, in the order of the prompts.

    Leaving its `with` block, closing it, an error or Ctrl-C stops the calls in flight; finished items
    are in the file. Iterating raises only errors that end the whole run.
    """

    def __init__(self, run: BulkRun) -> None:
        super().__init__(run)
        self._items = _iterate(run)

    @ErrorBoundary()
    def __next__(self) -> BulkItem:
        return next(self._items)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the calls in flight and close the file. Idempotent."""
        self._items.close()
        self._run.close()


class AsyncBulk(_BulkIterator, AsyncIterator[BulkItem]):
    """The asynchronous twin of `Bulk`: `async with` and `async for`."""

    def __init__(self, run: BulkRun) -> None:
        super().__init__(run)
        self._items = _aiterate(run)

    async def __anext__(self) -> BulkItem:
        with ErrorBoundary():
            return await anext(self._items)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop the calls in flight and close the file. Idempotent."""
        await self._items.aclose()
        self._run.close()


def _in_order(
    run: BulkRun, window: deque[BulkItem | _Call], start: Callable[[Coroutine[Any, Any, BulkItem | None]], _Call]
) -> Iterator[BulkItem | _Call]:
    """Yield items and started calls in order, each while it leads the window."""
    while True:
        while len(window) < run.window_size and (upcoming := run.next()) is not None:
            window.append(upcoming if isinstance(upcoming, BulkItem) else start(upcoming))
        if not window:
            return
        yield window[0]
        window.popleft()


def _iterate(run: BulkRun) -> Generator[BulkItem, None, None]:
    window: deque[BulkItem | Future[BulkItem | None]] = deque()
    thread = LoopThread()
    try:
        for first in _in_order(run, window, thread.submit):
            item = first if isinstance(first, BulkItem) else first.result()
            if item is not None:
                yield item
            elif not run.is_draining:
                break
    finally:
        thread.close()
        run.close()
    run.raise_error()


async def _aiterate(run: BulkRun) -> AsyncGenerator[BulkItem, None]:
    window: deque[BulkItem | asyncio.Task[BulkItem | None]] = deque()
    try:
        for first in _in_order(run, window, asyncio.create_task):
            item = first if isinstance(first, BulkItem) else await first
            if item is not None:
                yield item
            elif not run.is_draining:
                break
    finally:
        tasks = [task for task in window if not isinstance(task, BulkItem)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        run.close()
    run.raise_error()


class LoopThread:
    """An event loop on a thread of its own."""

    def __init__(self) -> None:
        self._loop: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="openmodels-map", daemon=True)
        self._thread.start()

    async def _serve(self) -> None:
        self._over = asyncio.Event()
        self._loop.set_result(asyncio.get_running_loop())
        await self._over.wait()

    def submit(self, work: Coroutine[Any, Any, _Result]) -> Future[_Result]:
        """Start work in the loop; return its future."""
        return asyncio.run_coroutine_threadsafe(work, self._loop.result())

    def close(self) -> None:
        """Cancel what still runs, wait for it, and end the thread."""
        with suppress(RuntimeError):  # the loop has ended already
            self._loop.result().call_soon_threadsafe(self._over.set)
        if threading.current_thread() is not self._thread:
            self._thread.join()
