"""What steps on a thread of its own, and how it lives through a fork and the end of the process."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from abc import ABC, abstractmethod

from openmodels import background


class Stepping(ABC):
    """Owns a thread that holds `between_steps` during each step, so that the process forks between two.

    A thread does not survive a fork, and locks held by it would stay locked in the child: there
    everything begins anew.
    """

    def __init__(self) -> None:
        self._reset()
        _all.add(self)

    @abstractmethod
    def _reset(self) -> None:
        """Make the locks and what the thread shares; also called in the child of a fork."""
        self.between_steps = threading.Lock()

    @abstractmethod
    def stop(self, timeout: float = 0.0) -> None:
        """End the thread after the step it is in; wait up to `timeout` seconds for it."""


_all: weakref.WeakSet[Stepping] = weakref.WeakSet()
_held: list[Stepping] = []


def _before_fork() -> None:
    _held[:] = [one for one in _all if one.between_steps.acquire(timeout=30)]


def _after_fork_in_parent() -> None:
    for one in _held:
        one.between_steps.release()
    _held.clear()


def _after_fork_in_child() -> None:
    _held.clear()
    for one in _all:
        one._reset()  # noqa: SLF001 - ours


def _at_exit() -> None:
    background.abandon_all()
    for one in list(_all):
        one.stop(timeout=5.0)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
atexit.register(_at_exit)
