"""``mtqscore distill``: a small network that judges as a large one does, from unlabelled speech."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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

HEARD, STUDENT = "What is heard", "Student"


def distill(
    data: Annotated[
        str,
        typer.Option(
            "--data",
            metavar="DIR",
            help="Folder of speech, to any depth, or a table with a column path; no labels are needed.",
            rich_help_panel=HEARD,
        ),
    ],
    teacher: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEACHER[=WEIGHT]",
            help="Run folder, checkpoint, ONNX file, model by name, TOML file that describes any other ONNX file, or a "
            "table of scores. Can be given again.",
        ),
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="DIR", help="Run folder; runs/NAME-OF-DATA-student if not given.")
    ] = None,
    config: Config = None,
    noise: Annotated[
        str | None,
        typer.Option(
            metavar="DIR", help="Folder or table of noise; made noises only if not given.", rich_help_panel=HEARD
        ),
    ] = None,
    clips: Annotated[int | None, typer.Option(metavar="N", help="Clips an epoch.", rich_help_panel=HEARD)] = None,
    val_clips: Annotated[
        int | None, typer.Option(metavar="N", help="Clips of the validation.", rich_help_panel=HEARD)
    ] = None,
    plain_share: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Share of the clips that are not degraded.", rich_help_panel=HEARD),
    ] = None,
    narrow_share: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Share of the others that are narrowband.", rich_help_panel=HEARD),
    ] = None,
    enhancer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COMMAND",
            help="External enhancer, for example 'cmd {in} {out}'. Can be given again.",
            rich_help_panel=HEARD,
        ),
    ] = None,
    hold_out: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Enhancer, distortion or codec, such as klt or vorbis, that is not used. Can be given again.",
            rich_help_panel=HEARD,
        ),
    ] = None,
    cache: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Keep the clips of the first epoch and the teachers' answers there, and use them in all epochs.",
            rich_help_panel=HEARD,
        ),
    ] = None,
    labelled: Annotated[
        str | None,
        typer.Option(
            metavar="TABLE", help="Label table whose training recordings are mixed in.", rich_help_panel=HEARD
        ),
    ] = None,
    label_share: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Their share of an epoch.", rich_help_panel=HEARD)
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="TABLE",
            help="Label table that student and teachers are compared with in the end.",
            rich_help_panel=HEARD,
        ),
    ] = None,
    targets: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="What the student estimates; all that the teachers judge if not given.",
            rich_help_panel=STUDENT,
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="tiny|small|fast|base|large|huge", help="Size of the compact network.", rich_help_panel=STUDENT
        ),
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(
            metavar="compact|mosa-net|mos-ssl|xls-r-sqa",
            help="Which network; that of the weights to begin with, or compact.",
            rich_help_panel=STUDENT,
        ),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            metavar="RUN|MODEL",
            help="Run folder, checkpoint or released model whose network and weights to begin with.",
            rich_help_panel=STUDENT,
        ),
    ] = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: LearningRate = None,
    alpha: Annotated[
        float | None,
        typer.Option(metavar="NUMBER", help="Weight of the scores along time.", rich_help_panel=LEARNING),
    ] = None,
    patience: Patience = None,
    seed: Seed = None,
    device: Device = None,
    precision: Precision = None,
    threads: Threads = None,
    workers: Annotated[
        int,
        typer.Option(metavar="N", min=0, help="Processes that make clips; 0: one a core.", rich_help_panel=MACHINE),
    ] = 0,
    tensorboard: Tensorboard = None,
) -> None:
    """Train a small network to judge as teachers do, on unlabelled speech; the same command again goes on."""
    from mtqscore.training.distillation.settings import distill_settings, parse_teachers
    from mtqscore.training.settings import NetworkFlags

    flags: dict[str, object] = {
        "targets": [name.strip() for name in targets.split(",")] if targets is not None else None,
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "alpha": alpha,
        "patience": patience,
        "seed": seed,
        "device": device,
        "precision": precision,
        "threads": threads,
        "tensorboard": tensorboard,
    }
    own: dict[str, object] = {
        "teachers": parse_teachers(teacher) if teacher else None,
        "clips": clips,
        "val_clips": val_clips,
        "plain_share": plain_share,
        "narrow_share": narrow_share,
        "enhancers": enhancer or None,
        "hold_out": hold_out or None,
        "label_share": label_share,
    }
    settings, named = distill_settings(_path(config), flags, own, NetworkFlags(network, size=size))
    folder = Path(out) if out is not None else Path("runs") / f"{Path(data).resolve().stem or 'speech'}-student"
    with interruptible(folder):
        check_extra("mtqscore distill")
        from mtqscore.training.distillation.run import distill as carry_out
        from mtqscore.training.distillation.run_data import DistillationInputs
        from mtqscore.training.loop import Watch

        paths = {"noise": noise, "cache": cache, "labelled": labelled, "labels": labels, "init": init}
        inputs = DistillationInputs(Path(data), **{name: _path(text) for name, text in paths.items()}, workers=workers)
        tell = say if is_first() else say_nothing
        with faults_in(folder), progress_bar("distilling", "steps", quiet=not is_first()) as step:
            carry_out(inputs, folder, settings, Watch(step, tell), named)


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("distill", cls=PlainCommand)(one_voice()(distill))


def _path(text: str | None) -> Path | None:
    return Path(text) if text is not None else None
