"""``mtqscore evaluate``: how well a model agrees with labels."""

from __future__ import annotations

import csv as csv_format
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from mtqscore.cli.console import clean_endings, progress_bar, say
from mtqscore.cli.options import Csv, Device, Model, Threads
from mtqscore.errors import EnvironmentProblemError, UsageError

if TYPE_CHECKING:
    from mtqscore.config import AssessConfig
    from mtqscore.evaluation import Agreement
    from mtqscore.manifest import Row
    from mtqscore.stats import Interval

SOME_FAILED_EXIT = 3


def evaluate(
    manifest: Annotated[Path, typer.Argument(help="Label table, or folder that holds manifest.csv.")],
    model: Model = None,
    predictions: Annotated[
        Path | None, typer.Option(help="CSV with path and scores, in place of a model; as of `assess --csv`.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="train, val or test; all recordings if not given.")] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(help="Column to group by; can be repeated; condition and kind, if there, unless given."),
    ] = None,
    resamples: Annotated[int, typer.Option(min=1, help="Bootstrap draws for the 95 % intervals.")] = 1000,
    csv: Csv = None,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Compare scores with labels: LCC, SRCC, KTAU and RMSE a target, over files, means of conditions and groups."""
    from mtqscore.config import AssessConfig
    from mtqscore.evaluation import evaluate as compare
    from mtqscore.evaluation import read_estimates
    from mtqscore.manifest import SPLITS, read_manifest

    if split is not None and split not in SPLITS:
        raise UsageError(f"--split {split}: choose one of {', '.join(SPLITS)}")
    if predictions is not None and model is not None:
        raise UsageError("give --model or --predictions, not both")
    with clean_endings():
        rows = [row for row in read_manifest(manifest) if split in (None, row.split)]
        if not rows:
            raise UsageError(f"{manifest}: no recordings in the split {split}")
        if predictions is not None:
            base = manifest if manifest.is_dir() else manifest.parent
            estimates = read_estimates(predictions, rows, base)
        else:
            estimates = _assessed(rows, AssessConfig(model=model, device=device or "auto", threads=threads))
        found = compare(rows, estimates, by, resamples)
        if csv is not None:
            _write(csv, found)
        if csv != "-":
            _print_table(sys.stdout, found)
    if any(not estimates[row.path] for row in rows):
        raise typer.Exit(SOME_FAILED_EXIT)


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command()(evaluate)


def _assessed(rows: Sequence[Row], config: AssessConfig) -> dict[Path, dict[str, float]]:
    """Score every recording; what cannot be scored is named and has no estimates."""
    from mtqscore.cli.scoring import load_assessor

    assessor = load_assessor(config)
    estimates: dict[Path, dict[str, float]] = {}
    with progress_bar("scoring", "files") as advance:
        assessments = assessor.assess_files([row.path for row in rows])
        for row, assessment in zip(rows, assessments, strict=True):
            scores = assessment.scores
            if scores is None:
                say(f"{row.path}: {assessment.status}: {assessment.reason}")
                estimates[row.path] = {}
            else:
                named = {"s_mos": scores.s_mos, "n_mos": scores.n_mos, "g_mos": scores.g_mos}
                estimates[row.path] = named | dict(scores.extra)
            advance(len(estimates), len(rows))
    say(f"{len(rows)} recordings scored by {assessor.model}")
    return estimates


COLUMNS: dict[str, Callable[[Agreement], object]] = {
    "target": lambda item: item.target,
    "group": lambda item: item.group,
    "n": lambda item: item.pairs,
    "lcc": lambda item: _figure(item.lcc),
    "lcc_low": lambda item: _end(item.lcc_interval, "low"),
    "lcc_high": lambda item: _end(item.lcc_interval, "high"),
    "srcc": lambda item: _figure(item.srcc),
    "ktau": lambda item: _figure(item.ktau),
    "rmse": lambda item: _figure(item.rmse),
    "rmse_low": lambda item: _end(item.rmse_interval, "low"),
    "rmse_high": lambda item: _end(item.rmse_interval, "high"),
    "bias": lambda item: _figure(item.bias),
}


def _figure(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4f}"


def _end(interval: Interval | None, end: str) -> str:
    return "" if interval is None else _figure(getattr(interval, end))


def _write(target: str, found: Sequence[Agreement]) -> None:
    def to(stream: TextIO) -> None:
        writer = csv_format.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([cell(item) for cell in COLUMNS.values()] for item in found)

    if target == "-":
        to(sys.stdout)
        return
    try:
        with Path(target).open("w", newline="", encoding="utf-8") as stream:
            to(stream)
    except OSError as error:
        raise EnvironmentProblemError(f"{target}: cannot be written: {error.strerror or error}") from error


def _print_table(stream: TextIO, found: Sequence[Agreement]) -> None:
    titles = ["target", "group", "n", "LCC", "95 %", "SRCC", "KTAU", "RMSE", "95 %", "bias"]
    lines = [
        [
            item.target,
            item.group,
            str(item.pairs),
            _short(item.lcc),
            _span(item.lcc_interval),
            _short(item.srcc),
            _short(item.ktau),
            _short(item.rmse),
            _span(item.rmse_interval),
            f"{item.bias:+.3f}",
        ]
        for item in found
    ]
    widths = [max(len(line[column]) for line in [titles, *lines]) for column in range(len(titles))]
    for line in [titles, *lines]:
        cells = [
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        stream.write("  ".join(cells).rstrip() + "\n")


def _short(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _span(interval: Interval | None) -> str:
    return "" if interval is None else f"{_short(interval.low)} to {_short(interval.high)}"
