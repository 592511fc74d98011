"""``mtqscore prune``: a smaller network out of a trained one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mtqscore.cli.console import clean_endings, progress_bar, say
from mtqscore.cli.plain import PlainCommand
from mtqscore.errors import MissingExtraError, UsageError


def prune(
    source: Annotated[
        str, typer.Argument(metavar="RUN|MODEL", help="Run folder (its best epoch), checkpoint, or released model.")
    ],
    out: Annotated[str, typer.Option(metavar="DIR", help="Run folder to make.")],
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA", help="Folder with manifest.csv, or a label table: what importance is measured on."
        ),
    ] = None,
    keep: Annotated[float, typer.Option(metavar="SHARE", help="What is left, between 0 and 1.")] = 0.5,
    of: Annotated[
        str, typer.Option(metavar="parameters|time", help="Of what: the size, or the time to score on this machine.")
    ] = "parameters",
    criterion: Annotated[
        str,
        typer.Option(
            metavar="taylor|magnitude",
            help="What a unit is worth: by the loss on recordings, or by the size of its weights, without recordings.",
        ),
    ] = "taylor",
    part: Annotated[
        str, typer.Option(metavar="NAMES", help="What may be cut, of channels,recurrent,dense.")
    ] = "channels,recurrent,dense",
    rounds: Annotated[
        int, typer.Option(metavar="N", help="Cut in so many steps, and measure importance before each.")
    ] = 3,
    recordings: Annotated[int, typer.Option(metavar="N", help="How many to measure on.")] = 256,
    seed: Annotated[int, typer.Option(metavar="N", help="Chooses them.")] = 0,
    threads: Annotated[int, typer.Option(metavar="N", help="Processor threads; 0 for all.")] = 0,
) -> None:
    """Cut channels and units from a trained compact network, those that are worth least.

    The new run folder can be exported, or trained on: `mtqscore train --init DIR --data DATA`.

    Exit codes:
    0  all is well
    2  wrong use
    3  the run, the table or the recordings cannot be read
    4  the extra train is missing, or the folder cannot be written
    130  interrupted
    """
    try:
        from mtqscore.training.loop import Watch
        from mtqscore.training.pruning.run import PruneConfig, open_compact, prune_run
    except ModuleNotFoundError as error:
        raise MissingExtraError("mtqscore prune", "train", error.name or "?") from error
    from mtqscore.base.schema import from_plain
    from mtqscore.base.text import printable
    from mtqscore.corpora.reading import read_corpus

    values = {"keep": keep, "of": of, "criterion": criterion, "rounds": rounds, "recordings": recordings}
    parts = [name.strip() for name in part.split(",") if name.strip()]
    options = from_plain(PruneConfig, {**values, "parts": parts, "seed": seed, "threads": threads}, "the options")
    if data is None and criterion == "taylor":
        raise UsageError("--criterion taylor measures on recordings; name some with --data")
    open_compact(Path(source))  # a fault of it is told before a corpus is read
    rows = []
    with clean_endings():
        if data is not None:
            with progress_bar("reading", "recordings") as advance:
                corpus = read_corpus(data, advance=advance)
            for note in corpus.notes:
                say(note)
            rows = corpus.recordings
        with progress_bar("importance", "recordings") as advance:
            where = Path(data) if data is not None else None
            prune_run(Path(source), where, rows, Path(out), options, Watch(advance, say))
    say(f"{printable(out)}: train it on with `mtqscore train --init`, or export it as it is")


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("prune", cls=PlainCommand)(prune)
