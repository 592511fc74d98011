"""The command line: one file a command, one place where an error becomes a message and an exit code."""

from __future__ import annotations

import importlib
import importlib.util
import sys

import typer

from mtqscore.cli.console import fail
from mtqscore.errors import MtqscoreError

COMMANDS = ("assess", "simulate", "label", "train", "export")
"""Modules of this package, each with ``register(app)``, in the order of the help page."""

app = typer.Typer(
    name="mtqscore",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in COMMANDS:
    if importlib.util.find_spec(f"{__name__}.{command}") is not None:
        importlib.import_module(f"{__name__}.{command}").register(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        from mtqscore import __version__

        typer.echo(f"mtqscore {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Show the version."
    ),
) -> None:
    """Score speech without a reference: S-MOS (speech), N-MOS (background noise), G-MOS (overall)."""


def main() -> None:
    """Run the command line; every expected failure ends in one line on stderr and its exit code."""
    try:
        app()
    except MtqscoreError as error:
        fail(error)
        sys.exit(error.exit_code)
