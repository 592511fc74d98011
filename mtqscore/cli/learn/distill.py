"""``mtqscore distill``: a small network that scores as a large one does, from unlabelled speech."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mtqscore.base.option import options_of
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
from mtqscore.training.config import MACHINE, RECIPE, SPEECH, DistillConfig, TrainConfig
from mtqscore.training.distillation.settings import distill_settings
from mtqscore.training.settings import NetworkFlags


def _place(metavar: str, text: str, panel: str = SPEECH) -> Any:
    return typer.Option(metavar=metavar, help=text, rich_help_panel=panel)


def distill(
    data: Annotated[
        str, _place("DIR", "Folder of speech, to any depth, or a table with a column path; no labels are needed.")
    ],
    out: Annotated[
        str | None, typer.Option(metavar="DIR", help="Run folder; runs/NAME-OF-DATA-student if not given.")
    ] = None,
    config: ConfigFile = None,
    student: Given = NOTHING,
    noise: Annotated[str | None, _place("DIR", "Folder or table of noise; made noises only if not given.")] = None,
    cache: Annotated[
        str | None,
        _place("DIR", "Keep the clips of the first epoch and the teachers' answers there; use them in all epochs."),
    ] = None,
    labelled: Annotated[str | None, _place("TABLE", "Label table whose training recordings are mixed in.")] = None,
    labels: Annotated[
        str | None, _place("TABLE", "Label table that student and teachers are compared with in the end.")
    ] = None,
    init: Annotated[
        str | None,
        _place("RUN|MODEL", "Run folder, checkpoint or released model whose weights to begin with.", RECIPE),
    ] = None,
    network: Given = NOTHING,
    settings: Given = NOTHING,
    workers: Annotated[
        int, typer.Option(metavar="N", min=0, help="Processes that make clips; 0: one a core.", rich_help_panel=MACHINE)
    ] = 0,
) -> None:
    """Train a small network to score as teachers do, on unlabelled speech; the same command again goes on."""
    chosen, named = distill_settings(_path(config), settings, student, NetworkFlags(**network))
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
            carry_out(inputs, folder, chosen, Watch(step, tell), named)


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    settings = [name for name in options_of(TrainConfig) if name not in ("recipe", "teacher")]
    made = takes(student=DistillConfig, network=NetworkFlags, settings=(TrainConfig, settings))(distill)
    app.command("distill")(in_one_process()(made))


def _path(text: str | None) -> Path | None:
    return Path(text) if text is not None else None
