"""Reference-based measures on pairs of signals: raw P.862, STOI and SDI."""

from __future__ import annotations

import warnings

import numpy as np
import soxr
from pesq import PesqError, pesq
from pystoi import stoi

from mtqscore.audio.levels import Signal

PESQ_RATE_HZ = 16_000
RAW_PESQ_HIGH = 4.5
SDI_LIMIT = 1.5

# Constants of the logistic map from raw P.862 to MOS-LQO in ITU-T P.862.2 (wideband).
_WB_SLOPE, _WB_OFFSET = 1.3669, 3.8224


def raw_from_lqo(lqo: float) -> float:
    """Undo the map of P.862.2: from MOS-LQO (1.04 to 4.64) to the raw value (-0.5 to 4.5)."""
    inside = min(max(lqo, 1.0), 4.998)
    raw = (_WB_OFFSET - float(np.log(4 / (inside - 0.999) - 1))) / _WB_SLOPE
    return float(min(max(raw, -0.5), RAW_PESQ_HIGH))


PIECE_S = 16.0
"""P.862 drifts with many utterances, and its code ends the process at some fifty: it gets pieces of this length."""


def raw_pesq(reference: Signal, degraded: Signal, rate_hz: int) -> float | None:
    """Return the raw P.862 value in wideband mode, -0.5 to 4.5; None when no utterance is found.

    A long recording is cut into equal pieces, whose values are averaged by the levels of their references.

    Narrowband signals are measured in the same mode at 16 kHz: with an equally narrow reference the empty upper band
    adds nothing, and one scale serves both bandwidths.
    """
    if rate_hz != PESQ_RATE_HZ:
        reference = soxr.resample(reference, rate_hz, PESQ_RATE_HZ)
        degraded = soxr.resample(degraded, rate_hz, PESQ_RATE_HZ)
    count = max(1, round(len(reference) / (PIECE_S * PESQ_RATE_HZ)))
    pieces = zip(np.array_split(reference, count), np.array_split(degraded, count), strict=True)
    found = [(_pesq(one, other), float(np.sqrt(np.mean(one**2)))) for one, other in pieces]
    known = [(value, level) for value, level in found if value is not None]
    if not known:
        return None
    values, levels = np.array(known).T
    return float(np.average(values, weights=levels))


def _pesq(reference: Signal, degraded: Signal) -> float | None:
    """Raw P.862 value of one piece at 16 kHz."""
    peaks = [float(np.max(np.abs(part))) for part in (reference, degraded)]
    if min(peaks) < 1e-9:
        return None
    # The library reads 16-bit integers; an even level keeps quiet recordings from being rounded away.
    parts = [part * (0.5 / peak) for part, peak in zip((reference, degraded), peaks, strict=True)]
    try:
        lqo = float(pesq(PESQ_RATE_HZ, parts[0].astype(np.float32), parts[1].astype(np.float32), "wb"))
    except PesqError:
        return None
    return raw_from_lqo(lqo) if np.isfinite(lqo) else None


def intelligibility(reference: Signal, degraded: Signal, rate_hz: int) -> float | None:
    """Return STOI (Taal et al. 2011), 0 to 1; None when too little speech is found."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        value = float(stoi(reference, degraded, rate_hz))
    if any("Not enough STFT frames" in str(item.message) for item in caught) or not np.isfinite(value):
        return None
    return min(max(value, 0.0), 1.0)


def distortion_index(reference: Signal, degraded: Signal) -> float:
    """Return SDI = sum (g s - x)^2 / sum (g s)^2, at most 1.5; g is the gain that fits the reference s best.

    The variant that takes the whole processed signal x: a noisy recording has 10^(-SNR/10).
    """
    energy = float(np.dot(reference, reference))
    gain = float(np.dot(reference, degraded)) / max(energy, 1e-20)
    error = degraded - gain * reference
    return float(min(np.dot(error, error) / max(gain * gain * energy, 1e-20), SDI_LIMIT))
