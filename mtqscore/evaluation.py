"""How well estimates agree with labels: over files, over means of conditions, and within groups."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mtqscore import stats
from mtqscore.errors import InputError, UsageError
from mtqscore.manifest import Row
from mtqscore.report.csv import unguarded
from mtqscore.report.names import from_text
from mtqscore.spec import SUPERVISED, TARGETS

Floats = NDArray[np.float64]
Estimates = Mapping[str, float]

USUAL_GROUPS = ("condition", "kind")
"""Columns that recordings are grouped by unless others are named."""


@dataclass(frozen=True)
class Agreement:
    """Agreement of one target over one set of pairs.

    Args:
        target: column name of the target.
        group: ``files`` for all, ``means by COLUMN`` for the means of groups, ``COLUMN = VALUE`` for one group.
        pairs: number of pairs.
        lcc: Pearson's correlation.
        srcc: Spearman's rank correlation.
        ktau: Kendall's tau-b.
        rmse: root mean squared error.
        bias: mean estimate less mean label.
        lcc_interval: bootstrap interval of the correlation; None within groups.
        rmse_interval: bootstrap interval of the error; None within groups.
    """

    target: str
    group: str
    pairs: int
    lcc: float
    srcc: float
    ktau: float
    rmse: float
    bias: float
    lcc_interval: stats.Interval | None = None
    rmse_interval: stats.Interval | None = None


def evaluate(
    rows: Sequence[Row],
    estimates: Mapping[Path, Estimates],
    columns: Sequence[str] | None = None,
    resamples: int = 1000,
) -> list[Agreement]:
    """Compare estimates with labels.

    Args:
        rows: labelled recordings.
        estimates: scores by recording; a recording without any is left out.
        columns: columns of the manifest to group by; None takes ``condition`` and ``kind`` where they exist.
        resamples: bootstrap draws for the intervals.

    Returns:
        For each target that has both labels and estimates: all files, then for each column the means of its groups
        and every group by itself, in order of their names.

    Raises:
        UsageError: no row has one of the columns.
        InputError: there is not a single pair.
    """
    known = {"split", *(name for row in rows for name in row.extra)}
    missing = [column for column in columns or () if column not in known]
    if missing:
        raise UsageError(f"the manifest has no column {missing[0]!r}; it has {', '.join(sorted(known))}")
    chosen = [name for name in USUAL_GROUPS if name in known] if columns is None else columns
    found: list[Agreement] = []
    for target in TARGETS:
        pairs = [
            (row, row.labels[target.name], estimates[row.path][target.name])
            for row in rows
            if target.name in row.labels and target.name in estimates.get(row.path, {})
        ]
        if pairs:
            found += _of_target(target.name, pairs, chosen, resamples)
    if not found:
        raise InputError("no recording has both a label and an estimate of the same target")
    return found


def _of_target(
    target: str, pairs: Sequence[tuple[Row, float, float]], columns: Sequence[str], resamples: int
) -> list[Agreement]:
    truth = np.array([label for _, label, _ in pairs])
    estimate = np.array([value for _, _, value in pairs])
    found = [measure(target, "files", truth, estimate, resamples)]
    for column in columns:
        names = np.array([row.split if column == "split" else row.extra.get(column, "") for row, _, _ in pairs])
        groups = [names == name for name in sorted(set(names), key=natural_key)]
        mean_truth = np.array([truth[group].mean() for group in groups])
        mean_estimate = np.array([estimate[group].mean() for group in groups])
        found.append(measure(target, f"means by {column}", mean_truth, mean_estimate, resamples))
        for group in groups:
            label = f"{column} = {names[group][0]}"
            found.append(measure(target, label, truth[group], estimate[group], 0))
    return found


def measure(target: str, group: str, truth: Floats, estimate: Floats, resamples: int) -> Agreement:
    """Compute every measure of one set of pairs, with intervals if there are resamples."""
    with_interval = resamples > 0
    return Agreement(
        target=target,
        group=group,
        pairs=len(truth),
        lcc=stats.lcc(truth, estimate),
        srcc=stats.srcc(truth, estimate),
        ktau=stats.ktau(truth, estimate),
        rmse=stats.rmse(truth, estimate),
        bias=float(np.mean(estimate) - np.mean(truth)),
        lcc_interval=stats.bootstrap(stats.lcc, truth, estimate, resamples=resamples) if with_interval else None,
        rmse_interval=stats.bootstrap(stats.rmse, truth, estimate, resamples=resamples) if with_interval else None,
    )


def natural_key(text: str) -> list[tuple[int, str]]:
    """Sort numbers within names by value.

    Example:
        >>> sorted(["c10", "c9", "a"], key=natural_key)
        ['a', 'c9', 'c10']
    """
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)]


def read_estimates(table: Path, rows: Sequence[Row], base: Path) -> dict[Path, dict[str, float]]:
    """Read estimates, as ``mtqscore assess --csv`` or a training run writes them, and match them to recordings.

    Args:
        table: CSV with a column ``path`` and any of the targets; an empty cell is no estimate.
        rows: the recordings.
        base: folder of the manifest. Paths in the table may be relative to it, to the table's folder, or to the
            working folder.

    Raises:
        InputError: the table cannot be read, or a recording is missing from it or there twice.
    """
    try:
        with table.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as stream:
            records = list(csv.DictReader(stream))
    except (OSError, csv.Error) as error:
        raise InputError(f"{table}: cannot read the estimates: {error}") from error
    if not records or "path" not in records[0] or not any(target.name in records[0] for target in SUPERVISED):
        raise InputError(f"{table}: not a table of estimates: it needs the columns path and s_mos, n_mos or g_mos")
    wanted = {row.path.resolve(): row.path for row in rows}
    found: dict[Path, dict[str, float]] = {}
    for line, record in enumerate(records, start=2):
        # As it stands, and as the name that assess wrote so that no spreadsheet takes it for a formula.
        names = dict.fromkeys((record["path"], from_text(unguarded(record["path"]))))
        places = (folder / name for name in names if "\0" not in name for folder in (table.parent, Path(), base))
        path = next((wanted[place.resolve()] for place in places if place.resolve() in wanted), None)
        if path is None:
            continue
        if path in found:
            raise InputError(f"{table}: line {line}: {record['path']} has an estimate already")
        found[path] = _numbers(record, f"{table}: line {line}")
    absent = [row.path for row in rows if row.path not in found]
    if absent:
        raise InputError(f"{table}: no estimate for {len(absent)} of {len(rows)} recordings, such as {absent[0]}")
    return found


def _numbers(record: Mapping[str, str], where: str) -> dict[str, float]:
    numbers = {}
    for target in TARGETS:
        text = (record.get(target.name) or "").strip()
        if not text:
            continue
        try:
            numbers[target.name] = float(text)
        except ValueError as error:
            raise InputError(f"{where}: {target.name} {text!r} is not a number") from error
    return numbers
