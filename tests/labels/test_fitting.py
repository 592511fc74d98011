"""Labels from files: inaudible changes, parts that were put together, and mismatches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from mtqscore.audio.levels import Signal, active_level_db, level_db
from mtqscore.errors import InputError
from mtqscore.labels.fitting import fit_processed, fit_speech
from mtqscore.labels.pairs import ReferenceTriple
from mtqscore.labels.reference_files import RecordingLabels, label_files
from mtqscore.simulation.degradations.colour import BandLimit
from mtqscore.simulation.degradations.mnru import Mnru
from mtqscore.simulation.degradations.suppression import Suppress
from mtqscore.simulation.scene import Scene, start_scene

EXAMPLES = Path(__file__).parents[2] / "examples"
RATE_HZ = 16_000


def white(speech: Signal, snr_db: float) -> Signal:
    noise = np.random.default_rng(0).standard_normal(len(speech))
    return np.asarray(noise * 10 ** ((active_level_db(speech, RATE_HZ) - snr_db - level_db(noise)) / 20))


@pytest.fixture(scope="module")
def speech() -> Signal:
    return np.pad(soundfile.read(EXAMPLES / "clean.flac")[0], 8_000)


@pytest.fixture(scope="module")
def recording(speech: Signal) -> Signal:
    """Distorted speech with noise."""
    distorted = Mnru(22, RATE_HZ).apply(start_scene(speech, RATE_HZ), np.random.default_rng(1)).speech
    return np.asarray(0.3 * (distorted + white(speech, 20)))


@pytest.fixture
def labelled(tmp_path: Path, speech: Signal) -> Callable[[Signal], RecordingLabels]:
    def label(recording: Signal) -> RecordingLabels:
        for name, samples in (("clean", speech), ("recording", recording)):
            soundfile.write(tmp_path / f"{name}.wav", samples, RATE_HZ, subtype="FLOAT")
        return label_files(ReferenceTriple(tmp_path / "recording.wav", tmp_path / "clean.wav"))

    return label


def scores(found: RecordingLabels) -> tuple[float, float, float]:
    return found.labels.s_mos, found.labels.n_mos, found.labels.g_mos


def late(recording: Signal, samples: float) -> Signal:
    """Delay by whole samples and parts of them."""
    size = len(recording)
    turn = np.exp(-2j * np.pi * np.fft.rfftfreq(2 * size) * samples)
    return np.asarray(np.fft.irfft(np.fft.rfft(recording, 2 * size) * turn, 2 * size)[:size])


INAUDIBLE: dict[str, Callable[[Signal], Signal]] = {
    "26 dB quieter": lambda sound: 0.05 * sound,
    "26 dB louder": lambda sound: 20 * sound,
    "opposite polarity": lambda sound: -sound,
    "a mean of 2 %": lambda sound: sound + 0.02,
    "3 s late": lambda sound: np.pad(sound, (3 * RATE_HZ, 0)),
    "half a sample late": lambda sound: late(sound, 0.5),
    "a clock 100 ppm slow": lambda sound: soxr.resample(sound, 1_000_000, 1_000_100),
    "silence before and after": lambda sound: np.pad(sound, (9_000, 30_000)),
}


@pytest.mark.parametrize("change", INAUDIBLE)
def test_inaudible_changes_move_no_label(
    change: str, recording: Signal, labelled: Callable[[Signal], RecordingLabels]
) -> None:
    assert scores(labelled(INAUDIBLE[change](recording))) == pytest.approx(scores(labelled(recording)), abs=0.05)


def test_delay_level_and_match_are_columns(recording: Signal, labelled: Callable[[Signal], RecordingLabels]) -> None:
    row = labelled(np.pad(recording, (8_000, 0))).as_record()
    assert row["delay_s"] == pytest.approx(0.5)
    assert row["level_db"] == pytest.approx(active_level_db(recording, RATE_HZ), abs=0.2)
    assert isinstance(row["match"], float) and row["match"] > 0.9


def test_a_filter_colours_speech_and_makes_no_noise(
    speech: Signal, labelled: Callable[[Signal], RecordingLabels]
) -> None:
    telephone = (
        BandLimit(300, 3_400, 4, reference_too=False)
        .apply(start_scene(speech, RATE_HZ), np.random.default_rng(0))
        .speech
    )
    plain, coloured = labelled(speech).labels, labelled(telephone).labels
    assert coloured.n_mos == pytest.approx(plain.n_mos, abs=0.2)
    assert 0.02 < plain.s_mos - coloured.s_mos < 1.2


@pytest.mark.parametrize(
    "other",
    [lambda size: np.random.default_rng(2).standard_normal(size), lambda size: np.sin(np.arange(size) / 10)],
    ids=["noise", "tone"],
)
def test_another_sound_is_refused(
    other: Callable[[int], Signal], speech: Signal, labelled: Callable[[Signal], RecordingLabels]
) -> None:
    with pytest.raises(InputError, match="does not hold the speech of"):
        labelled(0.1 * other(len(speech)))


def test_another_sentence_is_refused(labelled: Callable[[Signal], RecordingLabels]) -> None:
    with pytest.raises(InputError, match="does not hold the speech of"):
        labelled(soundfile.read(EXAMPLES / "noisy-15db.flac")[0])


def gap_db(found: Signal, true: Signal) -> float:
    return abs(level_db(found) - level_db(true))


@pytest.mark.parametrize("snr_db", [5, 20])
def test_distortion_that_follows_the_speech_is_speech(speech: Signal, snr_db: float) -> None:
    distorted = Mnru(10, RATE_HZ).apply(start_scene(speech, RATE_HZ), np.random.default_rng(0)).speech
    noise = white(speech, snr_db)
    fit = fit_speech(speech, distorted + noise, RATE_HZ)
    assert gap_db(fit.speech, distorted) < 0.5
    assert gap_db(fit.noise, noise) < 1.5


def test_noise_of_a_processed_recording_is_known_from_the_unprocessed_one(speech: Signal) -> None:
    before = Scene(RATE_HZ, speech, speech, white(speech, 10), white(speech, 10))
    after = Suppress("wiener", 0.5, 0.0, -15.0, 0.98, 1.0, 0.032).apply(before, np.random.default_rng(0))
    fit = fit_processed(speech, after.mix, before.mix, RATE_HZ)
    assert gap_db(fit.speech, after.speech) < 0.5
    assert gap_db(fit.noise, after.noise) < 1.5
