"""JSON: one document with the model, the options, every row and the summary."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, ClassVar, TextIO

from mtqscore.base.schema_versions import ASSESS, document
from mtqscore.results.jsonl import row_as_json

if TYPE_CHECKING:
    from mtqscore.results.run import Run
    from mtqscore.results.writer import Summary
    from mtqscore.scores import Assessment


def head_as_dict(run: Run) -> dict[str, object]:
    """What is known before the first row, as it stands in files."""
    head: dict[str, object] = {
        "model": {
            "id": run.model,
            "sha256": run.model_sha256,
            "provider": run.provider,
            "targets": run.targets,
        },
        "options": None if run.options is None else asdict(run.options),
    }
    if run.shard is not None:
        head["shard"] = asdict(run.shard)
    return document(ASSESS, head, version=run.version)


class JsonWriter:
    """Writes one JSON document, row by row, so that the rows need not be held in memory.

    Args:
        stream: where to.
        run: what all rows have in common.
    """

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
        self._stream.write(f"{self._separator}    {row_as_json(assessment, self._run)}")
        self._separator = ",\n"

    def finish(self, summary: Summary) -> None:
        """Write the summary and close the document."""
        text = json.dumps(summary.as_dict(), ensure_ascii=False)
        self._stream.write(f'\n  ],\n  "summary": {text}\n}}\n')
