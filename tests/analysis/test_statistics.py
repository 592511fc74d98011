"""Measures of agreement, their intervals, and intervals of differences between two sets of estimates."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from mtqscore.analysis import statistics
from mtqscore.analysis.statistics import MEASURES, METRICS, agreement_intervals

CORRELATIONS = [statistics.lcc, statistics.srcc, statistics.ktau]
SCORES = st.floats(1, 5).map(lambda value: round(value, 1))


def related(pairs, decimals=6, noise=1.0, seed=11):
    rng = np.random.default_rng(seed)
    truth = np.round(rng.standard_normal(pairs), decimals)
    return truth, np.round(truth + noise * rng.standard_normal(pairs), decimals)


# --- measures -------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(SCORES, SCORES), min_size=3, max_size=40))
@settings(max_examples=50, derandomize=True)
def test_correlations_are_those_of_scipy_bounded_and_symmetric(pairs):
    x, y = np.array(pairs).T
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert all(math.isnan(metric(x, y)) for metric in CORRELATIONS)
        return
    for metric, reference in zip(
        CORRELATIONS, (scipy.stats.pearsonr, scipy.stats.spearmanr, scipy.stats.kendalltau), strict=True
    ):
        assert metric(x, y) == pytest.approx(reference(x, y).statistic, abs=1e-9)
        assert -1 <= metric(x, y) <= 1
        assert metric(x, y) == pytest.approx(metric(y, x), abs=1e-12)
        assert metric(x, -2 * y + 3) == pytest.approx(-metric(x, y), abs=1e-9)
        assert metric(x, x) == pytest.approx(1.0)
    assert statistics.rmse_mapped(x, y) <= statistics.rmse(x, y) * math.sqrt(len(x) / (len(x) - 2)) + 1e-9
    assert statistics.rmse(x, y) >= abs(statistics.bias(x, y)) - 1e-9


@pytest.mark.parametrize("metric", CORRELATIONS)
def test_fewer_than_three_pairs_have_no_correlation(metric):
    assert math.isnan(metric([1, 2], [1, 2]))
    assert math.isnan(metric([], []))


def test_lcc_survives_tiny_and_huge_values():
    x = np.array([1.0, 2.0, 3.0, 5.0])
    assert statistics.lcc(x * 1e-200, x * 1e200) == pytest.approx(1.0)


def test_infinite_values_have_a_rank_and_nothing_else():
    x, y = [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, math.inf]
    assert statistics.srcc(x, y) == pytest.approx(1.0)
    assert statistics.ktau(x, y) == pytest.approx(1.0)
    for name in ("lcc", "mse", "rmse", "rmse_mapped", "bias"):
        assert math.isnan(METRICS[name](x, y)), name


def test_the_mapped_error_is_what_a_straight_line_leaves():
    x, y = np.array([1.0, 2.0, 4.0, 5.0, 3.0]), np.array([1.5, 1.8, 2.9, 3.0, 2.6])
    line = np.polyfit(y, x, 1)
    assert statistics.rmse_mapped(x, y) == pytest.approx(math.sqrt(np.sum((np.polyval(line, y) - x) ** 2) / 3))
    assert statistics.rmse_mapped(x, 0.2 * x + 1) == pytest.approx(0.0, abs=1e-7)
    assert math.isnan(statistics.rmse_mapped(x, np.ones(5)))


def test_errors_by_hand():
    assert statistics.mse([1, 2, 3], [1, 4, 6]) == pytest.approx(13 / 3)
    assert statistics.mse([1, np.nan], [2, 5]) == 1.0, "pairs with a NaN are left out"
    assert statistics.rmse([0, 0], [3, 4]) == pytest.approx(math.sqrt(12.5))
    assert statistics.bias([1, 2, 3], [1, 4, 6]) == pytest.approx(5 / 3)
    assert math.isnan(statistics.rmse([], []))
    assert math.isnan(statistics.bias([], []))


def test_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="3 labels against 2 estimates"):
        statistics.lcc([1, 2, 3], [1, 2])


# --- intervals ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pairs", "decimals"), [(9, 6), (40, 0), (300, 1)])
def test_the_values_of_a_draw_are_those_of_its_pairs(pairs, decimals):
    truth, estimate = related(pairs, decimals)
    index = np.random.default_rng(1).integers(pairs, size=(25, pairs))
    index[0] = 3  # one pair, over and over
    values = statistics._values(truth, estimate, index)
    assert sorted(values) == sorted(MEASURES)
    for draw, chosen in enumerate(index):
        for name, found in values.items():
            expected = METRICS[name](truth[chosen], estimate[chosen])
            assert found[draw] == pytest.approx(expected, abs=1e-9, nan_ok=True), name


@pytest.mark.parametrize("pairs", [12, 60])
def test_intervals_hold_the_true_value_about_as_often_as_they_should(pairs):
    draw = np.random.default_rng(pairs)
    held = dict.fromkeys(("lcc", "bias"), 0)
    for study in range(150):
        truth = draw.standard_normal(pairs)
        estimate = truth * 0.8 + 0.6 * draw.standard_normal(pairs)
        intervals = agreement_intervals(truth, estimate, resamples=200, seed=study)
        for name, true in (("lcc", 0.8), ("bias", 0.0)):
            held[name] += intervals[name].low <= true <= intervals[name].high
    assert all(0.88 <= count / 150 <= 0.99 for count in held.values()), held


def test_intervals_narrow_with_more_pairs_also_where_some_stand_for_all():
    truth, estimate = related(8 * statistics.MOST_PAIRS)
    few = agreement_intervals(
        truth[: statistics.MOST_PAIRS // 2], estimate[: statistics.MOST_PAIRS // 2], resamples=120
    )
    many = agreement_intervals(truth, estimate, resamples=120)
    for name in MEASURES:
        whole = METRICS[name](truth, estimate)
        assert many[name].low < whole < many[name].high, name
        ratio = (few[name].high - few[name].low) / (many[name].high - many[name].low)
        assert 3 < ratio < 5.2, f"{name}: four, the root of sixteen, but for chance"


def test_the_same_seed_gives_the_same_intervals_and_a_nan_is_no_pair():
    truth, estimate = related(30)
    first = agreement_intervals(truth, estimate, resamples=60, seed=1)
    assert first == agreement_intervals([*truth, 1.0], [*estimate, math.nan], resamples=60, seed=1)
    assert first != agreement_intervals(truth, estimate, resamples=60, seed=2)


@pytest.mark.parametrize(
    ("truth", "estimate"),
    [([1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 4, 5, 6, 8]), (range(9), [*range(8), math.inf]), ([], [])],
    ids=["seven", "infinite", "none"],
)
def test_where_there_is_no_interval(truth, estimate):
    found = agreement_intervals(list(truth), estimate, resamples=20)
    assert set(found) == set(MEASURES)
    assert all(math.isnan(interval.low) and math.isnan(interval.high) for interval in found.values())


def test_nearly_constant_labels_have_an_error_but_no_correlation():
    truth = [3.0] * 11 + [4.0]
    found = agreement_intervals(truth, np.linspace(2, 4, 12), resamples=200)
    assert math.isnan(found["lcc"].low), "every third draw has equal labels only"
    assert found["mse"].low < statistics.mse(truth, np.linspace(2, 4, 12)) < found["mse"].high


def test_a_difference_shows_where_two_intervals_overlap():
    truth, good = related(200, noise=0.5)
    worse = good + 0.15 * np.random.default_rng(2).standard_normal(200)
    difference = agreement_intervals(truth, good, worse, resamples=400)
    found = statistics.lcc(truth, good) - statistics.lcc(truth, worse)
    assert 0 < difference["lcc"].low < found < difference["lcc"].high
    one, other = (agreement_intervals(truth, side, resamples=400)["lcc"] for side in (good, worse))
    assert one.low < other.high, "the intervals of each overlap"
    assert difference["mse"].high < 0
    for interval in agreement_intervals(truth, good, good, resamples=40).values():
        assert (interval.low, interval.high) == (0.0, 0.0)
