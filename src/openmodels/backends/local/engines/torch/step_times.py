"""The time of a step on this machine, fitted to the last ones.

A plain mean took the cost of more answers for that of prompts, and made prefill chunks a third as large.
"""

from __future__ import annotations

from collections import deque

import torch

_DECODE_STEPS, _PREFILL_STEPS = 48, 12
"""Steps that are remembered, without and with tokens of prompts: the latter become slower as a prompt grows."""
_SCALE = (1.0, 1 / 8, 1 / 64)
"""Scales of the three terms, so that the ridge weighs on them alike."""
_RIDGE = 1e-3
"""Weight of the squared terms (ridge regression), which decides where all steps were alike."""


class StepTimes:
    """Models the seconds of a step: fixed, per answer and per token of prompts."""

    def __init__(self) -> None:
        self._decode: deque[tuple[int, int, float]] = deque(maxlen=_DECODE_STEPS)
        self._prefill: deque[tuple[int, int, float]] = deque(maxlen=_PREFILL_STEPS)

    def record(self, answers: int, prompt_tokens: int, seconds: float) -> None:
        """Record a step.

        Args:
            answers: How many answers got a token.
            prompt_tokens: Tokens of prompts in the step.
            seconds: Seconds that it took.
        """
        (self._prefill if prompt_tokens else self._decode).append((answers, prompt_tokens, seconds))

    def estimate(self, answers: int) -> tuple[float, float]:
        """Return the seconds of a step with `answers` answers, and of a prompt's token.

        Both are 0 while they are unknown.
        """
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
