"""The table on stdout: for a person on a terminal, and legible without one."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, ClassVar, TextIO

from mtqscore.report.writer import Run, Summary, named_scores
from mtqscore.scores import FLAG_MEANING, Flag
from mtqscore.spec import SUPERVISED

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from mtqscore.scores import Assessment

TITLES = {"s_mos": "S-MOS", "n_mos": "N-MOS", "g_mos": "G-MOS"}
GAP = "  "
WIDEST_NAME = 80
"""One name longer than this does not push the figures of all others aside; it is never cut."""


class TableWriter:
    """Collects rows and shows them at the end, with a legend and a summary line.

    Args:
        stream: where to; on a terminal the table is drawn to its width, else in plain columns of any width.
        run: what all rows have in common.
        legend: whether to explain the columns below.
    """

    line_by_line: ClassVar[bool] = False

    def __init__(self, stream: TextIO, run: Run, *, legend: bool = True) -> None:
        self._stream = stream
        self._run = run
        self._legend = legend
        self._rows: list[tuple[list[str], bool]] = []
        self._with_channel = run.options is None or run.options.channels != "mean"

    def begin(self) -> None:
        """Nothing is shown before the last row is known."""

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
        self._rows.append((cells, assessment.ok))

    def finish(self, summary: Summary) -> None:
        """Show the table, the legend and the summary line."""
        titles = ["recording", *(["channel"] if self._with_channel else []), "length"]
        titles += [TITLES.get(target, target) for target in self._run.targets] + ["notes"]
        if self._stream.isatty():
            self._draw(titles)
        else:
            self._print_plain(titles)
        lines = ["", *(legend(self._run, summary) if self._legend else []), summary_line(summary)]
        lines += findings(summary)
        self._stream.write("\n".join(lines) + "\n")
        self._stream.flush()

    def _draw(self, titles: list[str]) -> None:
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, highlight=False)
        for index, title in enumerate(titles):
            is_text = index in (0, len(titles) - 1)
            table.add_column(
                title,
                justify="left" if is_text else "right",
                overflow="fold",
                no_wrap=not is_text,
                ratio=None,
            )
        for cells, ok in self._rows:
            table.add_row(*(Text(cell) for cell in cells), style=None if ok else "yellow")
        Console(file=self._stream, highlight=False).print(table)

    def _print_plain(self, titles: list[str]) -> None:
        rows = [titles, *(cells for cells, _ in self._rows)]
        widths = [max(_cell_width(row[index]) for row in rows) for index in range(len(titles) - 1)]
        widths[0] = min(widths[0], WIDEST_NAME)
        for row in rows:
            first = _to_left(row[0], widths[0])
            middle = [_to_right(cell, width) for cell, width in zip(row[1:-1], widths[1:], strict=True)]
            self._stream.write(GAP.join([first, *middle, row[-1]]).rstrip() + "\n")


def findings(summary: Summary) -> list[str]:
    """What gates and a comparison say, each below an empty line; nothing where there are none."""
    lines: list[str] = []
    if summary.gates is not None:
        from mtqscore.report.gates import gate_lines

        lines += ["", *gate_lines(summary.gates)]
    if summary.comparison is not None:
        from mtqscore.report.comparison import comparison_lines

        lines += ["", *comparison_lines(summary.comparison)]
    return lines


def legend(run: Run, summary: Summary) -> list[str]:
    """Say what the columns and the flags that occur mean."""
    meanings = {target.name: target.meaning for target in SUPERVISED}
    lines = [f"{TITLES[name]}  {meaning}" for name, meaning in meanings.items() if name in run.targets]
    return lines + [f"{flag}: {FLAG_MEANING[Flag(flag)]}" for flag in sorted(summary.flags)] + [""]


def summary_line(summary: Summary) -> str:
    """Counts and means in one line."""
    counted = "1 recording" if summary.rows == 1 else f"{summary.rows} rows"
    failed = [f"{count} {status}" for status, count in sorted(summary.statuses.items()) if status != "ok"]
    parts = [f"{counted}: " + ", ".join([f"{summary.scored} scored", *failed])]
    if summary.scored:
        means = [f"{TITLES.get(name, name)} {value:.2f}" for name, value in summary.means.items()]
        parts.append("mean " + ", ".join(means))
    return " · ".join(parts)


def aligned(table: Sequence[Sequence[str]], left: Container[str]) -> list[str]:
    """Lines of a table.

    Args:
        table: rows of cells, the titles first.
        left: titles of the columns that are set to the left; the others are to the right.
    """
    widths = [max(map(_cell_width, column)) for column in zip(*table, strict=True)]
    sides = [_to_left if title in left else _to_right for title in table[0]]
    return [
        GAP.join(side(cell, width) for side, cell, width in zip(sides, row, widths, strict=True)).rstrip()
        for row in table
    ]


def _cell_width(text: str) -> int:
    """Columns that a text takes: wide characters of East Asian scripts take two, marks on others none."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(unicodedata.combining(char) > 0 for char in text)


def _to_left(text: str, width: int) -> str:
    return text + " " * (width - _cell_width(text))


def _to_right(text: str, width: int) -> str:
    return " " * (width - _cell_width(text)) + text


def _first_cell(path: str | None) -> str:
    """A name where a line begins; CI systems take lines that begin with ``::`` or ``##`` for commands."""
    name = printable(path if path is not None else "(array)")
    return f"./{name}" if name.lstrip().startswith(("::", "##")) else name


def printable(text: str) -> str:
    r"""Text on one line that no terminal acts upon: control and other invisible characters as escapes.

    Example:
        >>> printable("a\nb")
        'a\\nb'
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def clock(duration_s: float) -> str:
    """Length as people read it.

    Example:
        >>> clock(4.25), clock(75), clock(36_000)
        ('4.2 s', '1:15', '10:00:00')
    """
    if duration_s < 59.95:
        return f"{duration_s:.1f} s"
    minutes, seconds = divmod(round(duration_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
