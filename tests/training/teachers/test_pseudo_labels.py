"""Estimates of teachers are kept, recording by recording, and made once."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import threading
import time

import numpy as np
import pytest

from mtqscore.errors import EnvironmentProblemError
from mtqscore.labels.table import FaultyTableError, LabelledRecording, read_label_table
from mtqscore.training.data.dataset import decode
from mtqscore.training.teachers import pseudo_labels
from mtqscore.training.teachers.pseudo_labels import pseudo_label
from tests.training_kit import write_corpus

pytestmark = pytest.mark.usefixtures("own_folder")


class SizeTeacher:
    """A teacher whose estimates follow the file's size; it notes the recordings, and may break off."""

    name = "size"
    targets = ("pesq", "stoi")
    fingerprint = "ab" * 32

    def __init__(self, breaks_at: int | None = None) -> None:
        self.estimated: list[str] = []
        self.breaks_at = breaks_at

    def estimate(self, rows):
        if self.breaks_at is not None and len(self.estimated) >= self.breaks_at:
            raise KeyboardInterrupt
        self.estimated += [row.path.name for row in rows]
        sizes = np.array([row.path.stat().st_size for row in rows])
        return np.stack([sizes / 7919 % 4, np.where(sizes % 5, sizes / 104_729 % 1, np.nan)], axis=1).astype(np.float32)


class DecodingTeacher(SizeTeacher):
    """A teacher that decodes the recordings."""

    def estimate(self, rows):
        for row in rows:
            decode(row.path)
        return super().estimate(rows)


@pytest.fixture
def few_at_once(monkeypatch) -> None:
    monkeypatch.setattr(pseudo_labels, "ROWS_AT_ONCE", 3)


@pytest.fixture
def own_rows(tmp_path) -> list[LabelledRecording]:
    return read_label_table(write_corpus(tmp_path / "corpus", 8))


def labelled(rows, teacher=None, **options):
    teacher = teacher or SizeTeacher()
    labels = pseudo_label(teacher, rows, rows[0].path.parent, lambda *_: None, **options)
    return labels, teacher.estimated


def test_estimates_are_made_once(own_rows):
    first, estimated = labelled(own_rows)
    assert len(estimated) == 8
    again, estimated = labelled(own_rows)
    assert (first.kept, again.kept, estimated) == (False, True, [])
    np.testing.assert_array_equal(again.values, first.values)
    np.testing.assert_allclose(first.values, SizeTeacher().estimate(own_rows), atol=5.1e-5)
    folder = own_rows[0].path.parent
    name = "pseudo_labels-abababababab"
    assert {*folder.glob("pseudo*")} == {folder / f"{name}.csv", folder / f"{name}.json"}
    note = json.loads(first.table.with_suffix(".json").read_text())
    assert (note["teacher_sha256"], note["targets"]) == ("ab" * 32, ["pesq", "stoi"])
    with first.table.open(newline="") as stream:
        records = list(csv.DictReader(stream))
    assert records[0]["path"] == "0.flac"
    assert [record["split"] for record in records] == [row.split for row in own_rows]


@pytest.mark.usefixtures("few_at_once")
def test_every_recording_that_cannot_be_decoded_is_named(own_rows):
    for row in (own_rows[1], own_rows[6]):
        row.path.write_bytes(row.path.read_bytes()[:3000])
    with pytest.raises(FaultyTableError) as caught:
        labelled(own_rows, DecodingTeacher())
    assert [fault.line for fault in caught.value.faults] == [own_rows[1].line, own_rows[6].line]


@pytest.mark.usefixtures("few_at_once")
@pytest.mark.parametrize("tail", ["", '{"a": [1.0, 0.', "[[1.0]]\n", '{"a": 1}\n', '{"a": [1.0]}\n'])
def test_an_interrupted_teacher_goes_on(own_rows, tail):
    with pytest.raises(KeyboardInterrupt):
        labelled(own_rows, SizeTeacher(breaks_at=6))
    folder = own_rows[0].path.parent
    (log,) = folder.glob("pseudo*")
    with log.open("a") as stream:
        stream.write(tail)
    labels, estimated = labelled(own_rows)
    assert estimated == ["6.flac", "7.flac"]
    np.testing.assert_allclose(labels.values, SizeTeacher().estimate(own_rows), atol=5.1e-5)
    assert not log.exists()


def with_teacher(**changes):
    teacher = SizeTeacher()
    vars(teacher).update(changes)
    return lambda rows: (rows, teacher)


def with_file(pattern, change):
    """Change a file of the corpus before the second call."""

    def changed(rows):
        (path,) = rows[0].path.parent.glob(pattern)
        change(path)
        return rows, SizeTeacher()

    return changed


def grow(path):
    path.write_bytes(path.read_bytes() + b"\0" * 9)


def without_recordings(note):
    note.write_text(json.dumps(json.loads(note.read_text()) | {"recordings": []}))


@pytest.mark.parametrize(
    ("change", "anew"),
    [
        (with_file("2.flac", grow), ["2.flac"]),
        (with_file("2.flac", lambda path: os.utime(path, ns=(1, 1))), ["2.flac"]),
        (with_file("pseudo*.csv", lambda path: path.write_text(path.read_text().replace("val", "train"))), None),
        (with_file("pseudo*.json", lambda path: path.write_text("{")), None),
        (with_file("pseudo*.json", without_recordings), None),
        (with_teacher(fingerprint="ab" * 6 + "0" * 52), None),  # the same name of its file
        (with_teacher(targets=("pesq", "sdi")), None),
        (lambda rows: (rows[::-1], SizeTeacher()), []),
        (lambda rows: (rows[:-1], SizeTeacher()), []),
    ],
)
def test_only_estimates_of_the_very_same_are_used_again(own_rows, change, anew):
    labelled(own_rows)
    rows, teacher = change(own_rows)
    labels, estimated = labelled(rows, teacher)
    assert estimated == ([row.path.name for row in rows] if anew is None else anew)
    np.testing.assert_allclose(labels.values, SizeTeacher().estimate(rows), atol=5.1e-5)
    assert labelled(rows, teacher)[0].kept


def test_estimates_of_another_table_stay_while_its_recordings_are_there(own_rows):
    labelled(own_rows[:5])
    with pytest.raises(KeyboardInterrupt):
        labelled(own_rows[3:], SizeTeacher(breaks_at=0))
    assert labelled(own_rows[3:])[1] == ["5.flac", "6.flac", "7.flac"]
    assert labelled(own_rows)[1] == []
    own_rows[0].path.unlink()
    grow(own_rows[2].path)
    labels, estimated = labelled(own_rows[2:])
    assert estimated == ["2.flac"]
    with labels.table.open(newline="") as stream:
        names = [record["path"] for record in csv.DictReader(stream)]
    assert sorted(names) == [f"{number}.flac" for number in range(1, 8)]


@pytest.mark.usefixtures("few_at_once")
def test_where_the_corpus_cannot_be_written_to_the_user_keeps_them(own_rows, own_folder):
    folder = own_rows[0].path.parent
    (folder / "pseudo_labels-abababababab.partial.jsonl").mkdir()
    labels, _ = labelled(own_rows)
    assert labels.table.is_relative_to(own_folder)
    assert labelled(own_rows)[0].kept
    (own_folder / "pseudo-labels").rename(own_folder / "gone")
    (own_folder / "pseudo-labels").write_text("in the way")
    with pytest.raises(EnvironmentProblemError, match="kept nowhere"):
        labelled(own_rows)


def test_other_processes_wait_for_the_first(own_rows, monkeypatch):
    monkeypatch.setattr(pseudo_labels, "POLL_S", 0.01)
    found = []
    waiting = threading.Thread(target=lambda: found.append(labelled(own_rows, wait=True)))
    waiting.start()
    time.sleep(0.05)
    assert not found
    labelled(own_rows)
    waiting.join(10)
    labels, estimated = found[0]
    assert labels.kept
    assert estimated == []


def test_labels_are_replaced_by_target_and_split(own_rows):
    rows = [dataclasses.replace(row, split="test") if number < 2 else row for number, row in enumerate(own_rows)]
    labels, _ = labelled(rows)
    made = labels.applied(rows, ["pesq"], ("train", "val"))
    for number, (row, new) in enumerate(zip(rows, made, strict=True)):
        assert new.labels["s_mos"] == row.labels["s_mos"]
        assert new.labels.get("stoi") == row.labels.get("stoi")
        expected = row.labels.get("pesq") if number < 2 else pytest.approx(float(labels.values[number, 0]))
        assert new.labels.get("pesq") == expected
    both = labels.applied(rows, ["pesq", "stoi"], ("train", "val"))
    silent = np.isnan(labels.values[:, 1])
    assert silent.any(), "some recordings have nothing from this teacher"
    assert all("stoi" not in both[number].labels for number in np.flatnonzero(silent) if number >= 2)
