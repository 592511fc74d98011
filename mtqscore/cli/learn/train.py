"""``mtqscore train``: a network from a labelled corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mtqscore.cli.console import progress_bar, say
from mtqscore.cli.from_config import NOTHING, Given, takes
from mtqscore.cli.learn.training import (
    ConfigFile,
    check_extra,
    faults_in,
    in_one_process,
    interruptible,
    is_first,
    say_nothing,
)
from mtqscore.corpora.corpus import DATA, Corpus, CorpusConfig
from mtqscore.errors import UsageError
from mtqscore.training.config import RECIPE, TrainConfig
from mtqscore.training.settings import NetworkFlags, RecipeInputs, check_teacher, train_settings


def train(
    data: Annotated[
        str,
        typer.Option(
            "--data",
            metavar="DATA",
            help="Folder with manifest.csv, a label table, or a corpus by name: tmhint-qi, tmhint-qi-s.",
            rich_help_panel=DATA,
        ),
    ],
    out: Annotated[str | None, typer.Option(metavar="DIR", help="Run folder; runs/NAME-OF-DATA if not given.")] = None,
    config: ConfigFile = None,
    corpus: Given = NOTHING,
    references: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Clean references of the recordings' names for --teacher references; else the table's column clean.",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            metavar="RUN|MODEL",
            help="Run folder, checkpoint or released model whose weights to begin with.",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    network: Given = NOTHING,
    settings: Given = NOTHING,
) -> None:
    """Train a network on a labelled corpus; the same command again goes on where an interrupted run stopped."""
    if references is not None:
        settings = {"teacher": "references", **settings}
        if settings["teacher"] != "references":
            raise UsageError(f"--references goes with --teacher references, not with {settings['teacher']}")
    chosen, network_is_chosen = train_settings(_path(config), settings, NetworkFlags(**network))
    options = CorpusConfig(workers=chosen.threads, **corpus)
    folder = Path(out) if out is not None else Path("runs") / _name_of(data)
    with interruptible(folder):
        check_extra("mtqscore train")
        check_teacher(chosen, folder)
        with faults_in(folder):
            read = _read(data, options)
            base = read.where if read.where.is_dir() else read.where.parent
            _train(read, folder, chosen, RecipeInputs(base, _path(init), _path(references), network_is_chosen, folder))


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    made = takes(corpus=CorpusConfig, network=NetworkFlags, settings=TrainConfig)(train)
    app.command("train")(in_one_process()(made))


def _read(data: str, options: CorpusConfig) -> Corpus:
    from mtqscore.corpora.reading import read_corpus

    with progress_bar("reading", "recordings") as advance:
        return read_corpus(data, options, advance)


def _train(corpus: Corpus, folder: Path, config: TrainConfig, inputs: RecipeInputs) -> None:
    from mtqscore.training.loop import Watch
    from mtqscore.training.recipes import carry_out, prepare

    tell = say if is_first() else say_nothing
    for note in corpus.notes:
        tell(note)
    with progress_bar("pseudo-labels", "recordings", quiet=not is_first()) as advance:
        plan = prepare(corpus.recordings, config, inputs, tell, advance)
    with progress_bar("training", "steps", quiet=not is_first()) as step:
        carry_out(corpus.where, folder, plan, Watch(step, tell))
    if corpus.where.is_dir() and is_first():
        _keep_table(corpus, folder / "labels.csv")


def _keep_table(corpus: Corpus, table: Path) -> None:
    """Write the labels of a corpus that has no table of its own: `mtqscore evaluate` takes one."""
    from mtqscore.labels.table import write_label_table
    from mtqscore.training.compute.resources import write_problem

    try:
        write_label_table(table, corpus.recordings)
    except OSError as error:
        raise write_problem(table, error) from error


def _name_of(data: str) -> str:
    """Name a run after its data; a table that is named as every other, after its folder."""
    place = Path(data).resolve()
    if place.name == "manifest.csv":
        place = place.parent
    return place.stem or "run"


def _path(text: str | None) -> Path | None:
    return Path(text) if text is not None else None
