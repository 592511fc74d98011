"""CSV: UTF-8, one header line, empty cells for what is missing, flags joined by semicolons."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar, TextIO

from mtqscore.base.names import as_text, from_text
from mtqscore.results.columns import FREE_TEXT, NUMBERS, Record, RowFaultError, score_names, table_columns, table_record
from mtqscore.results.run import Run, Summary
from mtqscore.scores import Assessment

_FORMULA_STARTS = tuple("=+-@\t\r\n'＝＋－＠")  # the wide signs count as signs where East Asian input is in use


def guarded(cell: str) -> str:
    """Put an apostrophe before a cell that a spreadsheet would run as a formula, or that begins with one itself.

    Example:
        >>> guarded("=1+1.wav"), guarded("a.wav")
        ("'=1+1.wav", 'a.wav')
    """
    return "'" + cell if cell.startswith(_FORMULA_STARTS) else cell


def unguarded(cell: str) -> str:
    """Undo `guarded`; a cell that it did not write stays as it is.

    Example:
        >>> unguarded("'=1+1.wav"), unguarded("'a.wav")
        ('=1+1.wav', "'a.wav")
    """
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA_STARTS) else cell


class CsvWriter:
    r"""Writes CSV.

    A name with line breaks or quotes is quoted. Text in the columns ``path``, ``model`` and ``reason`` goes through
    `as_text` (bytes that are no UTF-8 stand as ``\udcNN``) and then through `guarded`, so that no spreadsheet runs it;
    ``from_text(unguarded(cell))`` is the very text.
    """

    line_by_line: ClassVar[bool] = False

    def __init__(self, stream: TextIO, run: Run) -> None:
        self._targets = run.targets
        names = [column.name for column in table_columns(run.targets)]
        self._writer = csv.DictWriter(stream, names, lineterminator="\n")

    def begin(self) -> None:
        """Write the header."""
        self._writer.writeheader()

    def write(self, assessment: Assessment) -> None:
        """Write one row."""
        row = table_record(assessment, self._targets)
        row["flags"] = ";".join(row["flags"])
        row |= {name: guarded(as_text(text)) for name in FREE_TEXT if isinstance(text := row[name], str)}
        self._writer.writerow(row)

    def finish(self, summary: Summary) -> None:
        """Nothing follows the rows."""


def read_csv(lines: Iterable[str]) -> Iterator[Record]:
    """Yield the rows of a table by column name."""
    reader = csv.reader(lines)
    try:
        header = next(reader)
        if "path" not in header or "status" not in header:
            raise RowFaultError(_no_table(header))
        numbers = NUMBERS | set(score_names(header))
        for index, cells in enumerate(filter(any, reader), start=1):  # spreadsheets leave rows without a word
            if len(cells) != len(header):
                raise RowFaultError(f"row {index} has {len(cells)} cells, the header {len(header)}")
            record: Record = {}
            for name, cell in zip(header, cells, strict=True):
                text = from_text(unguarded(cell)) if name in FREE_TEXT else cell
                record[name] = _number(text) if name in numbers else text or None
            yield record
    except csv.Error as error:
        raise RowFaultError(f"no table that can be read: {error}") from error


def _no_table(header: Sequence[str]) -> str:
    fault = "this is no result of mtqscore assess: no JSON, and no table with 'path' and 'status'"
    for sign, name in ((";", "semicolons"), ("\t", "tabs")):
        if {"path", "status"} <= set(",".join(header).split(sign)):
            return f"its cells are separated by {name}: save it as CSV with commas, and with points in its numbers"
    return fault


def _number(cell: str) -> float | int | str | None:
    """Read a cell; what is no number stays as it is, and is refused where its row is checked."""
    if not cell:
        return None
    try:
        return int(cell) if cell.isdecimal() else float(cell)
    except ValueError:
        return cell
