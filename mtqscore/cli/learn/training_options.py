"""Options that the commands which train share, each written once."""

from __future__ import annotations

from typing import Annotated

import typer

# Groups of the help page.
LEARNING, MACHINE = "Learning", "Machine"

Config = Annotated[
    str | None, typer.Option("--config", metavar="FILE", help="TOML file with any setting; options win over it.")
]
Epochs = Annotated[
    int | None,
    typer.Option("--epochs", metavar="N", help="Passes over what is learned from.", rich_help_panel=LEARNING),
]
BatchSize = Annotated[
    int | None, typer.Option("--batch-size", metavar="N", help="Recordings a step.", rich_help_panel=LEARNING)
]
LearningRate = Annotated[
    float | None, typer.Option("--lr", metavar="RATE", help="Highest learning rate.", rich_help_panel=LEARNING)
]
Patience = Annotated[
    int | None,
    typer.Option(
        "--patience",
        metavar="N",
        help="Stop after so many epochs without progress; 0: never.",
        rich_help_panel=LEARNING,
    ),
]
Seed = Annotated[
    int | None, typer.Option("--seed", metavar="N", help="Source of all randomness.", rich_help_panel=LEARNING)
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="auto|cpu|cuda[:N]",
        help="auto (the default) takes CUDA where it works.",
        rich_help_panel=MACHINE,
    ),
]
Precision = Annotated[
    str | None,
    typer.Option(
        "--precision",
        metavar="auto|float32|bfloat16|float16",
        help="Arithmetic; auto (the default) is bfloat16 where the device has it.",
        rich_help_panel=MACHINE,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option("--threads", metavar="N", help="Processor threads; 0 for all.", rich_help_panel=MACHINE),
]
Tensorboard = Annotated[
    bool | None,
    typer.Option("--tensorboard", help="Also write the curves for TensorBoard.", rich_help_panel=MACHINE),
]
