"""Intervals of measures of agreement, and of differences between two sets of estimates."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mtqscore.analysis import bootstrap as resampling
from mtqscore.analysis import statistics as stats
from mtqscore.analysis.bootstrap import MEASURES, agreement_intervals, difference_intervals

rng = np.random.default_rng(11)


def related(pairs: int, decimals: int = 6, noise: float = 1.0) -> tuple[stats.Floats, stats.Floats]:
    truth = np.round(rng.standard_normal(pairs), decimals)
    return truth, np.round(truth + noise * rng.standard_normal(pairs), decimals)


@pytest.mark.parametrize(("pairs", "decimals"), [(9, 6), (40, 0), (300, 1)])
def test_what_a_draw_gives_is_what_its_pairs_give(pairs: int, decimals: int) -> None:
    truth, estimate = related(pairs, decimals)
    judged = resampling._Agreement(truth, estimate)
    (counts,) = resampling._draws(pairs, 25, seed=3)
    assert counts.sum(axis=1).tolist() == [pairs] * 25
    values = judged.values(counts)
    assert sorted(values) == sorted(MEASURES)
    for draw, times in enumerate(counts.astype(int)):
        drawn = np.repeat(truth, times), np.repeat(estimate, times)
        for name, found in values.items():
            assert found[draw] == pytest.approx(stats.METRICS[name](*drawn), abs=1e-9), name


def test_a_draw_of_equal_values_has_no_correlation() -> None:
    judged = resampling._Agreement(np.array([1.0, 1, 1, 2]), np.array([1.0, 2, 3, 4]))
    values = judged.values(np.array([[1.0, 1, 2, 0], [1.0, 1, 1, 1]]))
    assert np.isnan(values["lcc"]).tolist() == [True, False]
    assert np.isnan(values["ktau"]).tolist() == [True, False]
    assert values["mse"][0] == pytest.approx((0 + 1 + 4 + 4) / 4)


def test_ktau_of_many_pairs_is_nearly_that_of_the_draw() -> None:
    truth, estimate = related(resampling.EXACT_PAIRS + 500)
    judged = resampling._Agreement(truth, estimate)
    counts = np.concatenate(list(resampling._draws(len(truth), 12, seed=1)))
    found = judged.values(counts)["ktau"]
    exact = [stats.ktau(np.repeat(truth, times), np.repeat(estimate, times)) for times in counts.astype(int)]
    # The standard error is about 0.013.
    assert found == pytest.approx(exact, abs=0.004)


@pytest.mark.parametrize(("pairs", "measure", "true"), [(12, "lcc", 0.8), (60, "lcc", 0.8), (60, "mse", 0.4)])
def test_intervals_hold_the_true_value_about_as_often_as_they_say(pairs: int, measure: str, true: float) -> None:
    draw = np.random.default_rng(pairs)
    held = 0
    for study in range(200):
        truth = draw.standard_normal(pairs)
        estimate = truth * 0.8 + 0.6 * draw.standard_normal(pairs)
        interval = agreement_intervals(truth, estimate, resamples=300, seed=study)[measure]
        held += interval.low <= true <= interval.high
    assert 0.88 <= held / 200 <= 0.99


def test_intervals_narrow_with_more_pairs_also_where_some_stand_for_all() -> None:
    truth, estimate = related(2 * resampling.MOST_PAIRS)
    few = agreement_intervals(truth[:2_500], estimate[:2_500], resamples=120)
    many = agreement_intervals(truth, estimate, resamples=120)
    for name in MEASURES:
        whole = stats.METRICS[name](truth, estimate)
        assert many[name].low < whole < many[name].high, name
        ratio = (few[name].high - few[name].low) / (many[name].high - many[name].low)
        assert 3 < ratio < 5.2, f"{name}: four, the root of sixteen, but for chance"


def test_the_same_seed_gives_the_same_intervals() -> None:
    truth, estimate = related(30)
    first = agreement_intervals(truth, estimate, resamples=60, seed=1)
    assert first == agreement_intervals(truth, estimate, resamples=60, seed=1)
    assert first != agreement_intervals(truth, estimate, resamples=60, seed=2)


@pytest.mark.parametrize(
    ("truth", "estimate"),
    [([1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 4, 5, 6, 8]), (range(9), [*range(8), math.inf]), ([], [])],
    ids=["seven", "infinite", "none"],
)
def test_where_there_is_no_interval(truth: list[float], estimate: list[float]) -> None:
    for interval in agreement_intervals(list(truth), estimate, resamples=20).values():
        assert math.isnan(interval.low)
        assert math.isnan(interval.high)


def test_nearly_constant_labels_have_an_error_but_no_correlation() -> None:
    truth = [3.0] * 11 + [4.0]
    found = agreement_intervals(truth, np.linspace(2, 4, 12), resamples=200)
    assert math.isnan(found["lcc"].low), "every third draw has equal labels only"
    assert found["mse"].low < stats.mse(truth, np.linspace(2, 4, 12)) < found["mse"].high


def test_a_nan_is_no_pair() -> None:
    truth, estimate = related(20)
    with_gap = agreement_intervals([*truth, 1.0], [*estimate, math.nan], resamples=50)
    assert with_gap == agreement_intervals(truth, estimate, resamples=50)


def test_a_difference_is_told_apart_better_than_two_intervals_tell_it() -> None:
    truth, good = related(200, noise=0.5)
    worse = good + 0.15 * rng.standard_normal(200)
    difference = difference_intervals(truth, good, worse, resamples=400)
    assert 0 < difference["lcc"].low < stats.lcc(truth, good) - stats.lcc(truth, worse) < difference["lcc"].high
    one, other = (agreement_intervals(truth, side, resamples=400)["lcc"] for side in (good, worse))
    assert one.low < other.high, "the intervals of each overlap"
    assert difference["mse"].high < 0


def test_estimates_do_not_differ_from_themselves() -> None:
    truth, estimate = related(50)
    for interval in difference_intervals(truth, estimate, estimate, resamples=40).values():
        assert (interval.low, interval.high) == (0.0, 0.0)
