"""Active speech level by ITU-T P.56, against its method written down sample by sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from mtqscore.audio.levels import active_level_db, level_db, speech_activity_level

EXAMPLES = Path(__file__).parents[2] / "examples"


def plain_level_db(signal: NDArray[np.float64], rate_hz: int) -> float:
    """Method B as the Recommendation has it, for 16-bit thresholds."""
    keep, hangover = np.exp(-1 / (0.03 * rate_hz)), int(np.ceil(0.2 * rate_hz))
    thresholds = 0.5 ** np.arange(15, 0, -1)
    counts, since = np.zeros(15), np.full(15, hangover)
    first = second = 0.0
    for magnitude in np.abs(signal):
        first = keep * first + (1 - keep) * magnitude
        second = keep * second + (1 - keep) * first
        over = second >= thresholds
        lasting = ~over & (since < hangover)
        counts += over | lasting
        since[lasting] += 1
        since[over] = 0
    levels = 10 * np.log10(np.sum(signal**2) / np.maximum(counts, 1e-9))
    margins = levels - 20 * np.log10(thresholds) - 15.9
    at = int(np.argmax(margins <= 0))
    share = margins[at - 1] / (margins[at - 1] - margins[at])
    return float(levels[at - 1] + share * (levels[at] - levels[at - 1]))


@pytest.mark.parametrize("name", ["clean.flac", "noisy-15db.flac", "coded-gsm.wav"])
def test_level_is_that_of_the_recommendation(name: str) -> None:
    signal, rate_hz = soundfile.read(EXAMPLES / name)
    assert active_level_db(signal, rate_hz) == pytest.approx(plain_level_db(signal, rate_hz), abs=1e-6)


def test_a_tone_has_its_own_level_and_pauses_count_for_the_activity_alone() -> None:
    tone = 0.1 * np.sin(np.arange(160_000) / 10)
    level, activity = speech_activity_level(tone, 16_000)
    assert level == pytest.approx(level_db(tone), abs=0.05)
    assert activity == pytest.approx(1.0, abs=0.01)
    paused, share = speech_activity_level(np.pad(tone, (0, 160_000)), 16_000)
    assert paused == pytest.approx(level, abs=0.2)
    assert share == pytest.approx(0.5, abs=0.03)


def test_silence_has_no_level() -> None:
    assert speech_activity_level(np.zeros(16_000), 16_000) == (-140.0, 0.0)
    assert speech_activity_level(np.zeros(0), 16_000) == (-140.0, 0.0)
