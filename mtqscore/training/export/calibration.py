"""A monotone map a target from raw to published scores, which undoes the shrinkage of regression."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mtqscore.errors import InputError
from mtqscore.targets import G_MOS, SUPERVISED, Target

Floats = NDArray[np.float64]
MIN_PAIRS = 10
MIN_SLOPE = 0.05
"""Least rise of a score for a point of the raw score: a better recording is never scored worse."""


@dataclass(frozen=True)
class Calibration:
    """Piecewise linear maps y = base + sum_i slope_i * max(0, x - knot_i), one a target.

    Args:
        targets: names in the order of the rows.
        knots: where the slope changes, float64 (targets, knots); the first lies at the low end of the scale.
        slopes: changes of the slope, float64 (targets, knots).
        base: score at the first knot, float64 (targets,).
        low: least score, float64 (targets,).
        high: greatest score, float64 (targets,).
    """

    targets: tuple[str, ...]
    knots: Floats
    slopes: Floats
    base: Floats
    low: Floats
    high: Floats

    def ordered(self, targets: Sequence[Target]) -> Calibration:
        """Give the rows for some targets in their order."""
        names = tuple(target.name for target in targets)
        rows = [self.targets.index(name) for name in names]
        parts = (self.knots, self.slopes, self.base, self.low, self.high)
        return Calibration(names, *(part[rows] for part in parts))

    def __call__(self, scores: ArrayLike) -> Floats:
        """Map raw scores (..., targets) to published ones, within the limits of the scale."""
        raw = np.asarray(scores, dtype=np.float64)[..., None]
        mapped = self.base + (self.slopes * np.maximum(raw - self.knots, 0.0)).sum(axis=-1)
        limited: Floats = np.clip(mapped, self.low, self.high)
        return limited


def from_points(
    points: Mapping[str, Sequence[tuple[float, float]]], targets: Sequence[Target] = SUPERVISED
) -> Calibration:
    """Build the maps from corner points; a target without points keeps its scores.

    Args:
        points: target name to (raw, published) pairs with rising raw scores, at least two; outside, the first and
            the last slope go on.
        targets: what the model estimates, in the order of its output.

    Raises:
        InputError: a target is unknown, or its points do not rise.
    """
    names = tuple(target.name for target in targets)
    strangers = sorted(set(points) - set(names))
    if strangers:
        raise InputError(f"calibration: unknown target {', '.join(strangers)}; known are {', '.join(names)}")
    low, high = (np.array(ends) for ends in zip(*((target.low, target.high) for target in targets), strict=True))
    size = max([2, *(len(corners) for corners in points.values())]) - 1
    knots = np.repeat(low[:, None], size, axis=1)
    slopes = np.zeros((len(names), size))
    base = low.copy()
    for row, name in enumerate(names):
        corners = np.array(points.get(name, [(end, end) for end in (low[row], high[row])]), dtype=np.float64)
        if corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < 2 or not np.isfinite(corners).all():
            raise InputError(f"calibration: {name} needs two or more pairs of numbers")
        raw, published = corners.T
        if (np.diff(raw) <= 0).any() or (np.diff(published) < 0).any():
            raise InputError(f"calibration: the points of {name} do not rise")
        steepness = np.diff(published) / np.diff(raw)
        knots[row, : len(steepness)] = raw[:-1]
        slopes[row, : len(steepness)] = np.diff(steepness, prepend=0.0)
        # The first stretch goes on down to the end of the scale.
        base[row] = published[0] - steepness[0] * (raw[0] - low[row])
        knots[row, 0] = low[row]
    return Calibration(names, knots, slopes, base, low, high)


def fit_line(raw: ArrayLike, truth: ArrayLike, target: Target = G_MOS) -> list[tuple[float, float]]:
    """Fit the line that makes the mean and the spread of the scores those of the labels.

    Least squares would leave the spread too small by the correlation; matching it undoes the shrinkage.

    Returns:
        Two corner points; the identity for fewer than ten pairs or constant scores.
    """
    x, y = np.asarray(raw, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    known = ~(np.isnan(x) | np.isnan(y))
    x, y = x[known], y[known]
    if len(x) < MIN_PAIRS or np.ptp(x) == 0:
        return [(end, end) for end in (target.low, target.high)]
    slope = max(MIN_SLOPE, float(y.std() / x.std()))
    middle = float(y.mean() - slope * x.mean())
    return [(end, middle + slope * end) for end in (target.low, target.high)]


def fit_from_predictions(table: Path, targets: Sequence[Target] = SUPERVISED) -> Calibration:
    """Fit one line a target from ``predictions_val.csv``, the validation estimates that a training run leaves behind.

    Raises:
        InputError: the table is missing or faulty.
    """
    pairs = read_pairs(table, [target.name for target in targets])
    return from_points({target.name: fit_line(*pairs[target.name], target) for target in targets}, targets)


def read_pairs(table: Path, names: Sequence[str]) -> dict[str, tuple[Floats, Floats]]:
    """Read estimates and labels by target from a table of a run, (recordings,) each; NaN where there is none.

    Raises:
        InputError: the table is missing or faulty.
    """
    try:
        with table.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
            records = list(csv.DictReader(stream))
        return {name: (_column(records, name), _column(records, f"label_{name}")) for name in names}
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{table}: cannot read the estimates that a finished run leaves: {reason}") from error
    except (csv.Error, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{table}: not a table of estimates and labels: {error}") from error


def _column(records: Sequence[Mapping[str, str]], name: str) -> Floats:
    return np.array([float(record[name] or math.nan) for record in records])


def read_calibration(path: Path, targets: Sequence[Target] = SUPERVISED) -> Calibration:
    """Read the corner points from a JSON object: target name to a list of (raw, published) pairs.

    Raises:
        InputError: the file is missing or faulty.
    """
    try:
        points = json.loads(path.read_text(encoding="utf-8"))
        return from_points({name: [(float(x), float(y)) for x, y in pairs] for name, pairs in points.items()}, targets)
    except OSError as error:
        raise InputError(f"{path}: cannot read the calibration: {error.strerror or error}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a calibration: {error}") from error
