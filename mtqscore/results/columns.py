"""Columns of a result: their names, types, meanings and checks, for every writer and reader."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

import numpy as np

from mtqscore.config import AssessConfig
from mtqscore.results.run import Run
from mtqscore.results.shards import Shard
from mtqscore.scores import Assessment, Flag, FrameScores, Scores, Status
from mtqscore.targets import DECIMALS, SUPERVISED, TARGETS

SCALES = {target.name: (target.low, target.high) for target in TARGETS}
SCORES = tuple(target.name for target in SUPERVISED)
LONGEST_QUOTE = 60
"""Characters of a faulty value that a message shows."""

_JSON_TYPES = {"string": "string", "float64": "number", "int32": "integer", "int64": "integer", "list": "array"}

Record = dict[str, Any]
"""One row by column name, as JSON holds it."""


class RowFaultError(Exception):
    """A fault of a row or a file, without its name."""


@dataclass(frozen=True)
class Column:
    """One column of a result, and the field of the same name of an `Assessment`.

    Args:
        name: in every format.
        meaning: in words.
        arrow: type in Parquet, as pyarrow names it; ``list`` is one of strings.
        nullable: None is a missing value; else a missing text is empty.
        low: least value of a number.
        high: greatest value of a number.
        free: text that is not ours, which may hold anything.
        numbered: text that some tools take for a number.
        json: what its JSON Schema holds besides.
    """

    name: str
    meaning: str = ""
    arrow: str = "string"
    nullable: bool = False
    low: float = -math.inf
    high: float = math.inf
    free: bool = False
    numbered: bool = False
    json: Mapping[str, object] = field(default_factory=dict)

    @property
    def is_number(self) -> bool:
        """True if its values are numbers."""
        return self.arrow not in ("string", "list")

    def value_of(self, assessment: Assessment) -> object:
        """Value of an assessment, as JSON holds it."""
        scores = assessment.scores
        if hasattr(assessment, self.name):
            value = getattr(assessment, self.name)
        elif scores is None:
            return None
        else:
            value = getattr(scores, self.name, None) if self.name in SCORES else scores.extra.get(self.name)
        if isinstance(value, tuple):
            return [str(item) for item in value]
        return round(value, DECIMALS) if isinstance(value, float) else value

    def checked(self, value: object) -> Any:
        """Check a value that was read; whole numbers may come as floats, as some tools write them.

        Raises:
            RowFaultError: it is none of this column.
        """
        if value is None:
            return None if self.nullable else ""
        if self.numbered:
            with suppress(ValueError, TypeError, OverflowError):
                value = str(number) if (number := int(float(value))) == float(value) else value  # type: ignore[arg-type]
        if not self.is_number:
            if not isinstance(value, str):
                raise RowFaultError(f"{self.name} {quote(value)} is no text")
            return value or None if self.nullable else value
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
            raise RowFaultError(f"{self.name} {quote(value)} is no number")
        if self.arrow != "float64" and value != int(value):
            raise RowFaultError(f"{self.name} {quote(value)} is no whole number")
        if not self.low <= value <= self.high:
            raise RowFaultError(f"{self.name} {value:g} is outside {self.low:g} to {self.high:g}")
        return float(value) if self.arrow == "float64" else int(value)

    def json_schema(self) -> dict[str, object]:
        """Its part of the JSON Schema of a row."""
        found: dict[str, object] = {}
        if not self.json.keys() & {"$ref", "enum"}:
            kind = _JSON_TYPES[self.arrow]
            found["type"] = [kind, "null"] if self.nullable else kind
            if self.is_number and math.isfinite(self.low):
                found["minimum"] = self.low
        return {**found, **self.json, "description": self.meaning}


def score_column(target: str) -> Column:
    """Column of the scores of one target."""
    low, high = SCALES.get(target, (-math.inf, math.inf))
    return Column(target, "", "float64", nullable=True, low=low, high=high)


BEFORE_SCORES = (
    Column("path", "The file as it was named; null for an array.", nullable=True, free=True),
    Column(
        "channel",
        "mean for a mixdown, else its number from 1; empty where the file could not be opened.",
        numbered=True,
        json={"pattern": "^(|mean|[1-9][0-9]*)$"},
    ),
    Column("duration_s", "Seconds of audio that were read.", "float64", nullable=True, low=0),
    Column("sample_rate_hz", "Rate of the recording.", "int32", nullable=True, low=1),
)
BEHIND_SCORES = (
    Column("status", "ok, or the kind of fault.", json={"$ref": "#/$defs/status"}),
    Column(
        "flags",
        "What a reader of the scores should know.",
        "list",
        json={"items": {"enum": [str(flag) for flag in Flag]}, "uniqueItems": True},
    ),
    Column("model", "name@version.", free=True),
    Column("reason", "Why there are no scores; empty when there are.", free=True),
)
FURTHER = (
    Column("model_sha256", "Checksum of the model; empty if it is not known.", json={"$ref": "#/$defs/sha256"}),
    Column("provider", "The execution provider of onnxruntime that really ran it."),
    Column("precision", "Of the products.", nullable=True, json={"enum": [None, "fp32", "tf32"]}),
    Column("size_bytes", "Of the file when it was opened.", "int64", nullable=True, low=0),
    Column("modified_ns", "Last change of the file, in nanoseconds since 1970.", "int64", nullable=True),
    Column("channel_count", "Channels of the recording.", "int32", nullable=True, low=1),
    Column("etag", "Tag of the content, as the store of a remote file has it.", nullable=True, free=True),
)
"""Columns that stand in JSON, JSON Lines and Parquet only, and may be lacking there."""

FREE_TEXT = tuple(column.name for column in (*BEFORE_SCORES, *BEHIND_SCORES) if column.free)
NUMBERS = {column.name for column in (*BEFORE_SCORES, *BEHIND_SCORES, *FURTHER) if column.is_number}
_NO_SCORES = {column.name for column in (*BEFORE_SCORES, *BEHIND_SCORES)}
"""Columns that end the scores, wherever they stand."""


def table_columns(targets: Sequence[str]) -> list[Column]:
    """Columns of a table, stable: new ones are only ever added at the end."""
    scores = (*SCORES, *(target for target in targets if target not in SCORES))
    return [*BEFORE_SCORES, *map(score_column, scores), *BEHIND_SCORES]


def score_names(columns: Sequence[str]) -> tuple[str, ...]:
    """The three scores, and those that writers put behind them; what stands elsewhere is none."""
    behind = columns[columns.index("g_mos") + 1 :] if "g_mos" in columns else ()
    further = takewhile(lambda name: name not in _NO_SCORES, behind)
    return (*SCORES, *(name for name in further if name not in SCORES))


def table_record(assessment: Assessment, targets: Sequence[str]) -> Record:
    """One row of a table by column name; None is a missing value, flags are a list."""
    return {column.name: column.value_of(assessment) for column in table_columns(targets)}


def full_record(assessment: Assessment, run: Run) -> Record:
    """One row with every column and, where the run has them, the scores along time."""
    row = {column.name: column.value_of(assessment) for column in (*table_columns(run.targets), *FURTHER)}
    if run.frames and assessment.frames is not None:
        row["frames"] = frames_as_dict(assessment.frames)
    return row


def frames_as_dict(frames: FrameScores) -> dict[str, object]:
    """Scores along time as they stand in JSON: the hop, and one list a target; None where a stretch had no sound."""
    curves = frames.values.astype("float64").round(DECIMALS).T.tolist()
    named = {
        target: [value if math.isfinite(value) else None for value in curve]
        for target, curve in zip(frames.targets, curves, strict=True)
    }
    return {"hop_s": frames.hop_s, **named}


def read_row(record: Record, targets: Sequence[str], options: AssessConfig | None) -> Assessment:
    """Make the assessment again that a row was written of.

    Args:
        record: the row by column name.
        targets: names of its scores.
        options: of its run, as far as they are known.

    Raises:
        RowFaultError: a value is not what it should be.
        KeyError: a column is missing.
    """
    columns = {column.name: column for column in table_columns(targets)}
    values: Record = {name: column.checked(record[name]) for name, column in columns.items() if name != "flags"}
    values |= {column.name: column.checked(record.get(column.name)) for column in FURTHER}
    try:
        values["status"], values["flags"] = Status(values["status"]), _flags(record["flags"])
    except (ValueError, TypeError) as error:
        found = f"{quote(record['status'])}, {quote(record['flags'])}"
        raise RowFaultError(f"status or flag unknown: {found}") from error
    scores = {name: values.pop(name) for name in columns if name not in _NO_SCORES}
    values["scores"] = _scores(scores, values["status"])
    return Assessment(**values, frames=_frames(record.get("frames")), options=options)


def _flags(value: object) -> tuple[Flag, ...]:
    """Read flags: a list, or text in which some tools and CSV put one."""
    names = re.findall(r"[^\s;,'\"\[\]]+", value) if isinstance(value, str) else value or ()
    return tuple(Flag(name) for name in names)  # type: ignore[attr-defined]


def _scores(values: Mapping[str, float | None], status: Status) -> Scores | None:
    known = {name: value for name, value in values.items() if value is not None}
    if status is not Status.OK:
        if known:
            raise RowFaultError(f"the status is {status}, but there is a {next(iter(known))}")
        return None
    if lacking := [name for name in values if name not in known]:
        raise RowFaultError(f"the status is ok, but there is no {lacking[0]}")
    s_mos, n_mos, g_mos = (known.pop(name) for name in SCORES)
    return Scores(s_mos, n_mos, g_mos, known)


def _frames(values: object) -> FrameScores | None:
    if values is None:
        return None
    try:
        curves = dict(values)  # type: ignore[call-overload]
        hop_s = float(curves.pop("hop_s"))
        # Missing values are null in files, NaN in arrays.
        stacked = np.stack([np.array(curve, dtype=np.float32) for curve in curves.values()], axis=1)
        if stacked.ndim != 2 or not 0 < hop_s < math.inf:
            raise ValueError("no curves along time")
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise RowFaultError("frames are no scores along time, one number a frame for each score") from error
    return FrameScores(hop_s, tuple(curves), stacked)


def read_shard(value: object) -> Shard | None:
    """Check the shard that a file or a row names; None where it names none.

    Raises:
        RowFaultError: it is no shard.
    """
    if value is None:
        return None
    try:
        shard = Shard(**value)  # type: ignore[arg-type]
        if all(type(number) is int for number in vars(shard).values()) and 1 <= shard.number <= shard.count:
            return shard
    except TypeError:
        pass
    raise RowFaultError(f"{quote(value)} is no shard")


def quote(value: object) -> str:
    """Show a value on one line, and not more of it than helps."""
    text = repr(value)
    return text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]}…"
