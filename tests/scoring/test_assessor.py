"""The pipeline from Python: the same scores on every way, in order."""

from __future__ import annotations

import doctest
import importlib
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import mtqscore
from mtqscore import AssessConfig, Assessment, Assessor, Flag, Status, UsageError
from tests.signals import RATE_HZ, speechlike, write

ROOT = Path(__file__).parents[2]
TOLERANCE = 1e-4
PUBLIC = sorted({*mtqscore._HOMES.values()} - {"errors", "scores"})
"""Rooms of public functions and options."""

WINDOW = 159_744
"""The longest window of whole frames."""


def numbers(assessment: Assessment) -> list[float]:
    assert assessment.scores is not None, assessment.reason
    return [assessment.scores.s_mos, assessment.scores.n_mos, assessment.scores.g_mos]


@pytest.fixture(scope="module")
def assessor(fake_model: str) -> Assessor:
    return Assessor(AssessConfig(fake_model, threads=2, frames=True))


def test_an_assessment_names_what_made_it(assessor: Assessor, tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", speechlike(3, 48_000, channels=2), 48_000)
    result = assessor.assess_file(path)
    assert (result.status, result.ok, result.reason) == (Status.OK, True, "")
    assert (result.path, result.channel, result.duration_s, result.sample_rate_hz) == (str(path), "mean", 3.0, 48_000)
    assert (result.model, result.provider, len(result.model_sha256)) == ("fake@1", "CPUExecutionProvider", 64)
    assert result.options is assessor.config


@pytest.mark.parametrize("seconds", [0.3, 5, 10, 10.02, 19.99, 33.3])
@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100])
def test_a_file_is_its_array(assessor: Assessor, tmp_path: Path, seconds: float, rate_hz: int) -> None:
    samples = speechlike(seconds, rate_hz, channels=2)
    from_file = assessor.assess_file(write(tmp_path / "a.wav", samples, rate_hz, subtype="FLOAT"))
    from_array = assessor.assess_array(samples, rate_hz)
    assert np.allclose(numbers(from_file), numbers(from_array), atol=TOLERANCE)
    assert (from_array.path, from_array.duration_s) == (None, from_file.duration_s)
    assert from_file.frames is not None
    assert from_array.frames is not None
    assert np.allclose(from_file.frames.values, from_array.frames.values, atol=TOLERANCE)


def test_batch_threads_and_order_change_no_score(fake_model: str, tmp_path: Path) -> None:
    seconds = [0.4, 12, 3, 3.1, 25, 0.7, 8, 40, 1.9, 5] * 2
    paths = [
        write(tmp_path / f"{i}.wav", speechlike(length, seed=i) * (1 + i) / 10) for i, length in enumerate(seconds)
    ]
    alone = [numbers(Assessor(AssessConfig(fake_model)).assess_file(path)) for path in paths]
    assert np.ptp(np.array(alone)[:, 0]) > 0.1, "the recordings must differ for this to mean anything"
    for threads, batch_s in ((1, 1.0), (3, 40.0), (2, 1_000.0)):
        together = list(Assessor(AssessConfig(fake_model, threads=threads, batch_s=batch_s)).assess_files(paths))
        assert [result.path for result in together] == [str(path) for path in paths]
        assert np.allclose([numbers(result) for result in together], alone, atol=TOLERANCE)


def test_a_long_recording_is_pooled_by_length(assessor: Assessor) -> None:
    samples = np.concatenate([speechlike(20)[:, 0], speechlike(5, seed=1)[:, 0] * 0.1])
    whole = assessor.assess_array(samples, RATE_HZ)
    cuts = [0, WINDOW, WINDOW + 120_320, len(samples)]
    parts = [numbers(assessor.assess_array(samples[start:end], RATE_HZ)) for start, end in pairwise(cuts)]
    lengths = np.diff(cuts)
    assert np.allclose(numbers(whole), np.average(parts, axis=0, weights=lengths), atol=TOLERANCE)


def test_frames_cover_the_recording_once(assessor: Assessor) -> None:
    result = assessor.assess_array(speechlike(25.1)[:, 0], RATE_HZ)
    assert result.frames is not None
    assert result.frames.targets == ("s_mos", "n_mos", "g_mos")
    assert result.frames.hop_s == 0.032
    assert result.frames.values.shape == (int(25.1 / 0.032) + 1, 3)
    assert np.isfinite(result.frames.values).all()


def test_long_silence_around_short_speech_does_not_drown_it(assessor: Assessor) -> None:
    speech = speechlike(10)[:WINDOW, 0]
    silence = np.zeros(60 * WINDOW, np.float32)
    alone = assessor.assess_array(speech, RATE_HZ)
    within = assessor.assess_array(np.concatenate([silence, speech, silence]), RATE_HZ)
    assert within.flags == (Flag.SILENT_PARTS,)
    assert np.allclose(numbers(within), numbers(alone), atol=TOLERANCE)
    assert within.frames is not None
    assert np.isnan(within.frames.values[:1_000]).all()


@pytest.mark.parametrize(("before_s", "after_s"), [(0.32, 0.0), (0.0, 0.5), (0.961125, 2.0), (14.411, 31.0)])
def test_silence_around_a_recording_moves_no_score(assessor: Assessor, before_s: float, after_s: float) -> None:
    speech = speechlike(3)[:, 0]
    speech[20_000:26_000] = 0
    before, after = round(before_s * RATE_HZ), round(after_s * RATE_HZ)
    alone = assessor.assess_array(speech, RATE_HZ)
    within = assessor.assess_array(np.pad(speech, (before, after)), RATE_HZ)
    assert np.allclose(numbers(within), numbers(alone), atol=TOLERANCE)
    assert within.duration_s == pytest.approx(3 + before_s + after_s)
    assert within.flags == ((Flag.SILENT_PARTS,) if before_s + after_s >= 1 else ())
    assert alone.frames is not None
    assert within.frames is not None
    sounding = np.isfinite(within.frames.values).all(axis=1)
    assert len(sounding) == (len(speech) + before + after) // 512 + 1
    begin, end = np.flatnonzero(sounding)[[0, -1]]
    assert begin == round(before / 512)
    assert sounding[begin : end + 1].all()
    known = alone.frames.values
    assert np.allclose(within.frames.values[sounding], known[: sounding.sum()], atol=TOLERANCE)
    assert sounding.sum() >= len(known) - 1


@pytest.mark.parametrize(("rate_hz", "flags"), [(8_000, {Flag.UPSAMPLED, Flag.NARROWBAND}), (12_000, {Flag.UPSAMPLED})])
def test_low_rates_are_flagged(assessor: Assessor, rate_hz: int, flags: set[Flag]) -> None:
    assert set(assessor.assess_array(speechlike(2, rate_hz), rate_hz).flags) == flags


def test_integers_and_floats_are_the_same(assessor: Assessor) -> None:
    integers = (speechlike(2) * 32_768).astype(np.int16)
    as_float = assessor.assess_array(integers / 32_768, RATE_HZ)
    assert np.allclose(numbers(assessor.assess_array(integers, RATE_HZ)), numbers(as_float), atol=TOLERANCE)


def test_channels_are_mixed_chosen_or_all_scored(fake_model: str, tmp_path: Path) -> None:
    left, right = speechlike(2, seed=1)[:, 0], speechlike(2, seed=2)[:, 0] * 0.05
    path = write(tmp_path / "a.wav", np.stack([left, right], axis=1), subtype="FLOAT")
    mono = Assessor(AssessConfig(fake_model))
    expected = [numbers(mono.assess_array(samples, RATE_HZ)) for samples in (left, right, (left + right) / 2)]
    each = list(Assessor(AssessConfig(fake_model, channels="each")).assess_files([path]))
    assert [result.channel for result in each] == ["1", "2"]
    second = Assessor(AssessConfig(fake_model, channels="2")).assess_file(path)
    assert second.channel == "2"
    found = [*map(numbers, each), numbers(mono.assess_file(path))]
    assert np.allclose(found, expected, atol=TOLERANCE)
    assert np.allclose(numbers(second), expected[1], atol=TOLERANCE)
    third = Assessor(AssessConfig(fake_model, channels="3")).assess_file(path)
    assert (third.status, third.channel, third.scores) == (Status.NO_CHANNEL, "3", None)


def test_many_channels_take_several_passes(fake_model: str, tmp_path: Path) -> None:
    samples = speechlike(1, channels=40)
    samples[:, 30] = 0
    assessor = Assessor(AssessConfig(fake_model, channels="each"))
    with pytest.raises(UsageError, match="assess_files"):
        assessor.assess_array(samples, RATE_HZ)
    results = list(assessor.assess_files([write(tmp_path / "a.wav", samples)]))
    assert [result.channel for result in results] == [str(number) for number in range(1, 41)]
    assert [result.channel for result in results if not result.ok] == ["31"]


def test_one_bad_channel_costs_the_others_nothing(fake_model: str, tmp_path: Path) -> None:
    samples = speechlike(2, channels=2)
    samples[100, 0] = np.nan
    path = write(tmp_path / "a.wav", samples, subtype="FLOAT")
    results = list(Assessor(AssessConfig(fake_model, channels="each")).assess_files([path]))
    assert [result.status for result in results] == [Status.NON_FINITE, Status.OK]


def test_stopping_early_stops_the_threads(fake_model: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", speechlike(60))
    rows = Assessor(AssessConfig(fake_model, threads=4)).assess_files([path] * 200)
    next(rows)
    rows.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("decode", "score"))]


ABANDON = """
import sys
from mtqscore import AssessConfig, Assessor
rows = Assessor(AssessConfig(sys.argv[1], threads=4)).assess_files([sys.argv[2]] * 300)
print(next(rows).status)
if sys.argv[3] == "break":
    for row in rows:
        break
elif sys.argv[3] == "raise":
    raise OSError("no space left")
"""


@pytest.mark.parametrize(("ending", "code"), [("break", 0), ("end", 0), ("raise", 1)])
def test_rows_that_a_program_leaves_end_with_it(fake_model: str, tmp_path: Path, ending: str, code: int) -> None:
    path = write(tmp_path / "a.wav", speechlike(12))
    command = [sys.executable, "-W", "error", "-c", ABANDON, fake_model, str(path), ending]
    done = subprocess.run(command, capture_output=True, cwd=ROOT, timeout=60, check=False)
    assert (done.returncode, done.stdout.split()) == (code, [b"ok"]), done.stderr
    assert done.stderr.endswith(b"OSError: no space left\n" if code else b"")
    assert b"Exception ignored" not in done.stderr


@pytest.mark.parametrize(
    "options",
    [
        {"channels": "0"},
        {"channels": "left"},
        {"channels": "-1"},
        {"device": "tpu"},
        {"threads": -1},
        {"batch_s": float("nan")},
        {"batch_s": 0},
    ],
)
def test_options_outside_what_is_allowed_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        AssessConfig(**options)  # type: ignore[arg-type]


def test_array_that_is_no_audio_is_wrong_use(assessor: Assessor) -> None:
    with pytest.raises(UsageError):
        assessor.assess_array(np.zeros((2, 2, 2)), RATE_HZ)


def test_public_names_exist_and_say_what_they_are() -> None:
    for name in mtqscore.__all__:
        assert getattr(mtqscore, name).__doc__
    with pytest.raises(AttributeError):
        _ = mtqscore.no_such_name


@pytest.mark.usefixtures("bundle")
@pytest.mark.parametrize("room", ["", ".audio.windows", ".base.text", *(f".{home}" for home in PUBLIC)])
def test_examples_in_docstrings_run(room: str) -> None:
    module = importlib.import_module(f"mtqscore{room}")
    failed, attempted = doctest.testmod(module, extraglobs={"np": np})
    assert attempted
    assert not failed
