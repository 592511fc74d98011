"""One writer a format; a new format is one new file and one line in this table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mtqscore.report.html import HtmlWriter
from mtqscore.report.junit import JunitWriter
from mtqscore.report.markdown import MarkdownWriter
from mtqscore.results.csv import CsvWriter
from mtqscore.results.json import JsonWriter
from mtqscore.results.jsonl import JsonLinesWriter
from mtqscore.results.parquet import ParquetWriter

if TYPE_CHECKING:
    from mtqscore.results.writer import Writer

WRITERS: dict[str, type[Writer]] = {
    "csv": CsvWriter,
    "json": JsonWriter,
    "jsonl": JsonLinesWriter,
    "parquet": ParquetWriter,
    "junit": JunitWriter,
    "md": MarkdownWriter,
    "html": HtmlWriter,
}
