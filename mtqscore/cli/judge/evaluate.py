"""``mtqscore evaluate``: how well scores agree with labels."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mtqscore.cli.from_config import NOTHING, Given, takes
from mtqscore.cli.options import Quiet, ResultFiles
from mtqscore.config import INPUT, RESULTS, AssessConfig
from mtqscore.errors import ExitCode, InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mtqscore.analysis.evaluate import Agreement, Contrast, Miss
    from mtqscore.base.files import Output
    from mtqscore.labels.table import LabelledRecording

    Found = dict[Path, dict[str, float]]

NAMED = 5
"""So many recordings that have no estimate are named."""

STATISTICS = "Statistics"


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    scoring = (AssessConfig, ("model", "device", "threads"))
    app.command("evaluate")(takes(scoring=scoring, outputs=(ResultFiles, ("csv", "json")))(evaluate))


def evaluate(
    labels: Annotated[str, typer.Argument(metavar="LABELS", help="Label table, or folder that holds manifest.csv.")],
    predictions: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.csv",
            help="Estimates to judge, in place of a model's: path and scores, as of `assess --csv` or a training run.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.csv|MODEL",
            help="Other estimates, or another model: is it better or worse, and how sure is that?",
            rich_help_panel=INPUT,
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(metavar="train|val|test", help="Only recordings of this split; else all.", rich_help_panel=INPUT),
    ] = None,
    scoring: Given = NOTHING,
    by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="Column of the label table to group by; can be given again. Else condition, system, kind.",
            show_default=False,
            rich_help_panel=STATISTICS,
        ),
    ] = None,
    resamples: Annotated[
        int, typer.Option(metavar="N", help="Bootstrap draws for the 95 % intervals.", rich_help_panel=STATISTICS)
    ] = 1000,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the draws.", rich_help_panel=STATISTICS)] = 0,
    errors: Annotated[
        int,
        typer.Option(metavar="N", help="Largest errors of each score that are named.", rich_help_panel=RESULTS),
    ] = 3,
    plot: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.png|.svg|.pdf",
            help="Draw estimates against labels, a panel a score; needs the extra plots.",
            rich_help_panel=RESULTS,
        ),
    ] = None,
    colour: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Colour the plot by this column of the table.", rich_help_panel=RESULTS),
    ] = None,
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
    from mtqscore.base.files import Output
    from mtqscore.cli.console import clean_endings, say, without_native_noise
    from mtqscore.cli.verdicts import choose_targets

    if predictions is not None and "model" in scoring:
        raise UsageError("give --model or --predictions, not both")
    if resamples < 1 or errors < 0 or seed < 0:
        raise UsageError("--resamples is 1 or more, --errors and --seed are 0 or more")
    # Not Path.is_dir, which raises where a name is too long.
    table = Path(labels) / "manifest.csv" if os.path.isdir(labels) else Path(labels)  # noqa: PTH112
    read = (str(table), predictions, against if _is_table(against) else None)
    targets = choose_targets({**outputs, "plot": plot}, read)
    picture = targets.pop("plot", None)
    _check_plot(picture, colour)
    with clean_endings(), without_native_noise(), ExitStack() as stack:
        places = {kind: stack.enter_context(Output(target, line_by_line=False)) for kind, target in targets.items()}
        by_model = predictions is None or (against is not None and not _is_table(against))
        every, rows = _labelled(table, split, check_files=by_model)
        estimator = _Estimator(every, rows, table.parent, AssessConfig(**scoring), quiet)
        statistics = _Statistics(by or None, resamples, seed, errors)
        result = _judge(estimator, predictions, against, statistics, colour)
        _show(result, places, {"labels": str(table), "split": split, "recordings": len(rows)}, statistics)
        if picture is not None:
            from mtqscore.report.plots import Scatter, draw_scatter

            draw_scatter(Path(picture), rows, result.estimates, Scatter(result.name, result.found, colour))
            if not quiet:
                say(f"drawn to {picture}")
        some_failed = _lack_estimates(rows, result.estimates, quiet=quiet)
    if some_failed:
        raise typer.Exit(ExitCode.INPUT)


def _is_table(name: str | None) -> bool:
    return name is not None and name.lower().endswith(".csv")


def _check_plot(picture: str | None, colour: str | None) -> None:
    """Refuse what cannot be drawn before anything is scored."""

    if picture is not None:
        from mtqscore.report.plots import check_picture

        check_picture(picture)
    elif colour is not None:
        raise UsageError("--colour is for a plot: give --plot FILE.png too")


def _labelled(
    table: Path, split: str | None, *, check_files: bool
) -> tuple[list[LabelledRecording], list[LabelledRecording]]:
    """All rows of the table, and those that are judged: of the split, and with a label at all."""
    from mtqscore.labels.table import SPLITS, read_label_table

    if split is not None and split not in SPLITS:
        raise UsageError(f"--split {split}: choose one of {', '.join(SPLITS)}")
    every = read_label_table(table, check_files=check_files)
    held = next((name for name in every[0].extra if name.startswith("label_")), None)
    if held is not None:
        raise UsageError(
            f"{table}: it holds estimates beside labels ({held}): give the label table of the corpus, and this one "
            "with --predictions"
        )
    rows = [row for row in every if split in (None, row.split)]
    if not rows:
        raise UsageError(f"{table}: no recordings in the split {split}")
    labelled = [row for row in rows if row.labels]
    if not labelled:
        raise InputError(f"{table}: none of its recordings has a label")
    return every, labelled


@dataclass(frozen=True)
class _Estimator:
    """Source of estimates.

    Args:
        every: all rows of the label table; a table of estimates may name more than are judged.
        rows: those that are judged.
        base: folder of the label table.
        config: how recordings are scored.
        quiet: say nothing.
    """

    every: Sequence[LabelledRecording]
    rows: Sequence[LabelledRecording]
    base: Path
    config: AssessConfig
    quiet: bool

    def of_table(self, name: str) -> tuple[str, Found]:
        """Read them from a table."""
        from mtqscore.analysis.estimates import read_estimates
        from mtqscore.base.text import printable
        from mtqscore.cli.console import say

        def tell(note: str) -> None:
            if not self.quiet:
                say(printable(note))

        return name, read_estimates(Path(name), self.every, self.base, tell)

    def of_model(self, model: str | None) -> tuple[str, Found]:
        """Score the recordings; what cannot be scored is named and has no estimates."""
        from dataclasses import replace

        from mtqscore.audio.inputs import Input
        from mtqscore.base.text import printable
        from mtqscore.cli.console import say
        from mtqscore.cli.scoring import load_assessor, score
        from mtqscore.scores import named_scores

        assessor = load_assessor(replace(self.config, model=model), quiet=self.quiet)
        inputs = [Input(str(row.path)) for row in self.rows]
        estimates: Found = {}
        for row, assessment in zip(self.rows, score(assessor, inputs, quiet=self.quiet), strict=True):
            if not assessment.ok:
                say(printable(f"{row.path}: {assessment.status}: {assessment.reason}"))
            estimates[row.path] = named_scores(assessment)
        return assessor.model, estimates


@dataclass(frozen=True)
class _Statistics:
    """Options of the statistics.

    Args:
        by: columns to group by; None for the usual ones.
        resamples: bootstrap draws.
        seed: source of the draws.
        errors: so many of the largest errors of each score are named.
    """

    by: Sequence[str] | None
    resamples: int
    seed: int
    errors: int


@dataclass(frozen=True)
class _Result:
    """Agreement, comparison and errors of a model.

    Args:
        name: the model or table that is judged.
        estimates: its estimates.
        found: agreement with the labels.
        others: the one that it is compared with.
        contrasts: differences from the others.
        errors: the largest errors.
    """

    name: str
    estimates: Found
    found: Sequence[Agreement]
    others: str | None
    contrasts: Sequence[Contrast]
    errors: Sequence[Miss]


def _judge(
    estimator: _Estimator, predictions: str | None, against: str | None, statistics: _Statistics, colour: str | None
) -> _Result:
    """Get the estimates, and compare them with the labels and with the others."""
    from mtqscore.analysis.evaluate import contrast, evaluate, group_columns, largest_errors
    from mtqscore.analysis.statistics import load_scipy_stats

    load_scipy_stats()  # refused before anything is scored

    by, how = statistics.by, (statistics.resamples, statistics.seed)
    group_columns(estimator.rows, [*(by or ()), *([] if colour is None else [colour])])
    name, estimates = (
        estimator.of_model(estimator.config.model) if predictions is None else estimator.of_table(predictions)
    )
    found = evaluate(estimator.rows, estimates, by, *how)
    others_name = None
    contrasts: list[Contrast] = []
    if against is not None:
        others_name, others = estimator.of_table(against) if _is_table(against) else estimator.of_model(against)
        contrasts = contrast(estimator.rows, estimates, others, by, *how)
    misses = largest_errors(estimator.rows, estimates, statistics.errors)
    return _Result(name, estimates, found, others_name, contrasts, misses)


def _show(
    result: _Result, places: Mapping[str, Output], facts: Mapping[str, str | int | None], statistics: _Statistics
) -> None:
    """Write what was asked for; stdout shows the tables, unless a file goes there."""
    import json
    from io import StringIO

    from mtqscore.base.files import STDOUT
    from mtqscore.base.names import as_text
    from mtqscore.base.schema_versions import EVALUATE, document
    from mtqscore.base.text import printable
    from mtqscore.cli.console import print_result, write_text
    from mtqscore.report import agreement as report

    content = {
        **{key: as_text(value) if isinstance(value, str) else value for key, value in facts.items()},
        "resamples": statistics.resamples,
        "seed": statistics.seed,
        "estimates": as_text(result.name),
        "against": None if result.others is None else as_text(result.others),
        "agreement": [report.agreement_as_dict(item) for item in result.found],
        "contrasts": [report.contrast_as_dict(item) for item in result.contrasts],
        "largest_errors": [report.error_as_dict(item) for item in result.errors],
    }
    for kind, place in places.items():
        if kind == "csv":
            stream = StringIO()
            report.write_csv(stream, result.found)
            write_text(place, stream.getvalue())
        else:
            write_text(place, json.dumps(document(EVALUATE, content), ensure_ascii=False, allow_nan=False) + "\n")
    if any(place.target == STDOUT for place in places.values()):
        return
    lines = report.agreement_lines(result.found)
    for more in (report.contrast_lines(result.contrasts), report.error_lines(result.errors)):
        lines += ["", *more] if more else []
    compared = "" if result.others is None else f", compared with {result.others}"
    lines += ["", printable(f"{result.name}{compared}; 95 % intervals from {statistics.resamples:,} resamples")]
    print_result("\n".join(lines))


def _lack_estimates(
    rows: Sequence[LabelledRecording], estimates: Mapping[Path, Mapping[str, float]], *, quiet: bool
) -> bool:
    """Say how many of the recordings have no estimate of anything that they have a label of."""
    from mtqscore.base.text import printable
    from mtqscore.cli.console import say

    known = {name for found in estimates.values() for name in found}
    judged = [row for row in rows if row.labels.keys() & known]
    lacking = [row for row in judged if not row.labels.keys() & estimates.get(row.path, {}).keys()]
    if lacking and not quiet:
        names = ", ".join(printable(str(row.path)) for row in lacking[:NAMED])
        say(f"{len(lacking)} of {len(rows)} labelled recordings have no estimate and were left out: {names}")
    return bool(lacking)
