"""``mtqscore explain``: one recording in words, with its curves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mtqscore.cli.from_config import NOTHING, Given, takes
from mtqscore.cli.options import Project, ResultFiles
from mtqscore.config import AssessConfig
from mtqscore.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mtqscore.analysis.explanation import Explanation
    from mtqscore.audio.measurements import SignalMeasurements


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    wanted = ("model", "device", "precision", "channels")
    made = takes(scoring=(AssessConfig, wanted), project=Project, outputs=(ResultFiles, ("json",)))
    app.command("explain")(made(explain))


def explain(
    file: Annotated[str, typer.Argument(metavar="FILE", help="One recording.", show_default=False)],
    scoring: Given = NOTHING,
    project: Given = NOTHING,
    outputs: Given = NOTHING,
) -> None:
    """Explain one recording: what its scores say, where it is worst, what was measured, what to check.

    Exit codes:
    0  it was scored
    2  wrong use
    3  it could not be scored
    4  the device or the model does not work, or the result cannot be written
    """
    from mtqscore.cli.console import clean_endings, without_native_noise

    with clean_endings(), without_native_noise():
        from mtqscore.analysis.explain import explain_file
        from mtqscore.base.files import STDOUT
        from mtqscore.cli.verdicts import project_settings

        json = outputs.get("json")
        explanation = explain_file(file, project_settings(project).assess_config(scoring))
        if json is not None:
            _write_json(explanation, json)
        if json != STDOUT:
            _show(explanation)
    if not explanation.assessment.ok:
        raise typer.Exit(ExitCode.INPUT)


def _write_json(explanation: Explanation, target: str) -> None:
    from json import dumps

    from mtqscore.analysis.explanation import as_record
    from mtqscore.base.files import Output
    from mtqscore.cli.console import write_text

    with Output(target, line_by_line=False) as place:
        write_text(place, dumps(as_record(explanation), ensure_ascii=False, allow_nan=False, indent=2) + "\n")


def _show(explanation: Explanation) -> None:
    import os
    import sys

    from mtqscore.cli.console import print_result

    stream = sys.stdout
    try:
        "▁█▲".encode(stream.encoding or "ascii")
        blocks = True
    except UnicodeEncodeError:
        blocks = False
    colour = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    try:  # of the stream: descriptor 1 may be kept from what C libraries print
        terminal = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        terminal = 80
    columns = os.environ.get("COLUMNS", "")
    width = int(columns) if columns.isdecimal() else terminal
    print_result("\n".join(describe(explanation, width, blocks=blocks, colour=colour)))


def describe(explanation: Explanation, width: int, *, blocks: bool, colour: bool) -> Iterator[str]:
    """Yield the lines of an explanation.

    Args:
        explanation: what to show.
        width: columns of the terminal.
        blocks: whether it has block characters.
        colour: whether to colour the curves.
    """
    from mtqscore.base.text import display_name, printable

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
    from mtqscore.base.text import clock

    rate = f"{signal.sample_rate_hz / 1000:g} kHz"
    counted = "1 channel" if signal.channels == 1 else f"{signal.channels} channels"
    if signal.channels > 1:
        chosen = explanation.assessment.channel
        counted += ", their mean" if chosen == "mean" else f", number {chosen}" if chosen else ""
    parts = [explanation.container, rate, counted, clock(signal.duration_s)]
    return " · ".join([*parts, *map(str, explanation.assessment.flags)])


def _scores(explanation: Explanation) -> Iterator[str]:
    from mtqscore.base.text import score_title
    from mtqscore.scores import named_scores

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
    from mtqscore.base.text import moment
    from mtqscore.cli.score.curves import plot

    worst, best, median, signal = explanation.worst, explanation.best, explanation.median, explanation.signal
    if explanation.segments is None or worst is None or best is None or median is None or signal is None:
        yield "Too short, or too many pauses, to compare one second with another."
        return
    yield "Along time, every second heard alone" + (" (no bar: a pause)" if blocks else " (.: a pause)")
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
    from mtqscore.base.text import moment

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
    from textwrap import wrap

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
