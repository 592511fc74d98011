"""Curves and spectrograms of the HTML report."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest

from mtqscore.report.html.choice import Choice
from mtqscore.report.html.curves import cut_excerpt, smooth, worst_second
from mtqscore.report.html.detail import make_detail
from mtqscore.report.html.spectrogram import MOST_COLUMNS, encode_png, palette, spectrogram_png
from tests.report.html.kit import HOP_S, TARGETS, frames, scored


def test_smoothing_keeps_gaps_and_levels() -> None:
    values = np.full((200, 2), 3.0, np.float32)
    values[60:100] = np.nan
    values[100:, 1] = 1.0
    smoothed = smooth(values, HOP_S)
    assert np.isnan(smoothed[60:100]).all()
    np.testing.assert_allclose(smoothed[:60, 0], 3.0, rtol=1e-6)
    assert smoothed[100, 1] == pytest.approx(1.0), "40 frames away, nothing leaks"
    step = smooth(np.repeat([[1.0], [5.0]], 100, axis=0).astype(np.float32), HOP_S)[:, 0]
    assert np.all(np.diff(step) >= -1e-6)
    assert 0.3 < HOP_S * np.count_nonzero((step > 1.4) & (step < 4.6)) < 0.8
    assert smooth(np.full((3, 1), 2.0, np.float32), HOP_S)[:, 0] == pytest.approx([2, 2, 2])


def test_the_worst_second_is_the_lowest_that_is_known() -> None:
    curve = np.full(300, 4.0)
    curve[200:232] = 2.0
    curve[:100] = np.nan
    assert worst_second(frames(curve)) == pytest.approx(200 * HOP_S, abs=HOP_S)
    assert worst_second(frames(np.full(40, 3.0))) is None
    assert worst_second(frames(np.full(300, np.nan))) is None
    assert cut_excerpt(scored("a", duration_s=90, frames=frames(np.full(2813, np.nan))), 30.0).start_s == 0


def test_gaps_are_gaps_on_the_page() -> None:
    curve = np.full(100, 3.0)
    curve[40:60] = np.nan
    choice = Choice(TARGETS, 1, 30.0)
    choice.offer(0, scored(None, duration_s=3.2, frames=frames(curve)))
    (chosen,) = choice.chosen(None)
    drawn = json.loads(make_detail(chosen).content)["curves"]["g_mos"]
    assert drawn[39:41] == [300, None]
    assert drawn[60] == 300


def test_a_png_decodes_to_its_pixels() -> None:
    from matplotlib import image

    pixels = np.arange(64, dtype=np.uint8).reshape(4, 16)
    decoded = image.imread(io.BytesIO(encode_png(pixels, palette())), format="png")
    np.testing.assert_allclose(decoded[..., :3] * 255, palette()[pixels], atol=0.01)


def test_loud_spots_stand_where_they_are_heard() -> None:
    from matplotlib import image

    time_s = np.arange(16_000 * 4) / 16_000
    tone = 0.5 * np.sin(2 * np.pi * 2_000 * time_s) * (time_s >= 3)
    picture = image.imread(io.BytesIO(spectrogram_png(tone.astype(np.float32), 16_000)), format="png")[..., :3].sum(2)
    rows, columns = picture.shape
    assert columns == MOST_COLUMNS
    assert np.argmax(picture[:, -columns // 8]) / rows == pytest.approx(0.75, abs=0.02), "2 of 8 kHz from below"
    bright = picture[np.argmax(picture[:, -columns // 8])] > 2
    assert np.argmax(bright) / columns == pytest.approx(0.75, abs=0.01)
    lightness = palette().astype(float) @ [0.2126, 0.7152, 0.0722]
    assert np.all(np.diff(lightness) > 0)


@pytest.mark.parametrize(("samples", "rate_hz"), [(1, 8_000), (100, 48_000), (4_000, 1_000), (480_000, 48_000)])
def test_any_length_and_rate_has_a_picture(samples: int, rate_hz: int) -> None:
    from matplotlib import image

    noise = np.random.default_rng(0).standard_normal(samples).astype(np.float32)
    for signal in (noise, np.zeros(samples, np.float32)):
        assert image.imread(io.BytesIO(spectrogram_png(signal, rate_hz)), format="png").ndim == 3
