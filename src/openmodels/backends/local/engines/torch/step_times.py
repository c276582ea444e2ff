"""How long a step takes on this machine, learned from the last ones."""

from __future__ import annotations

from collections import deque

import torch

_PLAIN, _PROMPTS = 48, 12
"""Steps that are remembered, without tokens of prompts and with: these become dearer as a prompt grows."""
_SCALE = (1.0, 1 / 8, 1 / 64)
_CALM = 1e-3
"""Weight of the wish for small terms, which decides where all steps were alike."""


class StepTimes:
    """Takes a step's seconds as a sum: a fixed part, a part for each answer and one for each token of prompts."""

    def __init__(self) -> None:
        self._plain: deque[tuple[int, int, float]] = deque(maxlen=_PLAIN)
        self._prompts: deque[tuple[int, int, float]] = deque(maxlen=_PROMPTS)

    def learn(self, answers: int, prompts: int, seconds: float) -> None:
        """Take in a step.

        Args:
            answers: How many answers got a token.
            prompts: Tokens of prompts in it.
            seconds: Seconds that it took.
        """
        (self._prompts if prompts else self._plain).append((answers, prompts, seconds))

    def estimate(self, answers: int) -> tuple[float, float]:
        """Return the seconds of a step for so many answers, and those that a prompt's token adds; else zeros."""
        if not (self._prompts and any(known for known, *_ in (*self._plain, *self._prompts))):
            return 0.0, 0.0
        # Not through NumPy, whose OpenBLAS ends the process where memory is short.
        steps = torch.tensor([*self._plain, *self._prompts], dtype=torch.float64)
        scale = torch.tensor(_SCALE, dtype=torch.float64)
        terms = torch.column_stack((torch.ones(len(steps)), steps[:, :2])) * scale
        square = terms.T @ terms + _CALM * len(steps) * torch.eye(len(scale))
        fixed, each, share = (torch.linalg.solve(square, terms.T @ steps[:, 2]) * scale).tolist()
        usual = fixed + each * answers
        return (usual, share) if usual > 0 and share > 0 else (0.0, 0.0)
