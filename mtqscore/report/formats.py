"""Writers of results by format; a new format is one new file and one line in the table."""

from __future__ import annotations

from typing import ClassVar, Protocol, TextIO

from mtqscore.report.html import HtmlWriter
from mtqscore.report.junit import JunitWriter
from mtqscore.report.markdown import MarkdownWriter
from mtqscore.report.summary import RunSummary
from mtqscore.results.csv import CsvWriter
from mtqscore.results.json import JsonLinesWriter, JsonWriter
from mtqscore.results.parquet import ParquetWriter
from mtqscore.results.run import Run
from mtqscore.scores import Assessment


class Writer(Protocol):
    """Writes one format to one stream, row by row.

    Args:
        stream: where to, opened without newline translation.
        run: what all rows have in common.
    """

    line_by_line: ClassVar[bool]
    """True if what is written so far is useful at any moment; else a file appears when it is complete."""

    def __init__(self, stream: TextIO, run: Run) -> None: ...

    def begin(self) -> None:
        """Write what comes before the first row."""

    def write(self, assessment: Assessment) -> None:
        """Write one row."""

    def finish(self, summary: RunSummary) -> None:
        """Write what comes after the last row."""


WRITERS: dict[str, type[Writer]] = {
    "csv": CsvWriter,
    "json": JsonWriter,
    "jsonl": JsonLinesWriter,
    "parquet": ParquetWriter,
    "junit": JunitWriter,
    "md": MarkdownWriter,
    "html": HtmlWriter,
}
