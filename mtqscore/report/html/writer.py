"""HTML: one file with every row, and with sound, spectrogram and curves of the worst recordings."""

from __future__ import annotations

from typing import ClassVar, TextIO

from mtqscore.report.html.config import HtmlConfig
from mtqscore.report.summary import RunSummary
from mtqscore.results.run import Run
from mtqscore.scores import Assessment
from mtqscore.scoring.session import Scorer


class HtmlWriter:
    """Collects rows, and writes the page at the end.

    Scores along time are kept for few recordings only, and their sound is read again at the end.

    Args:
        stream: where to.
        run: what all rows have in common.
        config: size of the report; None is all defaults.
        scorer: the model, to score every second of what is shown alone; None draws the frame scores.
    """

    line_by_line: ClassVar[bool] = False

    def __init__(
        self, stream: TextIO, run: Run, config: HtmlConfig | None = None, scorer: Scorer | None = None
    ) -> None:
        # A run without this report does not wait for the modules that only it needs.
        from mtqscore.report.html.choice import Choice
        from mtqscore.report.html.rows import Rows

        self._stream = stream
        self._run = run
        self._scorer = scorer
        self._config = config or HtmlConfig()
        self._rows = Rows(run.targets)
        self._choice = Choice(run.targets, self._config.files, self._config.excerpt_s)

    def begin(self) -> None:
        """Nothing is written before the last row is known."""

    def write(self, assessment: Assessment) -> None:
        """Take one row."""
        self._choice.offer(len(self._rows), assessment)
        self._rows.add(assessment)

    def finish(self, summary: RunSummary) -> None:
        """Write the page."""
        from mtqscore.report.html.detail import make_detail
        from mtqscore.report.html.page import Page, write_page

        gates = self._rows.failing(summary.gates)
        room = self._config.max_bytes - len(self._rows.as_json({}, gates))
        details = []
        chosen = self._choice.chosen(summary.gates)
        for item in chosen:
            detail = make_detail(item, self._scorer)
            room -= len(detail.content)
            if room < 0:
                break
            details.append(detail)
        page = Page(self._run, self._config, summary, self._rows, details, len(chosen) - len(details), gates)
        write_page(self._stream, page)
