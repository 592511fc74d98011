"""Spectrograms as small PNG pictures with a palette."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

WINDOW_S = 0.032
"""The nearest power of two in samples: pitch harmonics and syllables both show."""

FINEST_STEP_S = 0.004
MOST_COLUMNS, MOST_ROWS = 900, 200

HIGHEST_HZ = 16_000.0
"""Speech has next to nothing above, and its own band would become too small to read."""

RANGE_DB = 80.0
"""Distance from the loudest spot to the darkest colour."""

SHADES = 64
"""Steps of 1.25 dB, finer than the eye resolves; more would only make the file larger."""

_ANCHORS = ("000004", "1d1147", "51127c", "832681", "b73779", "e75263", "fc8961", "fec488", "fcfdbf")
"""The palette magma of matplotlib (CC0): lightness rises evenly, so that it also reads without colour."""


def top_hz(sample_rate_hz: int) -> float:
    """Frequency at the upper edge of the picture."""
    return min(sample_rate_hz / 2, HIGHEST_HZ)


def spectrogram_png(samples: NDArray[np.float32], sample_rate_hz: int) -> bytes:
    """Draw the short-time power spectrum, time from left to right, 0 Hz at the bottom.

    Args:
        samples: float32 (samples,), at least one.
        sample_rate_hz: their rate.

    Returns:
        A PNG file whose left and right edges are the first and the last sample.
    """
    power = _power(samples, sample_rate_hz)
    level_db = 10 * np.log10(np.maximum(power, 1e-20))
    shade = (level_db - level_db.max()) / RANGE_DB + 1.0
    return encode_png(np.rint(np.clip(shade, 0.0, 1.0) * (SHADES - 1)).astype(np.uint8)[::-1], palette())


def _power(samples: NDArray[np.float32], sample_rate_hz: int) -> NDArray[np.float64]:
    """Power, (rows, columns), lowest frequency first."""
    window = 2 ** max(4, round(np.log2(WINDOW_S * sample_rate_hz)))
    columns = int(np.clip(len(samples) / sample_rate_hz / FINEST_STEP_S, 1, MOST_COLUMNS))
    # Each column stands for the middle of its share of the time.
    starts = ((np.arange(columns) + 0.5) / columns * len(samples)).astype(np.int64)
    padded = np.pad(samples, (window // 2, window // 2))
    frames = padded[starts[:, np.newaxis] + np.arange(window)] * np.hanning(window).astype(np.float32)
    bins = np.abs(np.fft.rfft(frames, axis=1)).T.astype(np.float64) ** 2
    bins = bins[: int(top_hz(sample_rate_hz) / sample_rate_hz * window) + 1]
    rows = min(MOST_ROWS, len(bins))
    edges = (np.arange(rows) * len(bins)) // rows
    sizes = np.diff(np.append(edges, len(bins)))
    return np.asarray(np.add.reduceat(bins, edges, axis=0) / sizes[:, np.newaxis])


def palette() -> NDArray[np.uint8]:
    """Colours from quiet to loud, uint8 (shades, 3)."""
    anchors = np.array([list(bytes.fromhex(anchor)) for anchor in _ANCHORS], dtype=np.float64)
    at = np.linspace(0, len(anchors) - 1, SHADES)
    colours = [np.interp(at, np.arange(len(anchors)), anchors[:, channel]) for channel in range(3)]
    return np.rint(np.stack(colours, axis=1)).astype(np.uint8)


def encode_png(pixels: NDArray[np.uint8], colours: NDArray[np.uint8]) -> bytes:
    """Encode a picture: uint8 (rows, columns), top row first, of indices of colours, uint8 (colours, 3)."""
    rows, columns = pixels.shape
    lines = np.zeros((rows, columns + 1), np.uint8)  # each line begins with its filter: none
    lines[:, 1:] = pixels
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, 3, 0, 0, 0)),
        (b"PLTE", colours.tobytes()),
        (b"IDAT", zlib.compress(lines.tobytes(), 9)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
