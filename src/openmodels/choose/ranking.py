"""Ranking by weights: shares, points, dominance.

The scale of an axis goes from the worst to the best of the models that no other equals or betters on every axis. So a
model that is worse than another everywhere changes nothing for the rest, which percentiles among all would not hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

Numbers = Mapping[str, float | None]
"""A model's values by axis, the greater the better; None is unknown."""


class Ranked(NamedTuple):
    """A model's place.

    Attributes:
        id: The model.
        points: The sum of the weighted shares of its known axes.
        shares: Where it stands on each axis: 1 is the best and 0 the worst of the undominated models; a model that
            is worse than all of them has less than 0. None is unknown.
        is_undominated: Whether no other model equals it everywhere and betters it somewhere; None where an axis is
            unknown.
    """

    id: str
    points: float
    shares: dict[str, float | None]
    is_undominated: bool | None


def rank(models: Mapping[str, Numbers], weights: Mapping[str, float]) -> list[Ranked]:
    """Return models, the best first.

    Models with less unknown weight come first: what is unknown is neither guessed nor counted as good. Of equal
    points the better one on the heaviest axis comes first, then on the next, then the first by id.

    Args:
        models: The values of each model on each axis.
        weights: The weights of the axes, above 0.
    """
    axes = sorted(weights, key=lambda axis: (-weights[axis], axis))
    total = sum(weights[axis] for axis in axes)
    # With an unknown value as the worst one, dominance stays transitive.
    vectors = {name: tuple(_known(numbers.get(axis)) for axis in axes) for name, numbers in models.items()}
    front = _undominated(vectors)
    scales = {axis: _scale([models[name].get(axis) for name in front]) for axis in axes}
    used = [place for place, axis in enumerate(axes) if scales[axis] is not None]
    complete = {
        name: tuple(vector[place] for place in used)
        for name, vector in vectors.items()
        if all(vector[place][0] for place in used)
    }
    best_complete = _undominated(complete)
    ranked = []
    for name, numbers in models.items():
        shares = {axis: _share(numbers.get(axis), scales[axis]) for axis in axes}
        points = sum(weights[axis] / total * value for axis in axes if (value := shares[axis]) is not None)
        is_undominated = name in best_complete if name in complete and used else None
        ranked.append(Ranked(name, points, shares, is_undominated))

    def place_of(model: Ranked) -> tuple[object, ...]:
        unknown = sum(weights[axis] for axis in axes if model.shares[axis] is None)
        ties = tuple((-known, -number) for known, number in vectors[model.id])
        return unknown, -model.points, ties, model.id

    return sorted(ranked, key=place_of)


def _known(number: float | None) -> tuple[bool, float]:
    return (False, 0.0) if number is None else (True, number)


def undominated(models: Mapping[str, Sequence[float]]) -> set[str]:
    """Return the models that no other equals everywhere and betters somewhere.

    The greater a value, the better.
    """
    return _undominated({name: tuple((True, number) for number in numbers) for name, numbers in models.items()})


def _undominated(vectors: Mapping[str, tuple[tuple[bool, float], ...]]) -> set[str]:
    front: list[tuple[tuple[bool, float], ...]] = []
    # From the greatest on, a vector can only be dominated by one before it.
    for vector in sorted(set(vectors.values()), reverse=True):
        if not any(all(mine <= other for mine, other in zip(vector, best, strict=True)) for best in front):
            front.append(vector)
    return {name for name, vector in vectors.items() if vector in front}


def _scale(numbers: Sequence[float | None]) -> tuple[float, float] | None:
    known = [number for number in numbers if number is not None]
    return (min(known), max(known)) if known else None


def _share(number: float | None, scale: tuple[float, float] | None) -> float | None:
    if number is None or scale is None:
        return None
    worst, best = scale
    # Where they are all equal, the distance is counted in parts of their value.
    width = best - worst or abs(best)
    if not width:
        return 1.0 if number == best else 0.0
    return (number - worst) / width if best > worst else 1 + (number - best) / width


def percentile(number: float, numbers: Sequence[float]) -> float:
    """Return the per cent of numbers, itself included, that a number is not below."""
    return 100 * sum(other <= number for other in numbers) / len(numbers)
