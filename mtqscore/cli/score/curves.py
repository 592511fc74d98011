"""Scores along time as a small plot of text: blocks on a terminal that has them, digits elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mtqscore.base.text import moment
from mtqscore.targets import MOS_HIGH, MOS_LOW

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mtqscore.analysis.explanation import Segment
    from mtqscore.analysis.segments import Segments

BLOCKS = " ▁▂▃▄▅▆▇█"
ROWS = 2
"""Lines a curve; each has eight steps."""

LEAST_COLUMNS, MOST_COLUMNS = 10, 100
GREEN, YELLOW, RED, RESET = "\x1b[32m", "\x1b[33m", "\x1b[31m", "\x1b[0m"
LABEL_WIDTH = 7


def plot(
    segments: Segments, duration_s: float, worst: Segment | None, width: int, *, blocks: bool, colour: bool
) -> list[str]:
    """Draw one curve a score, the time below, and a mark under the worst second.

    Args:
        segments: what to draw.
        duration_s: length of the recording.
        worst: the second to mark; None for none.
        width: columns of the terminal.
        blocks: whether the terminal has block characters; else a digit stands for each score.
        colour: whether to colour by score.

    Returns:
        Lines of at most ``width`` columns, but never fewer than are needed.
    """
    count = min(max(width - LABEL_WIDTH - 1, LEAST_COLUMNS), MOST_COLUMNS)
    lines: list[str] = []
    for target in ("s_mos", "n_mos", "g_mos"):
        values = in_columns(segments, target, duration_s, count)
        drawn = _as_blocks(values) if blocks else [_as_digits(values)]
        for row, cells in enumerate(drawn):
            label = target[0].upper() if row == len(drawn) - 1 else ""
            scale = {0: "5", len(drawn) - 1: "1"}[row] if len(drawn) > 1 else ""
            lines.append(f"{label:>{LABEL_WIDTH - 3}} {scale:>1} " + _coloured(cells, values, colour=colour))
    if worst is not None:
        first = min(int(worst.start_s / duration_s * count), count - 1)
        last = max(min(round(worst.end_s / duration_s * count), count), first + 1)
        mark = " " * first + ("▲" if blocks else "^") * (last - first)
        lines.append(" " * LABEL_WIDTH + (f"{mark} worst" if len(mark) + 6 <= count else mark))
    lines.append(" " * LABEL_WIDTH + _axis(duration_s, count))
    return lines


def in_columns(segments: Segments, target: str, duration_s: float, count: int) -> NDArray[np.float64]:
    """Scores of one target in so many columns of equal time.

    Returns:
        float64 (count,): the lowest score of the pieces whose middle lies in a column, so that no bad second is lost
        in a long recording; without one, that of the nearest piece; NaN in pauses.
    """
    scores = segments.of(target).astype(np.float64)
    middles_s = segments.starts_s + segments.length_s / 2
    at_columns_s = (np.arange(count) + 0.5) * duration_s / count
    after = np.clip(np.searchsorted(middles_s, at_columns_s), 1, max(len(middles_s) - 1, 1))
    before = after - 1
    after = np.minimum(after, len(middles_s) - 1)
    nearer = np.abs(middles_s[before] - at_columns_s) <= np.abs(middles_s[after] - at_columns_s)
    values = np.where(nearer, scores[before], scores[after])
    columns = np.minimum((middles_s / duration_s * count).astype(np.int64), count - 1)
    values[columns] = np.nan
    np.fmin.at(values, columns, scores)
    return values


def _as_blocks(values: NDArray[np.float64]) -> list[str]:
    steps = ROWS * (len(BLOCKS) - 1)
    share = (np.nan_to_num(values, nan=MOS_LOW) - MOS_LOW) / (MOS_HIGH - MOS_LOW)
    # A score of 1 is one step high: only a pause is blank.
    heights = np.where(np.isnan(values), 0, np.clip(np.ceil(share * steps), 1, steps)).astype(np.int64)
    return [
        "".join(BLOCKS[min(max(height - row * 8, 0), 8)] for height in heights.tolist())
        for row in reversed(range(ROWS))
    ]


def _as_digits(values: NDArray[np.float64]) -> str:
    return "".join("." if np.isnan(value) else str(round(value)) for value in values.tolist())


def _coloured(cells: str, values: NDArray[np.float64], *, colour: bool) -> str:
    if not colour:
        return cells.rstrip()
    parts: list[str] = []
    last = ""
    for cell, value in zip(cells, values.tolist(), strict=True):
        now = GREEN if value >= 3.5 else YELLOW if value >= 2.5 else RED
        parts.append(cell if now == last else now + cell)
        last = now
    return "".join(parts) + RESET


def _axis(duration_s: float, count: int) -> str:
    start, middle, end = moment(0), moment(duration_s / 2), moment(duration_s)
    if len(start) + len(middle) + len(end) + 4 > count:
        return start + end.rjust(max(count - len(start), len(end) + 1))
    first = start + " " * (count // 2 - len(middle) // 2 - len(start)) + middle
    return first + end.rjust(count - len(first))
