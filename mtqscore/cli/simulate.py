"""``mtqscore simulate``: a labelled corpus from clean speech and noise."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mtqscore.cli.console import INTERRUPTED_EXIT, progress_bar, say
from mtqscore.errors import MissingExtraError, UsageError


def simulate(
    speech: Annotated[Path, typer.Argument(help="Folder of clean speech, or a CSV: path, speaker, split.")],
    noise: Annotated[Path, typer.Argument(help="Folder of noise, or a CSV: path, family, split.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the corpus; an interrupted one is finished.")],
    clips: Annotated[int, typer.Option(min=1, help="Number of recordings.")] = 8000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same corpus.")] = 1,
    val_share: Annotated[float, typer.Option(min=0, max=1, help="Share of recordings for validation.")] = 0.08,
    test_share: Annotated[float, typer.Option(min=0, max=1, help="Share of recordings for the test.")] = 0.12,
    narrow_share: Annotated[float, typer.Option(min=0, max=1, help="Share of narrowband recordings.")] = 0.4,
    min_s: Annotated[float, typer.Option(min=1, help="Shortest recording in seconds.")] = 3.0,
    max_s: Annotated[float, typer.Option(min=1, help="Longest recording in seconds.")] = 7.0,
    enhancer: Annotated[
        list[str] | None, typer.Option(help="External enhancer, for example 'cmd {in} {out}'; can be repeated.")
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0 for one a core.")] = 0,
) -> None:
    """Degrade clean speech in known ways and label what comes out: S, N, G, PESQ, STOI, SDI."""
    if max_s < min_s:
        raise UsageError(f"--max-s {max_s:g} is below --min-s {min_s:g}")
    if val_share + test_share > 1:
        raise UsageError("--val-share and --test-share add up to more than 1")
    try:
        from mtqscore.simulation.corpus import SimulationConfig, simulate_corpus
    except ModuleNotFoundError as error:
        raise MissingExtraError("mtqscore simulate", "train", error.name or "?") from error
    from mtqscore.cores import usable_cores

    config = SimulationConfig(
        clips=clips,
        val_share=val_share,
        test_share=test_share,
        seed=seed,
        min_s=min_s,
        max_s=max_s,
        narrow_share=narrow_share,
        enhancers=tuple(enhancer or ()),
    )
    try:
        with progress_bar("simulating", "clips") as advance:
            manifest = simulate_corpus(speech, noise, out, config, workers=workers or usable_cores(), progress=advance)
    except KeyboardInterrupt:
        say(f"interrupted; finished recordings are kept in {out}, and the same command goes on from there")
        raise typer.Exit(INTERRUPTED_EXIT) from None
    say(f"{clips} recordings: {manifest}")


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command()(simulate)
