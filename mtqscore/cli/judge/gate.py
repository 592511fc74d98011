"""``mtqscore gate``: judge a result again, without scoring."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, ClassVar, TextIO

import typer

from mtqscore.base.text import display_name
from mtqscore.cli.console import clean_endings, say
from mtqscore.cli.from_config import NOTHING, Given, takes
from mtqscore.cli.options import Limits, Project, Quiet, ResultFiles
from mtqscore.cli.settings import parse_gates
from mtqscore.cli.verdicts import choose_targets, exit_code, gate_entries, project_settings, say_verdicts
from mtqscore.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mtqscore.analysis.gates import Gate
    from mtqscore.report.summary import RunSummary
    from mtqscore.results.run import Results
    from mtqscore.scores import Assessment


EXAMPLES = """Examples:

mtqscore gate scores.jsonl --fail-under 'g>=3.2' --fail-under 'p05(n)>=2.8 in clean/**'

mtqscore gate scores.jsonl --junit junit.xml
"""


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    limits, outputs = (Limits, ("fail_under", "warn_under")), (ResultFiles, ("json", "junit", "md"))
    app.command("gate", epilog=EXAMPLES)(takes(limits=limits, project=Project, outputs=outputs)(gate))


def gate(
    results: Annotated[
        str, typer.Argument(metavar="RESULTS", help="What assess wrote: .jsonl, .json, .csv, .parquet; - is stdin.")
    ],
    limits: Given = NOTHING,
    project: Given = NOTHING,
    outputs: Given = NOTHING,
    quiet: Quiet = False,
) -> None:
    """Judge scores that were written before: the same gates give the same verdicts as in the run that wrote them.

    Exit codes:
    0  every recording has scores, every gate holds
    1  a gate failed
    2  wrong use, or no gate
    3  some recordings have no scores
    4  a result cannot be written
    """

    with clean_endings():
        from mtqscore.results.reading import read_results

        targets = choose_targets(outputs, read=(results,))
        entries = gate_entries(limits, project_settings(project), quiet=quiet)
        if not entries:
            raise UsageError("there is no gate; give --fail-under 'g>=3.2', or write gates into mtqscore.toml")
        found = read_results(results)
        summary = _judge(found, parse_gates(entries, found.run.targets))
        _report(found, summary, targets)
        say_verdicts(summary.gates, None, quiet=quiet)
        if not quiet:
            _say_unscored(found.rows)
    raise typer.Exit(exit_code(summary))


def _judge(results: Results, gates: list[Gate]) -> RunSummary:
    from mtqscore.analysis.gates import judge
    from mtqscore.report.summary import RunSummary

    summary = RunSummary(gates=judge(gates, results.rows))
    for row in results.rows:
        summary.add(row)
    return summary


def _report(results: Results, summary: RunSummary, targets: dict[str, str]) -> None:
    """Write what was asked for; stdout shows the gates, unless a report goes there."""

    from mtqscore.report.run_reports import open_reports

    with open_reports(results.run, targets, _GatesOnly(sys.stdout)) as reports:
        reports.begin()
        for row in results.rows:
            reports.write(row)
        reports.finish(summary)


class _GatesOnly:
    """Writer of the summary and the verdicts, without the rows."""

    line_by_line: ClassVar[bool] = False

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def begin(self) -> None:
        pass

    def write(self, assessment: Assessment) -> None:
        pass

    def finish(self, summary: RunSummary) -> None:
        from mtqscore.report.table import findings, summary_line

        self._stream.write("\n".join([summary_line(summary), *findings(summary)]) + "\n")
        self._stream.flush()


def _say_unscored(rows: Sequence[Assessment]) -> None:

    unscored = [row for row in rows if not row.ok]
    if unscored:
        first = f"{display_name(unscored[0].path)}: {unscored[0].status}"
        say(f"{len(unscored)} of {len(rows)} rows have no scores, the first is {first}")
