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
_SHUFFLES = 199
_SEED = 20_261_201


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
        shuffled_p: The chance of such a difference where the prompts tell nothing of the outcomes; None where the first
            test has decided.
    """

    score: float
    cost: float
    choices: Floats
    mixture: tuple[tuple[int, float], ...]
    mixture_score: float
    oracle_score: float
    oracle_cost: float
    difference: paired.PairedDifference
    shuffled_p: float | None

    @property
    def beats_mixture(self) -> bool:
        """Whether it scores more than the mixture, beyond chance."""
        return self.shuffled_p is not None and self.shuffled_p <= paired.ALPHA / 2


def count_neighbours(prompts: int) -> int:
    """Return how many neighbours a router of so many prompts asks."""
    return max(5, round(2 * math.sqrt(prompts)))


class Neighbourhoods:
    """The known prompts most like each of some prompts, and how alike.

    Args:
        similarities: An array of shape (rows, prompts); -inf leaves a prompt out.
        neighbours: How many prompts are asked.
    """

    def __init__(self, similarities: Floats, neighbours: int) -> None:
        import numpy as np

        count = min(neighbours, similarities.shape[1])
        self.nearest = np.argpartition(-similarities, count - 1, axis=1)[:, :count]
        self.weights = np.maximum(np.take_along_axis(similarities, self.nearest, axis=1), 0.0)

    def choose(self, outcomes: Outcomes, means: Floats, worth: float | None) -> Floats:
        """Return the number of the model for each row.

        Args:
            outcomes: What the models scored on the known prompts.
            means: The mean scores that count beside the neighbours, of shape (rows, models).
            worth: US dollars that a score higher by 1 is worth; None puts the score first.
        """
        import numpy as np

        sums = np.einsum("rk,rkm->rm", self.weights, outcomes.scores[self.nearest])
        expected = (sums + _PRIOR * means) / (self.weights.sum(axis=1, keepdims=True) + _PRIOR)
        costs = outcomes.mean_costs
        if worth is not None:
            expected = expected - costs / worth
        # Of equals the cheaper, then the better one.
        order = np.lexsort((-outcomes.mean_scores, costs))
        chosen: Floats = order[np.argmax(np.round(expected[:, order], 9), axis=1)]
        return chosen


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

    others = outcomes.groups[:, None] != outcomes.groups[None, :]
    neighbourhoods = Neighbourhoods(np.where(others, vectors @ vectors.T, -np.inf), neighbours)
    counts = np.maximum(others.sum(axis=1, keepdims=True), 1)
    rows = np.arange(len(vectors))

    def route_left_out(permuted: Outcomes) -> tuple[Floats, Floats, tuple[tuple[int, float], ...], Floats]:
        """Return the choices by other groups, their costs, the mixture and gains."""
        choices = neighbourhoods.choose(permuted, (others @ permuted.scores) / counts, worth)
        costs = permuted.costs[rows, choices]
        mixture = find_mixture(permuted.mean_costs.tolist(), permuted.mean_scores.tolist(), float(costs.mean()))
        expected = sum(fraction * permuted.scores[:, model] for model, fraction in mixture)
        return choices, costs, mixture, permuted.scores[rows, choices] - expected

    choices, costs, mixture, gains = route_left_out(outcomes)
    is_bounded = bool(((outcomes.scores >= 0) & (outcomes.scores <= 1)).all())
    difference = paired.compare_differences(gains.tolist(), outcomes.groups.tolist(), is_bounded=is_bounded)
    if difference is None:
        raise AssertionError("there are prompts")
    shuffled_p = None
    if difference.mean > 0 and difference.p_value <= paired.ALPHA:
        # The paired test takes the gains for independent, but prompts alike share their neighbours. This test is exact:
        # where the prompts tell nothing of the outcomes, every order of these is as likely.
        rng = np.random.default_rng(_SEED)
        reached = 0
        for _ in range(_SHUFFLES):
            order = rng.permutation(len(rows))
            shuffled = Outcomes(outcomes.scores[order], outcomes.costs[order], outcomes.groups)
            reached += bool(route_left_out(shuffled)[3].mean() >= difference.mean - 1e-12)
        shuffled_p = (1 + reached) / (1 + _SHUFFLES)
    score = float(outcomes.scores[rows, choices].mean())
    best = outcomes.scores.max(axis=1)
    cheapest = np.where(outcomes.scores == best[:, None], outcomes.costs, np.inf).min(axis=1)
    return RouterEvaluation(
        score=score,
        cost=float(costs.mean()),
        choices=choices,
        mixture=mixture,
        mixture_score=score - float(gains.mean()),
        oracle_score=float(best.mean()),
        oracle_cost=float(cheapest.mean()),
        difference=difference,
        shuffled_p=shuffled_p,
    )
