"""Levels of signals in dB relative to full scale (dBFS), among them the active speech level of ITU-T P.56."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Signal = NDArray[np.float64]

FRAME_S = 0.016
ACTIVITY_MARGIN_DB = 15.9
"""Margin of ITU-T P.56 between the active level and the activity threshold."""

ENVELOPE_S, HANGOVER_S = 0.03, 0.2
"""Time constant of the envelope of ITU-T P.56, and how long speech lasts after it."""

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

    A frame is active when its level is at most 15.9 dB under the mean of the active frames, as in ITU-T P.56 but on
    frame powers and without a hangover: short pauses are pauses.
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
    """Return the active speech level in dBov, by method B of ITU-T P.56; -140 for silence."""
    return speech_activity_level(signal, rate_hz)[0]


def speech_activity_level(signal: Signal, rate_hz: int) -> tuple[float, float]:
    """Measure active speech level and activity factor, by method B of ITU-T P.56.

    The envelope is the magnitude through two exponential averages of 30 ms. For thresholds 6 dB apart, speech is active
    from where the envelope exceeds the threshold to 200 ms after; the level is that at which the threshold lies 15.9 dB
    under the mean of the active parts.

    Args:
        signal: float64 (samples,), full scale 1.
        rate_hz: sample rate.

    Returns:
        The level in dBov, -140 for silence, and the share of time that is active, 0 to 1.
    """
    energy = float(np.sum(signal**2))
    if energy <= _TINY_POWER * max(len(signal), 1):
        return -140.0, 0.0
    envelope = _averaged(_averaged(np.abs(signal), rate_hz), rate_hz)
    places, hangover = np.arange(len(signal)), int(np.ceil(HANGOVER_S * rate_hz))
    above: tuple[float, float] | None = None
    for exponent in range(int(np.floor(np.log2(envelope.max()))), -48, -1):
        last = np.maximum.accumulate(np.where(envelope >= 2.0**exponent, places, -len(signal) - hangover))
        level = 10 * np.log10(energy / np.count_nonzero(places - last <= hangover))
        margin = level - 20 * np.log10(2.0) * exponent - ACTIVITY_MARGIN_DB
        if margin >= 0:
            if above is not None:  # between two thresholds the level is interpolated
                level = above[0] + above[1] / (above[1] - margin) * (level - above[0])
            break
        above = level, margin
    return float(level), float(min(energy / len(signal) / 10 ** (level / 10), 1.0))


def _averaged(signal: Signal, rate_hz: int) -> Signal:
    """Exponential average with the time constant of ITU-T P.56, shape (samples,)."""
    keep = float(np.exp(-1 / (ENVELOPE_S * rate_hz)))
    size = max(1, int(4 * ENVELOPE_S * rate_hz))  # short enough that powers of the factor stay within float64
    powers = keep ** np.arange(size)
    blocks = np.pad((1 - keep) * signal, (0, -len(signal) % size)).reshape(-1, size)
    averaged = np.cumsum(blocks / powers, axis=1) * powers
    state = 0.0
    for number in range(len(averaged)):
        averaged[number] += state * keep * powers
        state = float(averaged[number, -1])
    return np.asarray(averaged.reshape(-1)[: len(signal)])


def level_db(signal: Signal) -> float:
    """Return the long-term level in dBFS."""
    return power_db(float(np.mean(signal**2)) if len(signal) else 0.0)
