"""The label table of a corpus: a CSV with one row a recording.

Columns: ``path`` (relative to the table), and any of ``split`` (train, val, test), ``speaker``, ``duration_s``,
``bandwidth`` (wide, narrow), ``kind`` (what was done to the recording) and the six targets of ``targets.TARGETS``.
An empty target cell is a missing label. Further columns are kept and ignored, but a column that is one of these in
another spelling (``S-MOS``, ``Split``) is a fault: its values would be missed in silence.
"""

from __future__ import annotations

import csv
import math
import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mtqscore.base.files import replacing
from mtqscore.base.names import from_text
from mtqscore.base.text import printable
from mtqscore.errors import EnvironmentProblemError, InputError
from mtqscore.targets import TARGETS

SPLITS = ("train", "val", "test")
MAX_REPORTED_FAULTS = 10
"""More in one message nobody reads on a terminal; the error holds them all."""

TABLE_NAME = "manifest.csv"

_LONGEST_SHOWN = 400
_TOLERANCE = 1e-6
_KNOWN = ("path", "split", *(target.name for target in TARGETS))
_OTHER_NAMES = {"path": ("file", "filename", "filepath", "filepaths", "wav", "wavpath", "audio", "recording")}
_OTHER_SPLITS = {"training": "train", "validation": "val", "valid": "val", "dev": "val", "eval": "test"}


_Record = tuple[int, dict[str, str], str]
"""A row of a CSV: the line that it begins in, its cells by column, and what stands beyond the last column."""


@dataclass(frozen=True)
class LabelledRecording:
    """One labelled recording.

    Args:
        path: the audio file; relative to the working folder if its table was named so.
        split: train, val or test.
        labels: target name to value; a missing label is absent.
        extra: every other column as text.
        line: where it stands in its table, from 1; 0 if it comes from none.
    """

    path: Path
    split: str = "train"
    labels: dict[str, float] = field(default_factory=dict)
    extra: dict[str, str] = field(default_factory=dict)
    line: int = field(default=0, compare=False)


@dataclass(frozen=True, order=True)
class Fault:
    """Fault of one line.

    Args:
        line: of the table, from 1; 0 where there is none.
        text: what is wrong, and where.
    """

    line: int
    text: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}" if self.line else self.text


class FaultyTableError(InputError):
    """A corpus has faults; the message names the first, ``faults`` holds all.

    Args:
        where: the table or the folder.
        faults: at least one; they are put into the order of the table.
        report: the file that lists all of them, if there is one.
    """

    def __init__(self, where: Path, faults: Iterable[Fault], report: Path | None = None) -> None:
        self.where = where
        self.faults = sorted(faults)
        texts = map(str, self.faults[:MAX_REPORTED_FAULTS])
        shown = "; ".join(text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]} …" for text in texts)
        count = len(self.faults)
        rest = f"; and {count - MAX_REPORTED_FAULTS:,} more" if count > MAX_REPORTED_FAULTS else ""
        told = f" (all in {report})" if report is not None else ""
        super().__init__(f"{where}: {count:,} fault{'s' if count > 1 else ''}{told}: {shown}{rest}")

    def reported(self, report: Path) -> FaultyTableError:
        """Write every fault into a text file, one a line, and return the error that names this file.

        Raises:
            EnvironmentProblemError: the file cannot be written.
        """
        try:
            report.parent.mkdir(parents=True, exist_ok=True)
            report.write_text("".join(f"{printable(str(fault))}\n" for fault in self.faults), encoding="utf-8")
        except OSError as error:
            raise EnvironmentProblemError(f"{report}: cannot be written: {error.strerror or error}") from error
        return FaultyTableError(self.where, self.faults, report)


@dataclass(frozen=True)
class ParsedTable:
    """A label table as far as it can be understood: recordings in its order, and faults and doubts about the others.

    Without splits, all recordings are for training.
    """

    table: Path
    recordings: list[LabelledRecording]
    faults: list[Fault]
    notes: list[str]
    has_splits: bool


def read_label_table(table: Path, *, check_files: bool = True) -> list[LabelledRecording]:
    """Read and check a label table; every fault is named with its line before anything else happens.

    Args:
        table: the CSV file, or a folder that holds ``manifest.csv``.
        check_files: also check that every recording exists.

    Returns:
        The rows in the order of the file.

    Raises:
        InputError: the table is missing or empty.
        FaultyTableError: rows are faulty.
    """
    parsed = parse_label_table(table, check_files=check_files)
    if parsed.faults:
        raise FaultyTableError(parsed.table, parsed.faults)
    return parsed.recordings


def parse_label_table(table: Path, *, check_files: bool = True) -> ParsedTable:
    """Read a label table as `read_label_table`, and collect its faults, for who wants to add others to them.

    Raises:
        InputError: the table is missing, empty, or lacks the column ``path``.
    """
    # Not Path.is_dir, which raises where a name is too long or a folder may not be entered.
    table = table / TABLE_NAME if os.path.isdir(table) else table  # noqa: PTH112
    columns, records = _records(table, ("path",))
    faults = [Fault(1, text) for text in _column_faults(columns)]
    rows: list[LabelledRecording] = []
    first_line: dict[object, int] = {}
    for line, record, excess in records:
        texts = [f"more cells than columns, from {excess!r} on; put cells with commas between quotes"] if excess else []
        row = _parsed_row(record, table.parent, line, texts)
        if row is not None:
            identity, problem = _identity(row.path) if check_files else (os.path.normpath(row.path), "")
            if problem:
                elsewhere = check_files and os.path.isfile(record["path"])  # noqa: PTH113 - Path.is_file may raise
                texts.append(problem + "; names are relative to the folder of the table" * elsewhere)
            elif first_line.setdefault(identity, line) != line:
                texts.append(f"{record['path']} is already in line {first_line[identity]}")
            else:
                rows.append(row)
        faults += [Fault(line, text) for text in texts]
    return ParsedTable(table, rows, faults, _column_notes(columns), "split" in columns)


def read_table(table: Path, required: Sequence[str]) -> list[dict[str, str]]:
    """Read a CSV in UTF-8 as one mapping a row; an empty or missing cell is an empty text.

    Raises:
        InputError: it cannot be read, is no CSV, lacks a required column or has no rows.
    """
    return [record for _, record, _ in _records(table, required)[1]]


def write_table(table: Path, columns: Sequence[str], records: Iterable[Mapping[str, object]]) -> None:
    r"""Write a CSV so that a reader never sees half of one.

    Bytes of names that are no UTF-8 stand as ``\udcNN``, which `read_label_table` undoes; what a record misses is left
    empty.
    """
    with (
        replacing(table) as partial,
        partial.open("w", newline="", encoding="utf-8", errors="backslashreplace") as stream,
    ):
        writer = csv.DictWriter(stream, columns, restval="", extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)


def write_label_table(table: Path, rows: Sequence[LabelledRecording]) -> None:
    """Write a label table that `read_label_table` gives back; what lies under its folder is named relative to it."""
    used = {name for row in rows for name in row.labels}
    extra = dict.fromkeys(name for row in rows for name in row.extra)
    columns = ["path", "split", *(target.name for target in TARGETS if target.name in used), *extra]
    folder = table.parent.absolute()

    def record(row: LabelledRecording) -> dict[str, object]:
        path = row.path.absolute()
        name = path.relative_to(folder) if path.is_relative_to(folder) else path
        return {"path": str(name), "split": row.split, **row.labels, **row.extra}

    write_table(table, columns, map(record, rows))


def _records(table: Path, required: Sequence[str]) -> tuple[list[str], list[_Record]]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            columns, records = _mapped(stream)
    except OSError as error:
        raise InputError(f"{table}: cannot read the table: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{table}: not a CSV file in UTF-8: {error}") from error
    missing = [name for name in required if name not in columns]
    if missing:
        hint = _column_hint(missing[0], columns)
        raise InputError(
            f"{table}: the table has no column {missing[0]!r}; it has {', '.join(columns) or 'none'}{hint}"
        )
    if not records:
        raise InputError(f"{table}: the table has no rows")
    return columns, records


def _mapped(stream: Iterable[str]) -> tuple[list[str], list[_Record]]:
    # Strict, or a quote that nobody closes takes all rows after it for one name.
    reader = csv.reader(stream, strict=True)
    records = []
    begin = 1
    try:
        columns = next(reader, [])
        begin = reader.line_num + 1
        for cells in reader:
            line, begin = begin, reader.line_num + 1
            if cells:
                record = dict.fromkeys(columns, "") | dict(zip(columns, cells, strict=False))
                records.append((line, record, ",".join(cells[len(columns) :]).strip()))
    except csv.Error as error:
        raise csv.Error(f"in the row of line {begin}: {error}") from error
    return columns, records


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


def _column_hint(wanted: str, columns: Sequence[str]) -> str:
    if len(columns) == 1 and re.search(r"[;\t]", columns[0]):
        return "; separate columns by commas"
    alike = {_plain(wanted), *_OTHER_NAMES.get(wanted, ())}
    found = next((name for name in columns if _plain(name) in alike), None)
    return f"; write {found!r} as {wanted!r}" if found is not None else ""


def _column_faults(columns: Sequence[str]) -> list[str]:
    faults = [f"the column {name!r} stands {count} times" for name, count in Counter(columns).items() if count > 1]
    for name in dict.fromkeys(columns):
        known = next((known for known in _KNOWN if _plain(known) == _plain(name)), None)
        if known is not None and known not in columns:
            faults.append(f"write the column {name!r} as {known!r}")
    return faults


def _column_notes(columns: Sequence[str]) -> list[str]:
    meant = {name: _misspelt(name) for name in columns if name not in _KNOWN}
    return [
        f"the column {name!r} is kept as a remark; is {known!r} meant?"
        for name, known in meant.items()
        if known is not None and known not in columns
    ]


def _misspelt(column: str) -> str | None:
    """The known column that another one may be meant for, by a slip of the pen; None if there is none."""
    plain = _plain(column)
    for known in (*_KNOWN, "speaker"):
        wanted = _plain(known)
        swapped = sorted(plain) == sorted(wanted)
        shorter, longer = sorted((plain, wanted), key=len)
        one_off = len(longer) == len(shorter) + 1 and any(
            longer[:at] + longer[at + 1 :] == shorter for at in range(len(longer))
        )
        if (swapped or one_off) and column != known and plain[:1] == wanted[:1]:
            return known
    return None


def _parsed_row(record: dict[str, str], folder: Path, line: int, faults: list[str]) -> LabelledRecording | None:
    name = record["path"]
    if not name.strip():
        faults.append("no path")
        return None
    split = record.get("split", "").strip() or "train"
    if split not in SPLITS:
        meant = _OTHER_SPLITS.get(split.lower(), split.lower())
        hint = f"; write {meant}" if meant in SPLITS else ""
        faults.append(f"split {split!r} is none of {', '.join(SPLITS)}{hint}")
    labels = {}
    for target in TARGETS:
        text = record.get(target.name, "").strip()
        if not text:
            continue
        try:
            value = float(text)
        except ValueError:
            faults.append(f"{target.name} {text!r} is not a number")
            continue
        if not math.isfinite(value):
            faults.append(f"{target.name} {text} is not a finite number; leave a missing label empty")
        elif not target.low - _TOLERANCE <= value <= target.high + _TOLERANCE:
            faults.append(f"{target.name} {text} is outside {target.low:g} to {target.high:g}")
        labels[target.name] = value
    extra = {key: value for key, value in record.items() if key and key not in _KNOWN}
    return LabelledRecording(found_under(folder, name), split, labels, extra, line)


def found_under(folder: Path, name: str) -> Path:
    """Give the recording of a name in a table: as it stands, without blanks around it, or with its escaped bytes."""
    path = folder / name
    if (name != name.strip() or "\\u" in name) and not os.path.lexists(path):
        others = (folder / name.strip(), folder / from_text(name.strip()))
        return next((other for other in others if os.path.lexists(other)), others[0])
    return path


def _identity(path: Path) -> tuple[object, str]:
    """Give what two names of one file have in common, and why it is no file that can be read."""
    plain = os.path.normpath(path)
    try:
        found = os.stat(path)  # noqa: PTH116 - a third of the time of Path.stat, for every row
    except FileNotFoundError:
        return plain, f"no such file: {path}"
    except (OSError, ValueError) as error:
        return plain, f"{path}: {getattr(error, 'strerror', None) or error}"
    if not stat.S_ISREG(found.st_mode):
        return plain, f"no such file: {path} is {'a folder' if stat.S_ISDIR(found.st_mode) else 'no regular file'}"
    # Some network drives number no files.
    return (found.st_dev, found.st_ino) if found.st_ino else os.path.realpath(path), ""
