"""Statistics of two models on the same prompts.

Right for 10 to 300 prompts: intervals that come from the central limit theorem alone are too narrow there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from openmodels.compare.packages import load_package

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[Any]

LEVEL = 0.95
ALPHA = 1 - LEVEL
POWER = 0.8
"""The chance that as many prompts as planned tell two models apart."""
BOOTSTRAP_FROM = 15
"""Prompts from which the interval of graded scores is bootstrapped; below, Student's t covers better."""
_FEW_CLUSTERS = 6
"""Clusters with a difference below which the interval also holds Tango's: without it, it covers far too little."""
RESAMPLES = 9_999
"""Random flips, and samples of the bootstrap."""
_SEED = 20_250_101


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """How the scores of two models differ on the prompts that both answered.

    Attributes:
        wins: Prompts where the first model scored higher.
        losses: Prompts where it scored lower.
        ties: Prompts with the same score.
        mean: The mean difference, first minus second.
        interval: The 95 % interval of the mean difference.
        p_value: The chance of a difference as large, or larger, where there is none.
        variance: The variance of one prompt's difference, with clusters that of an effective prompt.
        test: The name of the test.
    """

    wins: int
    losses: int
    ties: int
    mean: float
    interval: tuple[float, float]
    p_value: float
    variance: float
    test: str

    @property
    def count(self) -> int:
        """The number of prompts."""
        return self.wins + self.losses + self.ties


def compare_differences(
    differences: Sequence[float], clusters: Sequence[Any] | None, *, is_bounded: bool
) -> PairedDifference | None:
    """Return how two models differ, or None without a prompt that both answered.

    Args:
        differences: For each prompt the first model's score minus the second's.
        clusters: The group of each prompt; None where each is its own.
        is_bounded: Whether scores lie between 0 and 1, so that even equal ones leave a width.
    """
    import numpy as np

    values = np.asarray(differences, dtype=float)
    # 0.1 + 0.2 - 0.3 is no win.
    values[np.abs(values) < 1e-12] = 0.0
    if not len(values):
        return None
    cluster_ids = number_clusters(clusters, len(values))
    is_binary = bool(np.isin(values, (-1.0, 0.0, 1.0)).all())
    wins, losses = int((values > 0).sum()), int((values < 0).sum())
    if cluster_ids is None and is_binary:
        test, p_value = "exact McNemar", mcnemar_p(wins, losses)
    else:
        test, p_value = "sign-flip permutation", float(sign_flip_p(cluster_sums(values, cluster_ids)))
    variance = effective_variance(values, cluster_ids)
    is_bounded = is_bounded or is_binary
    return PairedDifference(
        wins=wins,
        losses=losses,
        ties=len(values) - wins - losses,
        mean=float(values.mean()),
        interval=_clip(difference_interval(values, cluster_ids, is_bounded=is_bounded), is_bounded=is_bounded),
        p_value=p_value,
        variance=variance,
        test=test if cluster_ids is None else f"{test} of clusters",
    )


def number_clusters(clusters: Sequence[Any] | None, count: int) -> NDArray[Any] | None:
    """Return each prompt's cluster by a number from 0; None where each is its own."""
    import numpy as np

    if clusters is None:
        return None
    labels = [("alone", place) if cluster is None else cluster for place, cluster in enumerate(clusters)]
    places = {label: place for place, label in enumerate(dict.fromkeys(labels))}
    return None if len(places) == count else np.array([places[label] for label in labels])


def cluster_sums(values: Floats, cluster_ids: Floats | None) -> Floats:
    """Return the sum of each cluster, along the last axis."""
    import numpy as np

    return values if cluster_ids is None else values @ (cluster_ids[:, None] == np.arange(int(cluster_ids.max()) + 1))


def mcnemar_p(wins: int, losses: int) -> float:
    """Return the p-value of the exact McNemar test."""
    load_package("statsmodels", "The statistics of a comparison")
    from statsmodels.stats.contingency_tables import mcnemar

    return min(1.0, float(mcnemar([[0, wins], [losses, 0]], exact=True).pvalue)) if wins + losses else 1.0


def sign_flip_p(sums: Floats, resamples: int = RESAMPLES) -> Any:
    """Return the p-value of the sign-flip permutation test, along the last axis.

    The sums are independent differences. It is exact where they have at most `resamples` signs, else from random flips.
    """
    import numpy as np

    load_package("scipy", "The statistics of a comparison")
    from scipy.stats import permutation_test

    if sums.ndim == 1:
        sums = sums[sums != 0]  # a 0 is the same with either sign
        if not len(sums):
            return 1.0
    outcome = permutation_test(
        (sums,),
        lambda sample, axis: sample.sum(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=1_000,
        axis=-1,
        rng=_SEED,
    )
    return np.minimum(1.0, outcome.pvalue)


def effective_variance(values: Floats, cluster_ids: Floats | None) -> float:
    """Return n times the squared standard error of the mean difference."""
    count = len(values)
    sums = cluster_sums(values - values.mean(), cluster_ids)
    groups = len(sums)
    return float((sums**2).sum() / count * (groups / (groups - 1) if groups > 1 else 1.0))


def difference_interval(values: Floats, cluster_ids: Floats | None, *, is_bounded: bool) -> tuple[float, float]:
    """Return the 95 % interval of the mean difference.

    Right or wrong: Tango's score interval. Graded: BCa bootstrap from `BOOTSTRAP_FROM` prompts, below it Student's t.
    Clusters: Student's t on the cluster-robust standard error.

    Args:
        values: The difference of each prompt, of shape (prompts,).
        cluster_ids: The number of each prompt's cluster; None where each is its own.
        is_bounded: Whether a difference lies between -1 and 1.
    """
    import numpy as np

    counts = int((values > 0).sum()), int((values < 0).sum()), len(values)
    if cluster_ids is not None:
        low, high = cluster_interval(values, cluster_ids)
        sparse = np.count_nonzero(cluster_sums(np.abs(values), cluster_ids)) < _FEW_CLUSTERS
        if is_bounded and sparse:
            tango = tango_interval(*counts)
            low, high = min(low, tango[0]), max(high, tango[1])
        return low, high
    if is_bounded and (np.sign(values) == values).all():
        return tango_interval(*counts)
    if len(values) < 2:
        return (-1.0, 1.0) if is_bounded else (-math.inf, math.inf)
    if not np.ptp(values):
        if not is_bounded:
            return float(values[0]), float(values[0])
        low, high = tango_interval(*counts)
        return low * abs(float(values[0])), high * abs(float(values[0]))
    return bca_interval(values) if len(values) >= BOOTSTRAP_FROM else mean_interval(values)


def _clip(interval: tuple[float, float], *, is_bounded: bool) -> tuple[float, float]:
    """Return an interval within what a difference of bounded scores can be."""
    low, high = float(interval[0]), float(interval[1])
    return (max(-1.0, low), min(1.0, high)) if is_bounded else (low, high)


def tango_interval(wins: int, losses: int, count: int) -> tuple[float, float]:
    """Return Tango's score interval of a difference of paired proportions.

    Statistics in Medicine 17 (1998). Its ends are the differences at which the score statistic, with the nuisance at
    its constrained maximum likelihood, is the normal quantile; it has a width without any win or loss.
    """
    load_package("scipy", "The statistics of a comparison")
    from scipy.optimize import brentq
    from scipy.stats import norm

    quantile = float(norm.isf(ALPHA / 2))
    mean = (wins - losses) / count

    def score(difference: float) -> float:
        linear = -wins - losses + (2 * count - wins + losses) * difference
        constant = -losses * difference * (1 - difference)
        nuisance = (math.sqrt(max(0.0, linear**2 - 8 * count * constant)) - linear) / (4 * count)
        variance = count * (2 * nuisance + difference * (1 - difference))
        distance = wins - losses - count * difference
        return distance / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, distance) if distance else 0

    def end(edge: float, sign: int) -> float:
        # Where no win and no loss is left at the edge, the edge is the end.
        if abs(edge - mean) < 1e-12 or sign * score(edge) < quantile:
            return edge
        return float(brentq(lambda at: max(-1e9, min(1e9, sign * score(at))) - quantile, mean, edge))

    return end(-1.0, 1), end(1.0, -1)


def mean_interval(values: Floats) -> tuple[Any, Any]:
    """Return Student's 95 % interval of a mean, along the last axis."""
    load_package("scipy", "The statistics of a comparison")
    from scipy.stats import t

    count = values.shape[-1]
    half_width = float(t.isf(ALPHA / 2, count - 1)) * values.std(axis=-1, ddof=1) / math.sqrt(count)
    mean = values.mean(axis=-1)
    return mean - half_width, mean + half_width


def bca_interval(values: Floats, resamples: int = RESAMPLES) -> tuple[Any, Any]:
    """Return the BCa bootstrap's 95 % interval of a mean, along the last axis."""
    import numpy as np

    load_package("scipy", "The statistics of a comparison")
    from scipy.stats import bootstrap, norm, t

    count = values.shape[-1]
    # The level is raised by what Student's t is wider than the normal: simulated coverage of scores between 0 and 1 is
    # 93.5 to 95 % then, and 90 to 93 % without.
    level = 1 - 2 * float(norm.sf(math.sqrt(count / (count - 1)) * t.isf(ALPHA / 2, count - 1)))
    interval = bootstrap(
        (values,),
        np.mean,
        vectorized=True,
        axis=-1,
        method="BCa",
        confidence_level=level,
        n_resamples=resamples,
        batch=max(1, 1_000_000 // values.size),
        rng=np.random.default_rng(_SEED),
    ).confidence_interval
    return interval.low, interval.high


def cluster_interval(values: Floats, cluster_ids: Floats) -> tuple[Any, Any]:
    """Return the cluster-robust 95 % interval of a mean, along the last axis.

    It is Student's with the standard error CR2. The degrees of freedom are those of as many equal clusters as these are
    worth: with them unequal clusters keep their coverage, which those of their number lose.
    """
    import numpy as np

    load_package("scipy", "The statistics of a comparison")
    from scipy.stats import t

    count, mean = values.shape[-1], values.mean(axis=-1, keepdims=True)
    sizes = np.bincount(cluster_ids)
    if len(sizes) < 2:
        return -math.inf, math.inf
    sums = cluster_sums(values - mean, cluster_ids)
    standard_error = np.sqrt((sums**2 / (1 - sizes / count)).sum(axis=-1)) / count
    effective_clusters = count**2 / float((sizes**2).sum())
    half_width = float(t.isf(ALPHA / 2, effective_clusters - 1)) * standard_error
    return mean[..., 0] - half_width, mean[..., 0] + half_width


def score_interval(scores: Sequence[float], clusters: Sequence[Any] | None) -> tuple[float, float]:
    """Return the 95 % interval of a mean score: Wilson's of a rate, or Student's."""
    import numpy as np

    values = np.asarray(scores, dtype=float)
    cluster_ids = number_clusters(clusters, len(values))
    is_rate = bool(np.isin(values, (0.0, 1.0)).all())
    if cluster_ids is not None and (not is_rate or np.ptp(values)):
        return cluster_interval(values, cluster_ids)
    if is_rate:
        load_package("statsmodels", "The statistics of a comparison")
        from statsmodels.stats.proportion import proportion_confint

        count = len(values) if cluster_ids is None else int(cluster_ids.max()) + 1
        low, high = proportion_confint(values.mean() * count, count, alpha=ALPHA, method="wilson")
        return float(low), float(high)
    return mean_interval(values) if len(values) > 1 else (-math.inf, math.inf)


def adjust_holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values that hold for all comparisons together (Holm)."""
    if len(p_values) < 2:
        return list(p_values)
    load_package("statsmodels", "The statistics of a comparison")
    from statsmodels.stats.multitest import multipletests

    return [float(value) for value in multipletests(p_values, alpha=ALPHA, method="holm")[1]]


def prompts_needed(result: PairedDifference, *, alpha: float = ALPHA) -> int | None:
    """Return how many prompts would distinguish two models.

    None is without a difference; else it is (z_{alpha/2} + z_power)^2 * variance / mean^2 (Miller 2024, arXiv
    2411.00640), or what an exact test needs where all of them favour one model, if that is more.
    """
    if not result.mean:
        return None
    load_package("scipy", "The statistics of a comparison")
    from scipy.stats import norm

    factor = float(norm.isf(alpha / 2) + norm.isf(1 - POWER)) ** 2
    decided = (result.wins + result.losses) / result.count
    return math.ceil(max(factor * result.variance / result.mean**2, math.log2(2 / alpha) / decided))
