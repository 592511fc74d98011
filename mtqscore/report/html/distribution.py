"""Histograms of the scores of all recordings, with mean and median, as the page draws them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mtqscore.base.text import TITLES
from mtqscore.report.html.rows import Rows
from mtqscore.targets import MOS_HIGH, MOS_LOW, SUPERVISED, Target

BIN_WIDTH = 0.25
BINS = round((MOS_HIGH - MOS_LOW) / BIN_WIDTH)

WIDTH, HEIGHT = 320.0, 96.0
"""Size of the drawing, in units of its own."""


@dataclass(frozen=True)
class Bar:
    """One bar of a histogram: its place in the drawing, the ends of its bin, and the recordings in it."""

    x: float
    y: float
    width: float
    height: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Distribution:
    """One score over all recordings; its statistics are NaN without any value."""

    target: str
    title: str
    meaning: str
    mean: float
    median: float
    p05: float
    lowest: float
    highest: float
    bars: tuple[Bar, ...]

    @property
    def known(self) -> bool:
        """True if any recording has this score."""
        return not math.isnan(self.mean)

    @property
    def mean_x(self) -> float:
        """Place of the mean in the drawing."""
        return place(self.mean)

    @property
    def median_x(self) -> float:
        """Place of the median in the drawing."""
        return place(self.median)


def place(value: float) -> float:
    """Horizontal place of a score in the drawing."""
    return round((value - MOS_LOW) / (MOS_HIGH - MOS_LOW) * WIDTH, 2)


def distributions(rows: Rows) -> list[Distribution]:
    """Describe S-MOS, N-MOS and G-MOS."""
    return [_describe(target, np.array(rows.known(target.name))) for target in SUPERVISED]


def _describe(target: Target, values: np.ndarray) -> Distribution:
    counts, edges = np.histogram(values.clip(MOS_LOW, MOS_HIGH), BINS, (MOS_LOW, MOS_HIGH))
    tallest = max(int(counts.max()), 1)
    bars = []
    for count, low, high in zip(counts.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        # A bin with one recording among thousands must still be seen.
        height = max(count / tallest * HEIGHT, 2.0) if count else 0.0
        bars.append(Bar(place(low) + 1, HEIGHT - height, WIDTH / BINS - 2, round(height, 2), low, high, count))
    mean = float(values.mean()) if len(values) else math.nan
    figures = np.percentile(values, (50, 5, 0, 100)).tolist() if len(values) else [math.nan] * 4
    median, p05, lowest, highest = figures
    title = TITLES[target.name]
    return Distribution(target.name, title, target.meaning, mean, median, p05, lowest, highest, tuple(bars))
