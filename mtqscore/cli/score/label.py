"""``mtqscore label``: S, N and G of recordings whose clean reference is at hand."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from mtqscore.base.files import STDOUT
from mtqscore.base.schema_versions import LABEL, document
from mtqscore.cli.console import clean_endings, open_places, progress_bar, say, write_text
from mtqscore.cli.from_config import NOTHING, Given, takes
from mtqscore.cli.options import ResultFiles
from mtqscore.cli.verdicts import choose_targets
from mtqscore.errors import InputError, UsageError


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
    bandwidth: Annotated[str, typer.Option(metavar="auto|wide|narrow", help="Yardstick of the listeners.")] = "auto",
    outputs: Given = NOTHING,
) -> None:
    """Score recordings against their references: 3QUEST-style S, N and G, with PESQ, STOI and SDI.

    The table goes to stdout as CSV if no file is named.

    Exit codes:
    0  all is well
    2  wrong use
    3  some recordings could not be labelled
    4  the extra train is missing, or the table cannot be written
    130  interrupted
    """
    from mtqscore.labels.pairs import find_triples
    from mtqscore.labels.records import BANDWIDTHS, label_records

    if bandwidth not in BANDWIDTHS:
        raise UsageError(f"--bandwidth {bandwidth}: choose one of {', '.join(BANDWIDTHS)}")
    triples = find_triples(Path(processed), *(None if name is None else Path(name) for name in (clean, unprocessed)))
    if not triples:
        raise UsageError(f"{processed}: nothing to label")
    records: list[dict[str, object]] = []
    targets = choose_targets(outputs or {"csv": STDOUT}, read=(processed,))
    with clean_endings(), open_places(targets) as places, progress_bar("labelling", "files") as advance:
        for record in label_records(triples, bandwidth=bandwidth):
            records.append(record)
            advance(len(records), len(triples))
        for kind, place in places.items():
            write_text(place, LAYOUTS[kind](records))
    narrow = sum(record.get("bandwidth") == "narrow" for record in records)
    if narrow:
        say(f"{narrow} of {len(records)} recordings hold nothing above 4 kHz and were scored as telephone speech")
    failures = sum(record["status"] != "ok" for record in records)
    if failures:
        raise InputError(f"{failures} of {len(records)} recordings could not be labelled; see their status")


def _as_csv(records: list[dict[str, object]]) -> str:
    columns = list(dict.fromkeys(key for record in records for key in record))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return stream.getvalue()


LAYOUTS: dict[str, Callable[[list[dict[str, object]]], str]] = {
    "csv": _as_csv,
    "json": lambda records: json.dumps(document(LABEL, {"recordings": records}), indent=2) + "\n",
    "jsonl": lambda records: "".join(json.dumps(record) + "\n" for record in records),
}


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("label")(takes(outputs=(ResultFiles, LAYOUTS))(label))
