"""``mtqscore simulate``: a labelled corpus from clean speech and noise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from mtqscore.cli.console import progress_bar, say
from mtqscore.errors import ExitCode, MissingExtraError, UsageError


def simulate(
    speech: Annotated[
        str, typer.Argument(metavar="SPEECH", help="Folder of clean speech, or a CSV: path, speaker, split.")
    ],
    noise: Annotated[str, typer.Argument(metavar="NOISE", help="Folder of noise, or a CSV: path, family, split.")],
    out: Annotated[str, typer.Option(metavar="DIR", help="Folder for the corpus; an interrupted one is finished.")],
    clips: Annotated[int, typer.Option(metavar="N", help="Number of recordings.")] = 8000,
    seed: Annotated[int, typer.Option(metavar="N", help="The same seed gives the same corpus.")] = 1,
    val_share: Annotated[float, typer.Option(metavar="SHARE", help="Of the recordings, for validation.")] = 0.08,
    test_share: Annotated[float, typer.Option(metavar="SHARE", help="Of the recordings, for the test.")] = 0.12,
    narrow_share: Annotated[float, typer.Option(metavar="SHARE", help="Of the recordings, narrowband.")] = 0.4,
    voice_share: Annotated[
        float,
        typer.Option(metavar="SHARE", help="Of the recordings for training and validation, made other talkers."),
    ] = 0.5,
    min_s: Annotated[float, typer.Option(metavar="SECONDS", help="Shortest recording.")] = 3.0,
    max_s: Annotated[float, typer.Option(metavar="SECONDS", help="Longest recording.")] = 7.0,
    enhancer: Annotated[
        list[str] | None,
        typer.Option(metavar="COMMAND", help="External enhancer, such as 'cmd {in} {out}'. Can be given again."),
    ] = None,
    enhancer_share: Annotated[
        float, typer.Option(metavar="SHARE", help="Of the enhanced recordings, through an external enhancer, if any.")
    ] = 0.5,
    hold_out: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Enhancer, distortion or codec, such as klt or vorbis, that only the test has. Can be given again.",
        ),
    ] = None,
    workers: Annotated[int, typer.Option(metavar="N", help="Processes; 0 for one a core.")] = 0,
) -> None:
    """Degrade clean speech in known ways and label what comes out: S, N, G, PESQ, STOI, SDI.

    Exit codes:
    0  all is well
    2  wrong use
    3  speech or noise cannot be read
    4  the extra train is missing, or the corpus cannot be written
    130  interrupted
    """
    _check(
        clips,
        workers,
        {
            "val": val_share,
            "test": test_share,
            "narrow": narrow_share,
            "voice": voice_share,
            "enhancer": enhancer_share,
        },
        min_s,
        max_s,
    )
    try:
        from mtqscore.simulation.corpus import SimulationConfig, simulate_corpus
    except ModuleNotFoundError as error:
        raise MissingExtraError("mtqscore simulate", "train", error.name or "?") from error
    from mtqscore.base.machine import usable_cores

    config = SimulationConfig(
        clips=clips,
        val_share=val_share,
        test_share=test_share,
        seed=seed,
        min_s=min_s,
        max_s=max_s,
        narrow_share=narrow_share,
        voice_share=voice_share,
        enhancers=tuple(enhancer or ()),
        enhancer_share=enhancer_share,
        hold_out=tuple(hold_out or ()),
    )
    try:
        with progress_bar("simulating", "clips") as advance:
            manifest = simulate_corpus(
                Path(speech), Path(noise), Path(out), config, workers=workers or usable_cores(), progress=advance
            )
    except KeyboardInterrupt:
        say(f"interrupted; finished recordings are kept in {out}, and the same command goes on from there")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    say(f"{clips} recordings: {manifest}")


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("simulate")(simulate)


def _check(clips: int, workers: int, shares: Mapping[str, float], min_s: float, max_s: float) -> None:
    if clips < 1 or workers < 0:
        raise UsageError("--clips is 1 or more, --workers is 0 or more")
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise UsageError(f"--{name}-share {share:g} is outside 0 to 1")
    if shares["val"] + shares["test"] > 1:
        raise UsageError("--val-share and --test-share add up to more than 1")
    if not (1 <= min_s < math.inf and 1 <= max_s < math.inf):
        raise UsageError(f"--min-s {min_s:g} and --max-s {max_s:g}: both are 1 or more")
    if max_s < min_s:
        raise UsageError(f"--max-s {max_s:g} is below --min-s {min_s:g}")
