"""Whole recordings as mono arrays."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from mtqscore.audio.loading import load_mono
from mtqscore.errors import InputError


def test_channels_are_mixed_by_their_mean_and_the_rate_is_that_of_the_recording(tmp_path: Path) -> None:
    stereo = np.stack([np.full(800, 0.5), np.full(800, -0.25)], axis=1)
    soundfile.write(tmp_path / "two.wav", stereo, 8_000, subtype="FLOAT")
    samples, rate_hz = load_mono(tmp_path / "two.wav")
    assert (samples.dtype, samples.shape, rate_hz) == (np.float32, (800,), 8_000)
    assert np.all(samples == 0.125)
    samples, rate_hz = load_mono(str(tmp_path / "two.wav"), 16_000)
    assert (samples.dtype, samples.shape, rate_hz) == (np.float32, (1_600,), 16_000)


@pytest.mark.parametrize(
    ("content", "reason"), [(b"no sound", "cannot be decoded: Format not recognised"), (None, "No such file")]
)
def test_a_file_that_is_no_recording_is_one_clear_error(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "damaged.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=reason):
        load_mono(path)


def test_samples_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "nan.wav", np.array([0.1, np.nan]), 16_000, subtype="FLOAT")
    with pytest.raises(InputError, match="not numbers"):
        load_mono(tmp_path / "nan.wav")
