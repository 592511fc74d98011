"""Runs and checkpoints as teachers."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch

from mtqscore.errors import InputError, UsageError
from mtqscore.labels.table import LabelledRecording
from mtqscore.training.checkpoint import load_network, read_checkpoint, write_checkpoint
from mtqscore.training.data.dataset import decode
from mtqscore.training.networks import build
from mtqscore.training.teachers.checkpoint import CheckpointTeacher
from mtqscore.training.teachers.open_teacher import open_teacher
from mtqscore.training.teachers.teacher import WindowScores, full_scale, join_windows
from tests.training_kit import paused_tone, small_config

CPU = torch.device("cpu")
RATE_HZ = 16_000


def test_estimates_are_those_of_the_network_whatever_else_is_in_the_batch(checkpoint, rows):
    teacher = CheckpointTeacher(checkpoint, CPU)
    assert teacher.targets == ("s_mos", "n_mos", "g_mos", "pesq", "stoi", "sdi")
    found = teacher.estimate(rows)
    np.testing.assert_allclose(found, np.concatenate([teacher.estimate([row]) for row in rows]), atol=2e-5)
    network = load_network(read_checkpoint(checkpoint))
    short = [number for number, row in enumerate(rows) if soundfile.info(str(row.path)).frames <= RATE_HZ]
    assert len(short) > 1
    for number in short:
        samples = torch.from_numpy(full_scale(decode(rows[number].path)))
        with torch.inference_mode():
            expected = network(samples[None], torch.tensor([len(samples)])).scores[0]
        np.testing.assert_allclose(found[number], expected, atol=2e-5)
    assert np.ptp(found, axis=0).min() > 1e-3
    (silent,) = teacher.estimate_clips([np.zeros(3 * RATE_HZ, np.float32)])
    assert np.isfinite(silent.scores).all()


def test_windows_of_long_recordings_are_weighted_by_length(checkpoint, tmp_path):
    parts = [paused_tone(RATE_HZ, 0.01, 1), paused_tone(12_000, 1.0, 2), paused_tone(12_000, 0.3, 3)]
    # One level and one peak, so that neither the weights of quiet windows nor the scaling of files differ.
    parts = [part / np.abs(part).max() * 0.5 for part in parts]
    soundfile.write(tmp_path / "long.wav", np.concatenate(parts), RATE_HZ, subtype="FLOAT")
    for number, part in enumerate(parts):
        soundfile.write(tmp_path / f"{number}.wav", part, RATE_HZ, subtype="FLOAT")
    teacher = CheckpointTeacher(checkpoint, CPU)
    each = teacher.estimate([LabelledRecording(tmp_path / f"{number}.wav") for number in range(3)])
    whole = teacher.estimate([LabelledRecording(tmp_path / "long.wav")])[0]
    np.testing.assert_allclose(whole, np.average(each, axis=0, weights=[16_000, 12_000, 12_000]), atol=1e-3)


def test_estimates_beyond_a_scale_are_set_to_its_end():
    targets = ("s_mos", "n_mos", "g_mos", "pesq", "stoi", "sdi")
    scores = np.float32([9, -9, 3, 9, -9, np.inf])
    found = join_windows([WindowScores(scores, 9, np.array([0]), scores[None])], None, 9, targets)
    assert found.curve is not None
    for values in (found.scores, found.curve[0]):
        np.testing.assert_array_equal(values, [5, 1, 3, 4.5, 0, np.nan])


def test_networks_of_other_targets_are_teachers_too(tmp_path, rows):
    config = small_config(targets=("sdi", "pesq"))
    write_checkpoint(tmp_path / "t.safetensors", config, {"average": build(config).state_dict()}, {})
    teacher = CheckpointTeacher(tmp_path / "t.safetensors", CPU)
    assert teacher.targets == ("pesq", "sdi")
    assert teacher.estimate(rows[:2]).shape == (2, 2)


@pytest.mark.usefixtures("own_folder")
@pytest.mark.parametrize(
    ("choice", "error", "message"),
    [
        ("nobody", UsageError, "no model 'nobody'"),
        ("./none/x.safetensors", InputError, "no such checkpoint"),
        ("folder", UsageError, "--references"),
        ("none.onnx", UsageError, "none.onnx"),
    ],
)
def test_names_of_no_teacher_are_refused(tmp_path, monkeypatch, choice, error, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(error, match=message), open_teacher(choice, [], tmp_path, CPU):
        pass
