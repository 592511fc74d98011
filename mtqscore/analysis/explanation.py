"""Explanation of one recording: values, scores in words, advice, and the JSON object."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mtqscore.analysis.segments import Segments
from mtqscore.audio.measurements import SignalMeasurements
from mtqscore.base.schema_versions import EXPLAIN, document
from mtqscore.base.text import moment, printable
from mtqscore.scores import Assessment, Flag, Status, named_scores
from mtqscore.targets import DECIMALS, NARROWBAND_HZ


@dataclass(frozen=True)
class Segment:
    """One second of a recording, scored alone: begin, end, and scores by target."""

    start_s: float
    end_s: float
    scores: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Explanation:
    """Explanation of one recording.

    Args:
        assessment: its scores, or why there are none.
        container: its format and encoding, ``WAV PCM_16``; empty when it could not be opened.
        signal: what was measured; up to a fault if there is one; None when it could not be opened.
        segments: scores along time; None without scores.
        worst: the second with the lowest G; None when there are fewer than three seconds to compare.
        best: the second with the highest G; None likewise.
        median: median of every score over the seconds; None likewise.
        even: true if no second falls clearly below the median; None likewise.
        bands: each score in the words of its scale; None without scores.
        weaker: ``s_mos`` or ``n_mos``, whichever is clearly lower than the other; None when they are alike.
        advice: what a person should check, most important first.
    """

    assessment: Assessment
    container: str = ""
    signal: SignalMeasurements | None = None
    segments: Segments | None = None
    worst: Segment | None = None
    best: Segment | None = None
    median: Mapping[str, float] | None = None
    even: bool | None = None
    bands: Mapping[str, str] | None = None
    weaker: str | None = None
    advice: tuple[str, ...] = ()


BANDS = {
    "s_mos": ("very distorted", "fairly distorted", "somewhat distorted", "slightly distorted", "not distorted"),
    "n_mos": (
        *("very intrusive", "somewhat intrusive", "noticeable but not intrusive"),
        *("slightly noticeable", "not noticeable"),
    ),
    "g_mos": ("bad", "poor", "fair", "good", "excellent"),
}
"""The labels of ITU-T P.835, from 1 to 5."""

GOOD = 3.5
"""From here on a score is at least good, and no cause is looked for."""

QUIET_SPEECH_DBFS, LOUD_SPEECH_DBFS = -40.0, -12.0
"""Active levels outside this are unusual; -26 dBFS is what recordings for listening tests have."""

NOTABLE_OFFSET = 0.01
MUCH_SILENCE = 0.3

EMPTY_BAND_SHARE = 0.55
"""A recording whose content ends below this share of what its rate could hold was band-limited on its way."""

REMEDIES = {
    Status.NOT_FOUND: "Check the name and the folder: nothing is there.",
    Status.NO_PERMISSION: "Give yourself permission to read it, for example with chmod u+r.",
    Status.NOT_A_FILE: "Name one recording; mtqscore assess takes folders.",
    Status.NO_AUDIO: "Name one recording; this folder holds none.",
    Status.UNREADABLE: "Play it: if a player can, convert it, for example with {convert}; else fetch it again.",
    Status.EMPTY: "Record or export it again: there is no sound in it.",
    Status.NO_CHANNEL: "Choose a channel that exists, or leave --channels away.",
    Status.TOO_SHORT: "Give a longer piece; a few seconds of speech are best.",
    Status.SILENT: "Check which microphone or channel was recorded, and whether it was muted.",
    Status.NON_FINITE: "Find the step that writes NaN or infinity (a division by a level of zero?) and run it again.",
    Status.CHANGED: "Wait until the recording is complete, and score it again.",
}


def band(target: str, score: float) -> str:
    """Name the label of the scale that a score is nearest to; empty for a score without such a scale.

    Example:
        >>> band("n_mos", 2.6)
        'noticeable but not intrusive'
    """
    labels = BANDS.get(target)
    return labels[min(max(int(score + 0.5), 1), 5) - 1] if labels else ""


def advise(explanation: Explanation) -> Iterator[str]:
    """Yield what to check, most important first; nothing when nothing stands out."""
    assessment, signal = explanation.assessment, explanation.signal
    if not assessment.ok:
        name = assessment.path or ""
        convert = f"ffmpeg -i {printable(shlex.quote(name))} copy.wav"
        yield REMEDIES[assessment.status].format(convert=convert)
        if assessment.status is Status.SILENT and signal is not None and any(signal.channel_levels_dbfs):
            yield "Explain one channel, for example with --channels 1: it is only their mean that is silent."
    if Flag.TRUNCATED in assessment.flags:
        yield "Fetch the file again: it ends before its header says."
    if signal is not None:
        yield from _on_faults(signal)
    if assessment.ok:
        yield from _on_scores(explanation)
        if signal is not None:
            yield from _on_recording(signal)


def _on_faults(signal: SignalMeasurements) -> Iterator[str]:
    if signal.first_clipped_s is not None:
        yield (
            f"Lower the recording level: {signal.clipped_share:.2%} of the samples stand at full scale, "
            f"the first at {moment(signal.first_clipped_s)}."
        )
    if signal.dead_channels:
        first, *others = signal.dead_channels
        named = f"channel {first}" + (f" (and {len(others)} more)" if others else "")
        yield f"Check the cabling: there is no sound in {named}."


def _on_scores(explanation: Explanation) -> Iterator[str]:
    worst, median = explanation.worst, explanation.median
    if worst is not None and median is not None and not explanation.even:
        fallen = max(("s_mos", "n_mos"), key=lambda name: median[name] - worst.scores[name])
        which = "speech" if fallen == "s_mos" else "background noise"
        yield (
            f"Listen to {moment(worst.start_s)} to {moment(worst.end_s)}: it stands out, most of all in the {which} "
            f"({worst.scores[fallen]:.1f} there, {median[fallen]:.1f} in the median second)."
        )
    scores = explanation.assessment.scores
    if scores is None or scores.g_mos >= GOOD:
        return
    if explanation.weaker != "n_mos" and scores.s_mos < GOOD:
        yield (
            "Listen to the speech itself: low S goes with coding, lost packets, clipping and noise suppression that "
            "is too strong."
        )
    if explanation.weaker != "s_mos" and scores.n_mos < GOOD:
        yield "Listen to the background: low N goes with noise, other talkers, hum, and what noise suppression leaves."


def _on_recording(signal: SignalMeasurements) -> Iterator[str]:
    nyquist_hz = signal.sample_rate_hz / 2
    if signal.bandwidth_hz is not None and signal.bandwidth_hz < nyquist_hz * EMPTY_BAND_SHARE:
        edge = (
            f"the content ends at {signal.bandwidth_hz / 1000:.1f} kHz, and the rate allows {nyquist_hz / 1000:g} kHz"
        )
        if signal.bandwidth_hz <= NARROWBAND_HZ + 200:
            yield f"Look for a telephone-band stage on its way: {edge}."
        else:
            yield f"If more bandwidth was expected, look for a resampler or codec on its way: {edge}."
    level_dbfs = -math.inf if signal.level_dbfs is None else signal.level_dbfs
    if level_dbfs < QUIET_SPEECH_DBFS:
        yield f"Raise the recording level: {level_dbfs:.1f} dBFS is low (about -26 is usual)."
    elif signal.silent_share >= MUCH_SILENCE:
        yield f"Check for muting or gaps: {signal.silent_share:.0%} of the time is below -80 dBFS."
    if level_dbfs > LOUD_SPEECH_DBFS and signal.first_clipped_s is None:
        yield f"Lower the recording level: {level_dbfs:.1f} dBFS is high (about -26 is usual)."
    if abs(signal.dc_offset) >= NOTABLE_OFFSET:
        yield f"Check the converter: there is a DC offset of {signal.dc_offset:+.1%} of full scale."


def as_record(explanation: Explanation) -> dict[str, Any]:
    """All of an explanation as plain values for JSON; what is not known is null."""
    assessment, segments = explanation.assessment, explanation.segments
    record = {
        "path": assessment.path,
        "channel": assessment.channel,
        "status": str(assessment.status),
        "reason": assessment.reason,
        "flags": [str(flag) for flag in assessment.flags],
        "scores": _rounded(named_scores(assessment)) or None,
        "bands": explanation.bands,
        "weaker": explanation.weaker,
        "even": explanation.even,
        "container": explanation.container or None,
        "signal": _rounded(asdict(explanation.signal)) if explanation.signal else None,
        "worst": _rounded(asdict(explanation.worst)) if explanation.worst else None,
        "best": _rounded(asdict(explanation.best)) if explanation.best else None,
        "median": explanation.median,
        "seconds": None
        if segments is None
        else {
            "starts_s": [round(float(start), DECIMALS) for start in segments.starts_s],
            "length_s": segments.length_s,
            **{name: list(map(_rounded_or_none, segments.of(name))) for name in segments.targets},
        },
        "advice": list(explanation.advice),
        **{name: getattr(assessment, name) for name in ("model", "model_sha256", "provider")},
    }
    return document(EXPLAIN, record, version=None)


def _rounded_or_none(value: np.float32) -> float | None:
    return None if np.isnan(value) else round(float(value), DECIMALS)


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, DECIMALS) if isinstance(value, float) else value for name, value in values.items()}
