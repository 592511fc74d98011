"""``mtqscore simulate``: a labelled corpus from clean speech and noise."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mtqscore.base.machine import usable_cores
from mtqscore.base.schema import from_plain
from mtqscore.cli.console import progress_bar, say
from mtqscore.cli.from_config import NOTHING, Given, takes
from mtqscore.errors import ExitCode, MissingExtraError
from mtqscore.simulation.config import SimulationConfig


def simulate(
    speech: Annotated[
        str, typer.Argument(metavar="SPEECH", help="Folder of clean speech, or a CSV: path, speaker, split.")
    ],
    noise: Annotated[str, typer.Argument(metavar="NOISE", help="Folder of noise, or a CSV: path, family, split.")],
    out: Annotated[str, typer.Option(metavar="DIR", help="Folder for the corpus; an interrupted one is finished.")],
    simulation: Given = NOTHING,
    workers: Annotated[int, typer.Option(metavar="N", min=0, help="Processes; 0 for one a core.")] = 0,
) -> None:
    """Degrade clean speech in known ways and label what comes out: S, N, G, PESQ, STOI, SDI.

    Exit codes:
    0  all is well
    2  wrong use
    3  speech or noise cannot be read
    4  the extra train is missing, or the corpus cannot be written
    130  interrupted
    """
    config = from_plain(SimulationConfig, simulation, "the options")
    try:
        from mtqscore.simulation.corpus import simulate_corpus
    except ModuleNotFoundError as error:
        raise MissingExtraError("mtqscore simulate", "train", error.name or "?") from error
    places = Path(speech), Path(noise), Path(out)
    try:
        with progress_bar("simulating", "clips") as advance:
            manifest = simulate_corpus(*places, config, workers=workers or usable_cores(), progress=advance)
    except KeyboardInterrupt:
        say(f"interrupted; finished recordings are kept in {out}, and the same command goes on from there")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    say(f"{config.clips} recordings: {manifest}")


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("simulate")(takes(simulation=SimulationConfig)(simulate))
