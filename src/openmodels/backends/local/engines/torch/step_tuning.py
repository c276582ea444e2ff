"""The time of a step on this machine, and the number of threads that shortens it.

Times are fitted to the last steps. A plain mean took the cost of more answers for that of prompts, and made prefill
chunks a third as large.

Threads are tuned by trials while the model runs. Alone on a machine, all cores are best. Among other busy processes,
threads that wait for each other in every operation lose more than they gain, and few cores are enough to read the
weights as fast as memory gives them. So every 32 steps one step takes half or twice as many threads as the one before.
The scores are the same to the bit: operations are divided by rows and columns, not within a sum.
"""

from collections import deque
from collections.abc import Generator
from contextlib import contextmanager

import torch

_DECODE_STEPS, _PREFILL_STEPS = 48, 12
"""Steps that are remembered, without and with tokens of prompts: the latter become slower as a prompt grows."""
_SCALE = (1.0, 1 / 8, 1 / 64)  # scales of the three terms, so that the ridge weighs on them alike
_RIDGE = 1e-3  # weight of the squared terms (ridge regression), which decides where all steps were alike
_TRIAL_INTERVAL = 32  # steps between two trials
_WIN_RATIO = 0.9
"""The part of the previous step's time that a trial must stay under, twice in a row: other causes slow steps, too."""


class StepTimes:
    """Models the seconds of a step: fixed, per answer and per token of prompts."""

    def __init__(self) -> None:
        self._decode: deque[tuple[int, int, float]] = deque(maxlen=_DECODE_STEPS)
        self._prefill: deque[tuple[int, int, float]] = deque(maxlen=_PREFILL_STEPS)

    def record(self, answers: int, prompt_tokens: int, seconds: float) -> None:
        """Record a step, in which so many answers got a token."""
        (self._prefill if prompt_tokens else self._decode).append((answers, prompt_tokens, seconds))

    def estimate(self, answers: int) -> tuple[float, float]:
        """Return the seconds of a step with so many answers, and of a prompt's token."""
        # Both are 0 while they are unknown.
        if not (self._prefill and any(count for count, *_ in (*self._decode, *self._prefill))):
            return 0.0, 0.0
        # Not through NumPy, whose OpenBLAS ends the process where memory is short.
        steps = torch.tensor([*self._decode, *self._prefill], dtype=torch.float64)
        scale = torch.tensor(_SCALE, dtype=torch.float64)
        terms = torch.column_stack((torch.ones(len(steps)), steps[:, :2])) * scale
        square = terms.T @ terms + _RIDGE * len(steps) * torch.eye(len(scale))
        fixed, per_answer, per_token = (torch.linalg.solve(square, terms.T @ steps[:, 2]) * scale).tolist()
        decode = fixed + per_answer * answers
        return (decode, per_token) if decode > 0 and per_token > 0 else (0.0, 0.0)


class ThreadTuner:
    """Chooses the number of threads, at most `maximum`, for steps that are alike."""

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
        """Record the time of the step with `next` threads."""
        if self._steps < _TRIAL_INTERVAL:
            self._steps += 1
            self._before = (tokens, seconds)
            return
        before = self._before[1] if tokens == self._before[0] else 0.0  # other numbers are not compared
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
    try:
        if number != before:
            torch.set_num_threads(number)
        yield
    finally:
        if number != before:
            torch.set_num_threads(before)
