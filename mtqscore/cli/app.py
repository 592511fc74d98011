"""What all commands are under: the app is built, and one place makes an error a message and an exit code."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable

import typer

from mtqscore.cli.console import fail, prepare_streams, stdout_problem
from mtqscore.cli.plain import PlainGroup
from mtqscore.errors import MtqscoreError

COMMANDS = {
    "assess": "score",
    "merge": "judge",
    "gate": "judge",
    "compare": "judge",
    "explain": "score",
    "simulate": "learn",
    "label": "score",
    "train": "learn",
    "distill": "learn",
    "prune": "learn",
    "export": "learn",
    "evaluate": "judge",
    "models": "check",
    "doctor": "check",
    "selftest": "check",
}
"""The folder of each command's module, which has ``register(app)``, in the order of the help page."""


def build_app(commands: Iterable[str] = COMMANDS) -> typer.Typer:
    """Make the command line.

    Args:
        commands: those that it shall know; to build one that is not wanted only takes time.
    """
    app = typer.Typer(
        name="mtqscore",
        cls=PlainGroup,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(_start)
    for command in commands:
        importlib.import_module(f"{__package__}.{COMMANDS[command]}.{command}").register(app)
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        from mtqscore.base.version import VERSION

        typer.echo(f"mtqscore {VERSION}")
        raise typer.Exit


def _start(
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
    ),
) -> None:
    """Score speech without a reference: S-MOS (speech), N-MOS (background noise), G-MOS (overall)."""


def run() -> None:
    """Run the command that stands in the arguments; every expected failure ends in one line and its exit code."""
    prepare_streams()
    named = next((word for word in sys.argv[1:] if not word.startswith("-")), None)
    problem: MtqscoreError
    try:
        build_app([named] if named in COMMANDS else COMMANDS)()
        return
    except MtqscoreError as error:
        problem = error
    except ImportError as error:
        from mtqscore.base.libraries import unloadable

        problem = unloadable(error.name or "a library", error)
    except OSError as error:
        from mtqscore.base.files import MACHINE_FAULTS

        # Commands say themselves what they cannot write: this is a page of help.
        if error.errno not in MACHINE_FAULTS:
            raise
        problem = stdout_problem(error)
    fail(problem)
    sys.exit(problem.exit_code)
