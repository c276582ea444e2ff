"""Bradley-Terry strengths of judged models, with ties.

The ties are those of Davidson (JASA 65, 1970): a win of i, a win of j and a tie of both have the odds exp(s_i),
exp(s_j) and tie * exp((s_i + s_j) / 2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from openmodels.compare.paired import ALPHA

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[Any]

_STEPS = 50
_LONGEST_STEP = 2.0  # of Newton's, in logits: without a bound it leaves where the likelihood is curved
_RIDGE = 1e-6  # keeps the strengths of a model that never loses finite
_RESAMPLES = 1_000
_SEED = 20_250_101


def fit_strengths(wins: Floats, ties: Floats) -> tuple[Floats, Floats]:
    """Return strengths and tie parameters by maximum likelihood.

    Strengths are centred at 0.

    Args:
        wins: Shape (..., models, models): how often the row won against the column.
        ties: Shape (..., models, models): how often they tied, symmetric with an empty diagonal.
    """
    import numpy as np

    models = wins.shape[-1]
    games = wins + np.swapaxes(wins, -1, -2) + ties
    # An outcome has a linear utility, so that this is a multinomial logit and its likelihood is concave.
    points = wins.sum(-1) + ties.sum(-1) / 2
    tied = ties.sum((-1, -2)) / 2
    has_ties = tied > 0
    strengths, log_tie = np.zeros(points.shape), np.where(has_ties, 0.0, -np.inf)
    for _ in range(_STEPS):
        row, column = strengths[..., :, None], strengths[..., None, :]
        odds = np.exp(row - column)
        draw = np.exp(log_tie)[..., None, None] * np.exp((row - column) / 2)
        won, drawn = odds / (odds + 1 + draw), draw / (odds + 1 + draw)
        np.einsum("...ii->...i", games)[...] = 0
        expected = (games * (won + drawn / 2)).sum(-1)
        gradient = np.concatenate(
            [points - expected - _RIDGE * strengths, (tied - (games * drawn).sum((-1, -2)) / 2)[..., None]], -1
        )
        mean = won + drawn / 2  # of i's share of a game: its square less its mean's is the variance
        spread = games * (won + drawn / 4 - mean**2)
        cross = (games * (drawn / 2 - mean * drawn)).sum(-1)
        # Of the negative log-likelihood.
        hessian = np.zeros((*points.shape[:-1], models + 1, models + 1))
        hessian[..., :models, :models] = -spread
        diagonal = np.arange(models)
        hessian[..., diagonal, diagonal] = spread.sum(-1) + _RIDGE
        hessian[..., :models, models] = hessian[..., models, :models] = cross
        hessian[..., models, models] = np.where(has_ties, (games * drawn * (1 - drawn)).sum((-1, -2)) / 2, 1.0) + _RIDGE
        hessian[..., :models, models] *= has_ties[..., None]
        hessian[..., models, :models] *= has_ties[..., None]
        gradient[..., models] *= has_ties
        step = np.clip(np.linalg.solve(hessian, gradient[..., None])[..., 0], -_LONGEST_STEP, _LONGEST_STEP)
        strengths = strengths + step[..., :models]
        strengths -= strengths.mean(-1, keepdims=True)
        log_tie = log_tie + np.where(has_ties, step[..., models], 0.0)
        if np.abs(step).max() < 1e-9:
            break
    return strengths, np.exp(log_tie)


def rate_models(
    names: Sequence[str], outcomes: Sequence[tuple[str, str, Any, float]]
) -> tuple[dict[str, tuple[float, float, float]], float]:
    """Return the strength of each model with its interval, and the tie parameter.

    The interval of 95 % is bootstrapped over prompts, or over clusters of them.

    Args:
        names: The models.
        outcomes: Model, model, prompt or cluster, and 1 for a win of the first, -1 for a loss, 0 for a tie.
    """
    import numpy as np

    if not outcomes:
        return {}, 0.0
    places = {name: place for place, name in enumerate(names)}
    units = {unit: place for place, unit in enumerate(dict.fromkeys(unit for _, _, unit, _ in outcomes))}
    wins = np.zeros((len(units), len(names), len(names)))
    ties = np.zeros_like(wins)
    for a, b, unit, outcome in outcomes:
        winner, loser = (places[a], places[b]) if outcome >= 0 else (places[b], places[a])
        if outcome:
            wins[units[unit], winner, loser] += 1
        else:
            ties[units[unit], winner, loser] += 1
            ties[units[unit], loser, winner] += 1
    strengths, tie = fit_strengths(wins.sum(0), ties.sum(0))
    weights = np.random.default_rng(_SEED).multinomial(len(units), np.full(len(units), 1 / len(units)), _RESAMPLES)
    resampled, _ = fit_strengths(np.tensordot(weights, wins, 1), np.tensordot(weights, ties, 1))
    low, high = np.quantile(resampled, (ALPHA / 2, 1 - ALPHA / 2), axis=0)
    ratings = {name: (float(strengths[place]), float(low[place]), float(high[place])) for name, place in places.items()}
    return ratings, float(tie)
