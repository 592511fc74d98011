"""Explanation of one recording as text, with its curves: blocks on a terminal that has them, digits elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap

import numpy as np
from numpy.typing import NDArray

from mtqscore.analysis.explanation import Explanation, Segment
from mtqscore.analysis.segments import Segments
from mtqscore.audio.measurements import SignalMeasurements
from mtqscore.base.text import clock, display_name, moment, printable, score_title
from mtqscore.scores import named_scores
from mtqscore.targets import MOS_HIGH, MOS_LOW

BLOCKS = " ▁▂▃▄▅▆▇█"
ROWS = 2
"""Lines a curve; each has eight steps."""

LEAST_COLUMNS, MOST_COLUMNS = 10, 100
GREEN, YELLOW, RED, RESET = "\x1b[32m", "\x1b[33m", "\x1b[31m", "\x1b[0m"
LABEL_WIDTH = 7


def plot(
    segments: Segments, duration_s: float, worst: Segment | None, width: int, *, blocks: bool, colour: bool
) -> list[str]:
    """Draw one curve a score in about ``width`` columns, the time below, and a mark under the worst second."""
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
    values: NDArray[np.float64] = scores[np.abs(middles_s[:, np.newaxis] - at_columns_s).argmin(axis=0)]
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


def describe(explanation: Explanation, width: int, *, blocks: bool, colour: bool) -> Iterator[str]:
    """Yield the lines of an explanation.

    Args:
        explanation: what to show.
        width: columns of the terminal.
        blocks: whether it has block characters.
        colour: whether to colour the curves.
    """
    assessment, signal = explanation.assessment, explanation.signal
    yield display_name(assessment.path)
    if signal is not None:
        yield "  " + _format(explanation, signal)
    yield ""
    if assessment.ok:
        yield from _scores(explanation)
        yield ""
        yield from _along_time(explanation, width, blocks=blocks, colour=colour)
    else:
        yield f"No scores: {printable(assessment.reason)} ({assessment.status})."
    if signal is not None:
        yield ""
        yield from _measured(signal)
    yield ""
    yield "What to check"
    yield from _wrapped(explanation.advice or ("Nothing stands out.",), width)
    if assessment.ok:
        yield ""
        yield f"{assessment.model}: estimates of what listeners would say, on the scales of ITU-T P.835."


def _format(explanation: Explanation, signal: SignalMeasurements) -> str:
    rate = f"{signal.sample_rate_hz / 1000:g} kHz"
    counted = "1 channel" if signal.channels == 1 else f"{signal.channels} channels"
    if signal.channels > 1:
        chosen = explanation.assessment.channel
        counted += ", their mean" if chosen == "mean" else f", number {chosen}" if chosen else ""
    parts = [explanation.container, rate, counted, clock(signal.duration_s)]
    return " · ".join([*parts, *map(str, explanation.assessment.flags)])


def _scores(explanation: Explanation) -> Iterator[str]:
    kinds = {"s_mos": "the speech is", "n_mos": "the background noise is", "g_mos": "the whole is"}
    for name, value in named_scores(explanation.assessment).items():
        words = (explanation.bands or {}).get(name)
        yield f"{score_title(name)}  {value:.2f}" + (f"  {kinds[name]} {words}" if words else "")
    if explanation.weaker is None:
        yield "Speech and background are rated alike."
    else:
        lower, higher = ("speech", "background") if explanation.weaker == "s_mos" else ("background", "speech")
        yield f"The {lower} is rated lower than the {higher}: it is the likelier limit of the whole."


def _along_time(explanation: Explanation, width: int, *, blocks: bool, colour: bool) -> Iterator[str]:
    worst, best, median, signal = explanation.worst, explanation.best, explanation.median, explanation.signal
    if explanation.segments is None or worst is None or best is None or median is None or signal is None:
        yield "Too short, or too many pauses, to compare one second with another."
        return
    yield "Along time, every second scored alone" + (" (no bar: a pause)" if blocks else " (.: a pause)")
    yield from plot(explanation.segments, signal.duration_s, worst, width, blocks=blocks, colour=colour)
    for title, second in (("Worst", worst), ("Best", best)):
        scores = ", ".join(f"{name[0].upper()} {second.scores[name]:.1f}" for name in ("s_mos", "n_mos", "g_mos"))
        yield f"{title} second {moment(second.start_s)} to {moment(second.end_s)}: {scores}"
    spread = "Even" if explanation.even else "Uneven"
    yield f"{spread}: G of the median second is {median['g_mos']:.1f}. A second alone gets less than the whole."


def _measured(signal: SignalMeasurements) -> Iterator[str]:
    """Yield what was measured, a line each; what is ordinary and says nothing is left out."""
    yield "Measured"
    rows: list[tuple[str, str]] = []
    if signal.level_dbfs is not None and signal.peak_dbfs is not None:
        rows.append(("level", f"{signal.level_dbfs:.1f} dBFS while active, peak {signal.peak_dbfs:.1f} dBFS"))
    if signal.level_dbfs is not None and signal.quiet_dbfs is not None:
        below = f"{signal.level_dbfs - signal.quiet_dbfs:.0f} dB below the level"
        rows.append(("quiet parts", f"a tenth of the sound is at {signal.quiet_dbfs:.1f} dBFS or less, {below}"))
    rows.append(("clipping", _clipping(signal)))
    if signal.bandwidth_hz is not None:
        possible = f"of {signal.sample_rate_hz / 2000:g} kHz that the rate allows"
        rows.append(("bandwidth", f"up to {signal.bandwidth_hz / 1000:.1f} kHz {possible}"))
    rows.append(("silence", f"{signal.silent_share:.0%} of the time below -80 dBFS"))
    if abs(signal.dc_offset) >= 0.001:
        rows.append(("DC offset", f"{signal.dc_offset:+.1%} of full scale"))
    if signal.channels > 1:
        rows.append(("channels", _channels(signal)))
    for name, text in rows:
        yield f"  {name:<12} {text}"


def _clipping(signal: SignalMeasurements) -> str:
    if signal.first_clipped_s is None:
        return "no flat tops at full scale"
    return f"{signal.clipped_share:.2%} of the samples at full scale, the first at {moment(signal.first_clipped_s)}"


def _channels(signal: SignalMeasurements) -> str:
    shown = [
        f"{number}: " + ("no sound" if level is None else f"{level:.1f}")
        for number, level in enumerate(signal.channel_levels_dbfs[:8], start=1)
    ]
    more = f" and {signal.channels - 8} more" if signal.channels > 8 else ""
    return "dBFS " + ", ".join(shown) + more + (", all the same" if signal.equal_channels else "")


def _wrapped(texts: tuple[str, ...], width: int) -> Iterator[str]:
    for text in texts:
        # Names are never cut: a person copies them.
        yield from wrap(
            text,
            max(width, 20),
            initial_indent="  - ",
            subsequent_indent="    ",
            break_long_words=False,
            break_on_hyphens=False,
        )
