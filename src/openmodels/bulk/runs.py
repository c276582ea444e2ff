"""`Bulk` and `AsyncBulk`: a job driven from a sync and from an async caller.

The calls are asynchronous: `AsyncBulk` makes them in the caller's event loop, `Bulk` in a private
one on a thread of its own, so it works inside a running loop too. The prompts are read in the
caller's thread, no further ahead than the job allows.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, Coroutine, Generator
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from openmodels.bulk.items import BulkItem, BulkSummary
from openmodels.bulk.job import Job, Plan
from openmodels.errors import ErrorBoundary


class _Shared:
    def __init__(self, plan: Plan) -> None:
        self._job = Job(plan)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} with {self._job.plan.reference}: {self.summary}>"

    @property
    def summary(self) -> BulkSummary:
        """What is done so far: items, seconds, tokens, cost."""
        return self._job.summary


class Bulk(_Shared):
    """The items of `Model.map`, in the order of the prompts, as they become ready: iterate it.

    Leaving its `with` block, closing it, an error or Ctrl-C stops the calls that are under way;
    what was finished is in the file. Iterating raises only what ends the whole run.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self._items = _items(self._job)

    def __iter__(self) -> Self:
        return self

    @ErrorBoundary()
    def __next__(self) -> BulkItem:
        return next(self._items)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the calls under way and close the file. Idempotent."""
        self._items.close()
        self._job.close()


class AsyncBulk(_Shared):
    """The asynchronous twin of `Bulk`: `async with` and `async for`."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self._items = _aitems(self._job)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> BulkItem:
        with ErrorBoundary():
            return await anext(self._items)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop the calls under way and close the file. Idempotent."""
        await self._items.aclose()
        self._job.close()


def _items(job: Job) -> Generator[BulkItem, None, None]:
    window: deque[BulkItem | Future[BulkItem | None]] = deque()
    thread: _LoopThread | None = None
    try:
        while True:
            while len(window) < job.ahead and (turn := job.next()) is not None:
                thread = thread or _LoopThread()
                window.append(turn if isinstance(turn, BulkItem) else thread.submit(turn))
            if not window:
                break
            first = window.popleft()
            item = first if isinstance(first, BulkItem) else first.result()
            if item is None:
                if job.is_draining:
                    continue
                break
            yield item
    finally:
        if thread is not None:
            thread.close()
        job.close()
    job.end()


async def _aitems(job: Job) -> AsyncGenerator[BulkItem, None]:
    window: deque[BulkItem | asyncio.Task[BulkItem | None]] = deque()
    try:
        while True:
            while len(window) < job.ahead and (turn := job.next()) is not None:
                window.append(turn if isinstance(turn, BulkItem) else asyncio.create_task(turn))
            if not window:
                break
            first = window[0]
            item = first if isinstance(first, BulkItem) else await first
            window.popleft()
            if item is None:
                if job.is_draining:
                    continue
                break
            yield item
    finally:
        tasks = [task for task in window if not isinstance(task, BulkItem)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        job.close()
    job.end()


class _LoopThread:
    """An event loop on a thread of its own."""

    def __init__(self) -> None:
        self._loop: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="openmodels-map", daemon=True)
        self._thread.start()

    async def _serve(self) -> None:
        self._over = asyncio.Event()
        self._loop.set_result(asyncio.get_running_loop())
        await self._over.wait()

    def submit(self, work: Coroutine[Any, Any, BulkItem | None]) -> Future[BulkItem | None]:
        return asyncio.run_coroutine_threadsafe(work, self._loop.result())

    def close(self) -> None:
        """Cancel what still runs, wait for it, and end the thread."""
        with suppress(RuntimeError):  # the loop has ended already
            self._loop.result().call_soon_threadsafe(self._over.set)
        if threading.current_thread() is not self._thread:
            self._thread.join()
