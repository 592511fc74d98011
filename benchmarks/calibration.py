"""How far networks shrink the ends of their scales, and what maps that are fitted on the validation mend of it.

    python benchmarks/calibration.py RUN [RUN ...] [--on labels]

RUN is a folder of `mtqscore train` or `mtqscore distill`. Maps are fitted on its predictions_val.csv and judged on its
predictions_test.csv or, with --on, on another table: `mtqscore distill --labels` leaves predictions_labels.csv.

All maps rise and are piecewise linear, so that the exported graph could hold any of them. `line` is that of `mtqscore
export --calibration val`. `quantiles` gives scores the distribution of the labels, `regression` is the map with the
least squared error; both have five corners.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

from mtqscore.analysis import statistics as stats
from mtqscore.analysis.statistics import Floats
from mtqscore.base.text import printable
from mtqscore.errors import InputError, MtqscoreError
from mtqscore.labels.table import read_table
from mtqscore.targets import SUPERVISED, Target
from mtqscore.training.export.calibration import fit_line, from_points, read_pairs

Points = list[tuple[float, float]]

CORNERS = (0.02, 0.2, 0.5, 0.8, 0.98)
"""Shares of the raw scores that lie below the corners of a map."""

BANDS = 8
"""Parts of a scale: half a point each from 1 to 5."""

MIN_BAND = 15
"""Fewer recordings than this say nothing about the mean error of a band."""


def quantiles(raw: Floats, truth: Floats, target: Target) -> Points:
    """Map quantiles of the scores onto those of the labels."""
    del target
    return list(zip(np.quantile(raw, CORNERS), np.quantile(truth, CORNERS), strict=True))


def regression(raw: Floats, truth: Floats, target: Target) -> Points:
    """Find the rising map with the least squared error: isotonic regression with few corners."""
    del target
    knots = np.quantile(raw, CORNERS)
    # A column is how much of one stretch a score has covered; the first and the last stretch go on beyond their ends.
    covered = (raw[:, None] - knots[:-1]) / np.diff(knots)
    least, most = np.zeros(len(knots) - 1), np.ones(len(knots) - 1)
    least[0], most[-1] = -np.inf, np.inf
    rises, _ = nnls(np.column_stack([np.ones(len(raw)), np.clip(covered, least, most)]), truth)
    return list(zip(knots, np.cumsum(rises), strict=True))


MAPS: dict[str, Callable[[Floats, Floats, Target], Points]] = {
    "none": lambda _raw, _truth, target: [(end, end) for end in (target.low, target.high)],
    "line": fit_line,
    "quantiles": quantiles,
    "regression": regression,
}


@dataclass(frozen=True)
class Judged:
    """Scores of one target after one map, beside the labels.

    Args:
        target: the target.
        name: of the map.
        scores: after the map, (recordings,).
        labels: (recordings,).
    """

    target: Target
    name: str
    scores: Floats
    labels: Floats

    def bands(self, by: Floats) -> Floats:
        """Compute the mean error of each part of the scale, NaN where there are few recordings.

        Args:
            by: the scores or the labels, by which recordings are divided.
        """
        edges = np.linspace(self.target.low, self.target.high, BANDS + 1)
        parts = np.digitize(by, edges[1:-1])
        counts = np.bincount(parts, minlength=BANDS)
        sums = np.bincount(parts, self.scores - self.labels, minlength=BANDS)
        return np.where(counts >= MIN_BAND, sums / np.maximum(counts, 1), np.nan)

    def cells(self) -> list[str]:
        """Write agreement, spread of scores by that of labels, both slopes, and the errors of the worst bands."""
        scores, labels = self.scores, self.labels
        correlation, spread = stats.lcc(labels, scores), float(scores.std() / labels.std())
        values = [spread, correlation / spread, correlation * spread]
        for bands in (self.bands(labels), self.bands(scores)):
            values.append(max(np.abs(bands[~np.isnan(bands)]), default=math.nan))
        agreement = [f"{correlation:.3f}", f"{stats.rmse(labels, scores):.3f}", _signed(stats.bias(labels, scores))]
        return agreement + ["–" if math.isnan(value) else f"{value:.2f}" for value in values]


def judge(folder: Path, on: str) -> list[Judged]:
    """Fit every map on the validation table of a run, and apply it to another one as the exported graph would.

    Args:
        folder: the run.
        on: which of its tables is judged.
    """
    places = [folder / f"predictions_{split}.csv" for split in ("val", on)]
    columns = [read_table(place, ("path",))[0] for place in places]
    targets = [target for target in SUPERVISED if all(target.name in names for names in columns)]
    fitted, judged = (read_pairs(place, targets) for place in places)
    found = []
    for target in targets:
        raw, truth = stats.known_pairs(*fitted[target.name])
        scores, labels = stats.known_pairs(*judged[target.name])
        if min(len(raw), len(scores)) < MIN_BAND:
            continue
        for name, fit in MAPS.items():
            calibrated = from_points({target.name: fit(raw, truth, target)}, [target])(scores[:, None])[:, 0]
            found.append(Judged(target, name, calibrated, labels))
    if not found:
        raise InputError(f"fewer than {MIN_BAND} recordings with S, N or G as estimate and as label")
    return found


def print_run(folder: Path, on: str) -> None:
    """Print the tables of one run."""
    found = judge(folder, on)
    print(
        f"\n### {printable(folder.name)}, predictions_{on}.csv: {max(len(one.labels) for one in found):,} recordings\n"
    )
    heads = ["LCC", "RMSE", "mean error", "spread", "label on score", "score on label", "worst label", "worst score"]
    _print_table(heads, found, [one.cells() for one in found])
    heads = [f"{low:g}–{high:g}" for low, high in pairwise(np.linspace(1, 5, BANDS + 1))]
    for title in ("label", "score"):
        print(f"\nMean error by {title}:\n")
        rows = [one.bands(one.labels if title == "label" else one.scores) for one in found]
        _print_table(heads, found, [[_signed(value) for value in row] for row in rows])


def _print_table(heads: Sequence[str], found: Sequence[Judged], rows: Sequence[Sequence[str]]) -> None:
    print(f"| scale | map | {' | '.join(heads)} |\n|{'---|' * (len(heads) + 2)}")
    for one, cells in zip(found, rows, strict=True):
        print(f"| {one.target.name} | {one.name} | {' | '.join(cells)} |")


def _signed(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:+.2f}"


def main() -> None:
    """Print the tables of every run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--on", default="test", metavar="TABLE", help="predictions_TABLE.csv is judged; test")
    options = parser.parse_args()
    for folder in options.runs:
        try:
            print_run(folder, options.on)
        except MtqscoreError as error:
            print(f"\n### {printable(folder.name)}: {printable(str(error))}")


if __name__ == "__main__":
    main()
