"""Routing by the prompts most alike, and whether that pays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from openmodels.compare import paired

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[Any]

_PRIOR = 1.0
"""How much a model's mean score counts beside the neighbours: as much as a prompt with the same words."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What models scored on prompts, and what that cost.

    Attributes:
        scores: An array of shape (prompts, models).
        costs: US dollars, of the same shape; zeros where they are not known.
        groups: For each prompt the number of its group: prompts of a group do not count for each other.
    """

    scores: Floats
    costs: Floats
    groups: Floats

    @property
    def mean_scores(self) -> Floats:
        """The mean score of each model."""
        means: Floats = self.scores.mean(axis=0)
        return means

    @property
    def mean_costs(self) -> Floats:
        """The mean cost of each model."""
        means: Floats = self.costs.mean(axis=0)
        return means


@dataclass(frozen=True, slots=True)
class RouterEvaluation:
    """How a router does on prompts that it has not learned from.

    Attributes:
        score: The router's mean score.
        cost: Its mean cost in US dollars.
        choices: The model that it chose for each prompt.
        mixture: Models and fractions of the random mixture with the same cost and the best score (the Zero router).
        mixture_score: The mean score of the mixture.
        oracle_score: The mean score of the best model for each prompt.
        oracle_cost: The mean cost of the cheapest of those, in US dollars.
        difference: Router minus mixture on the same prompts, with its test.
    """

    score: float
    cost: float
    choices: Floats
    mixture: tuple[tuple[int, float], ...]
    mixture_score: float
    oracle_score: float
    oracle_cost: float
    difference: paired.PairedDifference

    @property
    def beats_mixture(self) -> bool:
        """Whether it scores more than the mixture, beyond chance."""
        return self.difference.mean > 0 and self.difference.p_value <= paired.ALPHA


def count_neighbours(prompts: int) -> int:
    """Return how many neighbours a router of so many prompts asks."""
    return max(5, round(2 * math.sqrt(prompts)))


def choose_models(
    similarities: Floats, outcomes: Outcomes, means: Floats, neighbours: int, worth: float | None
) -> Floats:
    """Return the number of the model for each row of similarities.

    Args:
        similarities: An array of shape (rows, prompts); -inf leaves a prompt out.
        outcomes: What the models scored on the prompts.
        means: The mean scores that count beside the neighbours, of shape (rows, models).
        neighbours: How many prompts are asked.
        worth: US dollars that a score higher by 1 is worth; None puts the score first.
    """
    import numpy as np

    count = min(neighbours, similarities.shape[1])
    nearest = np.argpartition(-similarities, count - 1, axis=1)[:, :count]
    weights = np.maximum(np.take_along_axis(similarities, nearest, axis=1), 0.0)
    sums = np.einsum("rk,rkm->rm", weights, outcomes.scores[nearest])
    expected = (sums + _PRIOR * means) / (weights.sum(axis=1, keepdims=True) + _PRIOR)
    costs = outcomes.mean_costs
    if worth is not None:
        expected = expected - costs / worth
    # Of equals the cheaper, then the better one.
    order = np.lexsort((-outcomes.mean_scores, costs))
    chosen: Floats = order[np.argmax(np.round(expected[:, order], 9), axis=1)]
    return chosen


def route_left_out(vectors: Floats, outcomes: Outcomes, neighbours: int, worth: float | None) -> Floats:
    """Return the model for each prompt, chosen by the prompts of the other groups."""
    import numpy as np

    same = outcomes.groups[:, None] == outcomes.groups[None, :]
    similarities = np.where(same, -np.inf, vectors @ vectors.T)
    others = ~same
    means = (others @ outcomes.scores) / np.maximum(others.sum(axis=1, keepdims=True), 1)
    return choose_models(similarities, outcomes, means, neighbours, worth)


def find_mixture(costs: Sequence[float], scores: Sequence[float], cost: float) -> tuple[tuple[int, float], ...]:
    """Return models and fractions of the best random mixture at a mean cost.

    It lies on the upper hull of the models' points (cost, score); below the cheapest of them it is that one alone.
    """
    hull: list[int] = []
    for model in sorted(range(len(costs)), key=lambda model: (costs[model], -scores[model])):
        if hull and scores[model] <= scores[hull[-1]]:
            continue
        while len(hull) > 1 and _slope(hull[-2], model, costs, scores) >= _slope(hull[-2], hull[-1], costs, scores):
            hull.pop()
        hull.append(model)
    if cost <= costs[hull[0]]:
        return ((hull[0], 1.0),)
    for low, high in pairwise(hull):
        if cost < costs[high]:
            fraction = (cost - costs[low]) / (costs[high] - costs[low])
            return ((low, 1 - fraction), (high, fraction))
    return ((hull[-1], 1.0),)


def _slope(low: int, high: int, costs: Sequence[float], scores: Sequence[float]) -> float:
    rise = costs[high] - costs[low]
    return (scores[high] - scores[low]) / rise if rise > 0 else math.inf


def evaluate_router(vectors: Floats, outcomes: Outcomes, neighbours: int, worth: float | None) -> RouterEvaluation:
    """Return how a router does on prompts that it has not learned from.

    Raises:
        MissingExtra: scipy is not installed.
    """
    import numpy as np

    choices = route_left_out(vectors, outcomes, neighbours, worth)
    rows = np.arange(len(choices))
    scores, costs = outcomes.scores[rows, choices], outcomes.costs[rows, choices]
    mixture = find_mixture(outcomes.mean_costs.tolist(), outcomes.mean_scores.tolist(), float(costs.mean()))
    expected = sum(fraction * outcomes.scores[:, model] for model, fraction in mixture)
    best = outcomes.scores.max(axis=1)
    cheapest = np.where(outcomes.scores == best[:, None], outcomes.costs, np.inf).min(axis=1)
    is_bounded = bool(((outcomes.scores >= 0) & (outcomes.scores <= 1)).all())
    gains = (scores - expected).tolist()
    difference = paired.compare_differences(gains, outcomes.groups.tolist(), is_bounded=is_bounded)
    if difference is None:
        raise AssertionError("there are prompts")
    return RouterEvaluation(
        score=float(scores.mean()),
        cost=float(costs.mean()),
        choices=choices,
        mixture=mixture,
        mixture_score=float(np.mean(expected)),
        oracle_score=float(best.mean()),
        oracle_cost=float(cheapest.mean()),
        difference=difference,
    )
