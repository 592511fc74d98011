"""The label table of a corpus: a CSV with one row a recording.

Columns: ``path`` (relative to the table), and any of ``split`` (train, val, test), ``speaker``, ``duration_s``,
``bandwidth`` (wide, narrow), ``kind`` (what was done to the recording) and the six targets of ``spec.TARGETS``.
An empty target cell is a missing label. Further columns are kept and ignored.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mtqscore.errors import InputError
from mtqscore.spec import TARGETS

SPLITS = ("train", "val", "test")
MAX_REPORTED_FAULTS = 20
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Row:
    """One labelled recording.

    Args:
        path: the audio file, absolute.
        split: train, val or test.
        labels: target name to value; a missing label is absent.
        extra: every other column as text.
    """

    path: Path
    split: str = "train"
    labels: dict[str, float] = field(default_factory=dict)
    extra: dict[str, str] = field(default_factory=dict)


def read_manifest(table: Path, *, check_files: bool = True) -> list[Row]:
    """Read and check a label table; every fault is named with its line before anything else happens.

    Args:
        table: the CSV file, or a folder that holds ``manifest.csv``.
        check_files: also check that every recording exists.

    Returns:
        The rows in the order of the file.

    Raises:
        InputError: the table is missing, empty, or has faulty rows (up to 20 are named).
    """
    table = table / "manifest.csv" if table.is_dir() else table
    records = read_table(table, ("path",))
    faults: list[str] = []
    rows: list[Row] = []
    first_line: dict[Path, int] = {}
    for line, record in enumerate(records, start=2):
        row, row_faults = _parse(record, table.parent)
        if row is not None:
            if row.path in first_line:
                row_faults.append(f"{record['path']} is already in line {first_line[row.path]}")
            first_line.setdefault(row.path, line)
            if check_files and not row.path.is_file():
                row_faults.append(f"no such file: {row.path}")
            rows.append(row)
        faults += [f"line {line}: {fault}" for fault in row_faults]
    if faults:
        shown = "; ".join(faults[:MAX_REPORTED_FAULTS])
        more = f"; and {len(faults) - MAX_REPORTED_FAULTS} more" if len(faults) > MAX_REPORTED_FAULTS else ""
        raise InputError(f"{table}: {len(faults)} faults: {shown}{more}")
    return rows


def read_table(table: Path, required: Sequence[str]) -> list[dict[str, str]]:
    """Read a CSV in UTF-8 as one mapping a row; an empty or missing cell is an empty text.

    Args:
        table: the file.
        required: columns without which it is not the table that is meant.

    Raises:
        InputError: it cannot be read, is no CSV, lacks a column or has no rows.
    """
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, restval="")
            columns = reader.fieldnames or []
            records = list(reader)
    except OSError as error:
        raise InputError(f"{table}: cannot read the table: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{table}: not a CSV file in UTF-8: {error}") from error
    missing = [name for name in required if name not in columns]
    if missing:
        raise InputError(f"{table}: the table has no column {missing[0]!r}; it has {', '.join(columns) or 'none'}")
    if not records:
        raise InputError(f"{table}: the table has no rows")
    return records


def write_table(table: Path, columns: Sequence[str], records: Iterable[Mapping[str, object]]) -> None:
    """Write a CSV so that a reader never sees half of one.

    Args:
        table: the file to make or replace.
        columns: the columns in their order.
        records: one mapping a row; what is missing is left empty.
    """
    partial = table.with_name(table.name + ".partial")
    with partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, restval="", extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
    partial.replace(table)


def _parse(record: dict[str, str], folder: Path) -> tuple[Row | None, list[str]]:
    name = (record.get("path") or "").strip()
    if not name:
        return None, ["no path"]
    faults = []
    split = (record.get("split") or "train").strip()
    if split not in SPLITS:
        faults.append(f"split {split!r} is none of {', '.join(SPLITS)}")
    labels = {}
    for target in TARGETS:
        text = (record.get(target.name) or "").strip()
        if not text:
            continue
        try:
            value = float(text)
        except ValueError:
            faults.append(f"{target.name} {text!r} is not a number")
            continue
        if not math.isfinite(value) or not target.low - _TOLERANCE <= value <= target.high + _TOLERANCE:
            faults.append(f"{target.name} {text} is outside {target.low:g} to {target.high:g}")
        labels[target.name] = value
    known = {"path", "split", *(target.name for target in TARGETS)}
    extra = {key: value or "" for key, value in record.items() if key and key not in known}
    return Row(folder / name, split, labels, extra), faults
