"""Clean references as a teacher of exact values."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mtqscore.errors import EnvironmentProblemError, InputError, UsageError
from mtqscore.labels.reference_files import measure_files
from mtqscore.labels.table import FaultyTableError, LabelledRecording, read_label_table, write_table
from mtqscore.training.teachers import references
from mtqscore.training.teachers.references import ReferenceTeacher, check_references, find_references

RATE_HZ = 16_000


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    """Noisy recordings, some of them late, and their clean references under names that need care."""
    folder = tmp_path_factory.mktemp("pairs")
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


def test_exact_values_undo_delay_and_follow_the_noise(pairs):
    rows = read_label_table(pairs)
    by_column = find_references(rows, pairs, None)
    assert len(by_column) == 3
    assert find_references(rows, pairs, pairs / "clean") == by_column, "the same by column and by name"
    with ReferenceTeacher(rows, pairs) as teacher:
        found = teacher.estimate(rows)
    pesq, stoi, sdi = found.T
    np.testing.assert_allclose(sdi, 10 ** (-np.array([5, 10, 15]) / 10), rtol=0.05)
    assert np.all(np.diff(stoi) > 0)
    assert stoi[0] > 0.6
    assert pesq[2] > pesq[0]
    exact = measure_files(rows[0].path, by_column[rows[0].path])
    np.testing.assert_allclose(found[0], exact, rtol=1e-6)
    bare = [dataclasses.replace(row, extra={"clean": ""}) for row in rows]
    with ReferenceTeacher(bare, pairs) as teacher:
        assert np.isnan(teacher.estimate(bare)).all(), "without a reference there is no estimate"


def test_a_process_that_is_killed_ends_in_one_line(pairs, monkeypatch):
    monkeypatch.setattr(references, "FEW_RECORDINGS", 1)
    monkeypatch.setattr(references, "usable_cores", lambda: 2)
    rows = read_label_table(pairs)
    with ReferenceTeacher(rows, pairs) as teacher:
        exact = teacher.estimate(rows)
        assert teacher._pool is not None
        for process in [*teacher._pool._processes.values()]:
            process.kill()
        with pytest.raises(EnvironmentProblemError, match="the same command goes on"):
            teacher.estimate(rows)
    np.testing.assert_allclose(exact[:, 2], 10 ** (-np.array([5, 10, 15]) / 10), rtol=0.05)


def test_every_faulty_reference_is_named_at_once(pairs, tmp_path):
    rows = read_label_table(pairs)
    (tmp_path / "a b'1.wav").write_bytes(b"no audio")
    soundfile.write(tmp_path / "ünï[*].wav", np.zeros(RATE_HZ), RATE_HZ)
    with pytest.raises(FaultyTableError) as caught:
        find_references(rows, pairs, tmp_path)
    texts = {fault.line: fault.text for fault in caught.value.faults}
    assert [*texts] == [row.line for row in rows]
    first, second, third = texts.values()
    assert "cannot be decoded" in first
    assert "no reference of its name" in second
    assert "1.00 s" in third
    gone = [dataclasses.replace(row, extra={"clean": "gone.wav"}) for row in rows]
    with pytest.raises(FaultyTableError, match="3 faults: line 2: no such reference"):
        find_references(gone, pairs, None)


def test_two_references_of_one_name_are_named(pairs, tmp_path):
    rows = read_label_table(pairs)[:1]
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a b'1.flac").write_bytes((pairs / "clean" / "deep" / "a b'1.flac").read_bytes())
    with pytest.raises(FaultyTableError, match="more than one reference of its name"):
        find_references(rows, pairs, tmp_path)


def test_tables_and_folders_without_references_are_refused(tmp_path):
    simulated = {"clean": "x.flac", "chain": "[]"}
    for extra, folder, message in (
        ({}, None, "no column clean"),
        (simulated, None, "mtqscore simulate holds the exact values"),
        ({}, tmp_path / "none", "no such folder"),
    ):
        with pytest.raises(UsageError, match=message):
            find_references([LabelledRecording(tmp_path / "a.wav", extra=extra)], tmp_path, folder)


def test_references_of_other_recordings_are_noticed(tmp_path):
    rows = [LabelledRecording(tmp_path / f"{number}.wav") for number in range(4)]
    stoi, sdi = np.float32([0.9, 0.2, 0.6, np.nan]), np.float32([0.1, 1.5, 1.5, np.nan])
    assert "1 of 3 recordings" in check_references(rows, {"stoi": stoi, "sdi": sdi})
    assert check_references(rows, {"stoi": stoi, "sdi": np.minimum(sdi, 1)}) == ""
    with pytest.raises(InputError, match="check that the references belong"):
        check_references(rows, {"stoi": stoi / 3, "sdi": np.float32([1.5, 1.5, 1.5, np.nan])})
