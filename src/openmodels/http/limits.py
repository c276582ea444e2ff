"""Limits of connections: times, numbers and allowed addresses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How long connections are waited for and kept, and how many there are.

    Attributes:
        connect_timeout: Seconds for name, connection and TLS together.
        read_timeout: Seconds between two pieces of a body that has begun.
        max_connections: Connections to one origin that are open at a time; further requests wait in order.
        keep_alive: Seconds that an idle connection is kept.
        is_allowed: Whether an IP address may be connected to; None allows all.
    """

    connect_timeout: float = 10.0
    read_timeout: float = 120.0
    max_connections: int = 100  # as in httpx and aiohttp; a process may open 1,024 files by default
    keep_alive: float = 30.0
    is_allowed: Callable[[str], bool] | None = None
