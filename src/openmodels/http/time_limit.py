"""A total time for a request of httpx2, whose own limits are for each read and start anew with every byte."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from openmodels.errors import DeadlineExceeded


class TimeLimit:
    """Ends a request when its time is up, wherever it waits.

    Pass `extensions` to the request, inside the block.

    At the deadline the request's sockets are shut down, which ends a read that a trickling server
    would otherwise feed for ever. Any error of it leaves the block as DeadlineExceeded.

    Args:
        deadline: A `time.monotonic()` value.
        who: Who is waited for, for the error: "the Hub".
        sockets: Those of a client whose connections outlive one request; the block adds its new ones.

    Attributes:
        is_over: Whether the time was up before the block ended.
    """

    def __init__(self, deadline: float, who: str, *, sockets: list[socket.socket] | None = None) -> None:
        self.deadline = deadline
        self.who = who
        self.is_over = False
        self._sockets = [] if sockets is None else sockets
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    @property
    def extensions(self) -> dict[str, Any]:
        """What a request needs to be watched."""
        return {"trace": self._trace}

    @property
    def left(self) -> float:
        """Return the seconds left, never below a moment.

        Raises:
            DeadlineExceeded: There are none.
        """
        self.check()
        return max(0.01, self.deadline - time.monotonic())

    def check(self) -> None:
        """Raise DeadlineExceeded if the time is up."""
        if self.is_over or time.monotonic() >= self.deadline:
            self.is_over = True
            raise self._exceeded()

    def __enter__(self) -> Self:
        self._timer = threading.Timer(max(0.0, self.deadline - time.monotonic()), self._end)
        self._timer.daemon = True
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        with self._lock:
            self._sockets[:] = [connected for connected in self._sockets if connected.fileno() >= 0]
        if self.is_over and isinstance(error, Exception) and not isinstance(error, DeadlineExceeded):
            raise self._exceeded() from error

    def _exceeded(self) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"{self.who[:1].upper()}{self.who[1:]} did not answer in full before the time was up.",
            next_step="Try again, or check the network.",
        )

    def _trace(self, event: str, info: dict[str, Any]) -> None:
        if event.endswith(("connect_tcp.complete", "start_tls.complete", "connect_unix_socket.complete")):
            stream = info.get("return_value")
            connected = stream.get_extra_info("socket") if stream is not None else None
            if isinstance(connected, socket.socket):
                with self._lock:
                    self._sockets.append(connected)
                if self.is_over:
                    self._end()

    def _end(self) -> None:
        self.is_over = True
        with self._lock:
            for connected in self._sockets:
                with suppress(OSError):  # closed already
                    # Of the plain socket: a TLS one would first drop the state that a read is using.
                    socket.socket.shutdown(connected, socket.SHUT_RDWR)
