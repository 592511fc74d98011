"""``mtqscore doctor``: what stands between this machine and a score."""

from __future__ import annotations

from typing import Annotated

import typer

from mtqscore.cli.plain import PlainCommand

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("doctor", cls=PlainCommand)(doctor)


def doctor(as_json: AsJson = False) -> None:
    """Examine the installation: packages, devices, audio formats, models, scores of known clips, folders.

    Exit code 0: recordings can be scored. 4: something stops that; each such line comes with one to paste.
    """
    from mtqscore.cli.console import clean_endings, print_result
    from mtqscore.diagnostics.doctor.show import examination

    with clean_endings():
        text, code = examination(as_json=as_json)
        print_result(text)
    if code:
        raise typer.Exit(code)
