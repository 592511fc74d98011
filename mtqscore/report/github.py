"""GitHub Actions: annotations of the worst files, and the page of a run as the summary of its step."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar, TextIO

from mtqscore.analysis.gates import Level
from mtqscore.base.text import printable, score_title
from mtqscore.report.comparison import sentences
from mtqscore.report.gates import observed_text
from mtqscore.report.markdown import MarkdownWriter
from mtqscore.report.summary import RunSummary
from mtqscore.results.run import Run
from mtqscore.scores import Assessment
from mtqscore.targets import DECIMALS

ANNOTATIONS = 10
"""GitHub shows so many of a kind a step."""

SUMMARY_BYTES = 1024 * 1024
"""GitHub drops the summary of a step that is longer."""

CUT_NOTE = "\n\nThe rest is left out: the summary of a step ends at 1 MiB.\n"


class GithubWriter:
    """Reports gates, a comparison and recordings without scores to GitHub Actions; nothing where there are none.

    Args:
        stream: where workflow commands go: stderr, which the runner reads as well as stdout.
        run: what all rows have in common.
    """

    line_by_line: ClassVar[bool] = False

    def __init__(self, stream: TextIO, run: Run) -> None:
        self._stream = stream
        self._markdown = MarkdownWriter(stream, run)

    def begin(self) -> None:
        """Nothing is known yet."""

    def write(self, assessment: Assessment) -> None:
        """Take one row."""
        self._markdown.write(assessment)

    def finish(self, summary: RunSummary) -> None:
        """Write the annotations, and append the page to the summary of the step."""
        if summary.gates is None and summary.comparison is None and summary.scored == summary.rows:
            return
        lines = [*_on_the_run(summary), *self._on_files(summary)]
        lines = sorted(lines, key=lambda line: not line.startswith("::error"))[:ANNOTATIONS]
        place = os.environ.get("GITHUB_STEP_SUMMARY")
        if place:
            try:
                _append(Path(place), self._markdown.page(summary))
            except (OSError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) and error.strerror else error
                lines.append(command("warning", f"cannot write the summary of the step to {place!r}: {reason}"))
        self._stream.writelines(f"{line}\n" for line in lines)
        self._stream.flush()

    def _on_files(self, summary: RunSummary) -> list[str]:
        """One annotation a file: those without scores, and the worst of gates that count recordings."""
        found: dict[str, tuple[Level, list[str]]] = {}
        for row in self._markdown.unscored:
            found.setdefault(row.path or "(array)", (Level.ERROR, []))[1].append(f"{row.status}: {row.reason}")
        verdicts = summary.gates.verdicts if summary.gates else ()
        for verdict in sorted(verdicts, key=lambda item: item.gate.level is Level.WARN):
            for worst in verdict.worst if verdict.gate.each and not verdict.passed else ():
                title = score_title(worst.target)
                verb = "breaks" if verdict.gate.statistic == "every" else "counts against"
                text = f"{title} {worst.value:.{DECIMALS}f} {verb} {verdict.gate.name}"
                found.setdefault(worst.path or "(array)", (verdict.gate.level, []))[1].append(text)
        return [
            command("error" if level is Level.ERROR else "warning", "; ".join(texts), file=path)
            for path, (level, texts) in found.items()
        ]


def _on_the_run(summary: RunSummary) -> list[str]:
    """Annotations of no file: statistics of many recordings, and changes."""
    lines = []
    for verdict in summary.gates.verdicts if summary.gates else ():
        gate = verdict.gate
        if not verdict.passed and not (gate.statistic == "every" and verdict.worst):
            kind = "error" if gate.level is Level.ERROR else "warning"
            lines.append(command(kind, f"{gate.name}: observed {observed_text(verdict)}, {verdict.rows} recordings"))
    if summary.comparison is not None:
        texts = zip(summary.comparison.differences, sentences(summary.comparison), strict=True)
        lines += [command("error", text) for difference, text in texts if difference.failed]
    return lines


def command(kind: str, message: str, file: str | None = None) -> str:
    """One workflow command, escaped as GitHub wants it.

    Example:
        >>> command("error", "50 %", file="a,b.wav")
        '::error file=a%2Cb.wav,title=mtqscore::50 %25'
    """
    where = "" if file is None else f"file={_data(file.removeprefix('./')).replace(':', '%3A').replace(',', '%2C')},"
    return f"::{kind} {where}title=mtqscore::{_data(message)}"


def _data(text: str) -> str:
    # Line ends are escapes already, since nothing that a terminal acts upon is left.
    return printable(text).replace("%", "%25")


def _append(place: Path, page: str) -> None:
    content = page.encode("utf-8", "backslashreplace")
    taken = place.stat().st_size if place.exists() else 0
    if taken + len(content) > SUMMARY_BYTES:
        room = SUMMARY_BYTES - taken - len(CUT_NOTE.encode())
        if room < 0:
            raise ValueError("it is full")
        content = content[: content.rfind(b"\n", 0, room) + 1] + CUT_NOTE.encode()
    with place.open("ab") as stream:
        stream.write(content)
