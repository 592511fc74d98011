"""``mtqscore train``: a network from a labelled corpus."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mtqscore.cli.console import progress_bar, say
from mtqscore.cli.learn.training import check_extra, faults_in, interruptible, is_first, one_voice, say_nothing
from mtqscore.cli.learn.training_options import (
    LEARNING,
    MACHINE,
    BatchSize,
    Config,
    Device,
    Epochs,
    LearningRate,
    Patience,
    Precision,
    Seed,
    Tensorboard,
    Threads,
)
from mtqscore.cli.plain import PlainCommand
from mtqscore.errors import UsageError

if TYPE_CHECKING:
    from mtqscore.corpora.corpus import Corpus, CorpusConfig
    from mtqscore.training.config import TrainConfig
    from mtqscore.training.settings import Sources

DATA, RECIPE = "Data", "Recipe and network"


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
    config: Config = None,
    data_root: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Where the unpacked folder of a named corpus is.", rich_help_panel=DATA),
    ] = None,
    three_quest_scores: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="3QUEST scores of a named corpus, as CSV.", rich_help_panel=DATA),
    ] = None,
    pesq_stoi_list: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Published PESQ and STOI of a named corpus.", rich_help_panel=DATA),
    ] = None,
    clean_folder: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="More clean references of a named corpus.", rich_help_panel=DATA),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="references|quality|given",
            help="Of a named corpus: judge against clean references (the default), take listeners' quality as G, or "
            "compute nothing.",
            rich_help_panel=DATA,
        ),
    ] = None,
    split_seed: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Draws the validation recordings of a named corpus, or of a table without the column split.",
            rich_help_panel=DATA,
        ),
    ] = 1,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="mpl|kt|scratch",
            help="mpl (the default) learns pseudo-labels too, kt begins with a teacher's weights, scratch with none.",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            metavar="table|references|RUN|FILE",
            help="For mpl: the values in the table (the default), exact ones from clean references, or what a run "
            "folder, checkpoint or ONNX file estimates. For kt: the run folder or checkpoint.",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    references: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Clean references of the recordings' names for --teacher references; else the table's column clean.",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    targets: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="What the network estimates: s_mos,n_mos,g_mos,pesq,stoi,sdi for mpl, the first three otherwise.",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(
            metavar="compact|mosa-net|mos-ssl|xls-r-sqa",
            help="Which network; that of the weights to begin with, or compact.",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="tiny|small|fast|base|large|huge",
            help="Size of the network compact; base if not given.",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    ssl: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Self-supervised front end: wavlm-large …, or none.", rich_help_panel=RECIPE),
    ] = None,
    tune_ssl: Annotated[
        bool | None,
        typer.Option("--tune-ssl/--freeze-ssl", help="Train the front end too, or keep it.", rich_help_panel=RECIPE),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            metavar="RUN|MODEL",
            help="Run folder, checkpoint or released model whose weights to begin with.",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(metavar="huber|mse|mae", help="Loss of an error; huber if not given.", rich_help_panel=LEARNING),
    ] = None,
    alpha: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[TARGET=]NUMBER", help="Weight of the frame loss. Can be given again.", rich_help_panel=LEARNING
        ),
    ] = None,
    delta: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[TARGET=]NUMBER",
            help="Huber threshold on a scale of 0 to 4. Can be given again.",
            rich_help_panel=LEARNING,
        ),
    ] = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: LearningRate = None,
    patience: Patience = None,
    recolour_db: Annotated[
        float | None, typer.Option(metavar="DB", help="Largest gain of the random equaliser.", rich_help_panel=LEARNING)
    ] = None,
    seed: Seed = None,
    device: Device = None,
    precision: Precision = None,
    bfloat16: Annotated[
        bool | None,
        typer.Option("--bfloat16/--float32", help="Short for --precision.", rich_help_panel=MACHINE),
    ] = None,
    threads: Threads = None,
    tensorboard: Tensorboard = None,
) -> None:
    """Train a network on a labelled corpus; the same command again goes on where an interrupted run stopped."""
    from mtqscore.corpora.corpus import CorpusConfig
    from mtqscore.training.settings import NetworkFlags, Sources, check_teacher, train_settings

    if references is not None and teacher is None:
        teacher = "references"
    if references is not None and teacher != "references":
        raise UsageError(f"--references goes with --teacher references, not with {teacher}")
    flags: dict[str, object] = {
        "recipe": recipe,
        "teacher": teacher,
        "targets": [name.strip() for name in targets.split(",")] if targets is not None else None,
        "loss": loss,
        "alpha": _one_or_all(_per_target("--alpha", alpha)) if alpha else None,
        "delta": _per_target("--delta", delta) if delta else None,
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "patience": patience,
        "recolour_db": recolour_db,
        "seed": seed,
        "device": device,
        "precision": precision,
        "bfloat16": bfloat16,
        "threads": threads,
        "tensorboard": tensorboard,
    }
    settings, chosen = train_settings(_path(config), flags, NetworkFlags(network, ssl, tune_ssl, size))
    corpus_options = CorpusConfig(
        data_root=_path(data_root),
        three_quest_scores=_path(three_quest_scores),
        pesq_stoi_list=_path(pesq_stoi_list),
        clean_folder=_path(clean_folder),
        seed=split_seed,
        workers=settings.threads,
        labels=labels or CorpusConfig.labels,
    )
    folder = Path(out) if out is not None else Path("runs") / _name_of(data)
    with interruptible(folder):
        check_extra("mtqscore train")
        check_teacher(settings, folder)
        with faults_in(folder):
            corpus = _read(data, corpus_options)
            base = corpus.where if corpus.where.is_dir() else corpus.where.parent
            _train(corpus, folder, settings, Sources(base, _path(init), _path(references), chosen, folder))


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("train", cls=PlainCommand)(one_voice()(train))


def _read(data: str, options: CorpusConfig) -> Corpus:
    from mtqscore.corpora.reading import read_corpus

    with progress_bar("reading", "recordings") as advance:
        return read_corpus(data, options, advance)


def _train(corpus: Corpus, folder: Path, config: TrainConfig, sources: Sources) -> None:
    from mtqscore.training.loop import Watch
    from mtqscore.training.recipes import carry_out, prepare

    tell = say if is_first() else say_nothing
    for note in corpus.notes:
        tell(note)
    with progress_bar("pseudo-labels", "recordings", quiet=not is_first()) as advance:
        start = prepare(corpus.recordings, config, sources, tell, advance)
    with progress_bar("training", "steps", quiet=not is_first()) as step:
        carry_out(corpus.where, folder, start, Watch(step, tell))
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
    """What a run on this data is called: a table named as every other by its folder."""
    place = Path(data).resolve()
    if place.name == "manifest.csv":
        place = place.parent
    return place.stem or "run"


def _path(text: str | None) -> Path | None:
    return Path(text) if text is not None else None


def _per_target(option: str, texts: list[str]) -> dict[str, float]:
    values = {"default": 1.0}
    for text in texts:
        name, equals, number = text.rpartition("=")
        try:
            values[name if equals else "default"] = float(number)
        except ValueError as error:
            raise UsageError(f"{option} {text}: give a number, or TARGET=NUMBER") from error
    return values


def _one_or_all(values: dict[str, float]) -> float | dict[str, float]:
    return values["default"] if [*values] == ["default"] else values
