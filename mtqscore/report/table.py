"""The table on stdout: for a person on a terminal, and legible without one."""

from __future__ import annotations

import heapq
import math
from typing import ClassVar, NamedTuple, TextIO

from mtqscore.base.text import TITLES, clock, column_widths, display_name, printable, score_title, table_line
from mtqscore.report.gates import gate_lines
from mtqscore.report.summary import RunSummary
from mtqscore.results.run import Run
from mtqscore.scores import FLAG_MEANING, Assessment, Flag, named_scores
from mtqscore.targets import SUPERVISED

WIDEST_NAME = 80
"""One name longer than this does not push the figures of all others aside; it is never cut."""

MANY_ROWS = 1_000
"""More rows than this are not collected in memory, and not all shown on a terminal."""

MANY_SHOWN = 20
"""Of so many rows, this many of the worst are shown on a terminal, and this many that were not scored."""

NOTABLE = f"the {MANY_SHOWN} with the lowest G-MOS, and the first {MANY_SHOWN} without scores; --csv FILE keeps all"


class _Row(NamedTuple):
    cells: tuple[str, ...]
    ok: bool
    g_mos: float


class TableWriter:
    """Shows rows with a legend and a summary line, at the end while they are few.

    Memory does not grow with the number of rows. In a file or a pipe many rows are written as they come, in columns as
    wide as the first ones needed. On a terminal nobody reads many rows: those that matter are shown.

    Args:
        stream: where to; on a terminal the table is drawn to its width, else in plain columns of any width.
        run: what all rows have in common.
        legend: explain the columns below.
    """

    line_by_line: ClassVar[bool] = False

    def __init__(self, stream: TextIO, run: Run, *, legend: bool = True) -> None:
        self._stream = stream
        self._run = run
        self._legend = legend
        self._on_terminal = stream.isatty()
        self._rows: list[_Row] = []
        self._widths: list[int] | None = None  # once plain rows are written as they come
        self._with_channel = run.options is None or run.options.channels != "mean"

    def begin(self) -> None:
        """Nothing is shown before the columns are known."""

    def write(self, assessment: Assessment) -> None:
        """Take one row."""
        scores = named_scores(assessment)
        cells = [_first_cell(assessment.path)]
        if self._with_channel:
            cells.append(assessment.channel)
        cells.append("" if assessment.duration_s is None else clock(assessment.duration_s))
        cells += [f"{scores[target]:.2f}" if target in scores else "–" for target in self._run.targets]
        note = ", ".join(str(flag) for flag in assessment.flags)
        if not assessment.ok:
            note = f"{assessment.status}: {printable(assessment.reason)}" + (f" ({note})" if note else "")
        cells.append(note)
        self._rows.append(_Row(tuple(cells), assessment.ok, scores.get("g_mos", math.inf)))
        if self._on_terminal:
            if len(self._rows) >= 2 * MANY_ROWS:
                self._rows = _notable(self._rows)
        elif self._widths is not None or len(self._rows) > MANY_ROWS:
            self._print_plain()

    def finish(self, summary: RunSummary) -> None:
        """Show the table, or what is left of it, the legend and the summary line."""
        lines = [""]
        if not self._on_terminal:
            self._print_plain()
        else:
            if summary.rows > MANY_ROWS:
                self._rows = _notable(self._rows)
                lines += [f"{len(self._rows)} of {summary.rows} rows: {NOTABLE}", ""]
            self._draw()
        lines += [*(legend(self._run, summary) if self._legend else []), summary_line(summary)]
        lines += findings(summary)
        self._stream.write("\n".join(lines) + "\n")
        self._stream.flush()

    def _titles(self) -> list[str]:
        titles = ["recording", *(["channel"] if self._with_channel else []), "length"]
        return titles + [score_title(target) for target in self._run.targets] + ["notes"]

    def _draw(self) -> None:
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, highlight=False)
        titles = self._titles()
        for index, title in enumerate(titles):
            is_text = index in (0, len(titles) - 1)
            table.add_column(title, justify="left" if is_text else "right", overflow="fold", no_wrap=not is_text)
        for row in self._rows:
            table.add_row(*(Text(cell) for cell in row.cells), style=None if row.ok else "yellow")
        Console(file=self._stream, highlight=False).print(table)

    def _print_plain(self) -> None:
        """Write the rows that wait; before the first of them the titles."""
        lines = [row.cells for row in self._rows]
        self._rows = []
        if self._widths is None:
            lines.insert(0, tuple(self._titles()))
            first, *middle, _ = column_widths(lines)
            self._widths = [min(first, WIDEST_NAME), *middle, 0]
        left = [True, *[False] * (len(self._widths) - 2), True]
        self._stream.writelines(f"{table_line(line, self._widths, left)}\n" for line in lines)


def _notable(rows: list[_Row]) -> list[_Row]:
    """Of many rows the first that were not scored, and the lowest scores, the worst last, next to the summary."""
    worst = heapq.nsmallest(MANY_SHOWN, (row for row in rows if row.ok), key=lambda row: row.g_mos)
    return [row for row in rows if not row.ok][:MANY_SHOWN] + worst[::-1]


def findings(summary: RunSummary) -> list[str]:
    """Lines of gates and a comparison, each below an empty line; none without them."""
    lines: list[str] = []
    if summary.gates is not None:
        lines += ["", *gate_lines(summary.gates)]
    if summary.comparison is not None:
        from mtqscore.report.comparison import comparison_lines  # most runs compare nothing, and start without it

        lines += ["", *comparison_lines(summary.comparison)]
    return lines


def legend(run: Run, summary: RunSummary) -> list[str]:
    """Explain the columns, and the flags that occur."""
    meanings = {target.name: target.meaning for target in SUPERVISED}
    lines = [f"{TITLES[name]}  {meaning}" for name, meaning in meanings.items() if name in run.targets]
    return lines + [f"{flag}: {FLAG_MEANING[Flag(flag)]}" for flag in sorted(summary.flags)] + [""]


def summary_line(summary: RunSummary) -> str:
    """Counts and means in one line."""
    counted = "1 recording" if summary.rows == 1 else f"{summary.rows} rows"
    parts = [f"{counted}: " + ", ".join([f"{summary.scored} scored", *summary.unscored()])]
    if summary.scored:
        means = [f"{score_title(name)} {value:.2f}" for name, value in summary.means.items()]
        parts.append("mean " + ", ".join(means))
    return " · ".join(parts)


def _first_cell(path: str | None) -> str:
    """A name where a line begins; CI systems take lines that begin with ``::`` or ``##`` for commands."""
    name = display_name(path)
    return f"./{name}" if name.lstrip().startswith(("::", "##")) else name
