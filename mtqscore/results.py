"""Result files read back: the rows that ``assess`` wrote, as the assessments that they were."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import sys
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from mtqscore.config import AssessConfig
from mtqscore.errors import MissingExtraError, UsageError
from mtqscore.report.csv import FREE_TEXT, unguarded
from mtqscore.report.json import SCHEMA
from mtqscore.report.names import from_text
from mtqscore.report.parquet import METADATA_KEY
from mtqscore.report.writer import Run
from mtqscore.scores import Assessment, Flag, FrameScores, Scores, Status
from mtqscore.spec import SUPERVISED, TARGETS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

STDIN = "-"
SCALES = {target.name: (target.low, target.high) for target in TARGETS}
SCORES = tuple(target.name for target in SUPERVISED)
COLUMNS_BEFORE_STATUS = ("path", "channel", "duration_s", "sample_rate_hz")
"""What stands before ``status`` besides these is a score; columns that a later version adds stand behind it."""

DAMAGED_PARQUET = "the Parquet file is damaged or ends early"
LONGEST_QUOTE = 60
"""Characters of a faulty value that a message shows."""

Record = dict[str, Any]


@dataclass(frozen=True)
class Results:
    """A result at hand.

    Args:
        source: the file or folder that it came from, for messages.
        run: what its rows have in common; what the file does not say is empty, options are None.
        rows: in their order.
    """

    source: str
    run: Run
    rows: tuple[Assessment, ...]


def read_results(path: str | os.PathLike[str]) -> Results:
    """Read what ``assess`` wrote as JSON Lines, JSON, CSV or Parquet; the content decides, not the name.

    Args:
        path: the file, or ``-`` for stdin.

    Returns:
        Every row, scored or not, with its scores along time where the file has them.

    Raises:
        UsageError: there is no such file, it is no result of ``assess`` or an incomplete one, it has no rows, or
            its rows stem from different models.
        MissingExtraError: it is a Parquet file, and pyarrow is not installed.
    """
    name = os.fspath(path)
    source = "stdin" if name == STDIN else name
    try:
        if name == STDIN:
            return _read(source, sys.stdin.buffer)
        with open(name, "rb") as stream:  # noqa: PTH123 - the name stays as it was typed
            return _read(source, stream)
    except _FaultError as fault:
        raise UsageError(f"{source!r}: {fault}") from fault
    except UnicodeDecodeError as error:
        raise UsageError(f"{source!r}: this is no result of mtqscore assess: it is not text in UTF-8") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UsageError(f"cannot read {source!r}: {reason}") from error


class _FaultError(Exception):
    """What is wrong with a file, without its name."""


# --- formats: each gives rows as mappings of one kind ---------------------------------------------------------


@dataclass(frozen=True)
class _Head:
    """What a file says before its rows; None or empty if it says nothing."""

    version: str = ""
    targets: tuple[str, ...] | None = None
    options: AssessConfig | None = None


def _read(source: str, stream: BinaryIO) -> Results:
    first = next((line for line in stream if line.strip(b"\xef\xbb\xbf \t\r\n")), b"")
    if not first:
        raise _FaultError("the file is empty")
    if first.startswith(b"PAR1"):
        head, records = _parquet_table(first + stream.read())
        return _gather(source, records, head)
    text = first.decode("utf-8-sig")
    lines = chain([text], (line.decode("utf-8") for line in stream))
    if not text.lstrip().startswith("{"):
        return _gather(source, _csv_records(lines), _Head())
    try:
        is_document = "schema" in _json_object(text)
    except ValueError:  # the first of many lines of one object
        is_document = True
    if is_document:
        head, rows = _json_document("".join(lines))
        return _gather(source, rows, head)
    return _gather(source, _json_lines(lines), _Head())


def _json_object(text: str) -> Record:
    """Parse one JSON object.

    Raises:
        ValueError: it is none.
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("no object")
    return value


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


def _json_lines(lines: Iterable[str]) -> Iterator[Record]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield _json_object(line)
        except ValueError as error:
            if line.endswith("\n"):
                raise _FaultError(f"line {number} is no JSON object") from error
            # The rows before it are sound, but to judge them would be to judge a part in silence.
            raise _FaultError("the last line is incomplete: the run was interrupted; score again") from error


def _json_document(text: str) -> tuple[_Head, list[Record]]:
    try:
        document = _json_object(text)
    except ValueError as error:
        raise _FaultError("the JSON is damaged or ends early: it is no complete result of mtqscore assess") from error
    head, records = _head(document), document.get("results")
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise _FaultError("the JSON lacks the results")
    return head, records


def _head(document: Record) -> _Head:
    if document.get("schema") != SCHEMA:
        known = f"its schema is {_quote(document['schema'])}, not {SCHEMA!r}" if "schema" in document else "no schema"
        raise _FaultError(f"this is no result of mtqscore assess that this version reads: {known}")
    model = document.get("model")
    targets = model.get("targets") if isinstance(model, dict) else None
    if not isinstance(targets, list):
        raise _FaultError("the JSON lacks the targets of its model")
    return _Head(str(document.get("mtqscore", "")), tuple(map(str, targets)), _options(document.get("options")))


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
            raise _FaultError("this is no result of mtqscore assess: no JSON, and no table with 'path' and 'status'")
        numbers = {"duration_s", "sample_rate_hz", *_score_names(header)} & set(header)
        texts = set(FREE_TEXT) & set(header)
        for index, cells in enumerate(filter(None, reader), start=1):
            if len(cells) != len(header):
                raise _FaultError(f"row {index} has {len(cells)} cells, the header {len(header)}")
            record: Record = dict(zip(header, cells, strict=True))
            for name in numbers:
                record[name] = _number(record[name])
            for name in texts:
                record[name] = from_text(unguarded(record[name]))
            record["path"] = record["path"] or None
            record["flags"] = list(filter(None, record.get("flags", "").split(";")))
            yield record
    except csv.Error as error:
        raise _FaultError(f"no table that can be read: {error}") from error


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
        document = None if metadata is None else _json_object(metadata.decode())
    except faults as error:
        raise _FaultError(DAMAGED_PARQUET) from error

    def records() -> Iterator[Record]:
        try:
            for batch in table.iter_batches():
                for record in batch.to_pylist():
                    yield {
                        name: from_text(value) if isinstance(value, str) else value for name, value in record.items()
                    }
        except faults as error:
            raise _FaultError(DAMAGED_PARQUET) from error

    return _Head() if document is None else _head(document), records()


# --- rows: every value is checked -----------------------------------------------------------------------------


def _gather(source: str, records: Iterable[Record], head: _Head) -> Results:
    rows: list[Assessment] = []
    targets = head.targets
    for index, record in enumerate(records, start=1):
        if targets is None:
            targets = _score_names(list(record))
        try:
            rows.append(_assessment(record, targets, head.options))
        except KeyError as error:
            raise _FaultError(
                f"row {index} has no {error.args[0]!r}: this is no whole result of mtqscore assess"
            ) from error
        except _FaultError as fault:
            raise _FaultError(f"row {index}: {fault}") from fault
    if not rows or targets is None:
        raise _FaultError("the result has no rows")
    models = sorted({(row.model, row.model_sha256) for row in rows})
    if len(models) > 1:
        shown = " and ".join(_quote(f"{model} {sha256[:8]}".rstrip()) for model, sha256 in models[:2])
        raise _FaultError(f"its rows stem from different models, {shown}: read the results of each on their own")
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
    return Results(source, run, tuple(rows))


def _score_names(columns: Sequence[str]) -> tuple[str, ...]:
    """Columns that are scores; without a column ``status`` there are none."""
    before = columns[: columns.index("status")] if "status" in columns else ()
    return tuple(name for name in before if name not in COLUMNS_BEFORE_STATUS)


def _assessment(record: Record, targets: tuple[str, ...], options: AssessConfig | None) -> Assessment:
    path = record["path"]
    if path is not None and not isinstance(path, str):
        raise _FaultError(f"path {_quote(path)} is no text")
    try:
        status = Status(record["status"])
        flags = tuple(Flag(name) for name in record["flags"])
    except (ValueError, TypeError) as error:
        raise _FaultError(f"status or flag unknown: {_quote(record['status'])}, {_quote(record['flags'])}") from error
    sample_rate_hz = _bounded(record, "sample_rate_hz", 1, math.inf)
    return Assessment(
        path=path,
        channel=_text(record, "channel"),
        duration_s=_bounded(record, "duration_s", 0, math.inf),
        sample_rate_hz=None if sample_rate_hz is None else int(sample_rate_hz),
        status=status,
        reason=_text(record, "reason"),
        flags=flags,
        scores=_scores(record, targets, scored=status is Status.OK),
        frames=_frames(record.get("frames")),
        model=_text(record, "model"),
        model_sha256=_text(record, "model_sha256") if "model_sha256" in record else "",
        provider=_text(record, "provider") if "provider" in record else "",
        options=options,
    )


def _scores(record: Record, targets: Sequence[str], *, scored: bool) -> Scores | None:
    values = {name: _bounded(record, name, *SCALES.get(name, (-math.inf, math.inf))) for name in (*SCORES, *targets)}
    known = {name: value for name, value in values.items() if value is not None}
    if scored and len(known) < len(values):
        lacking = next(name for name, value in values.items() if value is None)
        raise _FaultError(f"the status is ok, but there is no {lacking}")
    if not scored:
        if known:
            raise _FaultError(f"the status is {record['status']}, but there is a {next(iter(known))}")
        return None
    return Scores(known.pop("s_mos"), known.pop("n_mos"), known.pop("g_mos"), known)


def _bounded(record: Record, name: str, low: float, high: float) -> float | None:
    value = record[name]
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        raise _FaultError(f"{name} {_quote(value)} is no number")
    if not low <= value <= high:
        raise _FaultError(f"{name} {value:g} is outside {low:g} to {high:g}")
    return float(value)


def _text(record: Record, name: str) -> str:
    value = record[name]
    if not isinstance(value, str):
        raise _FaultError(f"{name} {_quote(value)} is no text")
    return value


def _frames(values: object) -> FrameScores | None:
    if values is None:
        return None
    try:
        curves = dict(values)  # type: ignore[call-overload]
        hop_s = float(curves.pop("hop_s"))
        # Missing values are null in files, NaN in arrays.
        columns = [np.array(curve, dtype=np.float32) for curve in curves.values()]
        stacked = np.stack(columns, axis=1)
        if stacked.ndim != 2 or not 0 < hop_s < math.inf:
            raise ValueError("no curves along time")
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise _FaultError("frames are no scores along time, one number a frame for each score") from error
    return FrameScores(hop_s, tuple(curves), stacked)


def _quote(value: object) -> str:
    """Show a value on one line, and not more of it than helps."""
    text = repr(value)
    return text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]}…"
