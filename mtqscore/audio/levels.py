"""Levels of signals in dB relative to full scale (dBFS), among them the active speech level of ITU-T P.56."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Signal = NDArray[np.float64]

FRAME_S = 0.016
ACTIVITY_MARGIN_DB = 15.9
"""Margin of ITU-T P.56 between the active level and the activity threshold."""

_TINY_POWER = 1e-14


def power_db(power: float) -> float:
    """Return a power as a level in dB, never below -140."""
    return float(10 * np.log10(max(power, _TINY_POWER)))


def frame_powers(signal: Signal, rate_hz: int) -> Signal:
    """Return the mean power of each 16 ms frame, shape (frames,); a tail shorter than a frame is left out."""
    size = int(FRAME_S * rate_hz)
    count = len(signal) // size
    if count == 0:
        return np.array([float(np.mean(signal**2)) if len(signal) else 0.0])
    return np.asarray(np.mean(signal[: count * size].reshape(count, size) ** 2, axis=1))


def active_frames(signal: Signal, rate_hz: int) -> NDArray[np.bool_]:
    """Return which 16 ms frames hold speech, shape (frames,).

    A frame is active when its level is at most 15.9 dB under the mean of the active frames: the fixed point that
    ITU-T P.56 looks for, found by iteration on frame powers instead of an envelope.
    """
    powers = frame_powers(signal, rate_hz)
    active = powers > _TINY_POWER
    for _ in range(20):
        if not active.any():
            break
        threshold = powers[active].mean() * 10 ** (-ACTIVITY_MARGIN_DB / 10)
        updated = powers > max(threshold, _TINY_POWER)
        if (updated == active).all():
            break
        active = updated
    return active


def active_level_db(signal: Signal, rate_hz: int) -> float:
    """Return the active speech level in dBFS, after ITU-T P.56."""
    active = active_frames(signal, rate_hz)
    powers = frame_powers(signal, rate_hz)
    return power_db(float(powers[active].mean()) if active.any() else 0.0)


def level_db(signal: Signal) -> float:
    """Return the long-term level in dBFS."""
    return power_db(float(np.mean(signal**2)) if len(signal) else 0.0)
