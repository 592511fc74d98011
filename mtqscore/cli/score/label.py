"""``mtqscore label``: S, N and G of recordings whose clean reference is at hand."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Annotated, TextIO

import typer

from mtqscore.base.files import STDOUT, Output
from mtqscore.cli.console import clean_endings, progress_bar, say
from mtqscore.cli.plain import PlainCommand
from mtqscore.errors import InputError, MissingExtraError, UsageError


def label(
    processed: Annotated[
        str, typer.Argument(metavar="PROCESSED", help="Recording, folder, or CSV: path, clean, unprocessed.")
    ],
    clean: Annotated[
        str | None, typer.Argument(metavar="CLEAN", help="Its clean reference, or folder of the same names.")
    ] = None,
    unprocessed: Annotated[
        str | None,
        typer.Argument(
            metavar="UNPROCESSED", help="The recording before processing, or folder; none if it was not processed."
        ),
    ] = None,
    out: Annotated[str, typer.Option("--csv", metavar="FILE", help="Where the table goes; - for stdout.")] = STDOUT,
    bandwidth: Annotated[str, typer.Option(metavar="auto|wide|narrow", help="The listeners' yardstick.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines instead of CSV.")] = False,
) -> None:
    """Judge recordings against their references: 3QUEST-style S, N and G, with PESQ, STOI and SDI.

    Exit codes:
    0  all is well
    2  wrong use
    3  some recordings could not be labelled
    4  the extra train is missing, or the table cannot be written
    130  interrupted
    """
    try:
        from mtqscore.labels.reference_files import BANDWIDTHS, find_triples, label_files
    except ModuleNotFoundError as error:
        raise MissingExtraError("mtqscore label", "train", error.name or "?") from error
    if bandwidth not in BANDWIDTHS:
        raise UsageError(f"--bandwidth {bandwidth}: choose one of {', '.join(BANDWIDTHS)}")
    triples = find_triples(Path(processed), *(None if name is None else Path(name) for name in (clean, unprocessed)))
    if not triples:
        raise UsageError(f"{processed}: nothing to label")
    records: list[dict[str, object]] = []
    failures = 0
    with clean_endings(), Output(out, line_by_line=False) as place, progress_bar("labelling", "files") as advance:
        for done, triple in enumerate(triples, start=1):
            try:
                labelled = label_files(triple, bandwidth=bandwidth)
                records.append({**labelled.as_record(), "status": "ok"})
            except InputError as error:
                failures += 1
                records.append({"path": str(triple.processed), "status": str(error)})
            advance(done, len(triples))
        _write(records, place.stream, as_json)
        place.commit()
    narrow = sum(record.get("bandwidth") == "narrow" for record in records)
    if narrow:
        say(f"{narrow} of {len(records)} recordings hold nothing above 4 kHz and were judged as telephone speech")
    if failures:
        raise InputError(f"{failures} of {len(records)} recordings could not be labelled; see their status")


def _write(records: list[dict[str, object]], stream: TextIO, as_json: bool) -> None:
    if as_json:
        stream.writelines(json.dumps(record) + "\n" for record in records)
        return
    columns = list(dict.fromkeys(key for record in records for key in record))
    writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("label", cls=PlainCommand)(label)
