"""How many threads a step's operations are shared out to, chosen by trying while it runs.

The best number depends on what else runs: alone, all cores are; among other busy processes, threads that
wait for each other in every operation lose more than they gain, and few cores are enough to read the weights
as fast as memory gives them. So from time to time one step takes half or twice as many as the one before.
The results are the same: operations are shared out by rows and columns, not within a sum.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch

_EVERY = 32
"""Steps between two tries."""
_WORTH = 0.9
"""What part of the step before a try must stay under; twice in a row, since other causes make steps slow."""


class Threads:
    """Chooses for steps that are alike.

    Args:
        most: Threads that operations may take at most.

    Attributes:
        number: Threads that are best as far as it is known.
    """

    def __init__(self, most: int) -> None:
        self._most = self.number = most
        self._steps = 0
        self._fewer = True
        self._won = False
        self._before = (0, 0.0)

    @property
    def next(self) -> int:
        """Threads for the next step."""
        return self._other if self._steps == _EVERY else self.number

    @property
    def _other(self) -> int:
        fewer = self.number > 1 and (self._fewer or self.number == self._most)
        return self.number // 2 if fewer else min(self._most, 2 * self.number)

    def learn(self, tokens: int, seconds: float) -> None:
        """Take in how long the step with `next` threads took.

        Args:
            tokens: Tokens that it computed; steps with as many are compared.
            seconds: Seconds that it took.
        """
        if self._steps < _EVERY:
            self._steps += 1
            self._before = (tokens, seconds)
            return
        usual = self._before[1] if tokens == self._before[0] else 0.0
        better = seconds < _WORTH * usual
        if better and self._won:
            self.number, better = self._other, False
        elif not better:
            self._fewer = not self._fewer
        self._won = better
        # A try that won is repeated at once.
        self._steps = _EVERY - 1 if better else 0


@contextmanager
def limit_threads(number: int) -> Generator[None, None, None]:
    """Share this thread's operations out to so many threads."""
    usual = torch.get_num_threads()
    if number == usual:
        yield
        return
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(usual)
