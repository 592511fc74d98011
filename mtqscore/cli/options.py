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
    typer.Option(
        "--model",
        metavar="NAME[@VERSION]|FILE.onnx|hf:OWNER/NAME@REVISION",
        help="A model of `mtqscore models list`, an ONNX file of your own, or one from the Hub.",
    ),
]
Device = Annotated[
    str | None,
    typer.Option("--device", metavar="auto|cpu|cuda", help="cuda is strict: an error if it does not work."),
]
Channels = Annotated[
    str | None,
    typer.Option("--channels", metavar="mean|each|N", help="Score the mixdown, every channel, or channel N."),
]
Threads = Annotated[int | None, typer.Option("--threads", metavar="N", help="Threads; all usable cores if not given.")]
BatchSeconds = Annotated[
    float, typer.Option("--batch-seconds", metavar="S", help="Seconds of audio that the model gets at once.")
]
FailUnder = Annotated[
    list[str] | None,
    typer.Option(
        "--fail-under",
        metavar="GATE",
        help="Exit code 1 unless this holds: 'g>=3.2' (every recording), 'p05(n)>=2.8', 'mean(s)>=3.5 in street/**', "
        "'share(g>=3)>=0.95'. Can be given again.",
        show_default=False,
    ),
]
WarnUnder = Annotated[
    list[str] | None,
    typer.Option("--warn-under", metavar="GATE", help="As --fail-under, but only warns.", show_default=False),
]
ConfigFile = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Settings of the project; else mtqscore.toml, or tool.mtqscore in pyproject.toml, here or above.",
    ),
]
NoConfig = Annotated[bool, typer.Option("--no-config", help="Look for no settings.")]
MaxDrop = Annotated[
    list[str] | None,
    typer.Option(
        "--max-drop",
        metavar="SCORE=DROP",
        help="Exit code 1 if a mean fell by more than this with confidence: g=0.1. Can be given again.",
        show_default=False,
    ),
]
Baseline = Annotated[
    str | None, typer.Option("--baseline", metavar="FILE", help="Compare with an earlier result: .jsonl, .json, .csv.")
]
Frames = Annotated[bool, typer.Option("--frames", help="Write the scores along time too, as JSON or Parquet.")]
Csv = Annotated[str | None, typer.Option("--csv", metavar="FILE", help="Write CSV; - is stdout.")]
Json = Annotated[str | None, typer.Option("--json", metavar="FILE", help="Write one JSON document; - is stdout.")]
Jsonl = Annotated[
    str | None, typer.Option("--jsonl", metavar="FILE", help="Write JSON Lines, row by row; - is stdout.")
]
Parquet = Annotated[str | None, typer.Option("--parquet", metavar="FILE", help="Write a Parquet table.")]
Junit = Annotated[str | None, typer.Option("--junit", metavar="FILE", help="Write JUnit XML, for CI systems.")]
Markdown = Annotated[str | None, typer.Option("--md", metavar="FILE", help="Write a Markdown summary; - is stdout.")]
Html = Annotated[
    str | None,
    typer.Option("--html", metavar="FILE", help="Write a report for the browser: one file, with sound and curves."),
]
HtmlFiles = Annotated[
    int, typer.Option("--html-files", metavar="N", help="Recordings that the report makes heard and seen.")
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Go on where the run ended that wrote the --jsonl file; what holds is not scored."),
]
ShardOption = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N|auto",
        help="Score part I of N only, one part a machine; auto asks SLURM. `mtqscore merge` joins the results.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No messages, no progress, no legend.")]
