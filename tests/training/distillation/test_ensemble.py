"""Several teachers as one, and tables of scores."""

from __future__ import annotations

import numpy as np
import pytest

from mtqscore.errors import InputError, UsageError
from mtqscore.labels.table import write_table
from mtqscore.targets import G_MOS, N_MOS, S_MOS, SAMPLE_RATE_HZ
from mtqscore.training.config import TeacherChoice, teachers_of
from mtqscore.training.data.frame_labels import CURVE_HOP_SAMPLES as HOP
from mtqscore.training.distillation.ensemble import ScoreTable, check_teachers, combine
from mtqscore.training.teachers.teacher import TeacherEstimate
from tests.signals import speechlike, write


def test_teachers_are_weighed_target_by_target():
    """One estimates S and N along time, the other N and G of whole recordings only; NaN is no estimate."""
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
    assert np.isnan(silent.scores).all(), "a teacher without weight does not count"


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
