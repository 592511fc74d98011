"""Signals that tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

RATE_HZ = 16_000


def speechlike(seconds: float = 2.0, rate_hz: int = RATE_HZ, seed: int = 0, channels: int = 1) -> NDArray[np.float32]:
    """Noise in syllables, (samples, channels), peak about 0.3."""
    generator = np.random.default_rng(seed)
    count = round(seconds * rate_hz)
    envelope = 0.55 + 0.45 * np.sin(2 * np.pi * 4 * np.arange(count) / rate_hz)
    noise = generator.standard_normal((count, channels)) * 0.08
    return (noise * envelope[:, np.newaxis]).clip(-0.9, 0.9).astype(np.float32)


def write(path: Path, samples: NDArray[Any], rate_hz: int = RATE_HZ, **options: str) -> Path:
    """Write a recording and return its path."""
    soundfile.write(path, samples, rate_hz, **options)
    return path


def tone(seconds: float = 2.0, rate_hz: int = RATE_HZ, frequency_hz: float = 1000.0) -> NDArray[np.float32]:
    """A sine at half of full scale, (samples,)."""
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    return (0.5 * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.float32)
