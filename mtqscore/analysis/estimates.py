"""Tables of estimates, as ``mtqscore assess --csv`` and training runs write them, matched to labelled recordings."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from mtqscore.base.names import from_text
from mtqscore.errors import InputError, UsageError
from mtqscore.labels.table import SPLITS, LabelledRecording, read_label_table
from mtqscore.results.csv import unguarded
from mtqscore.targets import TARGETS


def read_labelled(
    table: Path, split: str | None, *, check_files: bool
) -> tuple[list[LabelledRecording], list[LabelledRecording]]:
    """Read all recordings of a label table, and apart those of a split that have a label.

    Raises:
        UsageError: there is no such split, or the table holds estimates beside labels.
        InputError: the table is faulty, or no recording has a label.
    """
    if split is not None and split not in SPLITS:
        raise UsageError(f"--split {split}: choose one of {', '.join(SPLITS)}")
    every = read_label_table(table, check_files=check_files)
    held = next((name for name in every[0].extra if name.startswith("label_")), None)
    if held is not None:
        raise UsageError(
            f"{table}: it holds estimates beside labels ({held}): give the label table of the corpus, and this one "
            "with --predictions"
        )
    chosen = [item for item in every if split in (None, item.split)]
    if not chosen:
        raise UsageError(f"{table}: no recordings in the split {split}")
    labelled = [item for item in chosen if item.labels]
    if not labelled:
        raise InputError(f"{table}: none of its recordings has a label")
    return every, labelled


def read_estimates(
    table: Path, rows: Sequence[LabelledRecording], base: Path, notify: Callable[[str], None] | None = None
) -> dict[Path, dict[str, float]]:
    """Read a table of estimates and match it to recordings.

    Paths may be relative to the folder of the label table, to that of the table of estimates, or to the working folder.
    An empty cell, or ``nan``, is no estimate.

    Args:
        table: CSV with a column ``path`` and any of the targets.
        rows: the recordings.
        base: folder of the label table.
        notify: takes a message on rows of the table that belong to none of the recordings.

    Returns:
        Estimates by recording. A recording that the table does not name is not there.

    Raises:
        InputError: the table cannot be read, holds what is no finite number, names a recording twice, or names none of
            them.
    """
    records = _read(table)
    place = _Places((base, table.parent, Path()), rows)
    found: dict[Path, dict[str, float]] = {}
    lines: dict[Path, int] = {}
    others: list[str] = []
    for line, record in records:
        path = place.find(record["path"])
        if path is None:
            others.append(record["path"])
            continue
        if path in found:
            raise InputError(
                f"{table}: line {line}: {record['path']} has an estimate already, in line {lines[path]}; "
                "leave one line a recording"
            )
        found[path], lines[path] = _numbers(record, f"{table}: line {line}"), line
    if not found:
        raise InputError(
            f"{table}: none of its {len(records)} rows belongs to a labelled recording; the first is {others[0]}, the "
            f"first recording is {rows[0].path}"
        )
    if others and notify is not None:
        rest = "1 row belongs" if len(others) == 1 else f"{len(others)} rows belong"
        notify(f"{table}: {rest} to no labelled recording, such as {others[0]}")
    return found


def _read(table: Path) -> list[tuple[int, dict[str, str]]]:
    """Rows with the numbers of the lines on which they end."""
    try:
        with table.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as stream:
            reader = csv.DictReader(stream, restval="")
            columns = reader.fieldnames or []
            records = [(reader.line_num, record) for record in reader]
    except (OSError, ValueError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputError(f"{table}: cannot read the estimates: {reason}") from error
    if "path" not in columns or not any(target.name in columns for target in TARGETS):
        names = ", ".join(target.name for target in TARGETS)
        raise InputError(f"{table}: not a table of estimates: it needs a column path, and any of {names}")
    if not records:
        raise InputError(f"{table}: the table of estimates has no rows")
    return records


class _Places:
    """Finds the recording that a name means; of the folders where names may start, the first that holds one counts."""

    def __init__(self, folders: Sequence[Path], rows: Sequence[LabelledRecording]) -> None:
        self._folders = [os.path.abspath(folder) for folder in folders]  # noqa: PTH100 - follows no links
        self._rows = rows
        self._as_named = {os.path.abspath(row.path): row.path for row in rows}  # noqa: PTH100
        self._as_resolved: dict[str, Path] | None = None

    def find(self, name: str) -> Path | None:
        """Find a recording by its name, as it stands or as ``assess --csv`` wrote it; None if there is none."""
        for place in self._candidates(name):
            if (path := self._as_named.get(place)) is not None:
                return path
        # Following links asks the file system for every part of a path: only where the names do not tell.
        if self._as_resolved is None:
            self._as_resolved = {os.path.realpath(row.path): row.path for row in self._rows}
        known = self._as_resolved
        return next((path for place in self._candidates(name) if (path := known.get(os.path.realpath(place)))), None)

    def _candidates(self, name: str) -> Iterator[str]:
        for text in dict.fromkeys((name, from_text(unguarded(name)))):
            if text and "\0" not in text:
                # Plain text: a table may name a hundred thousand recordings.
                yield from (os.path.normpath(os.path.join(folder, text)) for folder in self._folders)  # noqa: PTH118


def _numbers(record: Mapping[str, str], where: str) -> dict[str, float]:
    numbers = {}
    for target in TARGETS:
        text = (record.get(target.name) or "").strip()
        if not text:
            continue
        try:
            value = float(text)
        except ValueError as error:
            raise InputError(f"{where}: {target.name} {text!r} is not a number") from error
        if math.isinf(value):
            raise InputError(f"{where}: {target.name} {text} is not a finite number")
        if not math.isnan(value):
            numbers[target.name] = value
    return numbers
