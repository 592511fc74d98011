"""The app of all commands, and the one place where an error becomes a message and an exit code."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable

import typer

from mtqscore.cli.console import fail, prepare_streams, stdout_problem
from mtqscore.cli.plain import PlainCommand, PlainGroup
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
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
    )
    app.callback()(_start)
    for command in commands:
        importlib.import_module(f"{__package__}.{COMMANDS[command]}.{command}").register(app)
    for registered in app.registered_commands:
        registered.cls = PlainCommand
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


def with_place_of_json(arguments: list[str]) -> list[str]:
    """Add the ``-`` to a ``--json`` of earlier command lines, which named no file and meant stdout."""
    if not arguments or arguments[0] not in ("doctor", "selftest", "models", "label"):
        return arguments
    completed: list[str] = []
    for word, following in zip(arguments, [*arguments[1:], ""], strict=True):
        completed.append(word)
        if word == "--json" and following != "-" and not following.endswith(".json"):
            completed.append("-")
    return completed


def run() -> None:
    """Run the command that stands in the arguments; every expected failure ends in one line and its exit code."""
    prepare_streams()
    arguments = with_place_of_json(sys.argv[1:])
    named = next((word for word in arguments if not word.startswith("-")), None)
    problem: MtqscoreError
    try:
        build_app([named] if named in COMMANDS else COMMANDS)(arguments)
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
