"""Results by hand, the page that they make, and its elements as a browser would find them."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from mtqscore.analysis.gate_grammar import parse_gate
from mtqscore.analysis.gates import judge
from mtqscore.config import AssessConfig
from mtqscore.report.html import HtmlConfig, HtmlWriter
from mtqscore.report.summary import RunSummary
from mtqscore.results.run import Run
from mtqscore.scores import Assessment, FrameScores, Scores, Status
from tests.report import kit

TARGETS = kit.RUN.targets
OPTIONS = AssessConfig(frames=True)
RUN = replace(kit.RUN, options=OPTIONS)
MADE = HtmlConfig(made=datetime(2026, 11, 21, 12, 0, tzinfo=UTC))
HOP_S = 0.032
EXAMPLES = Path(__file__).parents[3] / "examples"
HOSTILE = [
    '"><img src=x onerror=alert(1)>.wav',
    "</script><script>alert(1)</script>.wav",
    "<!--<script>.wav",
    "x" * 260 + ".wav",
    "new\nline\r.wav",
    "rtl\u202egnp.wav",
    "bad\udcff.wav",
    "u\u2028v.wav",
    "{{ 7 * 7 }}{% raw %}.wav",
    "' onmouseover='alert(1)",
    "=1+1",
    "-dash.wav",
    "\x1b[2J\x00.wav",
]


def frames(values: list[float] | np.ndarray[Any, Any], lift: float = 0.0) -> FrameScores:
    """Curves of one shape for all three scores."""
    column = np.asarray(values, np.float32)
    return FrameScores(HOP_S, TARGETS, np.stack([column + lift, column + lift, column], axis=1))


def scored(path: str | None, g_mos: float = 3.0, duration_s: float | None = 2.0, **options: Any) -> Assessment:
    known: dict[str, Any] = {
        "duration_s": duration_s,
        "sample_rate_hz": 16_000,
        "flags": (),
        "scores": Scores(min(g_mos + 0.5, 5.0), min(g_mos + 0.25, 5.0), g_mos),
        "frames": frames(np.full(int((duration_s or 2.0) / HOP_S) + 1, g_mos)),
        "options": OPTIONS,
    }
    return kit.row(path, g_mos, **known | options)


def unscored(path: str | None, status: Status = Status.SILENT, reason: str = "no sound") -> Assessment:
    return scored(path, status=status, reason=reason, scores=None, frames=None)


def page(rows: list[Assessment], options: HtmlConfig = MADE, gates: tuple[str, ...] = (), run: Run = RUN) -> str:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", newline="")
    writer = HtmlWriter(stream, run, options)
    summary = RunSummary()
    writer.begin()
    for row in rows:
        writer.write(row)
        summary.add(row)
    if gates:
        summary.gates = judge([parse_gate(gate, TARGETS) for gate in gates], rows)
    writer.finish(summary)
    stream.flush()
    return raw.getvalue().decode("utf-8")


class Reader(HTMLParser):
    """Elements, attributes and text that a browser would find."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.style = ""
        self.text = ""
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002 - the signature is the base class's
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside == "style":
            self.style += data
        else:
            self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def rows(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads(self.scripts[-2])
        return data

    @property
    def details(self) -> list[dict[str, Any]]:
        return [json.loads(script) for script in self.scripts[:-2]]


def flac(detail: dict[str, Any], dtype: str = "int16") -> tuple[np.ndarray[Any, Any], int]:
    samples, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(detail["audio"])), dtype=dtype)
    return samples, rate_hz


def detail_of(path: Path, **options: Any) -> dict[str, Any]:
    info = soundfile.info(path)
    row = scored(str(path), duration_s=info.frames / info.samplerate, sample_rate_hz=info.samplerate, **options)
    (detail,) = Reader(page([row])).details
    return detail
