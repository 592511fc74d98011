"""Tables of an evaluation: for a terminal, as CSV and as JSON."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from typing import TextIO

from mtqscore.analysis.evaluate import Agreement, Contrast, Evaluation, Level, Miss, Significance
from mtqscore.analysis.means import Interval
from mtqscore.analysis.statistics import METRICS
from mtqscore.base.names import as_text
from mtqscore.base.text import TITLES, printable, text_table
from mtqscore.results.csv import guarded

LEVEL = "95 %"
UNKNOWN = "–"
NAMES = {
    "lcc": "LCC",
    "srcc": "SRCC",
    "ktau": "KTAU",
    "mse": "MSE",
    "rmse": "RMSE",
    "rmse_mapped": "RMSE mapped",
    "bias": "bias",
}
IN_GROUPS = ("lcc", "rmse", "bias")
"""Measures of single groups that the table shows; the others are in the files."""

TARGETS_ABREAST = 3
GROUPS_SHOWN = 30
WIDEST_GROUP = 60
JSON_DECIMALS = 6


def title_of(target: str) -> str:
    """Name of a target for people."""
    return TITLES.get(target, target.upper())


def agreement_lines(found: Sequence[Agreement]) -> list[str]:
    """Lay out all files and means of groups, with intervals, and then every group, safe for a terminal."""
    wide = [item for item in found if item.over.level is not Level.GROUP]
    targets = list(dict.fromkeys(item.target for item in wide))
    columns = list(dict.fromkeys(str(item.over) for item in wide))
    table = [["score", "measure", *(cell for name in columns for cell in (printable(name), LEVEL))]]
    for target in targets:
        items = {str(item.over): item for item in wide if item.target == target}
        counts = [f"{items[name].pairs:,}" if name in items else "" for name in columns]
        table.append([title_of(target), "n", *(cell for count in counts for cell in (count, ""))])
        for measure, name in NAMES.items():
            cells = [cell for column in columns for cell in _cells(items.get(column), measure)]
            table.append(["", name, *cells])
    head, *rows = text_table(table, left={"score", "measure"})
    lines = [head]
    block = 1 + len(NAMES)
    for start in range(0, len(rows), block):
        lines += ["", *rows[start : start + block]]
    for column in dict.fromkeys(item.over.column for item in found if item.over.level is Level.GROUP):
        of_column = [item for item in found if item.over.level is Level.GROUP and item.over.column == column]
        for start in range(0, len(targets), TARGETS_ABREAST):
            lines += ["", *_group_lines(column, of_column, targets[start : start + TARGETS_ABREAST])]
    return lines


def _cells(item: Agreement | None, measure: str) -> tuple[str, str]:
    if item is None:
        return "", ""
    return _figure(item.values[measure], measure), _span(item.intervals.get(measure), measure)


def _group_lines(column: str, found: Sequence[Agreement], targets: Sequence[str]) -> list[str]:
    groups: dict[str, dict[str, Agreement]] = {}
    for item in found:
        if item.target in targets:
            groups.setdefault(item.over.value, {})[item.target] = item
    shown = list(groups)
    if len(groups) > GROUPS_SHOWN:
        by_error = sorted(groups, key=lambda name: -max(item.values["rmse"] for item in groups[name].values()))
        worst = set(by_error[:GROUPS_SHOWN])
        shown = [name for name in groups if name in worst]
    heads = [
        " ".join([title_of(target)] * (measure == IN_GROUPS[0]) + [NAMES[measure]])
        for target in targets
        for measure in IN_GROUPS
    ]
    table = [[printable(column), "n", *heads]]
    for name in shown:
        items = [groups[name].get(target) for target in targets]
        figures = [_figure(item.values[measure], measure) if item else "" for item in items for measure in IN_GROUPS]
        table.append([group_name(name), f"{max(item.pairs for item in items if item):,}", *figures])
    lines = text_table(table, left={table[0][0]})
    if len(shown) < len(groups):
        lines.append(f"{len(shown)} of {len(groups)} groups, those with the largest RMSE; --csv FILE keeps all")
    return lines


def group_name(value: str) -> str:
    """Name of a group for people: on one line, not too long, and a word where there is none."""
    name = printable(value) or "(none)"
    return name if len(name) <= WIDEST_GROUP else f"{name[:WIDEST_GROUP]}…"


def contrast_lines(found: Sequence[Contrast]) -> list[str]:
    """Table of the differences between two sets of estimates; empty without any.

    Means of too few groups are left out.
    """
    table = [["score", "over", "n", "measure", "these", "others", "difference", LEVEL, "result"]]
    before = ("", "")
    for item in found:
        if item.over.level is not Level.FILES and item.significance in (Significance.UNKNOWN, Significance.UNDEFINED):
            continue
        here = (title_of(item.target), printable(str(item.over)))
        names = ["" if here[0] == before[0] else here[0]]
        names += ["", ""] if here == before else [here[1], f"{item.pairs:,}"]
        values = [_figure(value, item.measure) for value in (item.first, item.second)]
        change = _signed(item.first - item.second)
        table.append(
            [*names, NAMES[item.measure], *values, change, _span(item.interval, "bias"), str(item.significance)]
        )
        before = here
    return text_table(table, left={"score", "over", "measure", "result"}) if found else []


def error_lines(found: Sequence[Miss]) -> list[str]:
    """Table of the largest errors; empty without any."""
    table = [["score", "error", "label", "estimate", "largest errors"]]
    for item in found:
        figures = [_signed(item.error), f"{item.label:.3f}", f"{item.estimate:.3f}"]
        table.append([title_of(item.target), *figures, printable(str(item.path))])
    return text_table(table, left={"score", "largest errors"}) if found else []


def _figure(value: float, measure: str) -> str:
    if math.isnan(value):
        return UNKNOWN
    return _signed(value) if measure == "bias" else f"{value:.{4 if measure == 'mse' else 3}f}"


def _signed(value: float) -> str:
    return UNKNOWN if math.isnan(value) else f"{value:+.3f}"


def _span(interval: Interval | None, measure: str) -> str:
    if interval is None or math.isnan(interval.low):
        return ""
    return f"{_figure(interval.low, measure)} to {_figure(interval.high, measure)}"


def evaluation_text(result: Evaluation, resamples: int) -> str:
    """Lay out everything for a terminal."""
    lines = agreement_lines(result.agreement)
    for more in (contrast_lines(result.contrasts), error_lines(result.errors)):
        lines += ["", *more] if more else []
    compared = "" if result.others is None else f", compared with {result.others}"
    lines += ["", printable(f"{result.name}{compared}; 95 % intervals from {resamples:,} resamples")]
    return "\n".join(lines)


def evaluation_as_dict(result: Evaluation) -> dict[str, object]:
    """Lay out everything for JSON."""
    return {
        "estimates": as_text(result.name),
        "against": None if result.others is None else as_text(result.others),
        "agreement": [_agreement_as_dict(item) for item in result.agreement],
        "contrasts": [_contrast_as_dict(item) for item in result.contrasts],
        "largest_errors": [_error_as_dict(item) for item in result.errors],
    }


def write_csv(stream: TextIO, found: Sequence[Agreement]) -> None:
    """Write one row a target and set of pairs, with every measure and interval; what is not defined is empty."""
    writer = csv.writer(stream, lineterminator="\n")
    ends = [f"{name}{end}" for name in METRICS for end in ("", "_low", "_high") if name != "rmse_mapped" or not end]
    writer.writerow(["target", "level", "column", "value", "n", "mean_label", "mean_estimate", *ends])
    for item in found:
        numbers = {name: {"": value} for name, value in item.values.items()}
        for name, interval in item.intervals.items():
            numbers[name] |= {"_low": interval.low, "_high": interval.high}
        cells = {f"{name}{end}": number for name, part in numbers.items() for end, number in part.items()}
        names = [guarded(as_text(text)) for text in (item.over.column, item.over.value)]
        figures = ["" if math.isnan(number := cells.get(end, math.nan)) else f"{number:.4f}" for end in ends]
        means = [f"{mean:.4f}" for mean in (item.mean_label, item.mean_estimate)]
        writer.writerow([item.target, item.over.level, *names, item.pairs, *means, *figures])


def _agreement_as_dict(item: Agreement) -> dict[str, object]:
    """One set of pairs as it stands in JSON; null is what is not defined."""
    return {
        "target": item.target,
        **_over_as_dict(item),
        "n": item.pairs,
        "mean_label": _number(item.mean_label),
        "mean_estimate": _number(item.mean_estimate),
        "measures": {
            name: {"value": _number(value), **_ends(item.intervals.get(name))} for name, value in item.values.items()
        },
    }


def _contrast_as_dict(item: Contrast) -> dict[str, object]:
    """One difference as it stands in JSON."""
    return {
        "target": item.target,
        **_over_as_dict(item),
        "n": item.pairs,
        "measure": item.measure,
        "these": _number(item.first),
        "others": _number(item.second),
        "difference": _number(item.first - item.second),
        **_ends(item.interval),
        "result": str(item.significance),
    }


def _error_as_dict(item: Miss) -> dict[str, object]:
    """One large error as it stands in JSON."""
    numbers = {"error": item.error, "label": item.label, "estimate": item.estimate}
    return {"target": item.target, "path": as_text(str(item.path)), **{k: _number(v) for k, v in numbers.items()}}


def _over_as_dict(item: Agreement | Contrast) -> Mapping[str, object]:
    over = item.over
    return {"level": str(over.level), "column": as_text(over.column), "value": as_text(over.value)}


def _ends(interval: Interval | None) -> Mapping[str, float | None]:
    return {} if interval is None else {"low": _number(interval.low), "high": _number(interval.high)}


def _number(value: float) -> float | None:
    return round(value, JSON_DECIMALS) if math.isfinite(value) else None
