"""One recording explained: its scores in words, its worst second, measurements, and advice."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mtqscore.analysis.explanation import Explanation, Segment, advise, band
from mtqscore.analysis.segments import Segments, SegmentScorer
from mtqscore.audio.decoding import open_recording
from mtqscore.audio.measurements import SignalMeasurements, SignalMeter
from mtqscore.audio.sources import Resampler, Source
from mtqscore.config import AssessConfig
from mtqscore.errors import UsageError
from mtqscore.scores import Assessment, UnscorableError, named_scores
from mtqscore.scoring.assessor import loaded_assessor
from mtqscore.scoring.session import Scorer
from mtqscore.targets import DECIMALS

NOTABLE_DROP, DROP_A_DECADE, USUAL_PIECES = 0.7, 0.2, 10
"""Ordinary speech varies by half a point from second to second, and the lowest of many lies lower than that of few."""

CLOSE_SCORES = 0.5
"""S and N that are nearer to each other than this are alike."""


def explain_file(path: str | os.PathLike[str], config: AssessConfig | None = None) -> Explanation:
    """Explain one recording, of any length, in bounded memory.

    Args:
        path: any format, rate and channel count that libsndfile reads.
        config: the options; None is all defaults.

    Returns:
        The explanation. A recording that cannot be scored has a status other than ``ok``, advice on what to do, and
        what could be measured before the fault.

    Raises:
        UsageError: the model is unknown, or the channels are ``each``.
        EnvironmentProblemError: the device or the model does not work.

    Example:
        >>> explain_file("no-such-file.wav").advice
        ('Check the name and the folder: nothing is there.',)
    """
    config = config or AssessConfig()
    if config.channels == "each":
        raise UsageError("explain looks at one channel at a time: choose the mixdown (mean) or a channel number")
    assessor = loaded_assessor(config)
    assessment = assessor.assess_file(path)
    try:
        source = open_recording(os.fspath(path))
    except UnscorableError:  # the assessment has the reason
        return explain_assessment(assessment, None, assessor.scorer)
    with source:
        explanation = explain_assessment(assessment, source, assessor.scorer)
    return replace(explanation, container=f"{source.container} {source.subtype}")


def explain_assessment(assessment: Assessment, source: Source | None, scorer: Scorer) -> Explanation:
    """Explain an assessment of a mixdown or one channel from its recording; None when that cannot be opened."""
    signal, segments = _measure_recording(assessment, source, scorer) if source is not None else (None, None)
    explanation = _interpret(Explanation(assessment, signal=signal, segments=segments))
    return replace(explanation, advice=tuple(advise(explanation)))


def _measure_recording(
    assessment: Assessment, source: Source, scorer: Scorer
) -> tuple[SignalMeasurements, Segments | None]:
    """Read the recording once more and measure it; if it was scored, score its segments too."""
    number = assessment.options.channel_number if assessment.options else None
    columns = None if number is None or number > source.channels else [number - 1]
    meter = SignalMeter(source.sample_rate_hz, source.channels, source.full_scale, columns)
    pieces = SegmentScorer(scorer) if assessment.ok else None
    resampler = Resampler(source.sample_rate_hz)
    with suppress(UnscorableError):  # measurements before the fault stand
        for block in source.blocks():
            mono = _measure(meter, block)
            if pieces is not None:
                pieces.push(resampler.push(mono))
    signal = meter.measurements()
    if pieces is None or not signal.duration_s:
        return signal, None
    pieces.push(resampler.push(np.empty(0, np.float32), last=True))
    return signal, pieces.finish()


def _measure(meter: SignalMeter, block: NDArray[np.float32]) -> NDArray[np.float32]:
    """Measure a block, up to its first fault if it has one."""
    try:
        return meter.update(block)
    except UnscorableError:
        sound = int(np.argmin(np.isfinite(block).all(axis=1)))
        if sound:
            meter.update(block[:sound])
        raise


def _interpret(explanation: Explanation) -> Explanation:
    """Add what follows from the scores."""
    scores, segments = named_scores(explanation.assessment), explanation.segments
    if not scores:
        return explanation
    distance = scores["s_mos"] - scores["n_mos"]
    explanation = replace(
        explanation,
        bands={name: words for name, value in scores.items() if (words := band(name, value))},
        weaker=None if abs(distance) < CLOSE_SCORES else "s_mos" if distance < 0 else "n_mos",
    )
    if segments is None or np.isfinite(overall := segments.of("g_mos")).sum() < 3:
        return explanation
    worst, best = int(np.nanargmin(overall)), int(np.nanargmax(overall))
    median = _named(segments, np.nanmedian(segments.scores, axis=0))
    return replace(
        explanation,
        worst=_segment(segments, worst),
        best=_segment(segments, best),
        median=median,
        even=median["g_mos"] - float(overall[worst]) < notable_drop(len(overall)),
    )


def notable_drop(pieces: int) -> float:
    """Distance below the median from which on the lowest G of so many pieces stands out.

    Example:
        >>> notable_drop(9), round(notable_drop(1000), 2)
        (0.7, 1.1)
    """
    return NOTABLE_DROP + DROP_A_DECADE * math.log10(max(pieces / USUAL_PIECES, 1))


def _segment(segments: Segments, index: int) -> Segment:
    start_s = float(segments.starts_s[index])
    return Segment(start_s, start_s + segments.length_s, _named(segments, segments.scores[index]))


def _named(segments: Segments, values: NDArray[np.float32]) -> dict[str, float]:
    return {name: round(float(value), DECIMALS) for name, value in zip(segments.targets, values, strict=True)}
