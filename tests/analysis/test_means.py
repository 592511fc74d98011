"""Intervals of means and of their differences, with NumPy alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from mtqscore.analysis import means


def test_quantiles_of_student_agree_with_scipy():
    for degrees in [*range(1, 40), 199, 4_998, 10**6]:
        assert means.student_quantile(degrees) == pytest.approx(scipy.stats.t.ppf(0.975, degrees), rel=3e-6)


@given(st.lists(st.floats(1, 5), min_size=3, max_size=30), st.lists(st.floats(1, 5), min_size=3, max_size=30))
@settings(max_examples=50, derandomize=True)
def test_an_interval_contains_the_mean_and_turns_with_the_sign(values, base):
    columns, others = np.array(values)[:, np.newaxis], np.array(base)[:, np.newaxis]
    # The mean of very skewed values of which few are drawn may lie at the end.
    for arguments, mean in (((columns,), columns.mean()), ((columns, others), columns.mean() - others.mean())):
        (interval,) = means.mean_intervals(*arguments, resamples=300)
        assert interval.low - 1e-9 <= mean <= interval.high + 1e-9
        (negated,) = means.mean_intervals(*(-argument for argument in arguments), resamples=300)
        assert (negated.low, negated.high) == pytest.approx((-interval.high, -interval.low))


def test_intervals_of_few_values_are_students():
    rng = np.random.default_rng(5)
    first, second = rng.standard_normal((5, 2)), rng.standard_normal((7, 2)) * 3
    for column, interval in enumerate(means.mean_intervals(first)):
        values = first[:, column]
        expected = scipy.stats.t.interval(0.95, 4, values.mean(), scipy.stats.sem(values))
        assert (interval.low, interval.high) == pytest.approx(expected)
    for column, interval in enumerate(means.mean_intervals(first, second)):
        welch = scipy.stats.ttest_ind(first[:, column], second[:, column], equal_var=False).confidence_interval()
        # Whole degrees of freedom make it a little wider than scipy's.
        assert interval.low <= welch.low
        assert interval.high >= welch.high
        assert interval.high - interval.low == pytest.approx(welch.high - welch.low, rel=0.05)


def test_intervals_of_many_values_are_those_of_the_normal_limit():
    rng = np.random.default_rng(6)
    values, other = rng.standard_normal((20_000, 1)) + 3, rng.exponential(size=(700, 1))
    (interval,) = means.mean_intervals(values)
    half = 1.96 / math.sqrt(20_000)
    assert (interval.low, interval.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=half / 10)
    (interval,) = means.mean_intervals(values, other)
    half = 1.96 * math.sqrt(1 / 20_000 + other.var() / 700)
    mean = values.mean() - other.mean()
    assert (interval.low, interval.high) == pytest.approx((mean - half, mean + half), abs=half / 10)


@pytest.mark.parametrize("count", [3, 5, 10, 30])
def test_intervals_hold_the_true_mean_as_often_as_they_should(count):
    # 300 studies at once, as columns would share their draws: one call a study.
    values = np.random.default_rng(count).standard_normal((300, count, 1))
    intervals = [means.mean_intervals(study, resamples=400, seed=seed)[0] for seed, study in enumerate(values)]
    held = np.mean([interval.low <= 0 <= interval.high for interval in intervals])
    assert 0.92 <= held <= 0.98


def test_an_interval_of_equal_values_is_that_value():
    for count in (4, 12):
        (interval,) = means.mean_intervals(np.full((count, 1), 0.25))
        assert (interval.low, interval.high) == (0.25, 0.25)


def test_two_values_have_no_interval():
    for samples in ((np.ones((2, 3)),), (np.ones((9, 3)), np.ones((2, 3)))):
        assert means.mean_intervals(*samples) == [means.NO_INTERVAL] * 3
