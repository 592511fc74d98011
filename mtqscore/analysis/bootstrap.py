"""Bootstrap intervals of the measures of agreement, and of the differences between two sets of estimates.

Pairs are drawn with replacement. Percentile intervals are too narrow for few pairs; these are expanded as Hesterberg
proposes ("What Teachers Should Know About the Bootstrap", The American Statistician 69, 2015), as those of means are in
`stats.mean_intervals`. One set of draws serves all measures: a draw is a row of counts, how often each pair was drawn,
and every measure is computed for many rows at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mtqscore.analysis import statistics as stats
from mtqscore.analysis.statistics import FEW_VALUES, Floats, Interval

COUNTS_AT_ONCE = 100_000
"""Draws times pairs that are looked at together: what fits into a processor's cache is twice as quick."""

EXACT_PAIRS = 1_000
"""Up to so many, KTAU of a draw is computed from all pairs of pairs; above, it is taken as linear in the counts, which
is off by about a tenth of its standard error at most."""

MOST_PAIRS = 20_000
"""Of more pairs, so many are chosen at random to tell how much the measures spread."""

MEASURES = ("lcc", "srcc", "ktau", "mse", "rmse", "bias")
"""Those of `stats.METRICS` that have an interval. Draws with repeated pairs make every line fit better than it does, so
that an interval of the mapped error would lie too low."""

MOST_UNDEFINED = 0.05
"""Where a larger share of the draws has no value, since all of its labels or estimates are equal, nobody can say where
the interval ends."""

_Values = dict[str, Floats]
"""Values of each measure, (draws,)."""


def agreement_intervals(
    truth: ArrayLike, estimate: ArrayLike, *, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> dict[str, Interval]:
    """Compute an interval of each of `MEASURES`.

    Args:
        truth: labels, (pairs,).
        estimate: estimates, (pairs,). Pairs with a NaN are left out.
        resamples: number of draws.
        level: share of such intervals that hold the true value.
        seed: source of the draws.

    Returns:
        An interval by the name of the measure; NaN at both ends for fewer than eight pairs, for infinite values, and
        where more than one in twenty draws leaves the measure undefined.
    """
    x, y = stats.known_pairs(truth, estimate)
    return _intervals(x, [y], resamples, level, seed)


def difference_intervals(
    truth: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Compute intervals of the differences of each of `MEASURES` between two sets of estimates of the same labels.

    Both are judged on the same draws, so that what is hard for both does not widen the interval.

    Args:
        truth: labels, (pairs,).
        first: estimates, (pairs,).
        second: estimates that are subtracted, (pairs,). None of the three may hold a NaN.
        resamples: number of draws.
        level: share of such intervals that hold the true difference.
        seed: source of the draws.

    Returns:
        As `agreement_intervals`, of the value of ``first`` less that of ``second``.
    """
    x, one, other = (np.asarray(side, dtype=np.float64).reshape(-1) for side in (truth, first, second))
    return _intervals(x, [one, other], resamples, level, seed)


def _intervals(
    truth: Floats, estimates: Sequence[Floats], resamples: int, level: float, seed: int
) -> dict[str, Interval]:
    """Compute intervals of one set of estimates, or of the first less the second."""
    n = len(truth)
    if n < FEW_VALUES or not np.isfinite([truth, *estimates]).all():
        return dict.fromkeys(MEASURES, Interval(math.nan, math.nan, level))
    few = n if n <= MOST_PAIRS else MOST_PAIRS
    chosen = np.arange(n) if few == n else np.random.default_rng(seed).choice(n, few, replace=False)
    sides = [_Agreement(truth[chosen], estimate[chosen]) for estimate in estimates]
    parts = [_net(sides, counts) for counts in _draws(few, resamples, seed)]
    drawn = {name: np.concatenate([part[name] for part in parts]) for name in MEASURES}
    if few < n:
        # What is drawn from fewer pairs spreads more, by the root of the ratio.
        ones = np.ones((1, n))
        whole, of_few = _net([_Agreement(truth, estimate) for estimate in estimates], ones), _net(sides, ones[:, :few])
        drawn = {name: whole[name] + math.sqrt(few / n) * (drawn[name] - of_few[name]) for name in MEASURES}
    return {name: _interval(values, n, level) for name, values in drawn.items()}


def _net(sides: Sequence[_Agreement], counts: Floats) -> _Values:
    """Values of the only side, or of the first less the second."""
    first, *rest = (side.values(counts) for side in sides)
    return {name: first[name] - rest[0][name] for name in first} if rest else first


def _draws(pairs: int, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each pair was drawn, (draws, pairs), so many draws at a time as memory allows."""
    rng = np.random.default_rng(seed)
    at_once = max(1, COUNTS_AT_ONCE // pairs)
    for start in range(0, resamples, at_once):
        draws = min(at_once, resamples - start)
        index = rng.integers(pairs, size=(draws, pairs))
        index += np.arange(draws)[:, np.newaxis] * pairs
        yield np.bincount(index.reshape(-1), minlength=draws * pairs).reshape(draws, pairs).astype(np.float64)


class _Ties:
    """Where the values of one side stand among each other.

    Args:
        values: (pairs,).
    """

    def __init__(self, values: Floats) -> None:
        self._order = np.argsort(values, kind="stable")
        _, self._group, sizes = np.unique(values, return_inverse=True, return_counts=True)
        self._last = np.cumsum(sizes) - 1

    def ranks(self, counts: Floats) -> tuple[Floats, Floats]:
        """Rank the values of every draw.

        Args:
            counts: (draws, pairs).

        Returns:
            The mean rank of each pair, (draws, pairs), and how often each different value was drawn, squared and added
            up, (draws,).
        """
        upto = np.cumsum(counts[:, self._order], axis=1)[:, self._last]
        sizes = np.diff(upto, axis=1, prepend=0.0)
        mean_ranks = upto - (sizes - 1) / 2
        return mean_ranks[:, self._group.reshape(-1)], np.einsum("ij,ij->i", sizes, sizes)


class _Agreement:
    """What is the same in every draw of one set of pairs.

    Args:
        truth: labels, finite, (pairs,).
        estimate: estimates, finite, (pairs,).
    """

    def __init__(self, truth: Floats, estimate: Floats) -> None:
        self._pairs = len(truth)
        self._truth_ties, self._estimate_ties = _Ties(truth), _Ties(estimate)
        # Around the mean and of unit size, so that differences of squares keep their digits.
        x, y = _centred(truth), _centred(estimate)
        error = estimate - truth
        self._columns = np.stack([x, y, x * x, y * y, x * y, error, error * error], axis=1)
        self._signs: NDArray[np.float32] | None = None
        if self._pairs <= EXACT_PAIRS:
            x_signs, y_signs = (np.sign(side[:, np.newaxis] - side) for side in (truth, estimate))
            # Sums of so few signs are exact in single precision.
            self._signs = (x_signs * y_signs).astype(np.float32)
        else:
            self._concordance = stats.concordance(truth, estimate).astype(np.float64)

    def values(self, counts: Floats) -> _Values:
        """Compute each of `MEASURES` for every draw; NaN where a draw has equal labels or equal estimates only.

        Args:
            counts: how often each pair was drawn, (draws, pairs).
        """
        n = self._pairs
        mean_x, mean_y, xx, yy, xy, bias, mse = (counts @ self._columns / n).T
        x_ranks, x_tied = self._truth_ties.ranks(counts)
        y_ranks, y_tied = self._estimate_ties.ranks(counts)
        defined = (x_tied < n * n) & (y_tied < n * n)
        with np.errstate(invalid="ignore", divide="ignore"):
            lcc = (xy - mean_x * mean_y) / np.sqrt((xx - mean_x**2) * (yy - mean_y**2))
            srcc = _rank_correlation(counts, x_ranks, y_ranks)
            ktau = self._balance(counts) / np.sqrt((n * n - x_tied) * (n * n - y_tied))
        correlations = {"lcc": lcc, "srcc": srcc, "ktau": ktau}
        found = {name: np.where(defined, np.clip(part, -1.0, 1.0), np.nan) for name, part in correlations.items()}
        return found | {"mse": mse, "rmse": np.sqrt(mse), "bias": bias}

    def _balance(self, counts: Floats) -> Floats:
        """Concordant less discordant pairs of each draw, each counted from both of its sides, (draws,)."""
        if self._signs is not None:
            of_each = counts.astype(np.float32) @ self._signs
            return np.asarray(np.einsum("ij,ij->i", of_each, counts), dtype=np.float64)
        n = self._pairs
        linear = 2 * (counts @ self._concordance) - self._concordance.sum()
        return np.asarray(linear * (1 - 1 / n), dtype=np.float64)


def _centred(values: Floats) -> Floats:
    centred = values - values.mean()
    size = float(np.abs(centred).max())
    return np.asarray(centred / size if size > 0 else centred, dtype=np.float64)


def _rank_correlation(counts: Floats, x_ranks: Floats, y_ranks: Floats) -> Floats:
    middle = (counts.shape[1] + 1) / 2
    x, y = x_ranks - middle, y_ranks - middle
    weighted_x = counts * x
    xy, xx = np.einsum("ij,ij->i", weighted_x, y), np.einsum("ij,ij->i", weighted_x, x)
    yy = np.einsum("ij,ij,ij->i", counts, y, y)
    return np.asarray(xy / np.sqrt(xx * yy), dtype=np.float64)


def _interval(values: Floats, pairs: int, level: float) -> Interval:
    known = values[~np.isnan(values)]
    if len(known) < (1 - MOST_UNDEFINED) * len(values):
        return Interval(math.nan, math.nan, level)
    # Student's quantile for the normal one, and the unbiased variance for that of the draws.
    reach = stats.t_quantile((1 + level) / 2, pairs - 1) * math.sqrt(pairs / (pairs - 1))
    tail = math.erfc(reach / math.sqrt(2)) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    return Interval(float(low), float(high), level)
