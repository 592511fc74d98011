"""JSON: one document with the model, the options, every row and the summary; and JSON Lines, one object a row."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import ClassVar, TextIO

from mtqscore.base.schema_versions import ASSESS, document
from mtqscore.config import AssessConfig
from mtqscore.errors import UsageError
from mtqscore.results.columns import Record, RowFaultError, full_record, quote, read_row, read_shard, score_names
from mtqscore.results.run import Run, Summary
from mtqscore.results.shards import Shard
from mtqscore.scores import Assessment

_LINE_ENDS = {ord(end): f"\\u{ord(end):04x}" for end in "\x85\u2028\u2029"}
"""Ends of lines to some readers of text, though not to JSON; its own escapes keep one row on one line for all."""


def _on_one_line(row: Record) -> str:
    # The stream writes lone surrogates as backslash escapes, which JSON reads; the rest stays legible.
    return json.dumps(row, ensure_ascii=False, allow_nan=False).translate(_LINE_ENDS)


# --- JSON Lines -------------------------------------------------------------------------------------------------


class JsonLinesWriter:
    r"""Writes JSON Lines: one self-contained object a row, written and flushed as it comes.

    Bytes of a name that are no UTF-8 stand as lone surrogates ``\udcNN``; Python reads the very name back.
    """

    line_by_line: ClassVar[bool] = True

    def __init__(self, stream: TextIO, run: Run) -> None:
        self._stream = stream
        self._run = run

    def begin(self) -> None:
        """Nothing comes before the rows."""

    def write(self, assessment: Assessment) -> None:
        """Write one row and flush it, so that an interrupted run keeps every row it had."""
        row = full_record(assessment, self._run)
        if self._run.shard is not None:
            row["shard"] = asdict(self._run.shard)  # lines have no common head that could hold it
        self._stream.write(_on_one_line(row) + "\n")
        self._stream.flush()

    def finish(self, summary: Summary) -> None:
        """Nothing follows the rows."""


def read_line(line: bytes, options: AssessConfig | None) -> tuple[Assessment, Shard | None]:
    """Read one line of JSON Lines: the row, and the shard that it names.

    Raises:
        ValueError: it is no row.
    """
    try:
        record = json_object(line)
        return read_row(record, score_names(list(record)), options), read_shard(record.get("shard"))
    except (RowFaultError, KeyError) as error:
        raise ValueError(str(error)) from error


def read_lines(lines: Iterable[str]) -> Iterator[Record]:
    """Yield the rows of JSON Lines by column name."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield json_object(line)
        except ValueError as error:
            if line.endswith("\n"):
                raise RowFaultError(f"line {number} is no JSON object") from error
            # The rows before it are sound, but to take them for the result would be to take a part in silence.
            raise RowFaultError(
                "the last line is incomplete: an interrupted run, to be finished with --resume"
            ) from error


def json_object(text: str | bytes) -> Record:
    """Parse one JSON object."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("no object")
    return value


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


# --- JSON -------------------------------------------------------------------------------------------------------


class JsonWriter:
    """Writes one JSON document, row by row, so that the rows need not be held in memory."""

    line_by_line: ClassVar[bool] = False

    def __init__(self, stream: TextIO, run: Run) -> None:
        self._stream = stream
        self._run = run
        self._separator = "\n"

    def begin(self) -> None:
        """Write what is known before the first row."""
        text = json.dumps(head_as_dict(self._run), ensure_ascii=False, indent=2).removesuffix("\n}")
        self._stream.write(f'{text},\n  "results": [')

    def write(self, assessment: Assessment) -> None:
        """Write one row."""
        self._stream.write(f"{self._separator}    {_on_one_line(full_record(assessment, self._run))}")
        self._separator = ",\n"

    def finish(self, summary: Summary) -> None:
        """Write the summary and close the document."""
        text = json.dumps(summary.as_dict(), ensure_ascii=False)
        self._stream.write(f'\n  ],\n  "summary": {text}\n}}\n')


@dataclass(frozen=True)
class Head:
    """The part of a file before its rows; None or empty where it holds nothing."""

    version: str = ""
    targets: tuple[str, ...] | None = None
    options: AssessConfig | None = None
    shard: Shard | None = None


def head_as_dict(run: Run) -> dict[str, object]:
    """Give what is known before the first row, as it stands in files."""
    model = {"id": run.model, "sha256": run.model_sha256, "provider": run.provider, "targets": run.targets}
    head: dict[str, object] = {"model": model, "options": None if run.options is None else asdict(run.options)}
    if run.shard is not None:
        head["shard"] = asdict(run.shard)
    return document(ASSESS, head, version=run.version)


def read_head(found: Record) -> Head:
    """Read what stands in a document before its rows."""
    if found.get("schema") != ASSESS:
        known = f"its schema is {quote(found['schema'])}, not {ASSESS!r}" if "schema" in found else "no schema"
        raise RowFaultError(f"this is no result of mtqscore assess that this version reads: {known}")
    model = found.get("model")
    targets = model.get("targets") if isinstance(model, dict) else None
    if not isinstance(targets, list):
        raise RowFaultError("the JSON lacks the targets of its model")
    options = found.get("options")
    try:
        config = AssessConfig(**options) if isinstance(options, dict) else None
    except (TypeError, AttributeError, UsageError):  # those of another version
        config = None
    return Head(str(found.get("mtqscore", "")), tuple(map(str, targets)), config, read_shard(found.get("shard")))


def read_document(text: str) -> Record:
    """Parse a whole document."""
    try:
        return json_object(text)
    except ValueError as error:
        raise RowFaultError("the JSON is damaged or ends early: it is no complete result of mtqscore assess") from error


def rows_of(found: Record) -> list[Record]:
    """Give the rows of a document by column name."""
    records = found.get("results")
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise RowFaultError("the JSON lacks the results")
    return records
