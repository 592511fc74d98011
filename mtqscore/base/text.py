"""Text for people: one line, safe for a terminal, in straight columns."""

from __future__ import annotations

import unicodedata
from collections.abc import Container, Sequence

TITLES = {"s_mos": "S-MOS", "n_mos": "N-MOS", "g_mos": "G-MOS"}
GAP = "  "


def text_table(table: Sequence[Sequence[str]], left: Container[str]) -> list[str]:
    """Lay out a table in straight columns.

    Args:
        table: rows of cells, the titles first.
        left: titles of the columns that are set to the left; the others are to the right.

    Returns:
        Its lines, without line ends.

    Example:
        >>> text_table([["score", "mean"], ["G", "3.50"], ["quality", "–"]], left={"score"})
        ['score    mean', 'G        3.50', 'quality     –']
    """
    widths = column_widths(table)
    return [table_line(row, widths, [title in left for title in table[0]]) for row in table]


def column_widths(table: Sequence[Sequence[str]]) -> list[int]:
    """Width of each column of a table."""
    return [max(map(cell_width, column)) for column in zip(*table, strict=True)]


def table_line(cells: Sequence[str], widths: Sequence[int], left: Sequence[bool]) -> str:
    """Lay out one row of a table; a cell that is wider than its column is never cut."""
    filled = []
    for cell, width, is_left in zip(cells, widths, left, strict=True):
        space = " " * (width - cell_width(cell))
        filled.append(cell + space if is_left else space + cell)
    return GAP.join(filled).rstrip()


def cell_width(text: str) -> int:
    """Columns that a text takes: wide characters of East Asian scripts take two, marks on others none."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(unicodedata.combining(char) > 0 for char in text)


def printable(text: str) -> str:
    r"""Text on one line that no terminal acts upon: control and other invisible characters as escapes.

    Example:
        >>> printable("a\nb")
        'a\\nb'
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def score_title(target: str) -> str:
    """Name of a score for people; that of a further target of a model is made `printable`."""
    return TITLES.get(target, printable(target))


def display_name(path: str | None) -> str:
    """Name of a recording for people: `printable`, and a word for an array."""
    return printable(path) if path is not None else "(array)"


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


def moment(time_s: float) -> str:
    """Place in time as players show it.

    Example:
        >>> moment(3.5), moment(75), moment(4_000)
        ('0:03.5', '1:15.0', '1:06:40.0')
    """
    minutes, tenths = divmod(round(time_s * 10), 600)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{tenths // 10:02}.{tenths % 10}"
    return f"{hours}:{minutes:02}:{seconds}" if hours else f"{minutes}:{seconds}"
