"""What teachers say is kept, recording by recording, and asked for once."""

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


class Countdown:
    """A teacher whose estimates follow the file's size; it counts what it is asked, and may break off."""

    name = "countdown"
    targets = ("pesq", "stoi")
    fingerprint = "ab" * 32

    def __init__(self, breaks_at: int | None = None) -> None:
        self.asked: list[str] = []
        self.breaks_at = breaks_at

    def estimate(self, rows):
        if self.breaks_at is not None and len(self.asked) >= self.breaks_at:
            raise KeyboardInterrupt
        self.asked += [row.path.name for row in rows]
        sizes = np.array([row.path.stat().st_size for row in rows])
        return np.stack([sizes / 7919 % 4, np.where(sizes % 5, sizes / 104_729 % 1, np.nan)], axis=1).astype(np.float32)


class Listener(Countdown):
    """A teacher that decodes what it is asked about."""

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


def asked_of(rows, teacher=None, **options):
    teacher = teacher or Countdown()
    labels = pseudo_label(teacher, rows, rows[0].path.parent, lambda *_: None, **options)
    return labels, teacher.asked


def test_a_teacher_is_asked_once(own_rows):
    first, asked = asked_of(own_rows)
    assert len(asked) == 8
    assert not first.kept
    again, asked = asked_of(own_rows)
    assert again.kept
    assert asked == []
    np.testing.assert_array_equal(again.values, first.values)
    np.testing.assert_allclose(first.values, Countdown().estimate(own_rows), atol=5.1e-5)
    folder = own_rows[0].path.parent
    assert first.table.parent == folder
    assert {path.name for path in folder.glob("pseudo*")} == {
        "pseudo_labels-abababababab.csv",
        "pseudo_labels-abababababab.json",
    }
    note = json.loads(first.table.with_suffix(".json").read_text())
    assert (note["teacher_sha256"], note["targets"]) == ("ab" * 32, ["pesq", "stoi"])
    with first.table.open(newline="") as stream:
        records = list(csv.DictReader(stream))
    assert records[0]["path"] == "0.flac"
    assert [record["split"] for record in records] == [row.split for row in own_rows]


@pytest.mark.usefixtures("few_at_once")
def test_every_recording_that_a_teacher_cannot_hear_is_named(own_rows):
    for row in (own_rows[1], own_rows[6]):
        row.path.write_bytes(row.path.read_bytes()[:3000])
    with pytest.raises(FaultyTableError) as caught:
        asked_of(own_rows, Listener())
    assert [fault.line for fault in caught.value.faults] == [own_rows[1].line, own_rows[6].line]


@pytest.mark.usefixtures("few_at_once")
@pytest.mark.parametrize("tail", ["", '{"a": [1.0, 0.', "[[1.0]]\n", '{"a": 1}\n', '{"a": [1.0]}\n'])
def test_an_interrupted_teacher_goes_on(own_rows, tail):
    with pytest.raises(KeyboardInterrupt):
        asked_of(own_rows, Countdown(breaks_at=6))
    folder = own_rows[0].path.parent
    (log,) = folder.glob("pseudo*")
    with log.open("a") as stream:
        stream.write(tail)
    labels, asked = asked_of(own_rows)
    assert asked == ["6.flac", "7.flac"]
    np.testing.assert_allclose(labels.values, Countdown().estimate(own_rows), atol=5.1e-5)
    assert not log.exists()


def change_a_recording(rows):
    rows[2].path.write_bytes(rows[2].path.read_bytes() + b"\0" * 9)
    return rows, Countdown()


def touch_a_recording(rows):
    os.utime(rows[2].path, ns=(1, 1))
    return rows, Countdown()


def edit_the_table(rows):
    (table,) = rows[0].path.parent.glob("pseudo*.csv")
    table.write_text(table.read_text().replace("val", "train"))
    return rows, Countdown()


def lose_the_note(rows):
    (note,) = rows[0].path.parent.glob("pseudo*.json")
    note.write_text("{")
    return rows, Countdown()


def shorten_the_note(rows):
    (note,) = rows[0].path.parent.glob("pseudo*.json")
    note.write_text(json.dumps(json.loads(note.read_text()) | {"recordings": []}))
    return rows, Countdown()


def change_the_teacher(rows):
    teacher = Countdown()
    teacher.fingerprint = "ab" * 6 + "0" * 52  # the same name of its file
    return rows, teacher


def change_the_targets(rows):
    teacher = Countdown()
    teacher.targets = ("pesq", "sdi")
    return rows, teacher


@pytest.mark.parametrize(
    ("change", "anew"),
    [
        (change_a_recording, ["2.flac"]),
        (touch_a_recording, ["2.flac"]),
        (edit_the_table, None),
        (lose_the_note, None),
        (shorten_the_note, None),
        (change_the_teacher, None),
        (change_the_targets, None),
        (lambda rows: (rows[::-1], Countdown()), []),
        (lambda rows: (rows[:-1], Countdown()), []),
    ],
)
def test_only_what_was_said_of_the_very_same_is_used_again(own_rows, change, anew):
    asked_of(own_rows)
    rows, teacher = change(own_rows)
    labels, asked = asked_of(rows, teacher)
    assert asked == ([row.path.name for row in rows] if anew is None else anew)
    np.testing.assert_allclose(labels.values, Countdown().estimate(rows), atol=5.1e-5)
    assert asked_of(rows, teacher)[0].kept


@pytest.mark.usefixtures("few_at_once")
def test_a_teacher_is_asked_about_what_is_new_in_a_corpus_that_grows(own_rows):
    asked_of(own_rows[:4])
    with pytest.raises(KeyboardInterrupt):
        asked_of(own_rows, Countdown(breaks_at=3))
    labels, asked = asked_of(own_rows)
    assert asked == ["7.flac"]
    np.testing.assert_allclose(labels.values, Countdown().estimate(own_rows), atol=5.1e-5)


def test_what_is_said_of_recordings_of_another_table_stays_while_they_are_there(own_rows):
    asked_of(own_rows[:5])
    assert asked_of(own_rows[3:])[1] == ["5.flac", "6.flac", "7.flac"]
    assert asked_of(own_rows)[1] == []
    own_rows[0].path.unlink()
    change_a_recording(own_rows)
    labels, asked = asked_of(own_rows[2:])
    assert asked == ["2.flac"]
    with labels.table.open(newline="") as stream:
        names = [record["path"] for record in csv.DictReader(stream)]
    assert sorted(names) == [f"{number}.flac" for number in range(1, 8)]


@pytest.mark.usefixtures("few_at_once")
def test_where_the_corpus_cannot_be_written_to_the_user_keeps_them(own_rows, own_folder):
    folder = own_rows[0].path.parent
    (folder / "pseudo_labels-abababababab.partial.jsonl").mkdir()
    labels, _ = asked_of(own_rows)
    assert labels.table.is_relative_to(own_folder)
    assert asked_of(own_rows)[0].kept
    (own_folder / "pseudo-labels").rename(own_folder / "gone")
    (own_folder / "pseudo-labels").write_text("in the way")
    with pytest.raises(EnvironmentProblemError, match="kept nowhere"):
        asked_of(own_rows)


def test_other_processes_wait_for_the_first(own_rows, monkeypatch):
    monkeypatch.setattr(pseudo_labels, "POLL_S", 0.01)
    found = []
    waiting = threading.Thread(target=lambda: found.append(asked_of(own_rows, wait=True)))
    waiting.start()
    time.sleep(0.05)
    assert not found
    asked_of(own_rows)
    waiting.join(10)
    labels, asked = found[0]
    assert labels.kept
    assert asked == []


def test_labels_are_replaced_by_target_and_split(own_rows):
    rows = [dataclasses.replace(row, split="test") if number < 2 else row for number, row in enumerate(own_rows)]
    labels, _ = asked_of(rows)
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
