"""CSV: UTF-8, one header line, empty cells for what is missing, flags joined by semicolons."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, ClassVar, TextIO

from mtqscore.report.writer import Run, Summary, columns, record

if TYPE_CHECKING:
    from mtqscore.scores import Assessment


class CsvWriter:
    r"""Writes CSV.

    A name with line breaks or quotes is quoted. Bytes of a name that are no UTF-8 stand as ``\udcNN``, since
    a CSV file is text.

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
        self._writer.writerow(row)

    def finish(self, summary: Summary) -> None:
        """Nothing follows the rows."""
