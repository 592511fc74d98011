"""HTML: one file that shows every row and makes the worst recordings heard and seen."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, ClassVar, TextIO

import numpy as np

from mtqscore.audio import UnscorableError
from mtqscore.errors import UsageError
from mtqscore.report.html.choice import Choice, Chosen
from mtqscore.report.html.rows import RowColumns, safe_json

if TYPE_CHECKING:
    from mtqscore.report.html.curves import Excerpt
    from mtqscore.report.writer import Run, Summary
    from mtqscore.scores import Assessment

CURVES = ("s_mos", "n_mos", "g_mos")
"""What is drawn along time, where the model gives it."""


@dataclass(frozen=True)
class HtmlOptions:
    """How much a report holds.

    Args:
        files: recordings with sound, spectrogram and curves; 0 for none.
        excerpt_s: longest stretch of one recording, in seconds.
        max_bytes: no sound or picture is added that would make the file larger than this.
        made: date that the report bears.

    Raises:
        UsageError: a value is outside what is allowed.
    """

    files: int = 30
    excerpt_s: float = 30.0
    max_bytes: int = 50_000_000
    made: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __post_init__(self) -> None:
        if self.files < 0:
            raise UsageError(f"{self.files} recordings in the HTML report is less than none; 0 leaves all out")
        if not 2 <= self.excerpt_s <= 3600:
            raise UsageError(f"an excerpt of {self.excerpt_s:g} s is outside 2 to 3600")


@dataclass(frozen=True, eq=False)
class Detail:
    """A recording that is heard and seen.

    Args:
        chosen: the recording, and why it is here.
        content: sound, picture and curves as JSON, safe inside a script element.
        note: what the reader should know of the sound, in words; empty when nothing.
        heard: whether its sound is in the report.
    """

    chosen: Chosen
    content: str
    note: str
    heard: bool

    @property
    def element(self) -> str:
        """Id of its element on the page."""
        return f"listen-{self.chosen.candidate.index + 1}"


class HtmlWriter:
    """Collects rows, and writes the page at the end.

    Scores along time are kept for few recordings only, and their sound is read again at the end.

    Args:
        stream: where to.
        run: what all rows have in common.
        options: how much the report holds; None is all defaults.
    """

    line_by_line: ClassVar[bool] = False

    def __init__(self, stream: TextIO, run: Run, options: HtmlOptions | None = None) -> None:
        self._stream = stream
        self._run = run
        self._options = options or HtmlOptions()
        self._rows = RowColumns(run.targets)
        self._choice = Choice(run.targets, self._options.files, self._options.excerpt_s)

    def begin(self) -> None:
        """Nothing is written before the last row is known."""

    def write(self, assessment: Assessment) -> None:
        """Take one row."""
        self._choice.offer(len(self._rows), assessment)
        self._rows.add(assessment)

    def finish(self, summary: Summary) -> None:
        """Write the page."""
        from mtqscore.report.html.page import Page, write_page

        gates = self._rows.failing(summary.gates)
        room = self._options.max_bytes - len(self._rows.as_json({}, gates))
        details: list[Detail] = []
        chosen = self._choice.chosen(summary.gates)
        for item in chosen:
            detail = make_detail(item)
            room -= len(detail.content)
            if room < 0:
                break
            details.append(detail)
        page = Page(self._run, self._options, summary, self._rows, details, len(chosen) - len(details), gates)
        write_page(self._stream, page)


def make_detail(chosen: Chosen) -> Detail:
    """Read the sound of a recording again and draw it; what cannot be read any more is left out and said.

    Args:
        chosen: the recording.

    Returns:
        What the page needs to show it.
    """
    from mtqscore.report.html.sound import as_flac, read_sound
    from mtqscore.report.html.spectrogram import spectrogram_png, top_hz

    excerpt = chosen.candidate.excerpt
    content: dict[str, object] = {
        "start": round(excerpt.start_s, 4),
        "length": round(excerpt.length_s, 4),
        "worst": None if excerpt.worst_s is None else round(excerpt.worst_s, 4),
        "first": round(excerpt.first_s, 4),
        "hop": excerpt.hop_s,
        "curves": {target: _hundredths(excerpt, target) for target in CURVES if target in excerpt.targets},
    }
    try:
        sound = read_sound(chosen.candidate)
    except UnscorableError as error:
        return Detail(chosen, safe_json(content), f"Sound and spectrogram are missing: {error.reason}.", heard=False)
    content["audio"] = base64.b64encode(as_flac(sound)).decode()
    content["image"] = base64.b64encode(spectrogram_png(sound.samples, sound.sample_rate_hz)).decode()
    content["top"] = top_hz(sound.sample_rate_hz)
    note = f"{sound.note[0].upper()}{sound.note[1:]}." if sound.note else ""
    return Detail(chosen, safe_json(content), note, heard=True)


def _hundredths(excerpt: Excerpt, target: str) -> list[int | None]:
    values = excerpt.values[:, excerpt.targets.index(target)].astype(np.float64)
    return [round(value * 100) if np.isfinite(value) else None for value in values.tolist()]
