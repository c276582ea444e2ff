"""The number of threads of a step's operations, tuned while the model runs.

Alone on a machine, all cores are best. Among other busy processes, threads that wait for each other in every operation
lose more than they gain, and few cores are enough to read the weights as fast as memory gives them. So every 32 steps
one step takes half or twice as many threads as the one before. The scores are the same to the bit: operations are
divided by rows and columns, not within a sum.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch

_TRIAL_INTERVAL = 32
"""Steps between two trials."""
_WIN_RATIO = 0.9
"""The part of the previous step's time that a trial must stay under, twice in a row: other causes slow steps, too."""


class ThreadTuner:
    """Chooses the number of threads for steps that are alike.

    Args:
        maximum: Threads that operations may take at most.

    Attributes:
        best: The number of threads that is best so far.
    """

    def __init__(self, maximum: int) -> None:
        self._maximum = self.best = maximum
        self._steps = 0
        self._tries_fewer = True
        self._won = False
        self._before = (0, 0.0)

    @property
    def next(self) -> int:
        """Threads for the next step."""
        return self._candidate if self._steps == _TRIAL_INTERVAL else self.best

    @property
    def _candidate(self) -> int:
        tries_fewer = self.best > 1 and (self._tries_fewer or self.best == self._maximum)
        return self.best // 2 if tries_fewer else min(self._maximum, 2 * self.best)

    def record(self, tokens: int, seconds: float) -> None:
        """Record the time of the step with `next` threads.

        Args:
            tokens: Tokens that the step computed; steps with as many are compared.
            seconds: Seconds that it took.
        """
        if self._steps < _TRIAL_INTERVAL:
            self._steps += 1
            self._before = (tokens, seconds)
            return
        before = self._before[1] if tokens == self._before[0] else 0.0
        won = seconds < _WIN_RATIO * before
        if won and self._won:
            self.best, won = self._candidate, False
        elif not won:
            self._tries_fewer = not self._tries_fewer
        self._won = won
        # A trial that won is repeated at once.
        self._steps = _TRIAL_INTERVAL - 1 if won else 0


@contextmanager
def limit_threads(number: int) -> Generator[None, None, None]:
    """Divide the operations of the calling thread among `number` threads."""
    before = torch.get_num_threads()
    if number == before:
        yield
        return
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
