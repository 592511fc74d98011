"""Scores along time as they are drawn, cut to the stretch that is shown, with the worst second in it.

Frame scores find the worst stretch of a long recording, but with some models barely move within ten seconds. Where the
model is at hand, it scores every second of the stretch alone, and that is drawn instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mtqscore.analysis.explain import notable_drop
from mtqscore.analysis.segments import SegmentScorer
from mtqscore.audio.sources import Resampler
from mtqscore.scores import Assessment, FrameScores
from mtqscore.scoring.session import Scorer

SMOOTHING_S = 0.5
"""Width of the smoothing at half its height: a single frame of 32 ms is noise."""

WORST_S = 1.0
"""Length of the stretch that is marked as the worst."""

DRAWN_STEP_S = 0.1
"""Distance of the points between the middles of seconds that were scored alone."""


@dataclass(frozen=True, eq=False)
class Excerpt:
    """The stretch of a recording to hear and see.

    Args:
        start_s: its beginning in the recording.
        length_s: its length.
        worst_s: beginning of the worst second in the recording; None when none stands out or it is not known.
        first_s: time of the first point of ``values`` in the recording.
        hop_s: seconds from one point to the next.
        targets: names of the columns.
        values: float32 (points, targets) to draw, NaN in gaps; no points when there are no scores along time.
        alone: they are seconds scored alone, not smoothed frame scores.
    """

    start_s: float
    length_s: float
    worst_s: float | None
    first_s: float
    hop_s: float
    targets: tuple[str, ...]
    values: NDArray[np.float32]
    alone: bool = False


def cut_excerpt(assessment: Assessment, longest_s: float) -> Excerpt:
    """Choose the stretch to show: all of a short recording, of a long one what surrounds its worst second.

    Without scores along time, it is the start of the recording, and has no curves.
    """
    duration_s = assessment.duration_s or 0.0
    length_s = min(duration_s, longest_s)
    frames = assessment.frames
    if frames is None or not len(frames.values) or not length_s:
        return Excerpt(0.0, length_s, None, 0.0, 1.0, (), np.empty((0, 0), np.float32))
    worst_s = worst_second(frames)
    start_s = 0.0
    if length_s < duration_s and worst_s is not None:
        start_s = min(max(0.0, worst_s + WORST_S / 2 - length_s / 2), duration_s - length_s)
    first = math.ceil(start_s / frames.hop_s)
    last = math.floor((start_s + length_s) / frames.hop_s)
    # A copy, so that the curves of a whole long recording are not kept in memory.
    values = smooth(frames.values, frames.hop_s)[first : last + 1].copy()
    return Excerpt(start_s, length_s, worst_s, first * frames.hop_s, frames.hop_s, frames.targets, values)


def score_seconds(excerpt: Excerpt, samples: NDArray[np.float32], sample_rate_hz: int, scorer: Scorer) -> Excerpt:
    """Score every second of a stretch alone, and give the stretch with these scores to draw.

    It stays as it was when no second of it can be scored alone.

    Args:
        excerpt: the stretch.
        samples: its sound, float32 (samples,).
        sample_rate_hz: rate of the sound.
        scorer: the model.
    """
    pieces = SegmentScorer(scorer)
    pieces.push(Resampler(sample_rate_hz).push(samples, last=True))
    segments = pieces.finish()
    known = np.isfinite(segments.scores).all(axis=1)
    if not known.any():
        return excerpt
    starts_s, scores = segments.starts_s[known], segments.scores[known]
    times_s = np.arange(0.0, excerpt.length_s + DRAWN_STEP_S / 2, DRAWN_STEP_S)
    middles_s = starts_s + segments.length_s / 2
    values = np.stack([np.interp(times_s, middles_s, column) for column in scores.T], axis=1).astype(np.float32)
    # Pauses are gaps: a point stands only where a second that was scored sounds.
    after = np.searchsorted(starts_s, times_s, side="right") - 1
    sounds = (after >= 0) & (times_s <= starts_s[after] + segments.length_s + DRAWN_STEP_S / 2)
    values[~sounds] = np.nan
    g_mos = scores[:, segments.targets.index("g_mos")]
    stands_out = float(np.median(g_mos) - g_mos.min()) >= notable_drop(len(g_mos))
    worst_s = excerpt.start_s + float(starts_s[np.argmin(g_mos)]) if stands_out else None
    return replace(
        excerpt,
        worst_s=worst_s,
        first_s=excerpt.start_s,
        hop_s=DRAWN_STEP_S,
        targets=segments.targets,
        values=values,
        alone=True,
    )


def smooth(values: NDArray[np.float32], hop_s: float) -> NDArray[np.float32]:
    """Smooth curves (frames, targets) by a Hann window; gaps (NaN) stay gaps and leak nowhere as a value."""
    half = max(1, round(SMOOTHING_S / hop_s))
    kernel = np.hanning(2 * half + 1)
    smoothed = np.full(values.shape, np.nan, np.float32)
    for column in range(values.shape[1]):
        known = np.isfinite(values[:, column])
        total = np.convolve(np.where(known, values[:, column], 0.0), kernel)[half : half + len(values)]
        weight = np.convolve(known, kernel)[half : half + len(values)]
        smoothed[known, column] = total[known] / weight[known]
    return smoothed


def worst_second(frames: FrameScores) -> float | None:
    """Find the beginning of the second with the lowest mean G-MOS; None in a short recording or without G-MOS."""
    width = round(WORST_S / frames.hop_s)
    if "g_mos" not in frames.targets or width < 1 or len(frames.values) < 2 * width:
        return None
    g_mos = frames.values[:, frames.targets.index("g_mos")].astype(np.float64)
    known = np.isfinite(g_mos)
    total = np.cumsum(np.concatenate([[0.0], np.where(known, g_mos, 0.0)]))
    count = np.cumsum(np.concatenate([[0], known]))
    inside = count[width:] - count[:-width]
    enough = inside > width // 2
    if not enough.any():
        return None
    means = np.where(enough, (total[width:] - total[:-width]) / np.maximum(inside, 1), np.inf)
    return float(np.argmin(means)) * frames.hop_s
