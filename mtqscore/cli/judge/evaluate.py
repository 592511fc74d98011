"""``mtqscore evaluate``: agreement of scores with labels."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mtqscore.base.files import STDOUT
from mtqscore.base.names import as_text
from mtqscore.base.option import option
from mtqscore.base.schema import from_plain
from mtqscore.base.schema_versions import EVALUATE, document
from mtqscore.base.text import printable
from mtqscore.cli.console import (
    as_line,
    clean_endings,
    open_places,
    print_result,
    say,
    without_native_noise,
    write_text,
)
from mtqscore.cli.from_config import NOTHING, Given, takes
from mtqscore.cli.options import Quiet, ResultFiles
from mtqscore.cli.scoring import load_assessor, score
from mtqscore.cli.verdicts import choose_targets
from mtqscore.config import INPUT, RESULTS, AssessConfig, EvaluateConfig
from mtqscore.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from mtqscore.analysis.evaluate import Evaluation
    from mtqscore.base.files import Output
    from mtqscore.labels.table import LabelledRecording

    Found = tuple[str, dict[Path, dict[str, float]]]
    """A model or table, and its estimates."""

NAMED = 5
"""So many recordings that have no estimate are named."""


@dataclass(frozen=True)
class Sides:
    """Estimates that are compared with labels, and others that these are compared with."""

    predictions: str | None = option(
        None,
        "Estimates to compare, in place of a model's: path and scores, as of `assess --csv` or a training run.",
        "--predictions FILE.csv",
        INPUT,
    )
    against: str | None = option(
        None,
        "Other estimates, or another model: is it better or worse, and how sure is that?",
        "--against FILE.csv|MODEL",
        INPUT,
    )


@dataclass(frozen=True)
class Drawing:
    """A plot of estimates against labels."""

    plot: str | None = option(
        None,
        "Draw estimates against labels, a panel a score; needs the extra plots.",
        "--plot FILE.png|.svg|.pdf",
        RESULTS,
    )
    colour: str | None = option(None, "Colour the plot by this column of the table.", "--colour COLUMN", RESULTS)


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    scoring, outputs = (AssessConfig, ("model", "device", "threads")), (ResultFiles, ("csv", "json"))
    made = takes(sides=Sides, scoring=scoring, config=EvaluateConfig, drawing=Drawing, outputs=outputs)
    app.command("evaluate")(made(evaluate))


def evaluate(
    labels: Annotated[str, typer.Argument(metavar="LABELS", help="Label table, or folder that holds manifest.csv.")],
    sides: Given = NOTHING,
    scoring: Given = NOTHING,
    config: Given = NOTHING,
    drawing: Given = NOTHING,
    outputs: Given = NOTHING,
    quiet: Quiet = False,
) -> None:
    """Compare scores with labels: LCC, SRCC, KTAU, MSE and RMSE with intervals, per file, condition and group.

    Exit codes:
    0  all is well
    2  wrong use
    3  some labelled recordings have no estimate, or a table is faulty
    4  the device or the model does not work, the extra stats or plots is missing, or a result cannot be written
    130  interrupted
    """

    predictions, against, colour = sides.get("predictions"), sides.get("against"), drawing.get("colour")
    if predictions is not None and "model" in scoring:
        raise UsageError("give --model or --predictions, not both")
    options = from_plain(EvaluateConfig, config, "the options")
    # Not Path.is_dir, which raises where a name is too long.
    table = Path(labels) / "manifest.csv" if os.path.isdir(labels) else Path(labels)  # noqa: PTH112
    other_table = against if against is not None and against.lower().endswith(".csv") else None
    targets = choose_targets({**outputs, "plot": drawing.get("plot")}, (str(table), predictions, other_table))
    picture = targets.pop("plot", None)
    _check_plot(picture, colour)
    with clean_endings(), without_native_noise(), open_places(targets) as places:
        from mtqscore.analysis.estimates import read_labelled
        from mtqscore.analysis.evaluate import evaluate_all, group_columns
        from mtqscore.analysis.statistics import load_scipy_stats

        by_model = predictions is None or against != other_table
        every, rows = read_labelled(table, options.split, check_files=by_model)
        load_scipy_stats()  # refused, as an unknown column is, before anything is scored
        group_columns(rows, [*options.by, *([] if colour is None else [colour])])
        assessing = AssessConfig(**scoring)
        first = (
            _read(predictions, every, table, quiet) if predictions is not None else _score(assessing, rows, quiet=quiet)
        )
        second = None
        if against is not None:
            other_model = replace(assessing, model=against)
            second = (
                _read(against, every, table, quiet)
                if other_table is not None
                else _score(other_model, rows, quiet=quiet)
            )
        result = evaluate_all(rows, first, second, options)
        _show(result, places, options, {"labels": str(table), "split": options.split, "recordings": len(rows)})
        if picture is not None:
            _draw(picture, result, rows, colour, quiet=quiet)
    if _lack_estimates(result, rows, quiet=quiet):
        raise typer.Exit(ExitCode.INPUT)


def _check_plot(picture: str | None, colour: str | None) -> None:
    """Refuse what cannot be drawn before anything is scored."""
    if picture is not None:
        from mtqscore.report.plots import check_picture

        check_picture(picture)
    elif colour is not None:
        raise UsageError("--colour is for a plot: give --plot FILE.png too")


def _read(name: str, every: Sequence[LabelledRecording], table: Path, quiet: bool) -> Found:
    """Read a table of estimates, which may name more recordings than are compared."""
    from mtqscore.analysis.estimates import read_estimates

    return name, read_estimates(Path(name), every, table.parent, None if quiet else lambda note: say(printable(note)))


def _score(config: AssessConfig, rows: Sequence[LabelledRecording], *, quiet: bool) -> Found:
    """Score the recordings; what cannot be scored is named and has no estimates."""
    from mtqscore.audio.inputs import Input
    from mtqscore.scores import named_scores

    assessor = load_assessor(config, quiet=quiet)
    inputs = [Input(str(row.path)) for row in rows]
    estimates = {}
    for row, assessment in zip(rows, score(assessor, inputs, quiet=quiet), strict=True):
        if not assessment.ok:
            say(printable(f"{row.path}: {assessment.status}: {assessment.reason}"))
        estimates[row.path] = named_scores(assessment)
    return assessor.model, estimates


def _show(
    result: Evaluation, places: Mapping[str, Output], config: EvaluateConfig, facts: Mapping[str, str | int | None]
) -> None:
    """Write what was asked for; stdout shows the tables, unless a file goes there."""

    from mtqscore.report.agreement import evaluation_as_dict, evaluation_text, write_csv

    if "csv" in places:
        stream = StringIO()
        write_csv(stream, result.agreement)
        write_text(places["csv"], stream.getvalue())
    if "json" in places:
        plain = {key: as_text(value) if isinstance(value, str) else value for key, value in facts.items()}
        plain |= {"resamples": config.resamples, "seed": config.seed}
        write_text(places["json"], as_line(document(EVALUATE, {**plain, **evaluation_as_dict(result)})))
    if all(place.target != STDOUT for place in places.values()):
        print_result(evaluation_text(result, config.resamples))


def _draw(
    picture: str, result: Evaluation, rows: Sequence[LabelledRecording], colour: str | None, *, quiet: bool
) -> None:
    from mtqscore.report.plots import Scatter, draw_scatter

    draw_scatter(Path(picture), rows, result.estimates, Scatter(result.name, result.agreement, colour))
    if not quiet:
        say(f"drawn to {picture}")


def _lack_estimates(result: Evaluation, rows: Sequence[LabelledRecording], *, quiet: bool) -> bool:
    """Report the recordings that have no estimate of anything that they have a label of."""

    lacking = result.lacking(rows)
    if lacking and not quiet:
        names = ", ".join(printable(str(row.path)) for row in lacking[:NAMED])
        say(f"{len(lacking)} of {len(rows)} labelled recordings have no estimate and were left out: {names}")
    return bool(lacking)
