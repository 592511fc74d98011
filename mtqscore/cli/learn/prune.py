"""``mtqscore prune``: a smaller network out of a trained one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mtqscore.cli.console import clean_endings, progress_bar, say
from mtqscore.cli.from_config import NOTHING, Given, takes
from mtqscore.errors import MissingExtraError, UsageError
from mtqscore.training.pruning.config import PruneConfig


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
    pruning: Given = NOTHING,
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
        from mtqscore.training.pruning.run import open_compact, prune_run
    except ModuleNotFoundError as error:
        raise MissingExtraError("mtqscore prune", "train", error.name or "?") from error
    from mtqscore.base.schema import from_plain
    from mtqscore.base.text import printable
    from mtqscore.corpora.reading import read_corpus

    config = from_plain(PruneConfig, pruning, "the options")
    if data is None and config.criterion == "taylor":
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
            prune_run(Path(source), where, rows, Path(out), config, Watch(advance, say))
    say(f"{printable(out)}: train it on with `mtqscore train --init`, or export it as it is")


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("prune")(takes(pruning=PruneConfig)(prune))
