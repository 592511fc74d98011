"""Options that commands share and no config of the library holds; each is written once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from mtqscore.base.option import option
from mtqscore.config import INPUT, JUDGING, RESULTS, SCORING

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
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", metavar="", help="No progress, no legend, no messages but errors.")
]


@dataclass(frozen=True)
class EngineOptions:
    """Machines that score, and the part of the recordings."""

    shard: str | None = option(
        None,
        "Score part I of N only, one part a machine; auto asks SLURM. `mtqscore merge` joins the results.",
        "--shard I/N|auto",
        INPUT,
    )
    engine: str = option(
        "local",
        "ray scores on a Ray cluster, or one of our own on this machine; needs the extra ray.",
        "--engine",
        SCORING,
        choices=("local", "ray"),
    )
    address: str | None = option(
        None,
        "The Ray cluster; RAY_ADDRESS if not given, and without that one of our own on this machine.",
        "--address auto|HOST:PORT",
        SCORING,
    )
    workers: int | None = option(
        None,
        "Processes, which share --threads; as many as pay if not given. With --engine ray: processes at most, of "
        "--threads threads each (1 if not given).",
        "--workers N",
        SCORING,
    )


@dataclass(frozen=True)
class Limits:
    """Gates and comparisons of a run."""

    fail_under: tuple[str, ...] = option(
        (),
        "Exit code 1 unless this holds: 'g>=3.2' (every recording), 'p05(n)>=2.8', 'mean(s)>=3.5 in street/**', "
        "'share(g>=3)>=0.95'.",
        "--fail-under GATE",
        JUDGING,
        repeated=True,
    )
    warn_under: tuple[str, ...] = option(
        (), "As --fail-under, but only warns.", "--warn-under GATE", JUDGING, repeated=True
    )
    baseline: str | None = option(
        None, "Compare with an earlier result: .jsonl, .json, .csv or .parquet.", "--baseline FILE", JUDGING
    )
    max_drop: tuple[str, ...] = option(
        (),
        "Exit code 1 if a mean fell by more than this with confidence: g=0.1.",
        "--max-drop SCORE=DROP",
        JUDGING,
        repeated=True,
    )


@dataclass(frozen=True)
class Project:
    """Place of the settings of a project."""

    config: str | None = option(
        None,
        "Settings of the project; else mtqscore.toml, or tool.mtqscore in pyproject.toml, here or above.",
        "--config FILE",
    )
    no_config: bool = option(False, "Look for no settings.", "--no-config")


@dataclass(frozen=True)
class ResultFiles:
    """Places of results, by format; ``--json`` means the same in every command."""

    csv: str | None = option(None, "Write CSV; - is stdout.", "--csv FILE", RESULTS)
    json: str | None = option(None, "Write one JSON document; - is stdout.", "--json FILE", RESULTS)
    jsonl: str | None = option(None, "Write JSON Lines, row by row; - is stdout.", "--jsonl FILE", RESULTS)
    parquet: str | None = option(None, "Write a Parquet table.", "--parquet FILE", RESULTS)
    junit: str | None = option(None, "Write JUnit XML, for CI systems.", "--junit FILE", RESULTS)
    md: str | None = option(None, "Write a Markdown summary; - is stdout.", "--md FILE", RESULTS)
    html: str | None = option(
        None, "Write a report for the browser: one file, with sound and curves.", "--html FILE", RESULTS
    )
