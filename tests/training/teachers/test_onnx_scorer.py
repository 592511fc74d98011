"""Models of mtqscore as teachers."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
from onnx import numpy_helper

from mtqscore.config import AssessConfig
from mtqscore.errors import InputError
from mtqscore.labels.table import LabelledRecording
from mtqscore.scores import named_scores
from mtqscore.scoring.assessor import Assessor
from mtqscore.training.data.dataset import decode
from mtqscore.training.data.frame_labels import CURVE_HOP_SAMPLES
from mtqscore.training.teachers.onnx_scorer import OnnxTeacher
from tests.fake_model import METADATA, write_fake_model
from tests.signals import speechlike

RATE_HZ = 16_000
TARGETS = ("s_mos", "n_mos", "g_mos")


def test_estimates_are_the_scores_of_assess(fake_model, tmp_path):
    """Of short and long files of any format, with windows, quiet parts, digital silence and no sound at all."""
    loud = speechlike(25.0, seed=1)[:, 0]
    clips = {
        "short.wav": (loud[: 2 * RATE_HZ], RATE_HZ),
        "quiet part.flac": (np.concatenate([loud, 1e-3 * loud, np.zeros(3 * RATE_HZ)]), RATE_HZ),
        "stereo-8k.wav": (np.stack([loud[:40_000], 0.1 * loud[:40_000]], axis=1), 8_000),
        "silent.wav": (np.zeros(RATE_HZ), RATE_HZ),
        "too short.wav": (loud[:1000], RATE_HZ),
    }
    for name, (samples, rate_hz) in clips.items():
        soundfile.write(tmp_path / name, samples, rate_hz)
    found = OnnxTeacher(fake_model).estimate([LabelledRecording(tmp_path / name) for name in clips])
    assessor = Assessor(AssessConfig(model=fake_model, device="cpu", frames=True))
    expected = [named_scores(one) for one in assessor.assess_files(tmp_path / name for name in clips)]
    values = [[scores.get(name, np.nan) for name in TARGETS] for scores in expected]
    np.testing.assert_allclose(found, values, atol=1e-6)
    assert np.isfinite(found).all(axis=1).tolist() == [True, True, True, False, False]

    arrays = [np.float32(samples) for samples, rate_hz in clips.values() if rate_hz == RATE_HZ]
    estimates = OnnxTeacher(fake_model).estimate_clips(arrays)
    for clip, estimate in zip(arrays, estimates, strict=True):
        assessment = assessor.assess_array(clip, RATE_HZ)
        values = [named_scores(assessment).get(name, np.nan) for name in TARGETS]
        np.testing.assert_allclose(estimate.scores, values, atol=1e-6)
        if assessment.frames is None:
            assert estimate.curve is None
        else:
            assert estimate.curve is not None and assessment.frames.hop_s * RATE_HZ == CURVE_HOP_SAMPLES
            np.testing.assert_allclose(estimate.curve, assessment.frames.values[: len(estimate.curve)], atol=1e-6)


def test_a_file_that_cannot_be_read_has_no_estimate(fake_model, tmp_path, rows):
    (tmp_path / "no audio.wav").write_text("hello")
    with pytest.raises(InputError, match=r"no audio\.wav: "):
        OnnxTeacher(fake_model).estimate([rows[0], LabelledRecording(tmp_path / "no audio.wav")])
    with pytest.raises(InputError, match=r"gone\.wav: "):
        OnnxTeacher(fake_model).estimate([dataclasses.replace(rows[0], path=tmp_path / "gone.wav")])


def write_pesq_model(path: Path) -> Path:
    """Write an ONNX model that estimates PESQ and STOI, and neither S, N nor G."""
    write_fake_model(path, metadata=METADATA | {"targets": "pesq,stoi", "min_samples": "14000"}, targets=2)
    model = onnx.load(path)
    for constant in model.graph.initializer:
        # The sigmoid then gives 0 to 1, which both scales hold.
        if constant.name in ("four", "one"):
            constant.CopyFrom(numpy_helper.from_array(np.float32(constant.name == "four"), constant.name))
    onnx.save(model, path)
    return path


def test_onnx_file_of_other_targets_is_a_teacher_and_no_scorer(run, tmp_path, rows):
    model = write_pesq_model(tmp_path / "pesq.onnx")
    teacher = OnnxTeacher(str(model))
    assert teacher.targets == ("pesq", "stoi")
    found = teacher.estimate(rows)
    long_enough = [len(decode(row.path)) >= 14_000 for row in rows]
    assert {True, False} == set(long_enough)
    assert [*np.isfinite(found).all(axis=1)] == long_enough, "too short for the model"
    assert np.nanmax(found) <= 1
    done = run("assess", str(rows[0].path), model=str(model))
    assert done.returncode == 2
    assert b"pesq.onnx: its targets are pesq, stoi: without s_mos, n_mos, g_mos it scores nothing" in done.stderr
