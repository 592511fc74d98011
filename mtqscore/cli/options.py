"""Options that commands share, each written once."""

from __future__ import annotations

from typing import Annotated

import typer

Paths = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PATH",
        help="Files, folders (to any depth), quoted patterns ('rec/**/*.wav'), or - for a list on stdin.",
        show_default=False,
    ),
]
FromList = Annotated[
    str | None,
    typer.Option("--from-list", metavar="FILE", help="File with one name a line, or names ended by zero bytes."),
]
Model = Annotated[
    str | None,
    typer.Option("--model", metavar="NAME|FILE.onnx", help="Bundled model, or an ONNX file of your own."),
]
Device = Annotated[
    str,
    typer.Option("--device", metavar="auto|cpu|cuda", help="cuda is strict: an error if it does not work."),
]
Channels = Annotated[
    str,
    typer.Option("--channels", metavar="mean|each|N", help="Score the mixdown, every channel, or channel N."),
]
Threads = Annotated[int | None, typer.Option("--threads", metavar="N", help="Threads; all usable cores if not given.")]
BatchSeconds = Annotated[
    float, typer.Option("--batch-seconds", metavar="S", help="Seconds of audio that the model gets at once.")
]
Csv = Annotated[str | None, typer.Option("--csv", metavar="FILE", help="Write CSV; - is stdout.")]
Json = Annotated[str | None, typer.Option("--json", metavar="FILE", help="Write one JSON document; - is stdout.")]
Jsonl = Annotated[
    str | None, typer.Option("--jsonl", metavar="FILE", help="Write JSON Lines, row by row; - is stdout.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No messages, no progress, no legend.")]
