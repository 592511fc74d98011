"""``mtqscore explain``: one recording in words, with its curves."""

from __future__ import annotations

import os
import sys
from json import dumps
from typing import TYPE_CHECKING, Annotated

import typer

from mtqscore.base.files import STDOUT, Output
from mtqscore.cli.console import clean_endings, print_result, without_native_noise, write_text
from mtqscore.cli.from_config import NOTHING, Given, takes
from mtqscore.cli.options import Project, ResultFiles
from mtqscore.cli.verdicts import project_settings
from mtqscore.config import AssessConfig
from mtqscore.errors import ExitCode

if TYPE_CHECKING:
    from mtqscore.analysis.explanation import Explanation


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    wanted = ("model", "device", "precision", "channels")
    made = takes(scoring=(AssessConfig, wanted), project=Project, outputs=(ResultFiles, ("json",)))
    app.command("explain")(made(explain))


def explain(
    file: Annotated[str, typer.Argument(metavar="FILE", help="One recording.", show_default=False)],
    scoring: Given = NOTHING,
    project: Given = NOTHING,
    outputs: Given = NOTHING,
) -> None:
    """Explain one recording: what its scores say, where it is worst, what was measured, what to check.

    Exit codes:
    0  it was scored
    2  wrong use
    3  it could not be scored
    4  the device or the model does not work, or the result cannot be written
    """

    with clean_endings(), without_native_noise():
        from mtqscore.analysis.explain import explain_file

        json = outputs.get("json")
        explanation = explain_file(file, project_settings(project).assess_config(scoring))
        if json is not None:
            _write_json(explanation, json)
        if json != STDOUT:
            _show(explanation)
    if not explanation.assessment.ok:
        raise typer.Exit(ExitCode.INPUT)


def _write_json(explanation: Explanation, target: str) -> None:

    from mtqscore.analysis.explanation import as_record

    with Output(target, line_by_line=False) as place:
        write_text(place, dumps(as_record(explanation), ensure_ascii=False, allow_nan=False, indent=2) + "\n")


def _show(explanation: Explanation) -> None:

    from mtqscore.report.explanation import describe

    stream = sys.stdout
    try:
        "▁█▲".encode(stream.encoding or "ascii")
        blocks = True
    except UnicodeEncodeError:
        blocks = False
    colour = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    try:  # of the stream: descriptor 1 may be kept from what C libraries print
        terminal = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        terminal = 80
    columns = os.environ.get("COLUMNS", "")
    width = int(columns) if columns.isdecimal() else terminal
    print_result("\n".join(describe(explanation, width, blocks=blocks, colour=colour)))
