"""Measurements of the signal of a recording."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from mtqscore.audio.checks import ClippingDetector
from mtqscore.audio.measurements import SignalMeasurements, SignalMeter
from tests.signals import RATE_HZ, tone

if TYPE_CHECKING:
    from numpy.typing import NDArray


def measured(samples: NDArray[np.float32], rate_hz: int = RATE_HZ, column: int | None = None) -> SignalMeasurements:
    """Measurements of samples (samples,) or (samples, channels), in uneven blocks."""
    block = samples.reshape(len(samples), -1)
    meter = SignalMeter(rate_hz, block.shape[1], 1.0, None if column is None else [column])
    for part in np.array_split(block, 7):
        meter.update(part)
    return meter.measurements()


def test_levels_of_a_tone() -> None:
    found = measured(tone() + np.float32(0.02))
    assert found.level_dbfs == pytest.approx(20 * math.log10(0.5 / math.sqrt(2)), abs=0.05)
    assert found.peak_dbfs == pytest.approx(20 * math.log10(0.52), abs=0.05)
    assert found.dc_offset == pytest.approx(0.02, abs=1e-4)
    assert (found.duration_s, found.channels, found.silent_share) == (2.0, 1, 0.0)


def test_silence_and_quiet_parts() -> None:
    noise = np.random.default_rng(0).standard_normal(2 * RATE_HZ).astype(np.float32) * 1e-3
    found = measured(np.concatenate([tone(1), noise, np.zeros(RATE_HZ, np.float32)]))
    assert found.silent_share == pytest.approx(0.25)
    assert found.quiet_dbfs == pytest.approx(-60, abs=0.5)
    assert found.level_dbfs == pytest.approx(-9, abs=0.1), "pauses do not count"


def test_digital_silence_has_no_levels() -> None:
    found = measured(np.zeros((RATE_HZ, 2), np.float32))
    levels = (found.level_dbfs, found.peak_dbfs, found.quiet_dbfs, found.bandwidth_hz, *found.channel_levels_dbfs)
    assert (set(levels), found.silent_share, found.dead_channels) == ({None}, 1.0, ())


@pytest.mark.parametrize(("rate_hz", "edge_hz"), [(48_000, 3_400), (48_000, 15_000), (16_000, 7_000), (8_000, 3_000)])
def test_bandwidth(rate_hz: int, edge_hz: int) -> None:
    noise = np.fft.rfft(np.random.default_rng(0).standard_normal(rate_hz * 2))
    noise[np.fft.rfftfreq(rate_hz * 2, 1 / rate_hz) > edge_hz] = 0
    signal = np.fft.irfft(noise)
    found = measured((signal / np.abs(signal).max() * 0.5).astype(np.float32), rate_hz)
    assert found.bandwidth_hz == pytest.approx(edge_hz, abs=100)


def test_clipping_is_counted_and_found() -> None:
    signal = tone()
    signal[5000:5010] = 1.0
    found = measured(signal)
    assert found.first_clipped_s == pytest.approx(5000 / RATE_HZ)
    assert found.clipped_share == pytest.approx(8 / len(signal)), "8 of the 10 begin a run of three"
    detector = ClippingDetector(RATE_HZ, 1.0)
    detector.update(tone()[:, np.newaxis])
    assert (detector.first_clipped_s, detector.clipped_share) == (None, 0.0)


def test_channels() -> None:
    left = tone()
    assert measured(np.stack([left, left], axis=1)).equal_channels
    found = measured(np.stack([left, 0 * left, left / 2], axis=1))
    assert (found.dead_channels, found.equal_channels) == ((2,), False)
    assert found.channel_levels_dbfs[2] == pytest.approx(-15.05, abs=0.05)
    assert measured(left).equal_channels is False
    broken = np.stack([left, np.full_like(left, np.nan)], axis=1)
    assert measured(broken, column=0).peak_dbfs == pytest.approx(-6.02, abs=0.01)
