"""Agreement between estimates and labels (LCC, SRCC, KTAU, MSE, RMSE) with bootstrap intervals; needs SciPy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mtqscore.analysis.means import DRAWS_AT_ONCE, FEW_VALUES, NO_INTERVAL, Floats, Interval, student_quantile
from mtqscore.errors import MissingExtraError

MIN_PAIRS = 3
"""Fewer pairs than this have no correlation."""

MOST_PAIRS = 2_000
"""Of more pairs, so many are chosen at random to estimate how much the measures spread."""

MOST_UNDEFINED = 0.05
"""Share of the draws without a value, as all of their labels or estimates are equal, up to which there is an
interval."""


def load_scipy_stats() -> Any:
    """Import scipy.stats.

    Raises:
        MissingExtraError: SciPy is not installed.
    """
    try:
        from scipy import stats
    except ModuleNotFoundError as error:
        raise MissingExtraError("agreement with labels", "stats", error.name or "scipy") from error
    return stats


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
    if not _correlatable(x, y) or not np.isfinite([x, y]).all():
        return math.nan
    # Of unit size, so that tiny or huge values neither vanish nor overflow when they are squared.
    x, y = _centred(x), _centred(y)
    return float(np.clip((x @ y) / math.sqrt((x @ x) * (y @ y)), -1.0, 1.0))


def srcc(truth: ArrayLike, estimate: ArrayLike) -> float:
    """Compute Spearman's rank correlation: `lcc` of the ranks, ties sharing their mean rank; NaN as there.

    Only the order counts, so that an infinite value has a rank like any other.
    """
    rank = load_scipy_stats().rankdata
    return lcc(*map(rank, known_pairs(truth, estimate)))


def ktau(truth: ArrayLike, estimate: ArrayLike) -> float:
    """Compute Kendall's tau-b, which allows for ties; NaN as `srcc`."""
    x, y = known_pairs(truth, estimate)
    if not _correlatable(x, y):
        return math.nan
    return float(load_scipy_stats().kendalltau(x, y, method="asymptotic").statistic)


def mse(truth: ArrayLike, estimate: ArrayLike) -> float:
    """Compute the mean squared error; NaN without a single pair or with an infinite value. Pairs with a NaN are left
    out."""
    x, y = known_pairs(truth, estimate)
    return float(np.mean((x - y) ** 2)) if len(x) and np.isfinite([x, y]).all() else math.nan


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
    return float(np.std(x)) * math.sqrt((1.0 - correlation**2) * len(x) / (len(x) - 2))


def bias(truth: ArrayLike, estimate: ArrayLike) -> float:
    """Compute the mean estimate less the mean label; NaN as `mse`."""
    x, y = known_pairs(truth, estimate)
    return float(np.mean(y - x)) if len(x) and np.isfinite([x, y]).all() else math.nan


METRICS: dict[str, Callable[[ArrayLike, ArrayLike], float]] = {
    metric.__name__: metric for metric in (lcc, srcc, ktau, mse, rmse, rmse_mapped, bias)
}
"""Every measure of agreement by its name in tables."""

MEASURES = tuple(name for name in METRICS if name != "rmse_mapped")
"""Those that have an interval. Draws with repeated pairs make every line fit better than it does, so that an interval
of the mapped error would lie too low."""


def agreement_intervals(
    truth: ArrayLike, estimate: ArrayLike, base: ArrayLike | None = None, *, resamples: int = 1000, seed: int = 0
) -> dict[str, Interval]:
    """Compute a bootstrap interval of each of `MEASURES`, or of its difference between two sets of estimates.

    Percentile intervals of pairs that are drawn with replacement, expanded for few pairs as those of
    `means.mean_intervals`. Two sets of estimates are compared on the same draws, so that what is hard for both does
    not widen the interval.

    Args:
        truth: labels, (pairs,).
        estimate: estimates, (pairs,). Pairs with a NaN are left out.
        base: other estimates, (pairs,), whose measures are subtracted; None for intervals of the measures themselves.
        resamples: number of draws.
        seed: source of the draws.

    Returns:
        A 95 % interval by the name of the measure; none for fewer than eight pairs, for infinite values, and where
        more than one in twenty draws leaves the measure undefined.
    """
    sides = np.array([np.ravel(side) for side in (truth, estimate, base) if side is not None], dtype=np.float64)
    sides = sides[:, ~np.isnan(sides).any(axis=0)]
    count = sides.shape[1]
    if count < FEW_VALUES or not np.isfinite(sides).all():
        return dict.fromkeys(MEASURES, NO_INTERVAL)
    few = min(count, MOST_PAIRS)
    chosen = np.random.default_rng(seed).choice(count, few, replace=False) if few < count else np.arange(count)
    labels, *estimates = sides[:, chosen]
    drawn = _values_of_draws(labels, estimates, resamples, seed)
    if few < count:
        # What is drawn from fewer pairs spreads more, by the root of the ratio.
        for name, values in drawn.items():
            whole, of_few = ([METRICS[name](part[0], side) for side in part[1:]] for part in (sides, sides[:, chosen]))
            centre, offset = (found[0] - sum(found[1:]) for found in (whole, of_few))
            drawn[name] = centre + math.sqrt(few / count) * (values - offset)
    return {name: _interval(values, count) for name, values in drawn.items()}


def _values_of_draws(labels: Floats, estimates: list[Floats], resamples: int, seed: int) -> dict[str, Floats]:
    """Compute each of `MEASURES` for every draw, of the only estimates or of the first less the second, (draws,)."""
    rng = np.random.default_rng(seed)
    count = len(labels)
    at_once = max(1, DRAWS_AT_ONCE // count)
    parts = []
    for start in range(0, resamples, at_once):
        index = rng.integers(count, size=(min(at_once, resamples - start), count))
        first, *others = [_values(labels, side, index) for side in estimates]
        parts.append({name: first[name] - others[0][name] for name in first} if others else first)
    return {name: np.concatenate([part[name] for part in parts]) for name in MEASURES}


def _values(truth: Floats, estimate: Floats, index: Any) -> dict[str, Floats]:
    """Compute each of `MEASURES` for draws (draws, pairs); correlations are NaN where either side is constant."""
    rankdata = load_scipy_stats().rankdata
    x, y = _centred(truth)[index], _centred(estimate)[index]
    tau = _kendall(truth, estimate, index)
    lcc_, srcc_ = _correlations(x, y), _correlations(rankdata(x, axis=1), rankdata(y, axis=1))
    correlations = {"lcc": lcc_, "srcc": srcc_, "ktau": tau}
    found = {name: np.where(np.isnan(tau), np.nan, values.clip(-1, 1)) for name, values in correlations.items()}
    error = (estimate - truth)[index]
    squares = (error**2).mean(axis=1)
    return found | {"mse": squares, "rmse": np.sqrt(squares), "bias": error.mean(axis=1)}


def _correlations(x: Floats, y: Floats) -> Floats:
    x, y = (side - side.mean(axis=1, keepdims=True) for side in (x, y))
    xy, xx, yy = (np.einsum("ij,ij->i", one, other) for one, other in ((x, y), (x, x), (y, y)))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(xy / np.sqrt(xx * yy), dtype=np.float64)


def _kendall(truth: Floats, estimate: Floats, index: Any) -> Floats:
    """Compute tau-b of every draw from the signs of all pairs of pairs and how often each pair was drawn."""
    draws, pairs = index.shape
    places = index + np.arange(draws)[:, np.newaxis] * pairs
    # Sums of so few signs are exact in single precision.
    counts = np.bincount(places.ravel(), minlength=draws * pairs).reshape(draws, pairs).astype(np.float32)
    x, y = (np.sign(side[:, np.newaxis] - side).astype(np.float32) for side in (truth, estimate))
    xy, xx, yy = (np.einsum("ij,ij->i", counts @ signs, counts).astype(float) for signs in (x * y, x * x, y * y))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(xy / np.sqrt(xx * yy), dtype=np.float64)


def _interval(values: Floats, pairs: int) -> Interval:
    known = values[~np.isnan(values)]
    if len(known) < (1 - MOST_UNDEFINED) * len(values):
        return NO_INTERVAL
    # Student's quantile for the normal one, and the unbiased variance for that of the draws.
    reach = student_quantile(pairs - 1) * math.sqrt(pairs / (pairs - 1))
    tail = math.erfc(reach / math.sqrt(2)) / 2
    return Interval(*np.quantile(known, [tail, 1 - tail]).tolist())


def _centred(values: Floats) -> Floats:
    """Give values around 0 and of unit size; constants are 0."""
    for _ in range(2):  # of unit size first, so that huge values do not overflow when they are added up
        values = values / (np.abs(values).max() or 1.0)
        values = values - values.mean()
    return np.asarray(values / (np.abs(values).max() or 1.0), dtype=np.float64)


def _correlatable(x: Floats, y: Floats) -> bool:
    return len(x) >= MIN_PAIRS and bool(np.any(x != x[0])) and bool(np.any(y != y[0]))


def known_pairs(truth: ArrayLike, estimate: ArrayLike) -> tuple[Floats, Floats]:
    """Take the pairs of labels and estimates, (pairs,) each, without a NaN; as float64.

    Raises:
        ValueError: there are not as many labels as estimates.
    """
    x, y = (np.asarray(side, dtype=np.float64).ravel() for side in (truth, estimate))
    if len(x) != len(y):
        raise ValueError(f"{len(x)} labels against {len(y)} estimates")
    known = ~(np.isnan(x) | np.isnan(y))
    return x[known], y[known]
