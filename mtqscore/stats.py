"""Agreement between estimates and labels (LCC, SRCC, KTAU, MSE, RMSE), means, and intervals of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

MIN_PAIRS = 3
"""Fewer pairs than this say nothing about agreement."""

FEW_VALUES = 8
"""With fewer values than this no bootstrap reaches 95 %, and Student's interval stands in for it."""

DRAWS = 100_000_000
"""Values drawn for one set of resampled means, at most, as long as that leaves `FEWEST_RESAMPLES`."""

DRAWS_AT_ONCE = 1_000_000
"""Values drawn at one time: bounds the memory to some 30 MB."""

FEWEST_RESAMPLES = 1_000
"""Resamples of a mean of very many values, whose distribution is all but normal; the ends move by some 4 % of the
interval's half width from one seed to another."""

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
    """A confidence interval.

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


def mean_intervals(
    values: ArrayLike, base: ArrayLike | None = None, *, resamples: int = 10_000, level: float = 0.95, seed: int = 0
) -> list[Interval]:
    """Compute bootstrap intervals of means, or of the differences of the means of two independent samples.

    Percentile intervals are too narrow for few values. These are expanded as Hesterberg proposes ("What Teachers
    Should Know About the Bootstrap", The American Statistician 69, 2015): with Student's quantile in place of the
    normal one, and the unbiased variance in place of that of the resamples.

    Args:
        values: (n, columns); one set of draws serves all columns.
        base: (m, columns), whose means are subtracted; None is nothing.
        resamples: number of draws; fewer, but at least `FEWEST_RESAMPLES`, for samples so large that more than
            `DRAWS` values would have to be drawn.
        level: share of such intervals that hold the true mean.
        seed: source of the draws.

    Returns:
        One interval a column: NaN at both ends if a sample has fewer than three values; Student's (Welch's for two
        samples) if one has fewer than `FEW_VALUES`.
    """
    samples = [np.asarray(sample, dtype=np.float64) for sample in (values, base) if sample is not None]
    columns = range(samples[0].shape[1])
    fewest = min(map(len, samples))
    if fewest < MIN_PAIRS:
        return [Interval(math.nan, math.nan, level) for _ in columns]
    means = samples[0].mean(axis=0) - (samples[1].mean(axis=0) if base is not None else 0.0)
    widths = [_width([sample[:, column] for sample in samples], level) for column in columns]
    if fewest < FEW_VALUES:
        return [
            Interval(float(mean - width.margin), float(mean + width.margin), level)
            for mean, width in zip(means, widths, strict=True)
        ]
    rng = np.random.default_rng(seed)
    drawn = _resampled_means(samples[0], resamples, rng)
    if base is not None:
        more = _resampled_means(samples[1], resamples, rng)
        drawn = drawn[: len(more)] - more[: len(drawn)]
    intervals = []
    for column, width in zip(drawn.T, widths, strict=True):
        low, high = np.quantile(column, [width.tail, 1 - width.tail])
        intervals.append(Interval(float(low), float(high), level))
    return intervals


@dataclass(frozen=True)
class _Width:
    """How far an interval of a mean reaches: as Student's margin, and as the share of resamples beyond each end."""

    margin: float
    tail: float


def _width(samples: Sequence[Floats], level: float) -> _Width:
    variances = [float(sample.var(ddof=1)) / len(sample) for sample in samples]
    variance = sum(variances)
    if variance == 0.0:
        return _Width(0.0, 0.5)
    # Welch and Satterthwaite; for one sample n - 1, which rounding must not push below itself.
    spread = sum(part**2 / (len(sample) - 1) for part, sample in zip(variances, samples, strict=True))
    quantile = t_quantile((1 + level) / 2, int(variance**2 / spread + 1e-6))
    resampled = sum(part * (len(sample) - 1) / len(sample) for part, sample in zip(variances, samples, strict=True))
    tail = math.erfc(quantile * math.sqrt(variance / resampled / 2)) / 2
    return _Width(quantile * math.sqrt(variance), tail)


def _resampled_means(sample: Floats, resamples: int, rng: np.random.Generator) -> Floats:
    """Means of draws with replacement, (resamples, columns)."""
    count = len(sample)
    resamples = min(resamples, max(FEWEST_RESAMPLES, DRAWS // count))
    at_once = max(1, DRAWS_AT_ONCE // count)
    means = np.empty((resamples, sample.shape[1]))
    columns = [np.ascontiguousarray(column) for column in sample.T]
    for start in range(0, resamples, at_once):
        index = rng.integers(count, size=(min(at_once, resamples - start), count), dtype=np.int32)
        for number, column in enumerate(columns):
            means[start : start + len(index), number] = column[index].mean(axis=1)
    return means


def t_quantile(probability: float, degrees: int) -> float:
    """Compute a quantile of Student's t distribution.

    The distribution function of the angle atan(t / sqrt(degrees)) is a finite series (Abramowitz and Stegun, 26.7.3
    and 26.7.4), which is inverted by bisection.

    Args:
        probability: 0.5 or more, less than 1.
        degrees: degrees of freedom, 1 or more; above 10,000 the quantile of 10,000 is returned, which is larger by
            at most 2e-4 of itself at 0.975.

    Returns:
        The value that a share ``probability`` of the distribution lies below.
    """
    degrees = min(degrees, 10_000)
    odd = degrees % 2
    steps = np.arange(1, (degrees - odd) // 2)
    factors = np.cumprod(np.concatenate([[1.0], (2 * steps - 1 + odd) / (2 * steps + odd)]))
    powers = 2 * np.arange(len(factors)) + odd

    def within(angle: float) -> float:
        """Share of the distribution between the angle and its negative."""
        series = math.sin(angle) * float(factors @ math.cos(angle) ** powers) if degrees > 1 else 0.0
        return (angle + series) * 2 / math.pi if odd else series

    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        if within(middle) < 2 * probability - 1:
            low = middle
        else:
            high = middle
    return math.sqrt(degrees) * math.tan(low)


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
