"""Labels along time, several teachers as one, and tables of scores."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from mtqscore.errors import InputError, UsageError
from mtqscore.labels.table import write_table
from mtqscore.targets import G_MOS, N_MOS, S_MOS, SAMPLE_RATE_HZ
from mtqscore.training.config import TeacherChoice, teachers_of
from mtqscore.training.data.augmentation import BatchPlan, Cut, Silence, Splice
from mtqscore.training.data.frame_labels import CURVE_HOP_SAMPLES as HOP
from mtqscore.training.data.frame_labels import labels_along, on_grid
from mtqscore.training.distillation.ensemble import ScoreTable, check_teachers, combine
from mtqscore.training.teachers.teacher import TeacherEstimate
from tests.signals import speechlike, write

RAMPS = [np.arange(100, dtype=np.float32)[:, None] * step for step in (1, -1)]
"""Curves whose value is the number of the step, and its negative."""
LABELS = np.float32([[500], [-500]])


def along(plan: BatchPlan, positions: list[int], curves: object = RAMPS) -> list[list[float]]:
    found = labels_along(plan, range(2), LABELS, curves, np.array(positions))  # type: ignore[arg-type]
    return found[:, :, 0].tolist()


def test_frames_learn_what_is_said_at_their_place_in_the_recording():
    """A cut moves places, silence around has the label of the recording, a stretch of another one has its curve."""
    rows = np.array([0, 1])
    cuts = [Cut(0, 50 * HOP), Cut(10 * HOP, 60 * HOP, turned=True)]
    assert along(BatchPlan(rows, cuts), [0, HOP, HOP * 3 // 2]) == [[0, 1, 1.5], [-10, -11, -11.5]]
    noise = np.zeros(60 * HOP, dtype=np.int16)
    silences = [Silence(2 * HOP, noise), Silence(0, noise)]
    assert along(BatchPlan(rows, cuts, silences), [HOP, 3 * HOP, 55 * HOP]) == [[500, 1, 500], [-11, -13, -500]]
    splices = [Splice(0, 1, 5 * HOP, 7 * HOP)]
    assert along(BatchPlan(rows, cuts, splices=splices), [4 * HOP, 5 * HOP, 7 * HOP]) == [[4, -15, 7], [-14, -15, -17]]
    assert along(BatchPlan(rows, cuts), [HOP], [RAMPS[0], None]) == [[1], [-500]], "without a curve the label counts"


def test_curve_is_the_mean_of_frames_at_a_place_and_bridges_gaps():
    positions = np.array([0, HOP, HOP + 10, 4 * HOP, 9 * HOP])
    values = np.float32([[1, 10], [2, 20], [4, 40], [5, 50], [99, 99]])
    curve = on_grid(positions, values, 4 * HOP + 100)
    np.testing.assert_allclose(curve, [[1, 10], [3, 30], [11 / 3, 110 / 3], [13 / 3, 130 / 3], [5, 50]], rtol=1e-6)


def test_teachers_are_weighed_target_by_target():
    """One knows S and N along time, the other N and G of whole recordings only; what is NaN is not said."""
    curve = np.float32([[2, 1], [4, np.nan]])
    first = (
        TeacherChoice("a", {"default": 3.0, "n_mos": 1.0}),
        ("s_mos", "n_mos"),
        TeacherEstimate(np.float32([3, 2]), curve),
    )
    second = (TeacherChoice("b"), ("n_mos", "g_mos"), TeacherEstimate(np.float32([4, np.nan]), None))
    found = combine([first, second], (S_MOS, N_MOS, G_MOS))
    np.testing.assert_allclose(found.scores, [3, 3, np.nan])
    assert found.curve is not None
    np.testing.assert_allclose(found.curve, [[2, 2.5, np.nan], [4, 3, np.nan]])
    assert combine([second], (N_MOS,)).curve is None
    silent = combine([(TeacherChoice("b", 0.0), *second[1:])], (N_MOS,))
    assert np.isnan(silent.scores).all(), "a teacher without weight says nothing"


def test_weights_of_teachers_and_names_with_equals_signs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x=1").mkdir()
    assert teachers_of(["x=1", "a=b=0.5", "c"]) == [
        {"source": "x=1", "weight": 1.0},
        {"source": "a=b", "weight": 0.5},
        {"source": "c", "weight": 1.0},
    ]
    for text in ("a=", "a=-1", "a=nan", "=1", "a=b"):
        with pytest.raises(UsageError, match="give TEACHER, or TEACHER=WEIGHT"):
            teachers_of([text])
    with pytest.raises(UsageError, match="no target is called mos"):
        TeacherChoice("a", {"mos": 1.0})
    with pytest.raises(UsageError, match="neither labels nor references"):
        check_teachers([TeacherChoice("references")])
    with pytest.raises(InputError, match="no such run folder"):
        check_teachers([TeacherChoice("none.toml")])


def test_scores_come_from_a_label_table_or_a_result_with_its_frames(run, tmp_path):
    folder = tmp_path / "sp eech"
    folder.mkdir()
    names = ["-a\n.wav", 'q"é.wav']
    for number, name in enumerate(names):
        write(folder / name, speechlike(2.0, seed=number))
    write_table(
        tmp_path / "t.csv", ["path", "g_mos"], [{"path": names[0], "g_mos": 2.5}, {"path": "gone.wav", "g_mos": 1}]
    )
    table = ScoreTable(tmp_path / "t.csv", folder)
    assert (table.targets, table.missing) == (("g_mos",), 1)
    judged = table.estimate((folder / names[0]).resolve(), 2 * SAMPLE_RATE_HZ)
    assert judged is not None and judged.curve is None and judged.scores.tolist() == [2.5]
    assert table.estimate((folder / names[1]).resolve(), 1) is None

    done = run("assess", str(folder), "--jsonl", "r.jsonl", "--csv", "r.csv", "--frames", "-q")
    assert done.returncode == 0, done.stderr.decode()
    result, plain = ScoreTable(tmp_path / "r.jsonl", folder), ScoreTable(tmp_path / "r.csv", folder)
    for name in names:
        path = (folder / name).resolve()
        told, short = result.estimate(path, 2 * SAMPLE_RATE_HZ), plain.estimate(path, 2 * SAMPLE_RATE_HZ)
        assert told is not None and told.curve is not None and short is not None
        np.testing.assert_array_equal(told.scores, short.scores)
        assert told.curve.shape == (2 * SAMPLE_RATE_HZ // HOP + 1, 3)
        assert short.curve is None
    with pytest.raises(InputError, match="none of its recordings"):
        write_table(tmp_path / "n.csv", ["path", "g_mos"], [{"path": "gone.wav", "g_mos": 1}])
        ScoreTable(tmp_path / "n.csv", folder)


def test_a_table_of_recordings_says_which_of_them_a_student_of_scores_hears(run, tmp_path):
    splits = {"a.wav": "train", "b.wav": "train", "c.wav": "val", "d.wav": "test", "e.wav": "val"}
    for number, name in enumerate(splits):
        write(tmp_path / name, speechlike(1.0, seed=number))
    write_table(
        tmp_path / "list.csv", ["path", "split"], [{"path": name, "split": split} for name, split in splits.items()]
    )
    write_table(
        tmp_path / "said.csv",
        ["path", "g_mos"],
        [{"path": name, "g_mos": 2 + 0.3 * i} for i, name in enumerate(splits)],
    )
    done = run(
        "distill", "--teacher", "said.csv", "--data", "list.csv", "--size", "tiny", "--epochs", "1", "--out", "student"
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"list.csv: 2 recordings to learn from, 2 held out" in done.stderr
    with (tmp_path / "student" / "predictions_val.csv").open(newline="") as stream:
        assert sorted(Path(record["path"]).name for record in csv.DictReader(stream)) == ["c.wav", "e.wav"]
