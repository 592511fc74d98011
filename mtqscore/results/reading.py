"""Result files read back: the rows that ``assess`` wrote, as the assessments that they were."""

from __future__ import annotations

import csv
import io
import os
import sys
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO

from mtqscore.base.names import from_text
from mtqscore.base.schema_versions import ASSESS
from mtqscore.config import AssessConfig
from mtqscore.errors import MissingExtraError, UsageError
from mtqscore.results.csv import FREE_TEXT, unguarded
from mtqscore.results.parquet import METADATA_KEY
from mtqscore.results.row import Record, RowFaultError, json_object, quote, read_row, read_shard, score_names
from mtqscore.results.run import Results, Run

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from mtqscore.results.shards import Shard
    from mtqscore.scores import Assessment

STDIN = "-"
DAMAGED_PARQUET = "the Parquet file is damaged or ends early"


def read_results(path: str | os.PathLike[str], *, may_be_empty: bool = False) -> Results:
    """Read what ``assess`` wrote as JSON Lines, JSON, CSV or Parquet; the content decides, not the name.

    Args:
        path: the file, or ``-`` for stdin.
        may_be_empty: give a result without rows back, as a shard without recordings has none; its run says nothing.

    Returns:
        Every row, scored or not, with its scores along time where the file has them.

    Raises:
        UsageError: there is no such file, it is no result of ``assess`` or an incomplete one, it has no rows, or
            its rows stem from different models.
        MissingExtraError: it is a Parquet file, and pyarrow is not installed.

    Example:
        >>> read_results("no-such-file.jsonl")
        Traceback (most recent call last):
        mtqscore.errors.UsageError: cannot read 'no-such-file.jsonl': No such file or directory
    """
    name = os.fspath(path)
    source = "stdin" if name == STDIN else name
    try:
        if name == STDIN:
            return _read(source, sys.stdin.buffer)
        with open(name, "rb") as stream:  # noqa: PTH123 - the name stays as it was typed
            return _read(source, stream)
    except _EmptyError as empty:
        if may_be_empty:
            return Results(source, Run(empty.head.version, "", "", "", (), None), (), empty.shards)
        raise UsageError(f"{source!r}: {empty}") from empty
    except RowFaultError as fault:
        raise UsageError(f"{source!r}: {fault}") from fault
    except UnicodeDecodeError as error:
        raise UsageError(f"{source!r}: this is no result of mtqscore assess: it is not text in UTF-8") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UsageError(f"cannot read {source!r}: {reason}") from error


# --- formats: each gives rows as mappings of one kind ---------------------------------------------------------


@dataclass(frozen=True)
class _Head:
    """What a file says before its rows; None or empty if it says nothing."""

    version: str = ""
    targets: tuple[str, ...] | None = None
    options: AssessConfig | None = None
    shard: Shard | None = None


class _EmptyError(RowFaultError):
    """A file is in order but holds no rows."""

    def __init__(self, text: str, head: _Head) -> None:
        super().__init__(text)
        self.head = head
        self.shards = () if head.shard is None else (head.shard,)


def _read(source: str, stream: BinaryIO) -> Results:
    first = next((line for line in stream if line.strip(b"\xef\xbb\xbf \t\r\n")), b"")
    if not first:
        raise _EmptyError("the file is empty", _Head())
    if first.startswith(b"PAR1"):
        head, records = _parquet_table(first + stream.read())
        return _gather(source, records, head)
    text = first.decode("utf-8-sig")
    lines = chain([text], (line.decode("utf-8") for line in stream))
    if text.lstrip().startswith("["):  # the rows alone, as jq and pandas write them
        return _gather(source, _rows(_json_whole(f'{{"results": {"".join(lines)}}}')), _Head())
    if not text.lstrip().startswith("{"):
        return _gather(source, _csv_records(lines), _Head())
    try:
        is_document = "schema" in json_object(text)
    except ValueError:  # the first of many lines of one object
        is_document = True
    if is_document:
        document = _json_whole("".join(lines))
        head = _head(document)
        return _gather(source, _rows(document), head)
    return _gather(source, _json_lines(lines), _Head())


def _json_lines(lines: Iterable[str]) -> Iterator[Record]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield json_object(line)
        except ValueError as error:
            if line.endswith("\n"):
                raise RowFaultError(f"line {number} is no JSON object") from error
            # The rows before it are sound, but to judge them would be to judge a part in silence.
            raise RowFaultError(
                "the last line is incomplete: an interrupted run, to be finished with --resume"
            ) from error


def _json_whole(text: str) -> Record:
    try:
        return json_object(text)
    except ValueError as error:
        raise RowFaultError("the JSON is damaged or ends early: it is no complete result of mtqscore assess") from error


def _rows(document: Record) -> list[Record]:
    records = document.get("results")
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise RowFaultError("the JSON lacks the results")
    return records


def _head(document: Record) -> _Head:
    if document.get("schema") != ASSESS:
        known = f"its schema is {quote(document['schema'])}, not {ASSESS!r}" if "schema" in document else "no schema"
        raise RowFaultError(f"this is no result of mtqscore assess that this version reads: {known}")
    model = document.get("model")
    targets = model.get("targets") if isinstance(model, dict) else None
    if not isinstance(targets, list):
        raise RowFaultError("the JSON lacks the targets of its model")
    return _Head(
        version=str(document.get("mtqscore", "")),
        targets=tuple(map(str, targets)),
        options=_options(document.get("options")),
        shard=read_shard(document.get("shard")),
    )


def _options(values: object) -> AssessConfig | None:
    try:
        return AssessConfig(**values) if isinstance(values, dict) else None
    except (TypeError, AttributeError, UsageError):  # those of another version
        return None


def _csv_records(lines: Iterable[str]) -> Iterator[Record]:
    reader = csv.reader(lines)
    try:
        header = next(reader)
        if "path" not in header or "status" not in header:
            raise RowFaultError(_no_table(header))
        numbers = {"duration_s", "sample_rate_hz", *score_names(header)} & set(header)
        texts = set(FREE_TEXT) & set(header)
        for index, cells in enumerate(filter(any, reader), start=1):  # spreadsheets leave rows without a word
            if len(cells) != len(header):
                raise RowFaultError(f"row {index} has {len(cells)} cells, the header {len(header)}")
            record: Record = dict(zip(header, cells, strict=True))
            for name in numbers:
                record[name] = _number(record[name])
            for name in texts:
                record[name] = from_text(unguarded(record[name]))
            record["path"] = record["path"] or None
            record["flags"] = list(filter(None, record.get("flags", "").split(";")))
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


def _parquet_table(content: bytes) -> tuple[_Head, Iterator[Record]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("reading a Parquet result", "parquet", "pyarrow") from error
    faults = (pyarrow.ArrowException, OSError, ValueError)
    try:
        table = parquet.ParquetFile(io.BytesIO(content))
        metadata = (table.schema_arrow.metadata or {}).get(METADATA_KEY)
        # A table that went through another tool may have lost its metadata; its columns say enough.
        document = None if metadata is None else json_object(metadata.decode())
    except faults as error:
        raise RowFaultError(DAMAGED_PARQUET) from error

    def records() -> Iterator[Record]:
        try:
            for batch in table.iter_batches():
                for record in batch.to_pylist():
                    yield {
                        name: from_text(value) if isinstance(value, str) else value for name, value in record.items()
                    }
        except faults as error:
            raise RowFaultError(DAMAGED_PARQUET) from error

    return _Head() if document is None else _head(document), records()


def _gather(source: str, records: Iterable[Record], head: _Head) -> Results:
    rows: list[Assessment] = []
    shards = {head.shard: None}
    told: object = None  # in files with shards every row tells it, mostly the same
    targets = head.targets
    for index, record in enumerate(records, start=1):
        if targets is None:
            targets = score_names(list(record))
        try:
            rows.append(read_row(record, targets, head.options))
            if record.get("shard") != told:
                told = record.get("shard")
                shards[read_shard(told)] = None
        except KeyError as error:
            raise RowFaultError(
                f"row {index} has no {error.args[0]!r}: this is no whole result of mtqscore assess"
            ) from error
        except RowFaultError as fault:
            raise RowFaultError(f"row {index}: {fault}") from fault
    if not rows or targets is None:
        raise _EmptyError("the result has no rows", head)
    models = sorted({(row.model, row.model_sha256) for row in rows})
    if len(models) > 1:
        shown = " and ".join(quote(f"{model} {sha256[:8]}".rstrip()) for model, sha256 in models[:2])
        raise RowFaultError(f"its rows stem from different models, {shown}: read the results of each on their own")
    first = rows[0]
    run = Run(
        version=head.version,
        model=first.model,
        model_sha256=first.model_sha256,
        provider=first.provider,
        targets=targets,
        options=head.options,
        frames=any(row.frames is not None for row in rows),
    )
    return Results(source, run, tuple(rows), tuple(shard for shard in shards if shard is not None))
