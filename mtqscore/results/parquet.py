"""Parquet: one typed column a value, in row groups, with the run in the metadata of the file."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any, BinaryIO, ClassVar, TextIO

from mtqscore.base.names import as_text, from_text
from mtqscore.errors import MissingExtraError, UsageError
from mtqscore.results.columns import FURTHER, Record, RowFaultError, full_record, table_columns
from mtqscore.results.json import Head, head_as_dict, json_object, read_head
from mtqscore.results.run import Run, Summary
from mtqscore.scores import Assessment

ROWS_A_GROUP = 10_000
VALUES_A_GROUP = 1_000_000
"""Values of curves in a row group, so that long recordings do not fill the memory: about 3 hours of three scores."""

DAMAGED = "the Parquet file is damaged or ends early"
METADATA_KEY, SUMMARY_KEY = b"mtqscore", b"mtqscore.summary"
"""Metadata of the file that hold, as JSON, the parts of a JSON document before and after its rows."""


class ParquetWriter:
    r"""Writes a Parquet table: the columns of CSV, then those of JSON Lines and, with curves, ``frames``.

    Scores are nullable float64, ``flags`` is a list of strings, ``frames`` a struct of ``hop_s`` and one list a target
    with null where a stretch had no sound. Text in ``path``, ``model``, ``reason`` and ``provider`` goes through
    `as_text`: bytes that are no UTF-8 stand as ``\udcNN``.

    Args:
        stream: where to; what it wraps gets the bytes.
        run: what all rows have in common.

    Raises:
        MissingExtraError: pyarrow is not installed.
        UsageError: the stream is a terminal.
    """

    line_by_line: ClassVar[bool] = False

    def __init__(self, stream: TextIO, run: Run) -> None:
        try:
            import pyarrow  # noqa: F401 - refused before the first recording if it is not there
        except ImportError as error:
            raise MissingExtraError("--parquet", "parquet", "pyarrow") from error
        if stream.isatty():
            raise UsageError("Parquet is no text for a terminal: give --parquet a file, or redirect stdout")
        self._sink = _Sink(stream.buffer)
        self._run = run
        self._rows: list[Record] = []
        self._values = 0

    def begin(self) -> None:
        """Write what comes before the rows."""
        from pyarrow import parquet

        self._schema = _schema(self._run)
        self._table: Any = parquet.ParquetWriter(self._sink, self._schema)

    def write(self, assessment: Assessment) -> None:
        """Take one row, and write a row group when it is full."""
        row = full_record(assessment, self._run)
        self._rows.append({name: as_text(value) if isinstance(value, str) else value for name, value in row.items()})
        if "frames" in row and assessment.frames is not None:
            self._values += assessment.frames.values.size
        if len(self._rows) >= ROWS_A_GROUP or self._values >= VALUES_A_GROUP:
            self._write_group()

    def finish(self, summary: Summary) -> None:
        """Write what is left, and the end of the file."""
        self._write_group()
        self._table.add_key_value_metadata({SUMMARY_KEY: json.dumps(summary.as_dict(), allow_nan=False)})
        self._table.close()

    def _write_group(self) -> None:
        import pyarrow

        if self._rows:
            self._table.write_table(pyarrow.Table.from_pylist(self._rows, self._schema))
        self._rows, self._values = [], 0


class _Sink:
    """The bytes of a stream for pyarrow, which asks where it is, even of a pipe, and ends an abandoned file late."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._written = 0
        self.closed = False

    def write(self, content: Any) -> int:
        # A run that was interrupted has closed the stream; what pyarrow still writes then goes nowhere.
        if not self._stream.closed:
            self._stream.write(content)
        self._written += len(content)
        return len(content)

    def tell(self) -> int:
        return self._written

    def flush(self) -> None:
        if not self._stream.closed:
            self._stream.flush()

    def close(self) -> None:
        """The stream belongs to whoever opened it."""
        self.closed = True


def _schema(run: Run) -> Any:
    import pyarrow

    text = pyarrow.string()
    kinds = {"list": pyarrow.list_(text)}
    columns = [*table_columns(run.targets), *FURTHER]
    fields = [(item.name, kinds.get(item.arrow) or pyarrow.type_for_alias(item.arrow)) for item in columns]
    if run.frames:
        curves = [(target, pyarrow.list_(pyarrow.float32())) for target in run.targets]
        fields.append(("frames", pyarrow.struct([("hop_s", pyarrow.float64()), *curves])))
    return pyarrow.schema(fields, metadata={METADATA_KEY: json.dumps(head_as_dict(run))})


def read_parquet(content: bytes) -> tuple[Head, Iterator[Record]]:
    """Read a table: its head, and the rows by column name."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("reading a Parquet result", "parquet", "pyarrow") from error
    faults = (pyarrow.ArrowException, OSError, ValueError)
    try:
        table = parquet.ParquetFile(io.BytesIO(content))
        metadata = (table.schema_arrow.metadata or {}).get(METADATA_KEY)
        # A table that went through another tool may have lost its metadata; its columns hold enough.
        found = None if metadata is None else json_object(metadata.decode())
    except faults as error:
        raise RowFaultError(DAMAGED) from error

    def records() -> Iterator[Record]:
        try:
            for batch in table.iter_batches():
                for record in batch.to_pylist():
                    yield {
                        name: from_text(value) if isinstance(value, str) else value for name, value in record.items()
                    }
        except faults as error:
            raise RowFaultError(DAMAGED) from error

    return Head() if found is None else read_head(found), records()
