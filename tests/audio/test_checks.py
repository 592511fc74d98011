"""Checks of samples as they stream by."""

from __future__ import annotations

import numpy as np
import pytest
import soxr

from mtqscore.audio.checks import BandwidthDetector, ClippingDetector, has_sound, sound_level_db
from mtqscore.scores import Status, UnscorableError
from tests.signals import RATE_HZ, speechlike


def detected(samples: np.ndarray, full_scale: float = 1.0) -> ClippingDetector:
    raw = ClippingDetector(RATE_HZ, full_scale)
    for start in range(0, len(samples), 1_000):
        raw.update(samples[start : start + 1_000])
    return raw


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_first_sample_that_is_no_number_is_named(value: float) -> None:
    samples = speechlike(1, channels=2)
    samples[[8_000, 9_000], 1] = value
    with pytest.raises(UnscorableError, match=r"at 0\.500 s") as caught:
        detected(samples)
    assert caught.value.status is Status.NON_FINITE


def test_values_that_no_recording_has_are_refused() -> None:
    with pytest.raises(UnscorableError, match="1e\\+30") as caught:
        detected(np.full((10, 1), 1e30, np.float32))
    assert caught.value.status is Status.UNREADABLE


def test_flat_tops_are_clipping() -> None:
    assert detected((speechlike(1) * 20).clip(-1, 32_767 / 32_768)).clipped
    assert detected((speechlike(1) * 20).clip(-0.98, 0.98), full_scale=0.98).clipped


def test_loud_is_not_clipped() -> None:
    tone = np.sin(2 * np.pi * 200 * np.arange(RATE_HZ) / RATE_HZ)[:, np.newaxis].astype(np.float32)
    assert not detected(tone).clipped
    assert not detected(speechlike(1) * 20).clipped, "float files may go beyond full scale"
    peaks = speechlike(1)
    peaks[::2_000] = 1
    assert not detected(peaks).clipped


@pytest.mark.parametrize("level_db", [-75, -20])
def test_sound_is_heard_at_any_place(level_db: float) -> None:
    window = np.zeros(160_000, np.float32)
    assert not has_sound(window)
    window[150_100:153_000] = speechlike(1)[:2_900, 0] * 10 ** ((level_db + 25) / 20)
    assert has_sound(window)


def test_an_offset_and_rounding_noise_are_no_sound() -> None:
    dither = np.random.default_rng(0).integers(-1, 2, 50_000) / 32_768
    assert not has_sound(np.full(50_000, 0.5, np.float32))
    assert not has_sound((dither + 0.25).astype(np.float32))
    assert not has_sound(np.ones(1, np.float32))


@pytest.mark.parametrize(("through_hz", "narrow"), [(8_000, True), (11_025, False), (16_000, False)])
def test_bandwidth_is_measured(through_hz: int, narrow: bool) -> None:
    samples = speechlike(3)[:, 0]
    band = BandwidthDetector()
    band.update(soxr.resample(soxr.resample(samples, RATE_HZ, through_hz), through_hz, RATE_HZ))
    assert band.narrowband is narrow


def test_an_offset_and_hum_do_not_hide_the_high_band() -> None:
    time_s = np.arange(3 * RATE_HZ) / RATE_HZ
    loud = 0.3 + 0.5 * np.sin(2 * np.pi * 50 * time_s)
    band = BandwidthDetector()
    band.update((speechlike(3)[:, 0] * 1e-3 + loud).astype(np.float32))
    assert not band.narrowband


def test_level_of_sound_leaves_pauses_out():
    rng = np.random.default_rng(0)
    loud = (0.1 * rng.standard_normal(32_000)).astype(np.float32)
    faint = (0.001 * rng.standard_normal(64_000)).astype(np.float32)
    assert sound_level_db(loud) == pytest.approx(-20, abs=0.2)
    assert sound_level_db(np.concatenate([loud, faint])) == pytest.approx(-20, abs=0.2)
    assert sound_level_db(loud * np.float32(0.1) + np.float32(0.3)) == pytest.approx(-40, abs=0.2)
    assert sound_level_db(np.zeros(16_000, np.float32)) == -np.inf
