"""Estimates beside labels in a table that any spreadsheet reads."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mtqscore.manifest import Row
from mtqscore.spec import TARGETS


def write_predictions(table: Path, base: Path, rows: Sequence[Row], scores: NDArray[np.float32]) -> None:
    """Write one line a recording: path, estimates under the targets' names, labels as ``label_<target>``.

    Args:
        table: the CSV file to make or replace.
        base: folder that the paths are written relative to.
        rows: the recordings.
        scores: estimates float32 (recordings, targets) in the order of ``spec.TARGETS``.
    """
    names = [target.name for target in TARGETS]
    partial = table.with_name(table.name + ".partial")
    with partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["path", *names, *(f"label_{name}" for name in names)])
        for row, estimates in zip(rows, scores, strict=True):
            labels = [f"{row.labels[name]:.4f}" if name in row.labels else "" for name in names]
            path = os.path.relpath(row.path, base)
            writer.writerow([path, *(f"{value:.4f}" for value in estimates), *labels])
    partial.replace(table)
