"""Bootstrap intervals of means and of their differences, with NumPy alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEVEL = 0.95
"""Share of intervals that hold the true value."""

FEWEST_VALUES = 3
"""Fewer values than this have no interval."""

FEW_VALUES = 8
"""With fewer values than this no bootstrap reaches 95 %, and Student's interval stands in for it."""

DRAWS = 100_000_000
"""Values drawn for one set of resampled means, at most, as long as that leaves `FEWEST_RESAMPLES`."""

DRAWS_AT_ONCE = 1_000_000
"""Values drawn at one time: bounds the memory to some 30 MB."""

FEWEST_RESAMPLES = 1_000
"""Resamples of a mean of very many values, whose distribution is all but normal; the ends move by some 4 % of the
interval's half width from one seed to another."""

NORMAL_QUANTILE = 1.959963984540054
# fmt: off
STUDENT_QUANTILES = (
    12.7062047, 4.3026527, 3.1824463, 2.7764451, 2.5705818, 2.4469119, 2.3646243, 2.3060041, 2.2621572, 2.2281389,
)
"""Of 0.975, for 1 to 10 degrees of freedom."""
# fmt: on

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A 95 % confidence interval; NaN at both ends where there is none."""

    low: float
    high: float


NO_INTERVAL = Interval(math.nan, math.nan)


def mean_intervals(
    values: ArrayLike, base: ArrayLike | None = None, *, resamples: int = 10_000, seed: int = 0
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
        seed: source of the draws.

    Returns:
        One interval a column: none if a sample has fewer than three values; Student's (Welch's for two samples) if
        one has fewer than `FEW_VALUES`.
    """
    samples = [np.asarray(sample, dtype=np.float64) for sample in (values, base) if sample is not None]
    columns = samples[0].shape[1]
    fewest = min(map(len, samples))
    if fewest < FEWEST_VALUES:
        return [NO_INTERVAL] * columns
    widths = [_width([sample[:, column] for sample in samples]) for column in range(columns)]
    if fewest < FEW_VALUES:
        means = samples[0].mean(axis=0) - (samples[1].mean(axis=0) if base is not None else 0.0)
        pairs = zip(means.tolist(), widths, strict=True)
        return [Interval(mean - margin, mean + margin) for mean, (margin, _) in pairs]
    rng = np.random.default_rng(seed)
    drawn = _resampled_means(samples[0], resamples, rng)
    if base is not None:
        others = _resampled_means(samples[1], resamples, rng)
        drawn = drawn[: len(others)] - others[: len(drawn)]
    ends = [np.quantile(column, [tail, 1 - tail]).tolist() for column, (_, tail) in zip(drawn.T, widths, strict=True)]
    return [Interval(*pair) for pair in ends]


def _width(samples: Sequence[Floats]) -> tuple[float, float]:
    """Give the margin of Student's interval, and the share of resamples beyond each end of the bootstrap's."""
    variances = [float(sample.var(ddof=1)) / len(sample) for sample in samples]
    variance = sum(variances)
    if variance == 0.0:
        return 0.0, 0.5
    # Welch and Satterthwaite; for one sample n - 1, which rounding must not push below itself.
    spread = sum(part**2 / (len(sample) - 1) for part, sample in zip(variances, samples, strict=True))
    quantile = student_quantile(int(variance**2 / spread + 1e-6))
    resampled = sum(part * (len(sample) - 1) / len(sample) for part, sample in zip(variances, samples, strict=True))
    return quantile * math.sqrt(variance), math.erfc(quantile * math.sqrt(variance / resampled / 2)) / 2


def _resampled_means(sample: Floats, resamples: int, rng: np.random.Generator) -> Floats:
    """Draw with replacement and take means, (resamples, columns)."""
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


def student_quantile(degrees: int) -> float:
    """Give the 0.975 quantile of Student's t distribution for 1 or more degrees of freedom, to 3e-6 of itself.

    For more than 10, the expansion around the normal quantile of Abramowitz and Stegun, 26.7.5.
    """
    if degrees <= len(STUDENT_QUANTILES):
        return STUDENT_QUANTILES[degrees - 1]
    x, n = NORMAL_QUANTILE, degrees
    terms = (
        (x**3 + x) / 4 / n,
        (5 * x**5 + 16 * x**3 + 3 * x) / 96 / n**2,
        (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / 384 / n**3,
        (79 * x**9 + 776 * x**7 + 1482 * x**5 - 1920 * x**3 - 945 * x) / 92_160 / n**4,
    )
    return x + sum(terms)
