"""Correlations of pseudo-labels with the scores that they help to learn, and with their own true values.

Multi-task pseudo-label learning (MPL, arXiv 2308.09262) adds PESQ, STOI and SDI as tasks, estimated by a teacher where
no reference is at hand. They help if they correlate with S-MOS, N-MOS and G-MOS, and if the teacher is right.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from mtqscore.analysis import statistics
from mtqscore.analysis.evaluate import Estimates
from mtqscore.analysis.means import Interval
from mtqscore.base.text import TITLES, text_table
from mtqscore.labels.table import LabelledRecording, write_table
from mtqscore.targets import PSEUDO, SUPERVISED

TRUE = "true"
"""Stands for the true values of the same measure."""

_CORRELATIONS = ("lcc", "srcc")
COLUMNS = (
    *("pseudo_label", "against", "n"),
    *(f"{name}{end}" for name in _CORRELATIONS for end in ("", "_low", "_high")),
    *("rmse", "bias"),
)


@dataclass(frozen=True)
class LabelCorrelation:
    """Correlation of one pseudo-label with one score, or with its own true values.

    Args:
        pseudo: ``pesq``, ``stoi`` or ``sdi``.
        against: a score, or ``true``.
        pairs: recordings that have both.
        values: ``lcc`` and ``srcc``, and against true values ``rmse`` and ``bias``; NaN where one is not defined.
        intervals: 95 % intervals of ``lcc`` and ``srcc``.
    """

    pseudo: str
    against: str
    pairs: int
    values: Mapping[str, float]
    intervals: Mapping[str, Interval]


def label_correlations(
    scores: Mapping[str, ArrayLike],
    pseudo: Mapping[str, ArrayLike],
    true: Mapping[str, ArrayLike] | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> list[LabelCorrelation]:
    """Correlate pseudo-labels with scores, and with their own true values where these are known.

    Args:
        scores: some of the supervised targets, each (recordings,) with NaN for what is missing.
        pseudo: some of ``pesq``, ``stoi`` and ``sdi``, in the same order of recordings.
        true: true values of some pseudo-labels; None if none are known.
        resamples: bootstrap draws for the intervals.
        seed: source of the draws.

    Returns:
        One entry a pseudo-label and score, in the order of ``targets.TARGETS``; then one a pseudo-label with true
        values. What has no pair is left out.

    Raises:
        ValueError: the arrays are not equally long.
    """
    found = []
    for name in (target.name for target in PSEUDO if target.name in pseudo):
        others = {target.name: scores[target.name] for target in SUPERVISED if target.name in scores}
        if true is not None and name in true:
            others[TRUE] = true[name]
        for against, values in others.items():
            x, y = statistics.known_pairs(values, pseudo[name])
            if len(x):
                measures = (*_CORRELATIONS, "rmse", "bias") if against == TRUE else _CORRELATIONS
                figures = {measure: statistics.METRICS[measure](x, y) for measure in measures}
                intervals = statistics.agreement_intervals(x, y, resamples=resamples, seed=seed)
                kept = {measure: intervals[measure] for measure in _CORRELATIONS}
                found.append(LabelCorrelation(name, against, len(x), figures, kept))
    return sorted(found, key=lambda item: item.against == TRUE)


def correlations_of_recordings(
    recordings: Sequence[LabelledRecording],
    estimates: Mapping[Path, Estimates] | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> list[LabelCorrelation]:
    """Correlate the pseudo-labels of recordings with scores as labels; as `label_correlations`.

    With a teacher's ``estimates`` by recording, the PESQ, STOI and SDI among the labels are the true values; without,
    they are the pseudo-labels.
    """

    def columns(values: Sequence[Estimates], names: Sequence[str]) -> dict[str, ArrayLike]:
        return {name: np.array([value.get(name, math.nan) for value in values]) for name in names}

    labels = [recording.labels for recording in recordings]
    scores = columns(labels, [target.name for target in SUPERVISED])
    pseudo_names = [target.name for target in PSEUDO]
    known = columns(labels, pseudo_names)
    if estimates is None:
        return label_correlations(scores, known, resamples=resamples, seed=seed)
    estimated = columns([estimates.get(recording.path, {}) for recording in recordings], pseudo_names)
    return label_correlations(scores, estimated, known, resamples=resamples, seed=seed)


def correlation_lines(found: Sequence[LabelCorrelation]) -> list[str]:
    """Give a text table, three rows a pseudo-label (pairs, LCC, SRCC), a column a score; empty without correlations."""
    if not found:
        return []
    columns = list(dict.fromkeys(item.against for item in found))
    by_place = {(item.pseudo, item.against): item for item in found}
    table = [["", "", *(TITLES.get(name, f"{name} values") for name in columns)]]
    for pseudo in dict.fromkeys(item.pseudo for item in found):
        items = [by_place.get((pseudo, name)) for name in columns]
        table.append([pseudo.upper(), "n", *("" if item is None else f"{item.pairs:,}" for item in items)])
        for measure in _CORRELATIONS:
            table.append(["", measure.upper(), *("" if item is None else _figure(item, measure) for item in items)])
    return text_table(table, left={""})


def correlation_records(found: Sequence[LabelCorrelation]) -> list[dict[str, str | int | float | None]]:
    """Give correlations as they stand in JSON, by the names of `COLUMNS`; None is what is not defined."""
    records = []
    for item in found:
        figures = [
            figure
            for name in _CORRELATIONS
            for figure in (item.values[name], item.intervals[name].low, item.intervals[name].high)
        ] + [item.values.get(name, math.nan) for name in ("rmse", "bias")]
        cells: list[str | int | float | None] = [item.pseudo, item.against, item.pairs, *map(_number, figures)]
        records.append(dict(zip(COLUMNS, cells, strict=True)))
    return records


def write_correlations(table: Path, found: Sequence[LabelCorrelation]) -> None:
    """Write correlations as a CSV with the `COLUMNS`; what is not defined is empty."""
    write_table(table, COLUMNS, correlation_records(found))


def _number(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None


def _figure(item: LabelCorrelation, measure: str) -> str:
    value, interval = item.values[measure], item.intervals[measure]
    if math.isnan(value):
        return "–"
    return f"{value:.3f}" if math.isnan(interval.low) else f"{value:.3f} ({interval.low:.3f} to {interval.high:.3f})"
