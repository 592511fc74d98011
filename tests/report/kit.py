"""Results by hand, and the files that writers make of them."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np

from mtqscore.analysis.compare import Change, Comparison, Difference
from mtqscore.analysis.gate_grammar import parse_gate
from mtqscore.analysis.gates import GateReport, Level, judge
from mtqscore.analysis.means import Interval
from mtqscore.config import AssessConfig
from mtqscore.report.formats import WRITERS
from mtqscore.report.summary import RunSummary
from mtqscore.results.run import Run
from mtqscore.scores import Assessment, Flag, FrameScores, Scores, Status

OPTIONS = AssessConfig()
RUN = Run("1.2.3", "m@1", "ab" * 32, "CPUExecutionProvider", ("s_mos", "n_mos", "g_mos"), OPTIONS)
RUN_WITH_FRAMES = replace(RUN, frames=True)
NAMES = ["a.wav", 'b "c", d;e.wav', "new\nline.wav", "é日.wav", "\udcff.wav", "=1+1.wav", "\x1b[2Jx.wav", "null"]
CURVES = FrameScores(0.032, RUN.targets, np.array([[1, 2, 3.00004], [np.nan] * 3, [4.99996, 1.5, 2]], np.float32))


def row(path: str | None, g_mos: float | None = 3.123456, **options: object) -> Assessment:
    values: dict[str, object] = {
        "path": path,
        "channel": "mean",
        "duration_s": 1.23456789,
        "sample_rate_hz": 8_000,
        "status": Status.OK if g_mos is not None else Status.SILENT,
        "reason": "" if g_mos is not None else "no sound",
        "flags": (Flag.NARROWBAND, Flag.CLIPPED),
        "scores": None if g_mos is None else Scores(1.0, 2.0, g_mos),
        "frames": None,
        "model": RUN.model,
        "model_sha256": RUN.model_sha256,
        "provider": RUN.provider,
        "options": OPTIONS,
    }
    return Assessment(**{**values, **options})  # type: ignore[arg-type]


def gated(rows: list[Assessment], *gates: str, warn: tuple[str, ...] = ()) -> GateReport:
    judged = [parse_gate(text, RUN.targets) for text in gates]
    return judge([*judged, *(parse_gate(text, RUN.targets, Level.WARN) for text in warn)], rows)


def written(kind: str, rows: list[Assessment], run: Run = RUN, **known: object) -> bytes:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", newline="")
    writer = WRITERS[kind](stream, run)
    summary = RunSummary()
    writer.begin()
    for item in rows:
        writer.write(item)
        summary.add(item)
    writer.finish(replace(summary, **known))  # type: ignore[arg-type]
    stream.flush()
    return raw.getvalue()


def dropped(target: str = "g_mos", *, failed: bool = True) -> Difference:
    """A score that fell, by more than is allowed."""
    return Difference(target, 3.5, 3.2, -0.3, Interval(-0.4, -0.2), 1, 9, Change.WORSE, 0.1, failed)


def compared(*changes: Difference) -> Comparison:
    """A comparison of ten pairs."""
    return Comparison("a", "b", "m@1", "m@1", True, "path", 10, 10, 0, 0, changes, (), ())
