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
