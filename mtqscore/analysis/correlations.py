"""How pseudo-labels relate to the scores that they help to learn, and how true they are.

Multi-task pseudo-label learning (MPL, arXiv 2308.09262) adds PESQ, STOI and SDI as tasks, estimated by a teacher where
no reference is at hand. They help if they tell something about S-MOS, N-MOS and G-MOS, and if the teacher is right.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from mtqscore.analysis import statistics as stats
from mtqscore.analysis.bootstrap import agreement_intervals
from mtqscore.analysis.evaluate import Estimates
from mtqscore.analysis.statistics import Interval
from mtqscore.base.text import TITLES, text_table
from mtqscore.labels.table import LabelledRecording, write_table
from mtqscore.targets import PSEUDO, SUPERVISED

TRUE = "true"
"""Stands for the true values of the same measure."""

COLUMNS = (
    "pseudo_label",
    "against",
    "n",
    "lcc",
    "lcc_low",
    "lcc_high",
    "srcc",
    "srcc_low",
    "srcc_high",
    "rmse",
    "bias",
)


@dataclass(frozen=True)
class Relation:
    """Correlation of one pseudo-label with one score, or with its own true values.

    Args:
        pseudo: ``pesq``, ``stoi`` or ``sdi``.
        against: a score, or ``true``.
        pairs: recordings that have both.
        lcc: Pearson's correlation; NaN where it is not defined.
        srcc: Spearman's.
        lcc_interval: 95 % interval, NaN at both ends where there is none.
        srcc_interval: the same of ``srcc``.
        rmse: root mean squared error against the true values; NaN against a score, whose scale is another one.
        bias: mean pseudo-label less mean true value; NaN against a score.
    """

    pseudo: str
    against: str
    pairs: int
    lcc: float
    srcc: float
    lcc_interval: Interval
    srcc_interval: Interval
    rmse: float
    bias: float


def relation_matrix(
    scores: Mapping[str, ArrayLike],
    pseudo: Mapping[str, ArrayLike],
    true: Mapping[str, ArrayLike] | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> list[Relation]:
    """Correlate pseudo-labels with scores, and with their own true values where these are known.

    Args:
        scores: ``s_mos``, ``n_mos`` and ``g_mos``, or some of them, each (recordings,) with NaN for what is missing.
        pseudo: ``pesq``, ``stoi`` and ``sdi``, or some of them, in the same order of recordings.
        true: true values of some pseudo-labels; None if none are known.
        resamples: bootstrap draws for the intervals.
        seed: source of the draws.

    Returns:
        One entry a pseudo-label and score, in the order of ``spec.TARGETS``; then one a pseudo-label with true values.
        What has no pair is left out.

    Raises:
        ValueError: the arrays are not equally long.
    """
    found = []
    for name in (target.name for target in PSEUDO if target.name in pseudo):
        others = {target.name: scores[target.name] for target in SUPERVISED if target.name in scores}
        if name in (true or {}):
            others[TRUE] = (true or {})[name]
        for against, values in others.items():
            x, y = stats.known_pairs(values, pseudo[name])
            if len(x) == 0:
                continue
            intervals = agreement_intervals(x, y, resamples=resamples, seed=seed)
            correlations = (stats.lcc(x, y), stats.srcc(x, y), intervals["lcc"], intervals["srcc"])
            errors = (stats.rmse(x, y), stats.bias(x, y)) if against == TRUE else (math.nan, math.nan)
            found.append(Relation(name, against, len(x), *correlations, *errors))
    return sorted(found, key=lambda item: item.against == TRUE)


def relations_of_rows(
    rows: Sequence[LabelledRecording],
    estimates: Mapping[Path, Estimates] | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> list[Relation]:
    """Correlate the pseudo-labels of labelled recordings.

    Args:
        rows: recordings with scores as labels.
        estimates: a teacher's estimates by recording. Then the PESQ, STOI and SDI among the labels are the true values;
            without estimates, they are the pseudo-labels.
        resamples: bootstrap draws for the intervals.
        seed: source of the draws.

    Returns:
        As `relation_matrix`.
    """

    def column(values: Sequence[Estimates], name: str) -> ArrayLike:
        return np.array([value.get(name, math.nan) for value in values])

    labels = [row.labels for row in rows]
    scores = {target.name: column(labels, target.name) for target in SUPERVISED}
    known = {target.name: column(labels, target.name) for target in PSEUDO}
    if estimates is None:
        return relation_matrix(scores, known, resamples=resamples, seed=seed)
    estimated = [estimates.get(row.path, {}) for row in rows]
    pseudo = {target.name: column(estimated, target.name) for target in PSEUDO}
    return relation_matrix(scores, pseudo, known, resamples=resamples, seed=seed)


def relation_lines(found: Sequence[Relation]) -> list[str]:
    """Show relations as a table of correlations with their intervals.

    Args:
        found: what `relation_matrix` returned.

    Returns:
        Lines without line ends; three rows a pseudo-label (pairs, LCC, SRCC), a column a score. None where there are
        no relations.
    """
    if not found:
        return []
    columns = list(dict.fromkeys(item.against for item in found))
    by_place = {(item.pseudo, item.against): item for item in found}
    table = [["", "", *(TITLES.get(name, f"{name} values") for name in columns)]]
    for pseudo in dict.fromkeys(item.pseudo for item in found):
        items = [by_place.get((pseudo, name)) for name in columns]
        lcc = ["" if item is None else _figure(item.lcc, item.lcc_interval) for item in items]
        srcc = ["" if item is None else _figure(item.srcc, item.srcc_interval) for item in items]
        pairs = ["" if item is None else f"{item.pairs:,}" for item in items]
        table += [[pseudo.upper(), "n", *pairs], ["", "LCC", *lcc], ["", "SRCC", *srcc]]
    return text_table(table, left={""})


def relation_records(found: Sequence[Relation]) -> list[dict[str, str | int | float | None]]:
    """Give relations as they stand in JSON, by the names of `COLUMNS`; None is what is not defined."""
    return [
        {
            "pseudo_label": item.pseudo,
            "against": item.against,
            "n": item.pairs,
            "lcc": _number(item.lcc),
            "lcc_low": _number(item.lcc_interval.low),
            "lcc_high": _number(item.lcc_interval.high),
            "srcc": _number(item.srcc),
            "srcc_low": _number(item.srcc_interval.low),
            "srcc_high": _number(item.srcc_interval.high),
            "rmse": _number(item.rmse),
            "bias": _number(item.bias),
        }
        for item in found
    ]


def write_relations(table: Path, found: Sequence[Relation]) -> None:
    """Write relations as a CSV with the `COLUMNS`; what is not defined is empty."""
    write_table(table, COLUMNS, relation_records(found))


def _number(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None


def _figure(value: float, interval: Interval) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:.3f}" if math.isnan(interval.low) else f"{value:.3f} ({interval.low:.3f} to {interval.high:.3f})"
