"""JSON Lines: one self-contained object a row, written and flushed as it comes."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, ClassVar, TextIO

from mtqscore.results.run import Run
from mtqscore.results.writer import Summary, record
from mtqscore.targets import DECIMALS

if TYPE_CHECKING:
    from mtqscore.scores import Assessment, FrameScores

_LINE_ENDS = {ord(end): f"\\u{ord(end):04x}" for end in "\x85\u2028\u2029"}
"""Ends of lines to some readers of text, though not to JSON; its own escapes keep one row on one line for all."""


def row_as_dict(assessment: Assessment, run: Run) -> dict[str, object]:
    """One row by column name, with what tells whether it still holds, and, where the run has them, the curves."""
    row = record(assessment, run)
    row["model_sha256"] = assessment.model_sha256
    row["provider"] = assessment.provider
    row["precision"] = assessment.precision
    row["size_bytes"] = assessment.size_bytes
    row["modified_ns"] = assessment.modified_ns
    row["channel_count"] = assessment.channel_count
    if run.frames and assessment.frames is not None:
        row["frames"] = frames_as_dict(assessment.frames)
    return row


def row_as_json(assessment: Assessment, run: Run) -> str:
    r"""One row as a JSON object on one line.

    Bytes of a name that are no UTF-8 stand as lone surrogates ``\udcNN``; Python reads the very name back.
    """
    return _dump(row_as_dict(assessment, run))


def _dump(row: dict[str, object]) -> str:
    # The stream writes lone surrogates as backslash escapes, which JSON reads; the rest stays legible.
    return json.dumps(row, ensure_ascii=False, allow_nan=False).translate(_LINE_ENDS)


def frames_as_dict(frames: FrameScores) -> dict[str, object]:
    """Scores along time as they stand in JSON: the hop, and one list a target; None where a stretch had no sound."""
    curves = frames.values.astype("float64").round(DECIMALS).T.tolist()
    named = {
        target: [value if math.isfinite(value) else None for value in curve]
        for target, curve in zip(frames.targets, curves, strict=True)
    }
    return {"hop_s": frames.hop_s, **named}


class JsonLinesWriter:
    """Writes JSON Lines.

    Args:
        stream: where to.
        run: what all rows have in common.
    """

    line_by_line: ClassVar[bool] = True

    def __init__(self, stream: TextIO, run: Run) -> None:
        self._stream = stream
        self._run = run

    def begin(self) -> None:
        """Nothing comes before the rows."""

    def write(self, assessment: Assessment) -> None:
        """Write one row and flush it, so that an interrupted run keeps every row it had."""
        row = row_as_dict(assessment, self._run)
        if self._run.shard is not None:
            row["shard"] = asdict(self._run.shard)  # lines have no common head that could tell it
        self._stream.write(_dump(row) + "\n")
        self._stream.flush()

    def finish(self, summary: Summary) -> None:
        """Nothing follows the rows."""
