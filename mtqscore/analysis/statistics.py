"""Agreement between estimates and labels (LCC, SRCC, KTAU, MSE, RMSE), and intervals of means."""

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
        -1 to 1; NaN for fewer than three pairs, when either side is constant, and when a value is infinite. Pairs with
        a NaN are left out.
    """
    x, y = known_pairs(truth, estimate)
    if not _correlatable(x, y) or not _finite(x, y):
        return math.nan
    # Scaled first, so that tiny or huge values neither vanish nor overflow when they are added up or squared.
    x, y = x / np.abs(x).max(), y / np.abs(y).max()
    x, y = x - x.mean(), y - y.mean()
    x, y = x / np.abs(x).max(), y / np.abs(y).max()
    return float(np.clip((x @ y) / np.sqrt((x @ x) * (y @ y)), -1.0, 1.0))


def srcc(truth: ArrayLike, estimate: ArrayLike) -> float:
    """Compute Spearman's rank correlation: `lcc` of the ranks, ties sharing their mean rank; NaN as there.

    Only the order counts, so that an infinite value has a rank like any other.
    """
    x, y = known_pairs(truth, estimate)
    return lcc(ranks(x), ranks(y))


def ktau(truth: ArrayLike, estimate: ArrayLike) -> float:
    """Compute Kendall's tau-b, which allows for ties, in O(n log n).

    Args:
        truth: labels, (pairs,).
        estimate: estimates, (pairs,).

    Returns:
        -1 to 1; NaN for fewer than three pairs, and when either side is constant. Pairs with a NaN are left out. Only
        the order counts, so that an infinite value is as good as any other.
    """
    x, y = known_pairs(truth, estimate)
    if not _correlatable(x, y):
        return math.nan
    untied_x, untied_y = (float(len(side)) ** 2 - float(np.sum(tie_sizes(side) ** 2.0)) for side in (x, y))
    return float(np.clip(concordance(x, y).sum() / math.sqrt(untied_x * untied_y), -1.0, 1.0))


def mse(truth: ArrayLike, estimate: ArrayLike) -> float:
    """Compute the mean squared error; NaN without a single pair or with an infinite value. Pairs with a NaN are left
    out."""
    x, y = known_pairs(truth, estimate)
    return float(np.mean((x - y) ** 2)) if len(x) and _finite(x, y) else math.nan


def rmse(truth: ArrayLike, estimate: ArrayLike) -> float:
    """Compute the root of the mean squared error; NaN as `mse`."""
    return math.sqrt(mse(truth, estimate))


def rmse_mapped(truth: ArrayLike, estimate: ArrayLike) -> float:
    """Compute the root mean squared error that is left after the straight line that fits best.

    This is the first-order mapping of ITU-T P.1401: what remains when offset and spread of the scale are put right. The
    line takes two degrees of freedom, so the squares are divided by two less than the number of pairs.

    Args:
        truth: labels, (pairs,).
        estimate: estimates, (pairs,), which the line maps.

    Returns:
        The error in units of the labels; NaN where `lcc` is.
    """
    x, y = known_pairs(truth, estimate)
    correlation = lcc(x, y)
    if math.isnan(correlation):
        return math.nan
    unexplained = max(0.0, 1.0 - correlation**2)
    return float(np.std(x)) * math.sqrt(unexplained * len(x) / (len(x) - 2))


def bias(truth: ArrayLike, estimate: ArrayLike) -> float:
    """Compute the mean estimate less the mean label; NaN as `mse`."""
    x, y = known_pairs(truth, estimate)
    return float(np.mean(y - x)) if len(x) and _finite(x, y) else math.nan


METRICS: dict[str, Metric] = {
    "lcc": lcc,
    "srcc": srcc,
    "ktau": ktau,
    "mse": mse,
    "rmse": rmse,
    "rmse_mapped": rmse_mapped,
    "bias": bias,
}
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


def tie_sizes(values: ArrayLike) -> NDArray[np.int64]:
    """Count how often each different value occurs, in rising order of the values."""
    return np.unique(np.asarray(values), return_counts=True)[1]


def concordance(truth: ArrayLike, estimate: ArrayLike) -> NDArray[np.int64]:
    """Count for each pair with how many others it agrees in their order, less those with which it disagrees.

    The sum is twice Kendall's balance of concordant and discordant pairs.

    Args:
        truth: labels without NaN, (pairs,).
        estimate: estimates without NaN, (pairs,).

    Returns:
        int64 (pairs,); others that are tied with a pair on either side count nothing.
    """
    x, y = (np.unique(np.asarray(side), return_inverse=True)[1].reshape(-1) for side in (truth, estimate))
    falling_x, falling_y = x.max(initial=0) - x, y.max(initial=0) - y
    agreeing = _smaller_in_both(x, y) + _smaller_in_both(falling_x, falling_y)
    return agreeing - _smaller_in_both(x, falling_y) - _smaller_in_both(falling_x, y)


def _smaller_in_both(x: NDArray[np.int64], y: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count for each pair of integers from 0 the others that are smaller on both sides."""
    # By x, and where x is equal from the largest y: what stands before with a smaller y has a smaller x too.
    order = np.lexsort((-y, x))
    counts = np.empty_like(order)
    counts[order] = _smaller_before(y[order])
    return counts


def _smaller_before(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count for each of a row of integers from 0 those before it that are smaller; one sorting pass a bit."""
    counts = np.zeros(len(values), dtype=np.int64)
    place = np.arange(len(values))
    for bit in reversed(range(int(values.max(initial=0)).bit_length())):
        # Sorted by the bits above, values with equal ones in their order: where this bit is the first to differ, it
        # tells which value is smaller.
        part = values[place] >> bit
        upper = part & 1
        lower = np.cumsum(1 - upper)
        first = np.searchsorted(part >> 1, part >> 1)
        counts[place] += upper * (lower - lower[first] + 1 - upper[first])
        place = place[np.argsort(part, kind="stable")]
    return counts


def _correlatable(x: Floats, y: Floats) -> bool:
    """Whether there are enough pairs, and neither side is constant."""
    return len(x) >= MIN_PAIRS and bool(np.any(x != x[0])) and bool(np.any(y != y[0]))


def _finite(x: Floats, y: Floats) -> bool:
    return bool(np.isfinite(x).all() and np.isfinite(y).all())


def known_pairs(truth: ArrayLike, estimate: ArrayLike) -> tuple[Floats, Floats]:
    """Take the pairs without a NaN.

    Args:
        truth: labels, (pairs,).
        estimate: estimates, (pairs,).

    Returns:
        Both as float64.

    Raises:
        ValueError: there are not as many labels as estimates.
    """
    x = np.asarray(truth, dtype=np.float64).reshape(-1)
    y = np.asarray(estimate, dtype=np.float64).reshape(-1)
    if len(x) != len(y):
        raise ValueError(f"{len(x)} labels against {len(y)} estimates")
    known = ~(np.isnan(x) | np.isnan(y))
    return x[known], y[known]
