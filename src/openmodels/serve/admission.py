"""Which requests run, and which wait: a bounded queue that is fair to each key."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from openmodels.serve.failures import Refusal


class Admission:
    """Lets a limited number of requests run; others wait in a bounded queue.

    A place that becomes free goes to the key with the fewest running requests, and among those to the one whose
    request has waited longest.

    Args:
        max_running: Requests that run at the same time.
        max_waiting: Requests that wait; more are refused.
        longest_wait: Seconds that a request waits before it is refused.
    """

    def __init__(self, max_running: int, max_waiting: int, longest_wait: float) -> None:
        self.max_running = max_running
        self.max_waiting = max_waiting
        self.longest_wait = longest_wait
        self.running: Counter[str] = Counter()
        self._active = 0
        self._count = 0
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @property
    def active(self) -> int:
        """How many requests run."""
        return self._active

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return self._count

    @asynccontextmanager
    async def enter(self, key: str) -> AsyncGenerator[None, None]:
        """Run the block when there is a place for a request of a key.

        Raises:
            Refusal: The queue is full, or the wait was too long: 429, with the seconds to wait.
        """
        if self._active < self.max_running and not self._count:
            self._active += 1
        else:
            await self._wait(key)
        self.running[key] += 1
        try:
            yield
        finally:
            self.running[key] -= 1
            if not self.running[key]:
                del self.running[key]
            self._release()

    async def _wait(self, key: str) -> None:
        # A key alone fills at most half of the queue where others wait too.
        queue = self._waiting.get(key, ())
        others = self._count - len(queue)
        if self._count >= self.max_waiting or (others and len(queue) >= max(1, self.max_waiting // 2)):
            raise self._overloaded("The server is busy, and its queue is full.")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, deque()).append(turn)
        self._count += 1
        try:
            async with asyncio.timeout(self.longest_wait):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._release()  # the place had come
            else:
                self._leave(key, turn)
            if isinstance(error, TimeoutError):
                raise self._overloaded(f"The request has waited {self.longest_wait:g} seconds for its turn.") from None
            raise

    def _leave(self, key: str, turn: asyncio.Future[None]) -> None:
        queue = self._waiting.get(key)
        if queue is not None and turn in queue:
            queue.remove(turn)
            self._count -= 1
            if not queue:
                del self._waiting[key]

    def _release(self) -> None:
        """Give the place of a request to the next one."""
        while self._waiting:
            key = min(self._waiting, key=lambda name: self.running[name])
            queue = self._waiting.pop(key)
            turn = queue.popleft()
            self._count -= 1
            if queue:
                self._waiting[key] = queue  # behind the others, so that equal keys take turns
            if not turn.done():
                turn.set_result(None)
                return
        self._active -= 1

    def _overloaded(self, cause: str) -> Refusal:
        return Refusal(
            429,
            "queue_full",
            f"{cause} {self._active} requests run and {self._count} wait.",
            next_step="Wait, or send fewer requests at a time.",
            retry_after=min(30.0, 1.0 + self._count / max(1, self.max_running)),
        )
