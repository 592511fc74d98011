"""``mtqscore doctor``: obstacles between this machine and a score."""

from __future__ import annotations

import typer

from mtqscore.base.files import Output
from mtqscore.cli.console import clean_endings, print_result, write_text
from mtqscore.cli.from_config import NOTHING, Given, takes
from mtqscore.cli.options import ResultFiles


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("doctor")(takes(outputs=(ResultFiles, ("json",)))(doctor))


def doctor(outputs: Given = NOTHING) -> None:
    """Examine the installation: packages, devices, audio formats, models, scores of known clips, folders.

    Exit code 0: recordings can be scored. 4: something stops that; each such line comes with one to paste.
    """
    from mtqscore.diagnostics.doctor.examine import examination

    with clean_endings():
        text, code = examination(as_json="json" in outputs)
        if "json" in outputs:
            with Output(outputs["json"], line_by_line=False) as place:
                write_text(place, text + "\n")
        else:
            print_result(text)
    if code:
        raise typer.Exit(code)
