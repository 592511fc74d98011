from __future__ import annotations

import math
import time

import numpy as np
import pytest
import scipy.stats

from mtqscore.analysis import statistics as stats

rng = np.random.default_rng(5)
TIED_X = rng.integers(0, 12, 200).astype(float)
TIED_Y = np.round(TIED_X * 0.3 + rng.standard_normal(200), 1)


@pytest.mark.parametrize(
    ("ours", "reference"),
    [
        (stats.lcc, lambda x, y: scipy.stats.pearsonr(x, y).statistic),
        (stats.srcc, lambda x, y: scipy.stats.spearmanr(x, y).statistic),
        (stats.ktau, lambda x, y: scipy.stats.kendalltau(x, y).statistic),
    ],
)
def test_correlations_agree_with_scipy_on_ties(ours, reference):
    assert ours(TIED_X, TIED_Y) == pytest.approx(reference(TIED_X, TIED_Y), abs=1e-12)


@pytest.mark.parametrize("metric", [stats.lcc, stats.srcc, stats.ktau])
def test_correlation_is_nan_where_it_is_not_defined(metric):
    assert math.isnan(metric([1, 2], [1, 2]))
    assert math.isnan(metric([], []))
    assert math.isnan(metric([3, 3, 3, 3], [1, 2, 3, 4]))
    assert math.isnan(metric([1, 2, 3, 4], [3, 3, 3, 3]))


@pytest.mark.parametrize("metric", [stats.lcc, stats.srcc, stats.ktau])
def test_correlation_of_a_rising_and_a_falling_row_is_exactly_one(metric):
    assert metric([1, 2, 3], [10, 20, 30]) == pytest.approx(1.0, abs=1e-15)
    assert metric([1, 2, 3], [30, 20, 10]) == pytest.approx(-1.0, abs=1e-15)


def test_lcc_survives_tiny_and_huge_values():
    x = np.array([1.0, 2.0, 3.0, 5.0])
    assert stats.lcc(x * 1e-200, x * 1e200) == pytest.approx(1.0)


def test_ktau_of_many_pairs_is_quick_and_agrees_with_scipy():
    x = rng.integers(0, 4_000, 100_000)
    y = np.round(x + 900 * rng.standard_normal(100_000), -1)
    started_s = time.perf_counter()
    assert stats.ktau(x, y) == pytest.approx(scipy.stats.kendalltau(x, y).statistic, abs=1e-12)
    assert time.perf_counter() - started_s < 20, "a quadratic count would take minutes"


def test_concordance_counts_every_pair_of_pairs():
    x, y = rng.integers(0, 9, 60), rng.integers(0, 7, 60)
    by_hand = (np.sign(x[:, None] - x) * np.sign(y[:, None] - y)).sum(axis=1)
    assert stats.concordance(x, y).tolist() == by_hand.tolist()


def test_infinite_values_have_a_rank_and_nothing_else():
    x, y = [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, math.inf]
    assert stats.srcc(x, y) == pytest.approx(1.0)
    assert stats.ktau(x, y) == pytest.approx(1.0)
    for name in ("lcc", "mse", "rmse", "rmse_mapped", "bias"):
        assert math.isnan(stats.METRICS[name](x, y)), name


def test_the_mapped_error_is_what_a_straight_line_leaves():
    x, y = np.array([1.0, 2.0, 4.0, 5.0, 3.0]), np.array([1.5, 1.8, 2.9, 3.0, 2.6])
    line = np.polyfit(y, x, 1)
    assert stats.rmse_mapped(x, y) == pytest.approx(math.sqrt(np.sum((np.polyval(line, y) - x) ** 2) / 3))
    assert stats.rmse_mapped(x, 0.2 * x + 1) == pytest.approx(0.0, abs=1e-7)
    assert math.isnan(stats.rmse_mapped(x, np.ones(5)))


def test_pairs_with_nan_are_left_out():
    assert stats.lcc([1, 2, np.nan, 4], [2, 4, 100, 8]) == pytest.approx(1.0)
    assert stats.mse([1, np.nan], [2, 5]) == 1.0


def test_errors_by_hand():
    assert stats.mse([1, 2, 3], [1, 4, 6]) == pytest.approx(13 / 3)
    assert stats.rmse([0, 0], [3, 4]) == pytest.approx(math.sqrt(12.5))
    assert math.isnan(stats.rmse([], []))
    assert stats.bias([1, 2, 3], [1, 4, 6]) == pytest.approx(5 / 3)
    assert math.isnan(stats.bias([], []))


def test_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="3 labels against 2 estimates"):
        stats.lcc([1, 2, 3], [1, 2])


def test_quantiles_of_student_agree_with_scipy():
    for degrees in [*range(1, 12), 29, 30, 199, 4_998, 9_999]:
        for probability in (0.5, 0.9, 0.975, 0.9999):
            expected = scipy.stats.t.ppf(probability, degrees)
            assert stats.t_quantile(probability, degrees) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert stats.t_quantile(0.975, 10**6) == pytest.approx(scipy.stats.norm.ppf(0.975), rel=2e-4)


def test_intervals_of_few_values_are_students():
    first, second = rng.standard_normal((5, 2)), rng.standard_normal((7, 2)) * 3
    for column, interval in enumerate(stats.mean_intervals(first)):
        values = first[:, column]
        expected = scipy.stats.t.interval(0.95, 4, values.mean(), scipy.stats.sem(values))
        assert (interval.low, interval.high) == pytest.approx(expected)
    for column, interval in enumerate(stats.mean_intervals(first, second)):
        welch = scipy.stats.ttest_ind(first[:, column], second[:, column], equal_var=False).confidence_interval()
        # Whole degrees of freedom make it a little wider than scipy's.
        assert interval.low <= welch.low
        assert interval.high >= welch.high
        assert interval.high - interval.low == pytest.approx(welch.high - welch.low, rel=0.05)


def test_intervals_of_many_values_are_those_of_the_normal_limit():
    values, other = rng.standard_normal((20_000, 1)) + 3, rng.exponential(size=(700, 1))
    (interval,) = stats.mean_intervals(values)
    half = 1.96 / math.sqrt(20_000)
    assert (interval.low, interval.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=half / 10)
    (interval,) = stats.mean_intervals(values, other)
    half = 1.96 * math.sqrt(1 / 20_000 + other.var() / 700)
    mean = values.mean() - other.mean()
    assert (interval.low, interval.high) == pytest.approx((mean - half, mean + half), abs=half / 10)


@pytest.mark.parametrize(("count", "least"), [(3, 0.92), (5, 0.92), (10, 0.92), (30, 0.92)])
def test_intervals_hold_the_true_mean_as_often_as_they_say(count, least):
    # 300 studies at once, as columns would share their draws: one call a study.
    values = np.random.default_rng(count).standard_normal((300, count, 1))
    intervals = [stats.mean_intervals(study, resamples=400, seed=seed)[0] for seed, study in enumerate(values)]
    held = np.mean([interval.low <= 0 <= interval.high for interval in intervals])
    assert least <= held <= 0.98


def test_an_interval_of_equal_values_is_that_value():
    for count in (4, 12):
        (interval,) = stats.mean_intervals(np.full((count, 1), 0.25))
        assert (interval.low, interval.high) == (0.25, 0.25)


def test_two_values_say_nothing_about_their_mean():
    for samples in ((np.ones((2, 3)),), (np.ones((9, 3)), np.ones((2, 3)))):
        intervals = stats.mean_intervals(*samples)
        assert len(intervals) == 3
        assert all(math.isnan(interval.low) and math.isnan(interval.high) for interval in intervals)
