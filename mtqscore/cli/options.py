"""Options that commands share, each written once."""

from __future__ import annotations

from typing import Annotated, Any

import typer

# Groups of the help page.
INPUT, SCORING, JUDGING, RESULTS = "What is scored", "How it is scored", "Judging", "Results"

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
    typer.Option(
        "--from-list",
        metavar="FILE",
        help="File with one name a line, or names ended by zero bytes.",
        rich_help_panel=INPUT,
    ),
]
Channels = Annotated[
    str | None,
    typer.Option(
        "--channels",
        metavar="mean|each|N",
        help="The mixdown (the default), a row for every channel, or channel N.",
        rich_help_panel=INPUT,
    ),
]
ShardOption = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N|auto",
        help="Score part I of N only, one part a machine; auto asks SLURM. `mtqscore merge` joins the results.",
        rich_help_panel=INPUT,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="MODEL",
        help="NAME or NAME@VERSION of `mtqscore models list`, FILE.onnx, or hf:OWNER/NAME@REVISION from the Hub.",
        rich_help_panel=SCORING,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="auto|cpu|cuda[:N]|directml[:N]|coreml|migraphx[:N]",
        help="auto (the default) takes CUDA where it works, else the CPU; a device that is named must work.",
        rich_help_panel=SCORING,
    ),
]
Precision = Annotated[
    str | None,
    typer.Option(
        "--precision",
        metavar="fp32|tf32",
        help="fp32 is the default; tf32 is for CUDA only, and moves scores by about 0.02.",
        rich_help_panel=SCORING,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option("--threads", metavar="N", help="Threads; all usable cores if not given.", rich_help_panel=SCORING),
]
BatchSeconds = Annotated[
    float,
    typer.Option(
        "--batch-seconds",
        metavar="S",
        help="Seconds of audio that the model gets at once: less takes less memory.",
        rich_help_panel=SCORING,
    ),
]
Engine = Annotated[
    str,
    typer.Option(
        "--engine",
        metavar="local|ray",
        help="ray scores on a Ray cluster, or one of our own on this machine; needs the extra ray.",
        rich_help_panel=SCORING,
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="auto|HOST:PORT",
        help="The Ray cluster; RAY_ADDRESS if not given, and without that one of our own on this machine.",
        rich_help_panel=SCORING,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        help="Processes, which share --threads; as many as pay if not given. On a GPU they read, and the first scores. "
        "With --engine ray: processes at most, of --threads threads each (1 if not given).",
        rich_help_panel=SCORING,
    ),
]
FailUnder = Annotated[
    list[str] | None,
    typer.Option(
        "--fail-under",
        metavar="GATE",
        help="Exit code 1 unless this holds: 'g>=3.2' (every recording), 'p05(n)>=2.8', 'mean(s)>=3.5 in street/**', "
        "'share(g>=3)>=0.95'. Can be given again.",
        show_default=False,
        rich_help_panel=JUDGING,
    ),
]
WarnUnder = Annotated[
    list[str] | None,
    typer.Option(
        "--warn-under",
        metavar="GATE",
        help="As --fail-under, but only warns.",
        show_default=False,
        rich_help_panel=JUDGING,
    ),
]
Baseline = Annotated[
    str | None,
    typer.Option(
        "--baseline",
        metavar="FILE",
        help="Compare with an earlier result: .jsonl, .json, .csv or .parquet.",
        rich_help_panel=JUDGING,
    ),
]
MaxDrop = Annotated[
    list[str] | None,
    typer.Option(
        "--max-drop",
        metavar="SCORE=DROP",
        help="Exit code 1 if a mean fell by more than this with confidence: g=0.1. Can be given again.",
        show_default=False,
        rich_help_panel=JUDGING,
    ),
]


def _file(name: str, text: str) -> Any:
    """A file that a command writes."""
    return typer.Option(name, metavar="FILE", help=text, rich_help_panel=RESULTS)


Csv = Annotated[str | None, _file("--csv", "Write CSV; - is stdout.")]
Json = Annotated[str | None, _file("--json", "Write one JSON document; - is stdout.")]
Jsonl = Annotated[str | None, _file("--jsonl", "Write JSON Lines, row by row; - is stdout.")]
Parquet = Annotated[str | None, _file("--parquet", "Write a Parquet table.")]
Junit = Annotated[str | None, _file("--junit", "Write JUnit XML, for CI systems.")]
Markdown = Annotated[str | None, _file("--md", "Write a Markdown summary; - is stdout.")]
Html = Annotated[str | None, _file("--html", "Write a report for the browser: one file, with sound and curves.")]
HtmlFiles = Annotated[
    int,
    typer.Option(
        "--html-files",
        metavar="N",
        help="Recordings that the report makes heard and seen; 0 for none.",
        rich_help_panel=RESULTS,
    ),
]
Frames = Annotated[
    bool,
    typer.Option(
        "--frames", help="Write the scores along time too, into JSON, JSON Lines and Parquet.", rich_help_panel=RESULTS
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Go on where the run ended that wrote the --jsonl file; what holds is not scored.",
        rich_help_panel=RESULTS,
    ),
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
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no legend, no messages but errors.")]
