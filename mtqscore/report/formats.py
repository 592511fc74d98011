"""One writer a format; a new format is one new file and one line in this table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mtqscore.report.csv import CsvWriter
from mtqscore.report.html import HtmlWriter
from mtqscore.report.json import JsonWriter
from mtqscore.report.jsonl import JsonLinesWriter
from mtqscore.report.junit import JunitWriter
from mtqscore.report.markdown import MarkdownWriter
from mtqscore.report.parquet import ParquetWriter

if TYPE_CHECKING:
    from mtqscore.report.writer import Writer

WRITERS: dict[str, type[Writer]] = {
    "csv": CsvWriter,
    "json": JsonWriter,
    "jsonl": JsonLinesWriter,
    "parquet": ParquetWriter,
    "junit": JunitWriter,
    "md": MarkdownWriter,
    "html": HtmlWriter,
}
