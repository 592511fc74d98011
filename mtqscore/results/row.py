"""One row read back: every value of it is checked."""

from __future__ import annotations

import json
import math
import sys
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import numpy as np

from mtqscore.results.shards import Shard
from mtqscore.scores import Assessment, Flag, FrameScores, Scores, Status
from mtqscore.targets import SUPERVISED, TARGETS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mtqscore.config import AssessConfig

SCALES = {target.name: (target.low, target.high) for target in TARGETS}
SCORES = tuple(target.name for target in SUPERVISED)
NO_SCORES = ("path", "channel", "duration_s", "sample_rate_hz", "status", "flags", "model", "reason")
"""Columns that end the scores, wherever they stand."""

LONGEST_QUOTE = 60
"""Characters of a faulty value that a message shows."""

Record = dict[str, Any]


class RowFaultError(Exception):
    """What is wrong with a row or a file, without its name."""


def json_object(text: str | bytes) -> Record:
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


def score_names(columns: Sequence[str]) -> tuple[str, ...]:
    """The three scores, and those that writers put behind them; what stands elsewhere is none."""
    behind = columns[columns.index("g_mos") + 1 :] if "g_mos" in columns else ()
    further = takewhile(lambda name: name not in NO_SCORES, behind)
    return (*SCORES, *(name for name in further if name not in SCORES))


def read_line(line: bytes, options: AssessConfig | None) -> tuple[Assessment, Shard | None]:
    """Read one line of JSON Lines.

    Args:
        line: with or without its end.
        options: of its run, as far as they are known.

    Returns:
        The row, and the shard that it names.

    Raises:
        ValueError: it is no row.
    """
    try:
        record = json_object(line)
        return read_row(record, score_names(list(record)), options), read_shard(record.get("shard"))
    except (RowFaultError, KeyError) as error:
        raise ValueError(str(error)) from error


def read_row(record: Record, targets: Sequence[str], options: AssessConfig | None) -> Assessment:
    """Make the assessment again that a row was written from.

    Args:
        record: the row by column name.
        targets: names of its scores.
        options: of its run, as far as they are known.

    Raises:
        RowFaultError: a value is not what it should be.
        KeyError: a column is missing.
    """
    path = record["path"]
    if path is not None and not isinstance(path, str):
        raise RowFaultError(f"path {quote(path)} is no text")
    try:
        status = Status(record["status"])
        flags = tuple(Flag(name) for name in record["flags"])
    except (ValueError, TypeError) as error:
        raise RowFaultError(f"status or flag unknown: {quote(record['status'])}, {quote(record['flags'])}") from error
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
        precision=None if record.get("precision") is None else _text(record, "precision"),
        size_bytes=_whole(record, "size_bytes"),
        modified_ns=_whole(record, "modified_ns"),
        channel_count=_whole(record, "channel_count"),
    )


def read_shard(value: object) -> Shard | None:
    """The shard that a file names; None where it names none."""
    if value is None:
        return None
    try:
        shard = Shard(**value)  # type: ignore[arg-type]
        numbers = (shard.number, shard.count, shard.recordings, shard.all_recordings)
        if all(type(number) is int for number in numbers) and 1 <= shard.number <= shard.count:
            return shard
    except TypeError:
        pass
    raise RowFaultError(f"{quote(value)} is no shard")


def _scores(record: Record, targets: Sequence[str], *, scored: bool) -> Scores | None:
    values = {name: _bounded(record, name, *SCALES.get(name, (-math.inf, math.inf))) for name in (*SCORES, *targets)}
    known = {name: value for name, value in values.items() if value is not None}
    if scored and len(known) < len(values):
        lacking = next(name for name, value in values.items() if value is None)
        raise RowFaultError(f"the status is ok, but there is no {lacking}")
    if not scored:
        if known:
            raise RowFaultError(f"the status is {record['status']}, but there is a {next(iter(known))}")
        return None
    return Scores(known.pop("s_mos"), known.pop("n_mos"), known.pop("g_mos"), known)


def _bounded(record: Record, name: str, low: float, high: float) -> float | None:
    value = record[name]
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        raise RowFaultError(f"{name} {quote(value)} is no number")
    if not low <= value <= high:
        raise RowFaultError(f"{name} {value:g} is outside {low:g} to {high:g}")
    return float(value)


def _whole(record: Record, name: str) -> int | None:
    """A count that later versions added; it is exact, so that it can be compared with a file's."""
    value = record.get(name)
    if value is not None and type(value) is not int:
        raise RowFaultError(f"{name} {quote(value)} is no whole number")
    return value


def _text(record: Record, name: str) -> str:
    value = record[name]
    if not isinstance(value, str):
        raise RowFaultError(f"{name} {quote(value)} is no text")
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
        raise RowFaultError("frames are no scores along time, one number a frame for each score") from error
    return FrameScores(hop_s, tuple(curves), stacked)


def quote(value: object) -> str:
    """Show a value on one line, and not more of it than helps."""
    text = repr(value)
    return text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]}…"
