"""CSV: UTF-8, one header line, empty cells for what is missing, flags joined by semicolons."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, ClassVar, TextIO

from mtqscore.base.names import as_text
from mtqscore.results.run import Run
from mtqscore.results.writer import Summary, columns, record

if TYPE_CHECKING:
    from mtqscore.scores import Assessment

FREE_TEXT = ("path", "model", "reason")
"""Columns whose text is not ours; only they can begin like a formula."""

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

    Args:
        stream: where to, opened without newline translation.
        run: what all rows have in common.
    """

    line_by_line: ClassVar[bool] = False

    def __init__(self, stream: TextIO, run: Run) -> None:
        self._run = run
        self._writer = csv.DictWriter(stream, columns(run), lineterminator="\n")

    def begin(self) -> None:
        """Write the header."""
        self._writer.writeheader()

    def write(self, assessment: Assessment) -> None:
        """Write one row."""
        row = record(assessment, self._run)
        row["flags"] = ";".join(str(flag) for flag in assessment.flags)
        row |= {name: guarded(as_text(text)) for name in FREE_TEXT if isinstance(text := row[name], str)}
        self._writer.writerow(row)

    def finish(self, summary: Summary) -> None:
        """Nothing follows the rows."""
