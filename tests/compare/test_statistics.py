"""Statistics of a comparison: equal to the packages' own, and right on simulated outcomes whose truth is known."""

from __future__ import annotations

import functools
import math

import evalica
import numpy as np
import pytest
from scipy import stats
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from openmodels.compare import bradley_terry, paired, results
from openmodels.compare.prompts import ComparedPrompt

TRIALS = 2_000
tango = functools.cache(paired.tango_interval)
exact_p = functools.cache(paired.mcnemar_p)


def outcomes(rng, sizes, rate_a, rate_b, icc=0.0):
    """Return differences of right answers, shape (TRIALS, prompts), and the clusters' numbers.

    Prompts have a difficulty of their own, and each model a strength of its own in each cluster.
    """
    numbers = np.repeat(np.arange(len(sizes)), sizes)
    shape = TRIALS, len(numbers)
    difficulty = rng.standard_normal(shape)

    def right(rate):
        strength = rng.standard_normal((TRIALS, len(sizes)))[:, numbers]
        rest = math.sqrt(icc) * strength + math.sqrt(1 - icc) * rng.standard_normal(shape)
        return math.sqrt(0.2) * difficulty + math.sqrt(0.8) * rest < stats.norm.ppf(rate)

    return right(rate_a).astype(float) - right(rate_b), numbers


def covered(interval, truth):
    low, high = interval
    return 100 * float(np.mean((low <= truth + 1e-12) & (truth - 1e-12 <= high)))


def counts(differences):
    return zip((differences > 0).sum(axis=1).tolist(), (differences < 0).sum(axis=1).tolist(), strict=True)


class TestFalseVerdicts:
    @pytest.mark.parametrize("prompts", [10, 30, 100, 300])
    @pytest.mark.parametrize("rate", [0.5, 0.8])
    def test_right_or_wrong(self, prompts, rate):
        differences, _ = outcomes(np.random.default_rng(prompts), [1] * prompts, rate, rate)
        false = [exact_p(*pair) <= paired.ALPHA for pair in counts(differences)]
        # With 10 prompts at a rate of 0.8 about three are decided, and none of 2^3 outcomes is rare enough.
        least = 1 if prompts * rate * (1 - rate) > 4 else 0
        assert least <= 100 * np.mean(false) <= 5

    @pytest.mark.parametrize("prompts", [10, 30])
    def test_graded(self, prompts):
        rng = np.random.default_rng(prompts)
        differences = rng.beta(0.6, 1.4, (TRIALS, prompts)) - rng.beta(0.6, 1.4, (TRIALS, prompts))
        false = paired.sign_flip_p(differences, 1023 if prompts == 10 else 399) <= paired.ALPHA
        assert 3.5 <= 100 * false.mean() <= 6  # exact: 5 %, plus or minus what 2,000 trials scatter

    def test_clusters(self):
        differences, numbers = outcomes(np.random.default_rng(5), [3] * 10, 0.6, 0.6, icc=0.5)
        sums = paired.cluster_sums(differences, numbers)
        assert 1 <= 100 * (paired.sign_flip_p(sums, 1023) <= paired.ALPHA).mean() <= 5.5
        # What ignores the clusters is wrong much more often.
        blind = [exact_p(*pair) <= paired.ALPHA for pair in counts(differences)]
        assert 100 * np.mean(blind) > 5.5

    def test_a_real_difference_is_seen(self):
        differences, _ = outcomes(np.random.default_rng(6), [1] * 300, 0.75, 0.6)
        assert np.mean([exact_p(*pair) <= paired.ALPHA for pair in counts(differences)]) > 0.95


class TestCoverage:
    @pytest.mark.parametrize("prompts", [10, 15, 30, 100, 300])
    @pytest.mark.parametrize(("rate_a", "rate_b"), [(0.5, 0.5), (0.7, 0.6), (0.9, 0.6)])
    def test_right_or_wrong(self, prompts, rate_a, rate_b):
        differences, _ = outcomes(np.random.default_rng(prompts), [1] * prompts, rate_a, rate_b)
        interval = np.array([tango(wins, losses, prompts) for wins, losses in counts(differences)]).T
        assert 93 <= covered(interval, rate_a - rate_b) <= 97.5

    @pytest.mark.parametrize("sizes", [[3] * 10, [2] * 20, [10] * 30, list(range(1, 9)), [1] * 20 + [5] * 4], ids=str)
    @pytest.mark.parametrize("icc", [0.0, 0.5])
    def test_clusters(self, sizes, icc):
        differences, numbers = outcomes(np.random.default_rng(len(sizes)), sizes, 0.7, 0.6, icc)
        assert 93 <= covered(paired.cluster_interval(differences, numbers), 0.1) <= 97
        if icc and len(sizes) == 30:
            assert covered(paired.mean_interval(differences), 0.1) < 75  # what ignores them

    @pytest.mark.parametrize("prompts", [10, 14, 15, 30, 100])
    def test_graded(self, prompts):
        rng = np.random.default_rng(prompts)
        differences = rng.beta(3, 2, (TRIALS, prompts)) - rng.beta(2, 3, (TRIALS, prompts))
        bootstraps = prompts >= paired.BOOTSTRAP_FROM
        interval = paired.bca_interval(differences, 599) if bootstraps else paired.mean_interval(differences)
        assert 93 <= covered(interval, 0.2) <= 97

    def test_rates_of_0_and_1_keep_a_width(self):
        for values in ([0.0] * 30, [1.0] * 30):
            low, high = paired.score_interval(values, None)
            assert 0.05 < high - low < 0.2
        for differences, clusters in (
            ([0.0] * 30, None),
            ([0.0] * 30, [n // 5 for n in range(30)]),
            ([1.0] * 30, None),
            ([0.5] * 30, None),
        ):
            result = paired.compare_differences(differences, clusters, is_bounded=True)
            assert result.interval[0] <= result.mean <= result.interval[1]
            assert 0.05 < result.interval[1] - result.interval[0] < 0.5


class TestEqualToThePackages:
    @pytest.mark.parametrize(("wins", "losses"), [(7, 2), (5, 0), (6, 0), (8, 1), (10, 2), (11, 3), (0, 0), (40, 20)])
    def test_mcnemar(self, wins, losses):
        differences = [1.0] * wins + [-1.0] * losses + [0.0] * 20
        result = paired.compare_differences(differences, None, is_bounded=True)
        assert result.test == "exact McNemar"
        assert result.p_value == pytest.approx(
            min(1, mcnemar([[9, wins], [losses, 5]], exact=True).pvalue) if wins else 1
        )
        assert (result.p_value < 0.05) == ((wins, losses) in {(6, 0), (8, 1), (10, 2), (40, 20)})

    def test_sign_flips_and_student(self):
        differences = np.random.default_rng(1).normal(0.2, 0.5, 12)
        result = paired.compare_differences(differences.tolist(), None, is_bounded=False)
        expected = stats.permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=9999)
        assert result.p_value == pytest.approx(expected.pvalue)
        interval = stats.ttest_1samp(differences, 0).confidence_interval()
        assert result.interval == pytest.approx((interval.low, interval.high))

    def test_bootstrap(self):
        rng = np.random.default_rng(2)
        a, b = rng.beta(2, 2, 80), rng.beta(2, 3, 80)
        result = paired.compare_differences((a - b).tolist(), None, is_bounded=True)
        expected = stats.bootstrap(
            (a, b), lambda one, two, axis: (one - two).mean(axis=axis), paired=True, method="BCa", rng=rng
        ).confidence_interval
        # Its level is raised a little, by 2 % of the width with 80 prompts.
        assert result.interval == pytest.approx((expected.low, expected.high), abs=0.006)
        assert result.interval[1] - result.interval[0] > 0.98 * (expected.high - expected.low)

    def test_clusters(self):
        differences, numbers = outcomes(np.random.default_rng(3), [4] * 12, 0.7, 0.5, 0.4)
        fit = OLS(differences[0], np.ones(48)).fit(cov_type="cluster", cov_kwds={"groups": numbers})
        variance = paired.effective_variance(differences[0], numbers)
        assert math.sqrt(variance / 48) == pytest.approx(float(fit.bse[0]))
        low, high = paired.cluster_interval(differences[0], numbers)
        assert (high - low) / 2 == pytest.approx(float(fit.bse[0]) * stats.t.isf(0.025, 11))

    def test_wilson_and_holm(self):
        assert paired.score_interval([1.0] * 21 + [0.0] * 9, None) == pytest.approx(
            proportion_confint(21, 30, method="wilson")
        )
        assert paired.adjust_holm([0.01, 0.04, 0.03]) == pytest.approx(
            multipletests([0.01, 0.04, 0.03], method="holm")[1]
        )

    def test_tango(self):
        # Without a decided pair its ends are z^2 / (n + z^2).
        end = stats.norm.isf(0.025) ** 2 / (44 + stats.norm.isf(0.025) ** 2)
        assert paired.tango_interval(0, 0, 44) == pytest.approx((-end, end))
        low, high = paired.tango_interval(9, 3, 50)
        mirrored = paired.tango_interval(3, 9, 50)
        assert (low, high) == pytest.approx((-mirrored[1], -mirrored[0]))

    def test_bradley_terry(self):
        rng, names = np.random.default_rng(4), ["a", "b", "c", "d"]
        strengths = {"a": 1.0, "b": 0.3, "c": -0.2, "d": -1.1}
        games = []
        for prompt in range(150):
            for place, one in enumerate(names):
                for other in names[:place]:
                    chance = 1 / (1 + math.exp(strengths[other] - strengths[one]))
                    games.append((one, other, prompt, 1.0 if rng.random() < chance else -1.0))
        ratings, tie = bradley_terry.rate_models(names, games)
        winners = [evalica.Winner.X if outcome > 0 else evalica.Winner.Y for *_, outcome in games]
        expected = evalica.bradley_terry(
            [one for one, *_ in games], [other for _, other, *_ in games], winners, tolerance=1e-12, limit=10_000
        ).scores
        logits = np.log(expected) - np.log(expected).mean()
        assert tie == 0
        for name, (rating, low, high) in ratings.items():
            assert rating == pytest.approx(logits[name], abs=1e-4)
            assert low < rating < high

    def test_ties_are_davidsons(self):
        # Two models: the shares of wins, losses and ties are the likelihood's own.
        wins, losses, ties = 30, 10, 20
        games = [("a", "b", n, 1.0 if n < wins else -1.0 if n < wins + losses else 0.0) for n in range(60)]
        ratings, tie = bradley_terry.rate_models(["a", "b"], games)
        difference = ratings["a"][0] - ratings["b"][0]
        assert difference == pytest.approx(math.log(wins / losses), abs=1e-4)
        assert tie == pytest.approx(ties / math.sqrt(wins * losses), rel=1e-4)

    def test_a_model_that_always_wins_has_a_finite_strength(self):
        ratings, _ = bradley_terry.rate_models(["a", "b"], [("a", "b", n, 1.0) for n in range(9)])
        assert all(math.isfinite(number) for rating in ratings.values() for number in rating)
        assert ratings["a"][0] > ratings["b"][0] + 3


class TestPlansAndSentences:
    def pair(self, wins, losses, ties, clusters=False):
        scores = {"A": {}, "B": {}}
        for place, (a, b) in enumerate([(1.0, 0.0)] * wins + [(0.0, 1.0)] * losses + [(1.0, 1.0)] * ties):
            scores["A"][place], scores["B"][place] = a, b
        prompts = [
            ComparedPrompt(n, "", cluster=str(n // 3) if clusters else None) for n in range(wins + losses + ties)
        ]
        (pair,) = results.compare_pairs("exact", scores, prompts, is_bounded=True)
        return pair

    def test_as_many_prompts_as_planned_tell_them_apart_four_times_of_five(self):
        pair = self.pair(7, 4, 19)
        planned = pair.prompts_needed + 30
        rng = np.random.default_rng(7)
        wins = rng.multinomial(planned, [7 / 30, 4 / 30, 19 / 30], TRIALS)
        seen = np.mean([exact_p(int(a), int(b)) <= paired.ALPHA for a, b, _ in wins])
        assert 0.74 < seen < 0.84
        more = results._rounded(pair.prompts_needed)
        assert pair.sentence == f"A answered 26 of 30, B 23: not told apart; about {more} more prompts would"

    def test_what_is_told_apart(self):
        pair = self.pair(2, 13, 15)
        assert (pair.verdict, pair.prompts_needed) == ("worse", 0)
        assert pair.sentence == "A answered 17 of 30, B 28: B is better than A"

    @pytest.mark.parametrize("wins", [1, 3, 5])
    def test_a_few_wins_alone_need_what_an_exact_test_needs(self, wins):
        assert self.pair(wins, 0, 0).prompts_needed == 6 - wins

    def test_no_difference_needs_no_number(self):
        assert self.pair(3, 3, 10).prompts_needed is None
        assert self.pair(3, 3, 10).sentence == "A answered 13 of 16, B 13: not told apart"

    def test_clusters_are_units(self):
        alone, clustered = self.pair(9, 0, 18), self.pair(9, 0, 18, clusters=True)
        assert (alone.verdict, clustered.verdict) == ("better", "not told apart")
        assert clustered.test == "sign-flip permutation of clusters"
        assert clustered.p_value == pytest.approx(0.25)  # three clusters: no less is possible

    @pytest.mark.parametrize(("number", "shown"), [(1, "1"), (14, "14"), (107, "110"), (2_345, "2,300")])
    def test_numbers_are_round(self, number, shown):
        assert results._rounded(number) == shown
