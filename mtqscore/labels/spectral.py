"""Short-time spectra with perfect reconstruction, for gains that are applied to speech and noise alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mtqscore.audio.levels import Signal

Spectrum = NDArray[np.complex128]


def root_hann(size: int) -> Signal:
    """Periodic square-root Hann window, shape (size,)."""
    return np.asarray(np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)))


def forward(signal: Signal, window: Signal, hop: int) -> Spectrum:
    """Short-time spectrum, shape (frames, bins), of a signal padded with a window of zeros at each end."""
    size = len(window)
    count = -(-(len(signal) + size) // hop) + 1
    padded = np.zeros((count - 1) * hop + size)
    padded[size : size + len(signal)] = signal
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    return np.asarray(np.fft.rfft(frames * window, axis=1))


def inverse(spectrum: Spectrum, window: Signal, hop: int, samples: int) -> Signal:
    """Overlap-add a spectrum of ``forward`` back to ``samples`` samples, shape (samples,)."""
    size = len(window)
    frames = np.fft.irfft(spectrum, size, axis=1) * window
    total = (len(frames) - 1) * hop + size
    signal = np.zeros(total)
    overlap = size // hop
    for phase in range(overlap):  # frames of one phase do not overlap: add them as one block
        block = frames[phase::overlap].reshape(-1)
        start = phase * hop
        signal[start : start + len(block)] += block
    scale = float(np.sum(window**2)) / hop
    return np.asarray(signal[size : size + samples] / scale)
