"""JSON Lines: one self-contained object a row, written and flushed as it comes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, ClassVar, TextIO

from mtqscore.report.writer import Run, Summary, record

if TYPE_CHECKING:
    from mtqscore.scores import Assessment


def row_as_json(assessment: Assessment, run: Run) -> str:
    r"""One row as a JSON object on one line.

    Bytes of a name that are no UTF-8 stand as lone surrogates ``\udcNN``; Python reads the very name back.
    """
    row = record(assessment, run)
    row["model_sha256"] = assessment.model_sha256
    row["provider"] = assessment.provider
    # The stream writes lone surrogates as backslash escapes, which JSON reads; the rest stays legible.
    return json.dumps(row, ensure_ascii=False, allow_nan=False)


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
        self._stream.write(row_as_json(assessment, self._run) + "\n")
        self._stream.flush()

    def finish(self, summary: Summary) -> None:
        """Nothing follows the rows."""
