"""Teachers: networks, ONNX files, and exact values against clean references."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
import torch
from onnx import numpy_helper

from mtqscore.errors import EnvironmentProblemError, InputError, UsageError
from mtqscore.labels.reference_files import measure_files
from mtqscore.labels.table import FaultyTableError, LabelledRecording, read_label_table, write_table
from mtqscore.training.checkpoint import load_network, read_checkpoint, write_checkpoint
from mtqscore.training.data.dataset import decode
from mtqscore.training.networks import build
from mtqscore.training.teachers import references
from mtqscore.training.teachers.open_teacher import open_teacher
from mtqscore.training.teachers.references import ReferenceTeacher, check_twins, find_references
from mtqscore.training.teachers.teacher import CheckpointTeacher, OnnxTeacher
from tests.fake_model import METADATA, write_fake_model
from tests.training_kit import paused_tone, small_config, small_network, write_corpus

CPU = torch.device("cpu")
RATE_HZ = 16_000

pytestmark = pytest.mark.usefixtures("own_folder")


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> list[LabelledRecording]:
    return read_label_table(write_corpus(tmp_path_factory.mktemp("corpus"), 10))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A teacher of all six targets whose estimates differ from recording to recording."""
    path = tmp_path_factory.mktemp("teacher") / "best.safetensors"
    write_checkpoint(path, small_config(max_clip_s=1.0), {"average": small_network(3).state_dict()}, {})
    return path


# --- teachers that listen -------------------------------------------------------------------------------------


def test_checkpoint_says_what_its_network_says(checkpoint, rows):
    teacher = CheckpointTeacher(checkpoint, CPU)
    assert teacher.targets == ("s_mos", "n_mos", "g_mos", "pesq", "stoi", "sdi")
    found = teacher.estimate(rows)
    network = load_network(read_checkpoint(checkpoint))
    short = [number for number, row in enumerate(rows) if soundfile.info(str(row.path)).frames <= RATE_HZ]
    assert len(short) > 1
    for number in short:
        samples = torch.from_numpy(decode(rows[number].path).astype(np.float32) / 32768)
        with torch.inference_mode():
            expected = network(samples[None], torch.tensor([len(samples)])).scores[0]
        np.testing.assert_allclose(found[number], expected, atol=2e-5)
    assert np.ptp(found, axis=0).min() > 1e-3


def test_recordings_have_no_part_in_what_is_said_of_others(checkpoint, rows):
    teacher = CheckpointTeacher(checkpoint, CPU)
    alone = np.concatenate([teacher.estimate([row]) for row in rows])
    np.testing.assert_allclose(teacher.estimate(rows), alone, atol=2e-5)


def test_long_recordings_are_heard_in_windows_weighted_by_length(checkpoint, tmp_path):
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


def test_silence_is_estimated_without_a_warning(checkpoint, tmp_path):
    soundfile.write(tmp_path / "silent.wav", np.zeros(3 * RATE_HZ), RATE_HZ)
    assert np.isfinite(CheckpointTeacher(checkpoint, CPU).estimate([LabelledRecording(tmp_path / "silent.wav")])).all()


def test_estimates_beyond_a_scale_are_set_to_its_end(tmp_path, rows):
    class Wild(CheckpointTeacher):
        def score(self, _waveform, lengths):
            return np.tile(np.float32([[9, -9, 3, 9, -9, np.inf]]), (len(lengths), 1)), [None] * len(lengths)

    write_checkpoint(tmp_path / "t.safetensors", small_config(), {"average": small_network().state_dict()}, {})
    found = Wild(tmp_path / "t.safetensors", CPU).estimate(rows[:2])
    np.testing.assert_array_equal(found, [[5, 1, 3, 4.5, 0, np.nan]] * 2)


def write_pesq_model(path: Path) -> Path:
    """An ONNX model that estimates PESQ and STOI, and neither S, N nor G."""
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
    assert [*np.isfinite(found).all(axis=1)] == long_enough, "what is too short for the model has no estimate"
    assert np.nanmax(found) <= 1
    done = run("assess", str(rows[0].path), model=str(model))
    assert done.returncode == 2
    assert b"pesq.onnx: its targets are pesq, stoi: without s_mos, n_mos, g_mos it scores nothing" in done.stderr


@pytest.mark.parametrize(
    ("choice", "error", "message"),
    [
        ("nobody", UsageError, "no model 'nobody'"),
        ("./none/x.safetensors", InputError, "no such checkpoint"),
        ("folder", UsageError, "--references"),
        ("none.onnx", UsageError, "none.onnx"),
    ],
)
def test_what_is_no_teacher_is_named(tmp_path, monkeypatch, choice, error, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(error, match=message), open_teacher(choice, [], tmp_path, CPU):
        pass


# --- the exact teacher ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def twins(tmp_path_factory) -> Path:
    """Noisy recordings, some of them late, and their clean references under names that need care."""
    folder = tmp_path_factory.mktemp("twins")
    clean, _ = soundfile.read(Path(__file__).parents[3] / "examples" / "clean.flac", frames=32_000)
    rng = np.random.default_rng(0)
    (folder / "clean" / "deep").mkdir(parents=True)
    records = []
    for number, name in enumerate(["a b'1", "-new\nline", "ünï[*]"]):
        noise = rng.standard_normal(len(clean))
        noise *= np.sqrt(np.mean(clean**2) / np.mean(noise**2)) * 10 ** (-(5 + 5 * number) / 20)
        noisy = np.concatenate([np.zeros(700 * number), clean + noise]) * 0.2
        soundfile.write(folder / f"{name}.wav", noisy, RATE_HZ, subtype="FLOAT")
        soundfile.write(folder / "clean" / "deep" / f"{name}.flac", clean, RATE_HZ)
        records.append({"path": f"{name}.wav", "clean": f"clean/deep/{name}.flac", "s_mos": 3})
    write_table(folder / "manifest.csv", [*records[0]], records)
    return folder


def test_references_are_found_by_column_and_by_name(twins):
    rows = read_label_table(twins)
    by_column = find_references(rows, twins, None)
    assert len(by_column) == 3
    assert find_references(rows, twins, twins / "clean") == by_column


def test_exact_values_undo_delay_and_follow_the_noise(twins):
    rows = read_label_table(twins)
    with ReferenceTeacher(rows, twins) as teacher:
        found = teacher.estimate(rows)
    pesq, stoi, sdi = found.T
    np.testing.assert_allclose(sdi, 10 ** (-np.array([5, 10, 15]) / 10), rtol=0.05)
    assert np.all(np.diff(stoi) > 0)
    assert stoi[0] > 0.6
    assert pesq[2] > pesq[0]
    exact = measure_files(rows[0].path, find_references(rows, twins, None)[rows[0].path])
    np.testing.assert_allclose(found[0], exact, rtol=1e-6)


def test_a_process_that_is_killed_ends_in_one_line(twins, monkeypatch):
    monkeypatch.setattr(references, "FEW_RECORDINGS", 1)
    monkeypatch.setattr(references, "usable_cores", lambda: 2)
    rows = read_label_table(twins)
    with ReferenceTeacher(rows, twins) as teacher:
        exact = teacher.estimate(rows)
        assert teacher._pool is not None
        for process in [*teacher._pool._processes.values()]:
            process.kill()
        with pytest.raises(EnvironmentProblemError, match="the same command goes on"):
            teacher.estimate(rows)
    np.testing.assert_allclose(exact[:, 2], 10 ** (-np.array([5, 10, 15]) / 10), rtol=0.05)


def test_empty_reference_is_no_estimate(twins):
    rows = [dataclasses.replace(row, extra={"clean": ""}) for row in read_label_table(twins)]
    with ReferenceTeacher(rows, twins) as teacher:
        assert np.isnan(teacher.estimate(rows)).all()


def test_every_faulty_reference_is_named_at_once(twins, tmp_path):
    rows = read_label_table(twins)
    (tmp_path / "a b'1.wav").write_bytes(b"no audio")
    soundfile.write(tmp_path / "ünï[*].wav", np.zeros(RATE_HZ), RATE_HZ)
    with pytest.raises(FaultyTableError) as caught:
        find_references(rows, twins, tmp_path)
    texts = {fault.line: fault.text for fault in caught.value.faults}
    assert [*texts] == [row.line for row in rows]
    first, second, third = texts.values()
    assert "cannot be decoded" in first
    assert "no reference of its name" in second
    assert "1.00 s" in third
    gone = [dataclasses.replace(row, extra={"clean": "gone.wav"}) for row in rows]
    with pytest.raises(FaultyTableError, match="3 faults: line 2: no such reference"):
        find_references(gone, twins, None)


def test_two_references_of_one_name_are_named(twins, tmp_path):
    rows = read_label_table(twins)[:1]
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a b'1.flac").write_bytes((twins / "clean" / "deep" / "a b'1.flac").read_bytes())
    with pytest.raises(FaultyTableError, match="more than one reference of its name"):
        find_references(rows, twins, tmp_path)


@pytest.mark.parametrize(
    ("extra", "message"),
    [({}, "no column clean"), ({"clean": "x.flac", "chain": "[]"}, "mtqscore simulate holds the exact values")],
)
def test_tables_without_references_are_refused(tmp_path, extra, message):
    with pytest.raises(UsageError, match=message):
        find_references([LabelledRecording(tmp_path / "a.wav", extra=extra)], tmp_path, None)


def test_missing_folder_of_references_is_named(tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        find_references([], tmp_path, tmp_path / "none")


def test_references_of_other_recordings_are_noticed(tmp_path):
    rows = [LabelledRecording(tmp_path / f"{number}.wav") for number in range(4)]
    stoi, sdi = np.float32([0.9, 0.2, 0.6, np.nan]), np.float32([0.1, 1.5, 1.5, np.nan])
    assert "1 of 3 recordings" in check_twins(rows, {"stoi": stoi, "sdi": sdi})
    assert check_twins(rows, {"stoi": stoi, "sdi": np.minimum(sdi, 1)}) == ""
    with pytest.raises(InputError, match="check that the references belong"):
        check_twins(rows, {"stoi": stoi / 3, "sdi": np.float32([1.5, 1.5, 1.5, np.nan])})


def test_networks_of_other_targets_teach_too(tmp_path, rows):
    config = small_config(targets=("sdi", "pesq"))
    write_checkpoint(tmp_path / "t.safetensors", config, {"average": build(config).state_dict()}, {})
    teacher = CheckpointTeacher(tmp_path / "t.safetensors", CPU)
    assert teacher.targets == ("pesq", "sdi")
    assert teacher.estimate(rows).shape == (10, 2)
