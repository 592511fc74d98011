"""Zero-phase filters: the A curve, and responses given at a few frequencies."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import next_fast_len

from mtqscore.audio.levels import Signal


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
