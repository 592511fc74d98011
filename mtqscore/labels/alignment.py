"""Alignment of a recording with its clean reference: delay of the whole, and drift of the clock along it."""

from __future__ import annotations

import numpy as np
import soxr
from scipy.ndimage import median_filter

from mtqscore.audio.levels import Signal

LIMIT_S = 10.0
"""Largest delay that is found."""

PIECE_S, STEP_S = 1.0, 0.5
"""Pieces whose own delays are looked for."""

REACH_S = 0.06
"""Largest distance of a piece's delay from that of the whole."""

LEAST_CORRELATION = 0.5
"""A piece whose correlation is below this share of the best piece's says nothing of its delay."""

FINE = 16
"""Points between two samples when a recording is resampled along a course of delays."""


def aligned(recording: Signal, reference: Signal, rate_hz: int, *, limit_s: float = LIMIT_S) -> tuple[Signal, int]:
    """Undo delay, drift and polarity of a recording.

    Args:
        recording: shape (any,).
        reference: shape (samples,).
        rate_hz: of both.
        limit_s: largest delay that is looked for.

    Returns:
        The recording cut or padded to shape (samples,), and its delay in samples.
    """
    at_once, delay = shifted(recording, reference, rate_hz, limit_s=limit_s)
    if np.dot(at_once, reference) < 0:
        at_once = -at_once
    return _followed(at_once, reference, rate_hz), delay


def shifted(recording: Signal, reference: Signal, rate_hz: int, *, limit_s: float = LIMIT_S) -> tuple[Signal, int]:
    """Undo a constant delay alone; arguments and result are those of `aligned`."""
    size = len(reference)
    length = 2 * max(size, len(recording))
    product = np.fft.rfft(recording, length) * np.conj(np.fft.rfft(reference, length))
    correlation = np.fft.irfft(product, length)
    reach = min(int(limit_s * rate_hz), length // 2 - 1)
    lags = np.concatenate([np.arange(reach + 1), np.arange(-reach, 0)])
    delay = int(lags[np.argmax(np.abs(correlation[lags]))])
    moved = recording[delay:] if delay >= 0 else np.pad(recording, (-delay, 0))
    return np.pad(moved, (0, max(0, size - len(moved))))[:size], delay


def _followed(recording: Signal, reference: Signal, rate_hz: int) -> Signal:
    """Resample a recording along the delays of its pieces, where they are not all the same."""
    size, reach = int(PIECE_S * rate_hz), int(REACH_S * rate_hz)
    found = [
        (start + size / 2, *_piece_delay(recording[start : start + size], reference[start : start + size], reach))
        for start in range(0, len(reference) - size + 1, int(STEP_S * rate_hz))
    ]
    if len(found) < 3:
        return recording
    times, delays, strengths = map(np.array, zip(*found, strict=True))
    sure = strengths > LEAST_CORRELATION * strengths.max(initial=0.0)
    if sure.sum() < 3:
        return recording
    times, delays = times[sure], median_filter(delays[sure], 3, mode="nearest")
    if np.ptp(delays) < 0.5:
        return recording
    course = np.interp(np.arange(len(recording)), times, delays)
    fine = soxr.resample(recording, rate_hz, FINE * rate_hz)
    places = np.clip((np.arange(len(recording)) + course) * FINE, 0, len(fine) - 1)
    return np.asarray(np.interp(places, np.arange(len(fine)), fine))


def _piece_delay(piece: Signal, reference: Signal, reach: int) -> tuple[float, float]:
    """Delay of a piece in samples and parts of them, and its correlation times the level of its reference."""
    length = 2 * len(piece)
    product = np.fft.rfft(piece, length) * np.conj(np.fft.rfft(reference, length))
    around = np.roll(np.fft.irfft(product, length), reach)[: 2 * reach + 1]
    top = int(np.argmax(around))
    if not 0 < top < 2 * reach:
        return float(top - reach), 0.0
    before, at, after = around[top - 1 : top + 2]
    bend = before - 2 * at + after
    part = 0.5 * (before - after) / bend if bend < 0 else 0.0
    energy = float(np.sqrt(np.dot(piece, piece) * np.dot(reference, reference))) + 1e-20
    return float(top - reach + part), float(at) / energy
