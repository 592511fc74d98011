"""Markdown: the findings of a run on one page, for merge requests and job summaries."""

from __future__ import annotations

from heapq import heappush, heapreplace
from itertools import zip_longest
from typing import ClassVar, TextIO

from mtqscore.analysis.gates import WORST_SHOWN, GateReport, Verdict
from mtqscore.report.comparison import comparison_markdown
from mtqscore.report.gates import GATE_TITLES, gate_cells
from mtqscore.report.markup import code, name, plain, table, title
from mtqscore.report.summary import RunSummary
from mtqscore.results.run import Run
from mtqscore.scores import FLAG_MEANING, Assessment, Flag, named_scores
from mtqscore.targets import DECIMALS, SUPERVISED

UNSCORED_SHOWN = 10


class MarkdownWriter:
    """Writes one page: verdict, means, gates, comparison, the worst recordings, those without scores, flags, model.

    Its size does not grow with the number of recordings. No name can break a table, become HTML or call anyone.

    Attributes:
        unscored: the first rows without scores.
    """

    line_by_line: ClassVar[bool] = False

    def __init__(self, stream: TextIO, run: Run) -> None:
        self._stream = stream
        self._run = run
        self._rows = 0
        self._lowest: list[tuple[float, int, Assessment]] = []
        self.unscored: list[Assessment] = []

    def begin(self) -> None:
        """Nothing can be written before everything is known."""

    def write(self, assessment: Assessment) -> None:
        """Take one row."""
        self._rows += 1
        if assessment.scores is not None:
            entry = (-assessment.scores.g_mos, -self._rows, assessment)
            if len(self._lowest) < WORST_SHOWN:
                heappush(self._lowest, entry)
            elif entry > self._lowest[0]:
                heapreplace(self._lowest, entry)
        elif len(self.unscored) < UNSCORED_SHOWN:
            self.unscored.append(assessment)

    def finish(self, summary: RunSummary) -> None:
        """Write the page."""
        self._stream.write(self.page(summary))

    def page(self, summary: RunSummary) -> str:
        """The whole page."""
        statuses = ", ".join(summary.unscored())
        counts = f"{summary.rows} rows, {summary.scored} scored" + (f": {statuses}" if statuses else "")
        parts = [f"# {summary.verdict()[1]}", counts, self._means(summary)]
        if summary.gates is not None:
            parts += ["## Gates", table(GATE_TITLES, map(_gate_row, summary.gates.verdicts))]
        if summary.comparison is not None:
            parts += ["## Comparison", comparison_markdown(summary.comparison).strip()]
        parts += self._worst(summary.gates) + self._without_scores(summary) + _flags(summary)
        sha256 = f", sha256 {plain(self._run.model_sha256)}" if self._run.model_sha256 else ""
        parts.append(f"mtqscore {plain(self._run.version)}, model {code(self._run.model)}{sha256}")
        return "\n\n".join(filter(None, parts)) + "\n"

    def _means(self, summary: RunSummary) -> str:
        meanings = {target.name: target.meaning for target in SUPERVISED}
        rows = [(title(target), f"{mean:.2f}", meanings.get(target, "")) for target, mean in summary.means.items()]
        return table(("score", "mean", "of what"), rows)

    def _worst(self, gates: GateReport | None) -> list[str]:
        """The recordings in the way of gates; where there are none, those with the lowest G-MOS."""
        missed = [item for item in (gates.verdicts if gates else ()) if not item.passed]
        found: dict[int, tuple[str, list[str]]] = {}
        for rank in zip_longest(*(item.worst for item in missed)):
            for item, worst in zip(missed, rank, strict=True):
                if worst is not None and (worst.row in found or len(found) < WORST_SHOWN):
                    text = f"{title(worst.target)} {worst.value:.{DECIMALS}f} ({code(item.gate.text)})"
                    found.setdefault(worst.row, (name(worst.path, worst.channel), []))[1].append(text)
        if found:
            rows = [(shown, ", ".join(texts)) for shown, texts in found.values()]
            return ["## Worst of the gates that failed", table(("recording", "scores"), rows)]
        scored = [item for _, _, item in sorted(self._lowest, reverse=True)]
        if not scored:
            return []
        lowest = [
            (name(row.path, row.channel), *(f"{value:.2f}" for value in named_scores(row).values())) for row in scored
        ]
        return ["## Lowest G-MOS", table(("recording", *map(title, named_scores(scored[0]))), lowest)]

    def _without_scores(self, summary: RunSummary) -> list[str]:
        rows = [(name(row.path, row.channel), str(row.status), plain(row.reason)) for row in self.unscored]
        more = summary.rows - summary.scored - len(rows)
        parts = ["## Not scored", table(("recording", "status", "reason"), rows), f"and {more} more" if more else ""]
        return parts if rows else []


def _gate_row(item: Verdict) -> list[str]:
    text, where, *figures = gate_cells(item)
    return [code(text), where if item.gate.paths is None else code(where), *figures]


def _flags(summary: RunSummary) -> list[str]:
    lines = [f"- {flag} ({count}): {FLAG_MEANING[Flag(flag)]}" for flag, count in sorted(summary.flags.items())]
    return ["## Flags", "\n".join(lines)] if lines else []
