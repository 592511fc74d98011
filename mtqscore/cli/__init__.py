"""The command line: one file a command, one place where an error becomes a message and an exit code."""

from __future__ import annotations

import sys

import typer

from mtqscore.cli import assess, export, label, simulate, train
from mtqscore.cli.console import fail
from mtqscore.errors import MtqscoreError

app = typer.Typer(
    name="mtqscore",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Score speech recordings without a reference: S-MOS (speech), N-MOS (background noise), G-MOS (overall).",
)
for command in (assess, simulate, label, train, export):
    command.register(app)


def main() -> None:
    """Run the command line; every expected failure ends in one line on stderr and its exit code."""
    try:
        app()
    except MtqscoreError as error:
        fail(error)
        sys.exit(error.exit_code)
