"""Agreement of estimates with labels: over files, over means of conditions, and within groups."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np

from mtqscore.analysis import statistics
from mtqscore.analysis.means import Floats, Interval
from mtqscore.config import EvaluateConfig
from mtqscore.errors import InputError, UsageError
from mtqscore.labels.table import LabelledRecording
from mtqscore.targets import TARGETS

Estimates = Mapping[str, float]

USUAL_GROUPS = ("condition", "system", "kind")
"""Columns that recordings are grouped by unless others are named."""

MEAN_DECIMALS = 9
"""Means of groups are rounded so: equal labels shall have equal means, whatever the order they were added up in."""

LOWER_IS_BETTER = ("mse", "rmse")
CONTRASTED = ("lcc", "srcc", "ktau", *LOWER_IS_BETTER)
"""Measures by which two sets of estimates are compared; of the others no direction is the better one."""


class Level(StrEnum):
    """Kind of a pair."""

    FILES = "files"
    """A recording, of all."""

    MEANS = "means"
    """A group of recordings: the mean label and the mean estimate."""

    GROUP = "group"
    """A recording, of one group."""


@dataclass(frozen=True)
class Over:
    """Pairs that were compared.

    Args:
        level: what one pair is.
        column: the column that groups them; empty for all files.
        value: what stands in that column, of one group; else empty.
    """

    level: Level
    column: str = ""
    value: str = ""

    def __str__(self) -> str:
        """``files``, ``means by COLUMN`` or ``COLUMN = VALUE``."""
        if self.level is Level.GROUP:
            return f"{self.column} = {self.value}"
        return f"means by {self.column}" if self.level is Level.MEANS else str(self.level)


ALL_FILES = Over(Level.FILES)


@dataclass(frozen=True)
class Agreement:
    """Agreement of one target over one set of pairs.

    Args:
        target: column name of the target.
        over: which pairs.
        pairs: how many.
        mean_label: mean of the labels.
        mean_estimate: mean of the estimates.
        values: each measure of `statistics.METRICS`; NaN where it is not defined.
        intervals: 95 % intervals of those in `statistics.MEASURES`, NaN at both ends where there is none; empty without
            resamples.
    """

    target: str
    over: Over
    pairs: int
    mean_label: float
    mean_estimate: float
    values: Mapping[str, float]
    intervals: Mapping[str, Interval]


class Significance(StrEnum):
    """Reading of the interval of a difference: of the first estimates against the second."""

    BETTER = "better"
    WORSE = "worse"
    NOT_SIGNIFICANT = "not significant"
    UNKNOWN = "too few pairs to tell"
    UNDEFINED = "not defined"


@dataclass(frozen=True)
class Contrast:
    """One measure of two sets of estimates against the same labels of the same recordings.

    Args:
        target: column name of the target.
        over: which pairs.
        pairs: how many, those that both have.
        measure: one of `CONTRASTED`.
        first: its value for the first estimates.
        second: its value for those that they are compared with.
        interval: 95 % interval of first less second.
        significance: what the interval says.
    """

    target: str
    over: Over
    pairs: int
    measure: str
    first: float
    second: float
    interval: Interval
    significance: Significance


@dataclass(frozen=True)
class Miss:
    """One estimate that is far from its label.

    Args:
        target: column name of the target.
        path: the recording.
        label: its label.
        estimate: its estimate.
    """

    target: str
    path: Path
    label: float
    estimate: float

    @property
    def error(self) -> float:
        """Estimate less label."""
        return self.estimate - self.label


@dataclass(frozen=True)
class Evaluation:
    """Agreement of estimates with labels, and its difference from that of others.

    Args:
        name: the model or table whose estimates are compared with labels.
        estimates: they, by recording.
        agreement: over each set of pairs.
        others: the model or table that it is compared with; None without one.
        contrasts: differences from the others.
        errors: the largest errors.
    """

    name: str
    estimates: Mapping[Path, Estimates]
    agreement: Sequence[Agreement]
    others: str | None
    contrasts: Sequence[Contrast]
    errors: Sequence[Miss]

    def lacking(self, recordings: Sequence[LabelledRecording]) -> list[LabelledRecording]:
        """Recordings without an estimate of anything that they have a label of."""
        known = {name for found in self.estimates.values() for name in found}
        return [
            item
            for item in recordings
            if item.labels.keys() & known and not item.labels.keys() & self.estimates.get(item.path, {}).keys()
        ]


Named = tuple[str, Mapping[Path, Estimates]]
"""A model or table, and its estimates by recording."""


def evaluate_all(
    recordings: Sequence[LabelledRecording], first: Named, second: Named | None, config: EvaluateConfig
) -> Evaluation:
    """Compare estimates with labels and, if there are others, with those; errors are those of `evaluate`."""
    (name, estimates), columns = first, config.by or None
    found = evaluate(recordings, estimates, columns, config.resamples, config.seed)
    contrasts = []
    if second is not None:
        contrasts = contrast(recordings, estimates, second[1], columns, config.resamples, config.seed)
    errors = largest_errors(recordings, estimates, config.errors)
    return Evaluation(name, estimates, found, None if second is None else second[0], contrasts, errors)


def evaluate(
    recordings: Sequence[LabelledRecording],
    estimates: Mapping[Path, Estimates],
    columns: Sequence[str] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> list[Agreement]:
    """Compare estimates with labels.

    Args:
        recordings: labelled recordings.
        estimates: scores by recording; a recording without any is left out.
        columns: columns of the label table to group by; None takes `USUAL_GROUPS` where they exist.
        resamples: bootstrap draws for the intervals; 0 for none.
        seed: source of the draws.

    Returns:
        For each target that has both labels and estimates: all files, then for each column the means of its groups
        and every group by itself, in order of their names.

    Raises:
        UsageError: no recording has one of the columns.
        InputError: there is not a single pair.
    """
    return [
        Agreement(
            *(target, over, len(truth), float(truth.mean()), float(estimate.mean())),
            values={name: metric(truth, estimate) for name, metric in statistics.METRICS.items()},
            intervals=(
                statistics.agreement_intervals(truth, estimate, resamples=resamples, seed=seed) if resamples else {}
            ),
        )
        for target, over, truth, (estimate,) in _sets(recordings, [estimates], columns)
    ]


def contrast(
    recordings: Sequence[LabelledRecording],
    first: Mapping[Path, Estimates],
    second: Mapping[Path, Estimates],
    columns: Sequence[str] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> list[Contrast]:
    """Compare how well two sets of estimates agree with the same labels, over files and over means of groups.

    Arguments and errors are those of `evaluate`; only recordings and targets that both sets have are compared.

    Returns:
        One entry a target, set of pairs and measure.
    """
    found = []
    for target, over, truth, (one, other) in _sets(recordings, [first, second], columns):
        if over.level is Level.GROUP:
            continue
        intervals = statistics.agreement_intervals(truth, one, other, resamples=resamples, seed=seed)
        for name in CONTRASTED:
            values = [statistics.METRICS[name](truth, estimate) for estimate in (one, other)]
            significance = _significance(name, values, intervals[name])
            found.append(Contrast(target, over, len(truth), name, values[0], values[1], intervals[name], significance))
    return found


def largest_errors(
    recordings: Sequence[LabelledRecording], estimates: Mapping[Path, Estimates], count: int
) -> list[Miss]:
    """Find the recordings of each target whose estimates are furthest from their labels, the furthest first."""
    found = []
    for target in (target.name for target in TARGETS):
        misses = [
            Miss(target, item.path, item.labels[target], estimates[item.path][target])
            for item in recordings
            if target in item.labels and target in estimates.get(item.path, {})
        ]
        found += sorted(misses, key=lambda miss: -abs(miss.error))[:count]
    return found


def group_columns(recordings: Sequence[LabelledRecording], columns: Sequence[str] | None) -> list[str]:
    """Choose the columns that recordings are grouped by: those asked for, or `USUAL_GROUPS` where they exist.

    Raises:
        UsageError: no recording has one of the columns.
    """
    known = {"split", *(name for recording in recordings for name in recording.extra)}
    missing = [column for column in columns or () if column not in known]
    if missing:
        raise UsageError(f"the label table has no column {missing[0]!r}; it has {', '.join(sorted(known))}")
    return [name for name in USUAL_GROUPS if name in known] if columns is None else list(dict.fromkeys(columns))


def group_of(recording: LabelledRecording, column: str) -> str:
    """Read a column of the label table; empty where nothing stands."""
    return recording.split if column == "split" else recording.extra.get(column, "")


def natural_key(text: str) -> list[tuple[int, str]]:
    """Sort numbers within names by value.

    Example:
        >>> sorted(["c10", "c9", "a"], key=natural_key)
        ['a', 'c9', 'c10']
    """
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)]


_Set = tuple[str, Over, Floats, list[Floats]]
"""Target, which pairs, their labels, and their estimates of each kind."""


def _sets(
    recordings: Sequence[LabelledRecording],
    estimates: Sequence[Mapping[Path, Estimates]],
    columns: Sequence[str] | None,
) -> Iterator[_Set]:
    """Go through all sets of pairs that are compared."""
    chosen = group_columns(recordings, columns)
    by_target = {
        target.name: [
            item
            for item in recordings
            if target.name in item.labels and all(target.name in part.get(item.path, {}) for part in estimates)
        ]
        for target in TARGETS
    }
    if not any(by_target.values()):
        raise InputError("no recording has both a label and an estimate of the same target")
    for target, known in by_target.items():
        if known:
            table = [[item.labels[target], *(part[item.path][target] for part in estimates)] for item in known]
            yield from _sets_of_target(target, known, np.array(table, dtype=np.float64).T, chosen)


def _sets_of_target(
    target: str, recordings: Sequence[LabelledRecording], values: Floats, columns: Sequence[str]
) -> Iterator[_Set]:
    """Go through all files, means of groups, and groups; values are (1 + kinds of estimates, recordings)."""
    yield target, ALL_FILES, values[0], list(values[1:])
    for column in columns:
        groups: dict[str, list[int]] = {}
        for index, recording in enumerate(recordings):
            groups.setdefault(group_of(recording, column), []).append(index)
        parts = {name: values[:, groups[name]] for name in sorted(groups, key=natural_key)}
        means = np.stack([part.mean(axis=1) for part in parts.values()], axis=1).round(MEAN_DECIMALS)
        yield target, Over(Level.MEANS, column), means[0], list(means[1:])
        for name, part in parts.items():
            yield target, Over(Level.GROUP, column, name), part[0], list(part[1:])


def _significance(measure: str, values: Sequence[float], interval: Interval) -> Significance:
    if any(map(math.isnan, values)):
        return Significance.UNDEFINED
    if math.isnan(interval.low):
        return Significance.UNKNOWN
    if interval.low <= 0 <= interval.high:
        return Significance.NOT_SIGNIFICANT
    return Significance.BETTER if (interval.low > 0) is not (measure in LOWER_IS_BETTER) else Significance.WORSE
