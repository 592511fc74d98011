"""Agreement between estimates and labels: LCC, SRCC, KTAU, MSE, RMSE, and bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

MIN_PAIRS = 3
"""Fewer pairs than this say nothing about agreement."""

Floats = NDArray[np.float64]
Metric = Callable[[ArrayLike, ArrayLike], float]


def lcc(truth: ArrayLike, estimate: ArrayLike) -> float:
    """Compute Pearson's linear correlation coefficient.

    Args:
        truth: labels, (pairs,).
        estimate: estimates, (pairs,).

    Returns:
        -1 to 1; NaN for fewer than three pairs, and when either side is constant. Pairs with a NaN are left out.
    """
    x, y = _pairs(truth, estimate)
    if len(x) < MIN_PAIRS or _constant(x) or _constant(y):
        return float("nan")
    x, y = x - x.mean(), y - y.mean()
    # Scaled first, so that tiny or huge values neither vanish nor overflow when squared.
    x, y = x / np.abs(x).max(), y / np.abs(y).max()
    return float(np.clip((x @ y) / np.sqrt((x @ x) * (y @ y)), -1.0, 1.0))


def srcc(truth: ArrayLike, estimate: ArrayLike) -> float:
    """Compute Spearman's rank correlation: `lcc` of the ranks, ties sharing their mean rank; NaN as there."""
    x, y = _pairs(truth, estimate)
    return lcc(ranks(x), ranks(y))


def ktau(truth: ArrayLike, estimate: ArrayLike) -> float:
    """Compute Kendall's tau-b, which allows for ties.

    Args:
        truth: labels, (pairs,).
        estimate: estimates, (pairs,).

    Returns:
        -1 to 1; NaN for fewer than three pairs, and when either side is constant. Pairs with a NaN are left out.
    """
    x, y = _pairs(truth, estimate)
    if len(x) < MIN_PAIRS or _constant(x) or _constant(y):
        return float("nan")
    balance, untied_x, untied_y = 0, 0, 0
    for index in range(len(x) - 1):
        # One row of the sign matrix at a time: memory stays linear.
        sign_x = np.sign(x[index + 1 :] - x[index])
        sign_y = np.sign(y[index + 1 :] - y[index])
        balance += int(sign_x @ sign_y)
        untied_x += int(np.count_nonzero(sign_x))
        untied_y += int(np.count_nonzero(sign_y))
    return float(np.clip(balance / np.sqrt(float(untied_x) * untied_y), -1.0, 1.0))


def mse(truth: ArrayLike, estimate: ArrayLike) -> float:
    """Compute the mean squared error; NaN without a single pair. Pairs with a NaN are left out."""
    x, y = _pairs(truth, estimate)
    return float(np.mean((x - y) ** 2)) if len(x) else float("nan")


def rmse(truth: ArrayLike, estimate: ArrayLike) -> float:
    """Compute the root of the mean squared error; NaN without a single pair. Pairs with a NaN are left out."""
    return float(np.sqrt(mse(truth, estimate)))


METRICS: dict[str, Metric] = {"lcc": lcc, "srcc": srcc, "ktau": ktau, "mse": mse, "rmse": rmse}
"""Every measure of agreement by its name in tables."""


@dataclass(frozen=True)
class Interval:
    """A bootstrap confidence interval.

    Args:
        low: lower end; NaN when undefined.
        high: upper end; NaN when undefined.
        level: the share of resamples inside.
    """

    low: float
    high: float
    level: float


def bootstrap(
    metric: Metric, truth: ArrayLike, estimate: ArrayLike, *, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> Interval:
    """Compute a percentile bootstrap interval by drawing pairs with replacement.

    Args:
        metric: one of `METRICS`.
        truth: labels, (pairs,).
        estimate: estimates, (pairs,).
        resamples: number of draws.
        level: share of the draws inside the interval.
        seed: source of the draws.

    Returns:
        The interval; NaN at both ends for fewer than three pairs. Draws for which the metric is undefined, since
        all of their values are equal, are left out.
    """
    x, y = _pairs(truth, estimate)
    if len(x) < MIN_PAIRS:
        return Interval(float("nan"), float("nan"), level)
    rng = np.random.default_rng(seed)
    drawn = (rng.integers(len(x), size=len(x)) for _ in range(resamples))
    values = np.array([metric(x[index], y[index]) for index in drawn])
    values = values[~np.isnan(values)]
    if not len(values):
        return Interval(float("nan"), float("nan"), level)
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), level)


def ranks(values: ArrayLike) -> Floats:
    """Rank values from 1; ties share the mean of their ranks.

    Args:
        values: (n,) without NaN.

    Returns:
        Ranks float64 (n,).
    """
    array = np.asarray(values, dtype=np.float64)
    _, inverse, counts = np.unique(array, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean_rank = last - (counts - 1) / 2.0
    return np.asarray(mean_rank[inverse.reshape(-1)], dtype=np.float64)


def _constant(values: Floats) -> bool:
    return bool(np.all(values == values[0]))


def _pairs(truth: ArrayLike, estimate: ArrayLike) -> tuple[Floats, Floats]:
    x = np.asarray(truth, dtype=np.float64).reshape(-1)
    y = np.asarray(estimate, dtype=np.float64).reshape(-1)
    if len(x) != len(y):
        raise ValueError(f"{len(x)} labels against {len(y)} estimates")
    known = ~(np.isnan(x) | np.isnan(y))
    return x[known], y[known]
