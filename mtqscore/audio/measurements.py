"""Signal measurements on a recording, without a model: level, peak, clipping, bandwidth, silence, channels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mtqscore.audio.checks import LEVEL_SPREAD_DB, NARROWBAND_DB, SILENT_RMS, SPEECH_BAND_HZ, ClippingDetector

if TYPE_CHECKING:
    from numpy.typing import NDArray

STRETCH_S = 0.1
"""Level is taken over stretches of this length, without their mean, as for the scores."""

SPECTRUM_S = 0.064
"""Of every stretch, so much goes into the spectrum."""

QUIET_QUANTILE = 0.1
"""The level that a tenth of the stretches stays below stands for the background between words."""


@dataclass(frozen=True)
class SignalMeasurements:
    """Measured on the recording as it was stored, before resampling. Levels are of the mixdown or chosen channel.

    Args:
        sample_rate_hz: rate of the recording.
        channels: how many it has.
        duration_s: length of what was read.
        level_dbfs: active level: mean power of the 100 ms stretches near the loudest one; None for digital silence.
        quiet_dbfs: level that a tenth of the sounding stretches stay below; None without any.
        peak_dbfs: largest sample of the scored channels; None for digital silence.
        clipped_share: share of samples in flat tops at full scale.
        first_clipped_s: where the first one begins; None without one.
        bandwidth_hz: frequency above which nearly nothing lies (less than -55 dB beside the speech band); None without
            sound.
        silent_share: share of the time below -80 dBFS.
        dc_offset: mean of the samples, at full scale 1.
        channel_levels_dbfs: mean level of every channel; None for digital silence or samples that are not finite.
        equal_channels: whether there are several channels and all are the same.
    """

    sample_rate_hz: int
    channels: int
    duration_s: float
    level_dbfs: float | None
    quiet_dbfs: float | None
    peak_dbfs: float | None
    clipped_share: float
    first_clipped_s: float | None
    bandwidth_hz: float | None
    silent_share: float
    dc_offset: float
    channel_levels_dbfs: tuple[float | None, ...]
    equal_channels: bool

    @property
    def dead_channels(self) -> tuple[int, ...]:
        """Numbers, from 1, of channels without sound beside others that have some."""
        silent_dbfs = 20 * math.log10(SILENT_RMS)
        levels = enumerate(self.channel_levels_dbfs, start=1)
        dead = tuple(number for number, level in levels if level is None or level <= silent_dbfs)
        return dead if len(dead) < self.channels else ()


class SignalMeter:
    """Measures a stream of blocks; memory grows by ten numbers a second.

    Args:
        sample_rate_hz: rate of the recording.
        channels: how many it has.
        full_scale: largest value that its encoding can hold.
        columns: the channels that are scored, counted from 0; None is all, mixed.
    """

    def __init__(self, sample_rate_hz: int, channels: int, full_scale: float, columns: list[int] | None = None) -> None:
        self._rate_hz = sample_rate_hz
        self._columns = columns
        self._clipping = ClippingDetector(sample_rate_hz, full_scale)
        self._peak = 0.0
        self._total = 0.0
        self._sums = np.zeros(channels)
        self._squares = np.zeros(channels)
        self._equal = channels > 1
        self._stretch_samples = round(sample_rate_hz * STRETCH_S)
        self._rest: NDArray[np.float32] = np.empty(0, np.float32)
        self._powers: list[NDArray[np.float64]] = []
        self._spectrum_samples = round(sample_rate_hz * SPECTRUM_S)
        self._taper = np.hanning(self._spectrum_samples).astype(np.float32)
        self._spectrum = np.zeros(self._spectrum_samples // 2 + 1)

    def update(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take the next block (frames, channels) and return what is scored of it, mono, (frames,).

        Raises:
            UnscorableError: a sample is not finite, or too large to be one of a recording.
        """
        chosen = block if self._columns is None else block[:, self._columns]
        self._clipping.update(chosen)
        mono = np.ascontiguousarray(chosen[:, 0]) if chosen.shape[1] == 1 else chosen.mean(axis=1)
        self._peak = max(self._peak, float(chosen.max()), -float(chosen.min()))
        self._total += float(mono.sum(dtype=np.float64))
        with np.errstate(invalid="ignore", over="ignore"):  # channels that are not scored may hold anything
            self._sums += block.sum(axis=0, dtype=np.float64)
            self._squares += np.einsum("ij,ij->j", block, block, dtype=np.float64)
        self._equal = self._equal and bool((block == block[:, :1]).all())
        self._update_stretches(mono)
        return mono

    def _update_stretches(self, mono: NDArray[np.float32]) -> None:
        held = np.concatenate([self._rest, mono])
        whole = len(held) // self._stretch_samples * self._stretch_samples
        self._rest = held[whole:].copy()
        if not whole:
            return
        stretches = held[:whole].reshape(-1, self._stretch_samples)
        self._powers.append(stretches.var(axis=1, dtype=np.float64))
        pieces = stretches[:, : self._spectrum_samples]
        pieces = (pieces - pieces.mean(axis=1, keepdims=True)) * self._taper
        self._spectrum += (np.abs(np.fft.rfft(pieces, axis=1)).astype(np.float64) ** 2).sum(axis=0)

    def measurements(self) -> SignalMeasurements:
        """Measurements up to here."""
        if not self._powers and len(self._rest):  # shorter than one stretch
            self._powers.append(np.array([self._rest.var(dtype=np.float64)]))
        powers = np.concatenate(self._powers) if self._powers else np.zeros(0)
        sounding = powers[powers > SILENT_RMS**2]
        active = powers[powers >= powers.max(initial=0.0) * 10 ** (-LEVEL_SPREAD_DB / 10)]
        frames = max(self._clipping.frames, 1)
        with np.errstate(invalid="ignore", over="ignore"):
            channel_powers = np.maximum(self._squares / frames - (self._sums / frames) ** 2, 0.0)
        return SignalMeasurements(
            sample_rate_hz=self._rate_hz,
            channels=len(self._sums),
            duration_s=self._clipping.frames / self._rate_hz,
            level_dbfs=_decibels(float(active.mean())) if len(active) else None,
            quiet_dbfs=_decibels(float(np.quantile(sounding, QUIET_QUANTILE))) if len(sounding) else None,
            peak_dbfs=_decibels(self._peak**2),
            clipped_share=self._clipping.clipped_share,
            first_clipped_s=self._clipping.first_clipped_s,
            bandwidth_hz=self._bandwidth_hz(),
            silent_share=1 - len(sounding) / len(powers) if len(powers) else 1.0,
            dc_offset=self._total / frames,
            channel_levels_dbfs=tuple(_decibels(float(power)) for power in channel_powers),
            equal_channels=self._equal and self._clipping.frames > 0,
        )

    def _bandwidth_hz(self) -> float | None:
        frequency_hz = np.arange(len(self._spectrum)) * (self._rate_hz / self._spectrum_samples)
        in_speech = (frequency_hz >= SPEECH_BAND_HZ[0]) & (frequency_hz < SPEECH_BAND_HZ[1])
        speech = float(self._spectrum[in_speech].sum())
        if speech <= 0:
            return None
        above = np.cumsum(self._spectrum[::-1])[::-1]
        audible = np.flatnonzero(above >= speech * 10 ** (NARROWBAND_DB / 10))
        return min(float(frequency_hz[audible[-1]]), self._rate_hz / 2)


def _decibels(power: float) -> float | None:
    return 10 * math.log10(power) if 0 < power < math.inf else None
