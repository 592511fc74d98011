from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from mtqscore import stats

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


def test_pairs_with_nan_are_left_out():
    assert stats.lcc([1, 2, np.nan, 4], [2, 4, 100, 8]) == pytest.approx(1.0)
    assert stats.mse([1, np.nan], [2, 5]) == 1.0


def test_errors_by_hand():
    assert stats.mse([1, 2, 3], [1, 4, 6]) == pytest.approx(13 / 3)
    assert stats.rmse([0, 0], [3, 4]) == pytest.approx(math.sqrt(12.5))
    assert math.isnan(stats.rmse([], []))


def test_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="3 labels against 2 estimates"):
        stats.lcc([1, 2, 3], [1, 2])


def test_bootstrap_covers_the_value_and_narrows_with_more_pairs():
    x = rng.standard_normal(800)
    y = x + rng.standard_normal(800)
    wide = stats.bootstrap(stats.lcc, x[:40], y[:40], resamples=300)
    narrow = stats.bootstrap(stats.lcc, x, y, resamples=300)
    assert wide.low < stats.lcc(x[:40], y[:40]) < wide.high
    assert narrow.low < stats.lcc(x, y) < narrow.high
    assert narrow.high - narrow.low < 0.5 * (wide.high - wide.low)


def test_bootstrap_is_the_same_for_the_same_seed():
    first = stats.bootstrap(stats.rmse, TIED_X, TIED_Y, resamples=50, seed=1)
    assert first == stats.bootstrap(stats.rmse, TIED_X, TIED_Y, resamples=50, seed=1)
    assert first != stats.bootstrap(stats.rmse, TIED_X, TIED_Y, resamples=50, seed=2)


def test_bootstrap_without_enough_pairs_is_nan():
    interval = stats.bootstrap(stats.lcc, [1, 2], [1, 2])
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)
    constant = stats.bootstrap(stats.lcc, [1, 2, 3], [2, 2, 2], resamples=20)
    assert math.isnan(constant.low)


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
