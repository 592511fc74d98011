"""Shared parts of the commands that train: one process that reports, interruptions, faults of a corpus."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from mtqscore.cli.console import say
from mtqscore.errors import EnvironmentProblemError, ExitCode, MissingExtraError, MtqscoreError

ConfigFile = Annotated[
    str | None, typer.Option("--config", metavar="FILE", help="TOML file with any setting; options win over it.")
]


@contextmanager
def in_one_process() -> Iterator[None]:
    """Report an error from one of the processes of ``torchrun``: the first that meets it."""
    try:
        yield
    except MtqscoreError as error:
        if os.environ.get("WORLD_SIZE", "1") == "1":
            raise
        from mtqscore.training.compute.distributed import reports_errors

        if reports_errors():
            raise
        raise typer.Exit(error.exit_code) from None


@contextmanager
def interruptible(folder: Path) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM, the signal of a batch system, end a run in one line.

    Args:
        folder: the run folder.
    """
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    except KeyboardInterrupt:
        if is_first():
            say(f"interrupted; what is finished is kept in {folder}, and the same command goes on from there")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextmanager
def faults_in(folder: Path) -> Iterator[None]:
    """Write more faults than fit a line into a file of the run folder."""
    from mtqscore.base.text import printable
    from mtqscore.labels.table import MAX_REPORTED_FAULTS, FaultyTableError

    try:
        yield
    except FaultyTableError as error:
        for note in getattr(error, "__notes__", ()) if is_first() else ():
            say(printable(note))
        if len(error.faults) <= MAX_REPORTED_FAULTS:
            raise
        try:
            told = error.reported(folder / "faults.txt")
        except EnvironmentProblemError as problem:
            say(str(problem))
            raise error from None
        raise told from error


def check_extra(command: str) -> None:
    """Refuse before a corpus is read if what trains is not installed; importing it would take seconds."""
    from importlib.util import find_spec

    for module in ("torch", "safetensors", "matplotlib", "scipy", "pesq", "pystoi"):
        try:
            missing = find_spec(module) is None
        except ModuleNotFoundError:
            missing = True
        if missing:
            raise MissingExtraError(command, "train", module)


def is_first() -> bool:
    """Return true in the one process of ``torchrun`` that reports."""
    return os.environ.get("RANK", "0") == "0"


def say_nothing(_text: str) -> None:
    """Leave a message to the process that reports."""


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
