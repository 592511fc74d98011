"""Estimates beside labels in a table that any spreadsheet reads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mtqscore.labels.table import LabelledRecording, found_under, read_table, write_table
from mtqscore.targets import TARGETS, Target
from mtqscore.training.compute.resources import run_file


def write_predictions(
    table: Path,
    base: Path,
    rows: Sequence[LabelledRecording],
    scores: NDArray[np.float32],
    targets: Sequence[Target] = TARGETS,
) -> None:
    """Write one line a recording: path, estimates under the targets' names, labels as ``label_<target>``.

    Args:
        table: the CSV file to make or replace.
        base: folder that the paths are written relative to.
        rows: the recordings.
        scores: estimates float32 (recordings, targets).
        targets: the columns of the estimates.
    """
    names = [target.name for target in targets]
    records = []
    for row, estimates in zip(rows, scores, strict=True):
        record = {"path": os.path.relpath(row.path, base)}
        record |= {name: f"{value:.4f}" for name, value in zip(names, estimates, strict=True)}
        record |= {f"label_{name}": f"{value:.4f}" for name, value in row.labels.items()}
        records.append(record)
    with run_file(table) as partial:
        write_table(partial, ["path", *names, *(f"label_{name}" for name in names)], records)


def predicted_recordings(table: Path) -> list[Path]:
    """List the recordings of a table that `write_predictions` made."""
    return [found_under(table.parent, record["path"]) for record in read_table(table, ("path",))]
