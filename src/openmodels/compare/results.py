"""What a comparison finds: pairs with verdicts, groups, sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal, NamedTuple

from openmodels.compare import paired
from openmodels.compare.judging import JudgedPair
from openmodels.compare.prompts import ComparedPrompt
from openmodels.types.reply import Usage

Verdict = Literal["better", "worse", "not told apart"]
JUDGE = "judge"
"""The name of the metric that a judge gives."""


@dataclass(frozen=True, slots=True)
class ComparedPair:
    """Two models on one metric.

    Attributes:
        a: The first model.
        b: The second model.
        metric: The metric's name.
        wins: Prompts where `a` scored higher; repeats of a prompt are averaged first.
        losses: Prompts where `a` scored lower.
        ties: Prompts with the same score.
        difference: The mean score of `a` minus that of `b`, on the prompts that both answered.
        interval: The 95 % interval of the difference.
        p_value: The chance of a difference as large, or larger, where there is none.
        p_adjusted: The same for all pairs of the metric together (Holm); the verdict follows it.
        verdict: Whether `a` is "better" or "worse"; else the third value of `Verdict`.
        prompts_needed: How many more prompts would distinguish them four times of five, if the difference is what it
            seems; 0 where they are, None where no number is known.
        test: The name of the test.
        sentence: All of it in a sentence.
    """

    a: str
    b: str
    metric: str
    wins: int
    losses: int
    ties: int
    difference: float
    interval: tuple[float, float]
    p_value: float
    p_adjusted: float
    verdict: Verdict
    prompts_needed: int | None
    test: str
    sentence: str

    @property
    def count(self) -> int:
        """The prompts that both answered."""
        return self.wins + self.losses + self.ties

    def __str__(self) -> str:
        return self.sentence


@dataclass(frozen=True, slots=True)
class MeanScore:
    """A model's mean score on one metric.

    Attributes:
        mean: The mean over prompts.
        interval: Its 95 % interval.
        count: Prompts with a score.
        is_rate: Whether every score of the metric is 0 or 1.
    """

    mean: float
    interval: tuple[float, float]
    count: int
    is_rate: bool

    def __str__(self) -> str:
        low, high = self.interval
        if self.is_rate:
            return f"{self.mean:.0%} [{low:.0%}, {high:.0%}]"
        return f"{self.mean:.3g} [{low:.3g}, {high:.3g}]"


def make_row(
    model: str,
    index: int,
    *,
    repeat: int = 0,
    text: str | None = None,
    finish_reason: str | None = None,
    seconds: float | None = None,
    first_token_seconds: float | None = None,
    usage: Usage | None = None,
    cost: float | None = None,
    error: str | None = None,
    scores: Mapping[str, float] | None = None,
    resumed: bool = False,
) -> dict[str, Any]:
    """Return a row of a comparison; `Comparison.rows` says what it holds."""
    tokens = None if usage is None else usage.output_tokens
    return {
        "model": model,
        "index": index,
        "repeat": repeat,
        "text": text,
        "finish_reason": finish_reason,
        "seconds": seconds,
        "first_token_seconds": first_token_seconds,
        "tokens_per_second": tokens / seconds if tokens and seconds else None,
        "input_tokens": None if usage is None else usage.input_tokens,
        "output_tokens": tokens,
        "cost": cost,
        "error": error,
        "scores": dict(scores or {}),
        "resumed": resumed,
    }


PromptScores = Mapping[int, float]  # the mean score of a prompt's repeats, by the prompt's index


def average_repeats(rows: Sequence[Mapping[str, Any]], model: str, metric: str) -> dict[int, float]:
    """Return a model's scores by prompt, those of repeats averaged."""
    scores: dict[int, list[float]] = {}
    for row in rows:
        if row["model"] == model and row["scores"].get(metric) is not None:
            scores.setdefault(row["index"], []).append(row["scores"][metric])
    return {index: sum(values) / len(values) for index, values in scores.items()}


def mean_score(
    scores: PromptScores, prompts: Sequence[ComparedPrompt], *, is_rate: bool, is_bounded: bool
) -> MeanScore | None:
    """Return a model's mean score, or None without any."""
    if not scores:
        return None
    values = list(scores.values())
    low, high = paired.score_interval(values, _clusters(scores, prompts))
    interval = (max(0.0, float(low)), min(1.0, float(high))) if is_bounded else (float(low), float(high))
    return MeanScore(sum(values) / len(values), interval, len(values), is_rate)


def are_rates(scores: Mapping[str, PromptScores]) -> bool:
    """Return whether every score of every model is 0 or 1."""
    return all(value in (0.0, 1.0) for values in scores.values() for value in values.values())


class MetricSummary(NamedTuple):
    """What rows say of the models on one metric.

    Attributes:
        scores: By model the mean score with its interval; None without any.
        pairs: Each two models, with test, interval and verdict.
        groups: The groups of models that no test distinguishes, the best first.
    """

    scores: dict[str, MeanScore | None]
    pairs: list[ComparedPair]
    groups: list[tuple[str, ...]]


def summarize_metric(
    metric: str,
    rows: Sequence[Mapping[str, Any]],
    models: Sequence[str],
    prompts: Sequence[ComparedPrompt],
    *,
    is_bounded: bool,
    judged: Sequence[JudgedPair] | None = None,
) -> MetricSummary:
    """Return the scores, pairs and groups of models on a metric.

    Args:
        metric: The metric's name.
        rows: Dicts with model, index and scores, as in `Comparison.rows`.
        models: The names of the models.
        prompts: The prompts, by index.
        is_bounded: Whether scores lie between 0 and 1.
        judged: The verdicts of a judge, where the metric is the judge's.

    Raises:
        MissingExtra: The statistics need a package that is not installed.
    """
    by_model = {model: average_repeats(rows, model, metric) for model in models}
    is_rate = judged is None and are_rates(by_model)
    scores = {
        model: mean_score(values, prompts, is_rate=is_rate, is_bounded=is_bounded) for model, values in by_model.items()
    }
    if judged is None:
        pairs = compare_pairs(metric, by_model, prompts, is_bounded=is_bounded)
    else:
        pairs = compare_judged(models, judged, prompts)
    means = {model: score.mean for model, score in scores.items() if score is not None}
    return MetricSummary(scores, pairs, group_models(means, pairs))


def compare_pairs(
    metric: str, scores: Mapping[str, PromptScores], prompts: Sequence[ComparedPrompt], *, is_bounded: bool
) -> list[ComparedPair]:
    """Return every pair of models on a metric, by the scores of each prompt."""
    outcomes: dict[tuple[str, str], tuple[dict[int, float], tuple[float, float]]] = {}
    for a, b in combinations(scores, 2):
        shared = [index for index in scores[a] if index in scores[b]]
        differences = {index: scores[a][index] - scores[b][index] for index in shared}
        totals = sum(scores[a][index] for index in shared), sum(scores[b][index] for index in shared)
        outcomes[a, b] = differences, totals
    return _test_pairs(metric, outcomes, prompts, is_bounded=is_bounded, rates=are_rates(scores))


def compare_judged(
    names: Sequence[str], judged: Sequence[JudgedPair], prompts: Sequence[ComparedPrompt]
) -> list[ComparedPair]:
    """Return every pair of models by a judge's verdicts."""
    outcomes: dict[tuple[str, str], tuple[dict[int, float], tuple[float, float]]] = {}
    for a, b in combinations(names, 2):
        verdicts: dict[int, list[float]] = {}
        for pair in judged:
            if (pair.a, pair.b) == (a, b) and pair.outcome is not None:
                verdicts.setdefault(pair.index, []).append(pair.outcome)
        outcomes[a, b] = {index: sum(values) / len(values) for index, values in verdicts.items()}, (0.0, 0.0)
    return _test_pairs(JUDGE, outcomes, prompts, is_bounded=True, rates=False)


def _test_pairs(
    metric: str,
    outcomes: Mapping[tuple[str, str], tuple[dict[int, float], tuple[float, float]]],
    prompts: Sequence[ComparedPrompt],
    *,
    is_bounded: bool,
    rates: bool,
) -> list[ComparedPair]:
    """Return pairs with their verdicts, from differences by prompt and total scores."""
    results = {
        pair: paired.compare_differences(
            list(differences.values()), _clusters(differences, prompts), is_bounded=is_bounded
        )
        for pair, (differences, _) in outcomes.items()
    }
    tested = [pair for pair, result in results.items() if result is not None]
    p_values = [result.p_value for result in results.values() if result is not None]
    adjusted = dict(zip(tested, paired.adjust_holm(p_values), strict=True))
    pairs = []
    for (a, b), result in results.items():
        if result is None:
            pairs.append(_unscored(a, b, metric))
            continue
        p_adjusted = adjusted[a, b]
        verdict: Verdict = "not told apart"
        if p_adjusted <= paired.ALPHA:
            verdict = "better" if result.mean > 0 else "worse"
        needed = paired.prompts_needed(result, alpha=paired.ALPHA / len(tested))
        more = 0 if verdict != "not told apart" else None if needed is None else max(1, needed - result.count)
        start = _describe(a, b, metric, result, outcomes[a, b][1], rates=rates)
        pairs.append(
            ComparedPair(
                a=a,
                b=b,
                metric=metric,
                wins=result.wins,
                losses=result.losses,
                ties=result.ties,
                difference=result.mean,
                interval=result.interval,
                p_value=result.p_value,
                p_adjusted=p_adjusted,
                verdict=verdict,
                prompts_needed=more,
                test=result.test,
                sentence=f"{start}: {_conclude(a, b, verdict, more)}",
            )
        )
    return pairs


def _clusters(scores: PromptScores, prompts: Sequence[ComparedPrompt]) -> list[str | None] | None:
    clusters = [prompts[index].cluster for index in scores]
    return None if all(cluster is None for cluster in clusters) else clusters


def _describe(
    a: str, b: str, metric: str, result: paired.PairedDifference, totals: tuple[float, float], *, rates: bool
) -> str:
    if metric == JUDGE:
        return f"Of {result.count} judged, {a} won {result.wins}, {b} {result.losses}, {result.ties} ties"
    if rates:
        return f"{a} answered {totals[0]:.0f} of {result.count}, {b} {totals[1]:.0f}"
    return f"{a} scored {totals[0] / result.count:.3g}, {b} {totals[1] / result.count:.3g} on {result.count} prompts"


def _conclude(a: str, b: str, verdict: Verdict, more: int | None) -> str:
    if verdict != "not told apart":
        better, other = (a, b) if verdict == "better" else (b, a)
        return f"{better} is better than {other}"
    if more is None:
        return verdict
    return f"{verdict}; about {_rounded(more)} more {'prompt' if more == 1 else 'prompts'} would"


def _rounded(number: int) -> str:
    """Return a number with two digits that count: it is an estimate."""
    unit = 10 ** max(0, math.floor(math.log10(number)) - 1)
    return f"{round(number / unit) * unit:,}"


def _unscored(a: str, b: str, metric: str) -> ComparedPair:
    return ComparedPair(
        a=a,
        b=b,
        metric=metric,
        wins=0,
        losses=0,
        ties=0,
        difference=math.nan,
        interval=(-math.inf, math.inf),
        p_value=1.0,
        p_adjusted=1.0,
        verdict="not told apart",
        prompts_needed=None,
        test="none",
        sentence=f"{a} and {b} have no prompt with a score of both: not told apart",
    )


def group_models(means: Mapping[str, float], pairs: Sequence[ComparedPair]) -> list[tuple[str, ...]]:
    """Return the groups of models that no test distinguishes, the best first.

    A model may stand in two groups, where its neighbours differ from each other but neither from it.
    """
    order = sorted(means, key=lambda name: -means[name])
    apart = {frozenset((pair.a, pair.b)) for pair in pairs if pair.verdict != "not told apart"}
    groups: list[tuple[str, ...]] = []
    for start in range(len(order)):
        end = start + 1
        while end < len(order) and all(frozenset((name, order[end])) not in apart for name in order[start:end]):
            end += 1
        group = tuple(order[start:end])
        if not groups or not set(group) <= set(groups[-1]):
            groups.append(group)
    return groups
