"""Checks of samples as they stream by: finite, clipped, silent, narrowband."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mtqscore.scores import Status, UnscorableError
from mtqscore.targets import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from numpy.typing import NDArray

CLIPPED_RUN_SAMPLES = 3
"""So many neighbours at full scale are a flat top; fewer can be an honest peak."""

CLIPPED_SHARE = 1e-4
"""From this share of samples in flat tops on, a recording counts as clipped."""

FULL_SCALE_TOLERANCE = 1e-4
"""Distance from full scale, relative, within which a sample counts as standing there (3 steps of 16 bit)."""

LARGEST_VALUE = 2.0**32
"""Float files may hold 32-bit integers as they are; beyond that is no audio, and squares leave float32."""

SILENT_RMS = 1e-4
"""-80 dBFS: just above the rounding noise of 16-bit recordings."""

LEVEL_SAMPLES = SAMPLE_RATE_HZ // 10
"""Level is taken over 100 ms, without its mean, so that an offset is not taken for sound."""

LARGEST_OFFSET = 100.0
"""Power of the mean, relative to that of what sounds, up to which the difference of both sums is exact enough."""

LEVEL_SPREAD_DB = 16
"""Stretches this far below the loudest one are pauses."""

BAND_SAMPLES = 1_024
"""Analysis length for the bandwidth: 64 ms."""

BAND_SPREAD = 16
"""Places at which the spectrum of a window is looked at."""

SPEECH_BAND_HZ = (200, 4_000)
HIGH_BAND_FROM_HZ = 4_200
"""A little above 4 kHz, so that the skirt of a telephone-band filter does not count."""

NARROWBAND_DB = -55.0
"""High-band power below this, relative to the speech band, is no content. Wide speech lies near -30 dB."""

NARROWBAND_RATE_HZ = 8_500
"""Recordings at or below this rate cannot hold more than the telephone band."""


_TAPER = np.hanning(BAND_SAMPLES).astype(np.float32)
_SPEECH_PARTS, _HIGH_PARTS = (
    slice(*(2 * math.ceil(edge_hz * BAND_SAMPLES / SAMPLE_RATE_HZ) for edge_hz in band))
    for band in (SPEECH_BAND_HZ, (HIGH_BAND_FROM_HZ, SAMPLE_RATE_HZ))
)
"""Real and imaginary parts of the bins of a spectrum."""


class ClippingDetector:
    """Detector of flat tops, and of samples that are none, before mixing and resampling.

    Args:
        sample_rate_hz: their rate.
        full_scale: largest value that the encoding can hold.

    Attributes:
        frames: samples of one channel so far.
    """

    def __init__(self, sample_rate_hz: int, full_scale: float) -> None:
        self._rate_hz = sample_rate_hz
        self._full_scale = full_scale
        self.frames = 0
        self._values = 0
        self._flat = 0
        self._first_flat: int | None = None

    def update(self, block: NDArray[np.float32]) -> None:
        """Take the next block, (frames, channels).

        Raises:
            UnscorableError: a sample is not a finite number, or too large to be one of a recording.
        """
        with np.errstate(invalid="ignore"):
            low, high = float(block.min()), float(block.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            first = int(np.argmin(np.isfinite(block).all(axis=1)))
            at_s = (self.frames + first) / self._rate_hz
            raise UnscorableError(Status.NON_FINITE, f"NaN or infinite samples, the first at {at_s:.3f} s")
        if max(high, -low) > LARGEST_VALUE:
            raise UnscorableError(Status.UNREADABLE, f"samples as large as {max(high, -low):.2g} are no audio")
        least = self._full_scale * (1 - FULL_SCALE_TOLERANCE)
        if max(high, -low) >= least:
            size = np.abs(block)
            # Float files may go beyond full scale; only what stands at it was cut off there.
            at_limit = (size >= least) & (size <= 1 + FULL_SCALE_TOLERANCE)
            inside = at_limit[: -CLIPPED_RUN_SAMPLES + 1].copy()
            for shift in range(1, CLIPPED_RUN_SAMPLES):
                inside &= at_limit[shift : shift + len(inside)]
            flat = int(np.count_nonzero(inside))
            if flat and self._first_flat is None:
                self._first_flat = self.frames + int(np.argmax(inside.any(axis=1)))
            self._flat += flat
        self.frames += len(block)
        self._values += block.size

    @property
    def clipped_share(self) -> float:
        """Share of samples that begin a flat top at full scale."""
        return self._flat / max(self._values, 1)

    @property
    def first_clipped_s(self) -> float | None:
        """Begin of the first flat top; None without one."""
        return None if self._first_flat is None else self._first_flat / self._rate_hz

    @property
    def clipped(self) -> bool:
        """True if too much of the recording stands at full scale."""
        return self._flat > CLIPPED_SHARE * self._values


class BandwidthDetector:
    """Detector of sound above the telephone band, in windows at the model's rate."""

    def __init__(self) -> None:
        self._speech_power = 0.0
        self._high_power = 0.0

    def update(self, window: NDArray[np.float32]) -> None:
        """Add one window (samples,) to the measured bandwidth."""
        if len(window) < BAND_SAMPLES:
            window = np.pad(window, (0, BAND_SAMPLES - len(window)))
        last = len(window) - BAND_SAMPLES
        starts = sorted({last * place // (BAND_SPREAD - 1) for place in range(BAND_SPREAD)})
        frames = np.stack([window[start : start + BAND_SAMPLES] for start in starts])
        frames -= np.add.reduce(frames, axis=1, keepdims=True) / BAND_SAMPLES
        frames *= _TAPER
        parts = np.fft.rfft(frames, axis=1).view(frames.dtype)  # real and imaginary in turn
        power = np.add.reduce(np.multiply(parts, parts, out=parts), axis=0)
        self._speech_power += float(np.add.reduce(power[_SPEECH_PARTS], dtype=np.float64))
        self._high_power += float(np.add.reduce(power[_HIGH_PARTS], dtype=np.float64))

    @property
    def narrowband(self) -> bool:
        """True if nothing was found above the telephone band."""
        return self._speech_power > 0 and self._high_power < self._speech_power * 10 ** (NARROWBAND_DB / 10)


def sound_level_db(window: NDArray[np.float32]) -> float:
    """Level of what sounds in a window (samples,) at the model's rate, pauses left out.

    Returns:
        Mean level in dBFS of the stretches of 100 ms that are near the loudest one; minus infinity when none of them
        reaches -80 dBFS.
    """
    whole = len(window) // LEVEL_SAMPLES * LEVEL_SAMPLES
    parts = (window[:whole].reshape(-1, LEVEL_SAMPLES), window[whole:].reshape(1, -1))
    powers = [power for part in parts if part.size for power in _variances(part).tolist()]
    loudest = max(powers, default=0.0)
    if loudest <= SILENT_RMS**2:
        return -math.inf
    least = loudest * 10 ** (-LEVEL_SPREAD_DB / 10)
    sounding = [power for power in powers if power >= least]
    return 10 * math.log10(math.fsum(sounding) / len(sounding))


def _variances(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Power of each row (rows, samples) without its mean."""
    means = np.add.reduce(rows, axis=1, keepdims=True) / rows.shape[1]
    offsets = means[:, 0].astype(np.float64) ** 2
    variances = np.einsum("ij,ij->i", rows, rows).astype(np.float64) / rows.shape[1] - offsets
    if (offsets <= LARGEST_OFFSET * variances).all():
        return np.asarray(variances)
    # Beside so large a mean float32 holds nothing else: it goes first, at the cost of a copy.
    centred = rows - means
    return np.asarray(np.einsum("ij,ij->i", centred, centred) / rows.shape[1], dtype=np.float64)


def has_sound(window: NDArray[np.float32]) -> bool:
    """Check for any 100 ms of a window (samples,) at the model's rate that reach -80 dBFS."""
    return sound_level_db(window) > -math.inf
