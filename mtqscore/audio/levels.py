"""Levels of signals: active speech level, A-weighting, scaling. Levels are in dB relative to full scale (dBFS)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import next_fast_len

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


def a_weighting(frequency_hz: NDArray[np.floating[Any]]) -> Signal:
    """Return the amplitude factor of the A curve (IEC 61672-1) at each frequency, 1 at 1 kHz."""
    f2 = frequency_hz**2
    response = (12194.0**2 * f2**2) / ((f2 + 20.6**2) * np.sqrt((f2 + 107.7**2) * (f2 + 737.9**2)) * (f2 + 12194.0**2))
    return np.asarray(response * 10 ** (2.0 / 20))


def a_weighted(signal: Signal, rate_hz: int) -> Signal:
    """Return the signal filtered with the A curve, the same length, zero phase."""
    size = next_fast_len(len(signal) + rate_hz // 20, real=True)
    spectrum = np.fft.rfft(signal, size) * a_weighting(np.fft.rfftfreq(size, 1 / rate_hz))
    return np.asarray(np.fft.irfft(spectrum, size)[: len(signal)])


def shaped(signal: Signal, rate_hz: int, frequency_hz: list[float], gain_db: list[float]) -> Signal:
    """Filter with a zero-phase response given at a few frequencies, interpolated over log frequency.

    Args:
        signal: shape (samples,).
        rate_hz: sample rate.
        frequency_hz: rising frequencies above 0.
        gain_db: the gain at each of them; held constant outside.
    """
    size = next_fast_len(
        len(signal) + rate_hz // 8, real=True
    )  # room for the response to ring out instead of wrapping round
    grid = np.maximum(np.fft.rfftfreq(size, 1 / rate_hz), 1.0)
    gain = np.interp(np.log2(grid), np.log2(frequency_hz), gain_db)
    return np.asarray(np.fft.irfft(np.fft.rfft(signal, size) * 10 ** (gain / 20), size)[: len(signal)])
