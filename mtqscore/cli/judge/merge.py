"""``mtqscore merge``: the results of many machines as one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from mtqscore.base.files import STDOUT
from mtqscore.base.text import printable
from mtqscore.base.version import VERSION
from mtqscore.cli.console import clean_endings, print_result, say
from mtqscore.cli.from_config import NOTHING, Given, takes
from mtqscore.cli.options import FromList, Quiet, ResultFiles
from mtqscore.cli.scoring import read_names
from mtqscore.cli.verdicts import choose_targets, exit_code
from mtqscore.errors import InputError

if TYPE_CHECKING:
    from mtqscore.report.summary import RunSummary
    from mtqscore.results.merge import Merged


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("merge")(takes(outputs=ResultFiles)(merge))


def merge(
    parts: Annotated[
        list[str],
        typer.Argument(metavar="PART...", help="What assess wrote, one a shard: .jsonl, .json, .csv, .parquet."),
    ],
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--inputs",
            metavar="PATH",
            help="What was to be scored, as it was named to assess: gives the order, and finds what is missing. Can be "
            "given again.",
            show_default=False,
        ),
    ] = None,
    from_list: FromList = None,
    allow_gaps: Annotated[
        bool, typer.Option("--allow-gaps", metavar="", help="Merge what is there, although something is missing.")
    ] = False,
    outputs: Given = NOTHING,
    quiet: Quiet = False,
) -> None:
    """Join the results of shards, and report what is missing or there twice.

    Without an output it only looks.

    Exit codes:
    0  every recording is there and has scores
    2  wrong use, or the parts do not belong together
    3  something is missing, and nothing was written; or some recordings have no scores
    4  a result cannot be written
    """

    with clean_endings():
        from mtqscore.audio.discovery import find_inputs
        from mtqscore.report.summary import RunSummary
        from mtqscore.results.merge import merge_results
        from mtqscore.results.reading import read_results

        targets = choose_targets(outputs, read=(*parts, from_list))
        names = read_names(inputs or [], from_list) if inputs or from_list else None
        paths = None if names is None else [item.path for item in find_inputs(names)]
        merged = merge_results([read_results(part, may_be_empty=True) for part in parts], paths)
        _tell(merged, allow_gaps=allow_gaps, quiet=quiet)
        summary = RunSummary()
        _report(merged, summary, targets)
    raise typer.Exit(exit_code(summary))


def _tell(merged: Merged, *, allow_gaps: bool, quiet: bool) -> None:

    if merged.repeated and not quiet:
        say(f"dropped because they were there already: {merged.repeated:,} rows")
    if not merged.gaps:
        return
    if not allow_gaps:
        more = f" (and {len(merged.gaps) - 1} more gaps)" if len(merged.gaps) > 1 else ""
        raise InputError(f"{merged.gaps[0]}{more}; --allow-gaps merges what is there")
    for gap in merged.gaps:
        say(f"merged with a gap: {printable(gap)}")


def _report(merged: Merged, summary: RunSummary, targets: dict[str, str]) -> None:
    """Write what was asked for; stdout shows the summary, unless a result goes there."""

    from mtqscore.report.run_reports import open_reports
    from mtqscore.report.table import summary_line

    run = replace(merged.results.run, version=VERSION)
    with open_reports(run, targets, whole=True) as reports:
        reports.begin()
        for row in merged.results.rows:
            summary.add(row)
            reports.write(row)
        reports.finish(summary)
    if STDOUT not in targets.values():
        print_result(summary_line(summary))
