"""``mtqscore train``: a network from a labelled corpus."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from mtqscore.cli.console import INTERRUPTED_EXIT, progress_bar, say
from mtqscore.config import TrainConfig
from mtqscore.errors import MissingExtraError, UsageError
from mtqscore.resolve import resolve


def train(
    data: Annotated[Path, typer.Option("--data", help="Folder with manifest.csv, or the label table itself.")],
    out: Annotated[Path | None, typer.Option(help="Run folder; runs/NAME-OF-DATA if not given.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with any setting; options win over it.")] = None,
    init: Annotated[Path | None, typer.Option(help="Run folder or checkpoint whose weights to start from.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the training split.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Recordings a step.")] = None,
    lr: Annotated[float | None, typer.Option(min=0.0, help="Highest learning rate.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Source of all randomness.")] = None,
    alpha: Annotated[float | None, typer.Option(min=0.0, help="Weight of the frame loss.")] = None,
    delta: Annotated[
        list[str] | None,
        typer.Option(help="Huber threshold on a scale of 0 to 4: a number, or TARGET=NUMBER; can be repeated."),
    ] = None,
    recolour_db: Annotated[float | None, typer.Option(min=0.0, help="Largest gain of the random equaliser.")] = None,
    patience: Annotated[
        int | None, typer.Option(min=0, help="Stop after so many epochs without progress; 0: never.")
    ] = None,
    bfloat16: Annotated[
        bool | None,
        typer.Option("--bfloat16/--float32", help="Arithmetic; bfloat16 if the processor has it, unless given."),
    ] = None,
    threads: Annotated[int | None, typer.Option(min=0, help="Processor threads; 0 for all.")] = None,
) -> None:
    """Train the network on a labelled corpus; the same command again goes on where an interrupted run stopped."""
    flags: dict[str, object] = {
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "seed": seed,
        "alpha": alpha,
        "delta": _deltas(delta) if delta else None,
        "recolour_db": recolour_db,
        "patience": patience,
        "bfloat16": bfloat16,
        "threads": threads,
    }
    settings = resolve(TrainConfig, config, flags)
    try:
        from mtqscore.training.loop import Watch
        from mtqscore.training.run import train_run
    except ModuleNotFoundError as error:
        raise MissingExtraError("mtqscore train", "train", error.name or "?") from error

    folder = out or Path("runs") / data.resolve().with_suffix("").name
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with progress_bar("training", "steps") as advance:
            train_run(data, folder, settings, Watch(advance, say), init)
    except KeyboardInterrupt:
        say(f"interrupted; finished epochs are kept in {folder}, and the same command goes on from there")
        raise typer.Exit(INTERRUPTED_EXIT) from None
    finally:
        signal.signal(signal.SIGTERM, previous)


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command()(train)


def _deltas(texts: list[str]) -> dict[str, float]:
    deltas = {"default": 1.0}
    for text in texts:
        name, equals, number = text.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if not value > 0:
            raise UsageError(f"--delta {text}: give a positive number, or TARGET=NUMBER")
        deltas[name if equals else "default"] = value
    return deltas


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
