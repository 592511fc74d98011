"""Correlations of pseudo-labels with scores and with their own true values."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from mtqscore.analysis import statistics
from mtqscore.analysis.correlations import (
    COLUMNS,
    correlation_lines,
    correlation_records,
    correlations_of_recordings,
    label_correlations,
    write_correlations,
)
from mtqscore.labels.table import LabelledRecording, read_table

draw = np.random.default_rng(7)
S_MOS = draw.uniform(1, 5, 50)
PESQ = S_MOS + draw.normal(0, 0.5, 50)
SDI = 1.5 - S_MOS / 4 + draw.normal(0, 0.2, 50)
TAUGHT = PESQ + draw.normal(0.3, 0.1, 50)


def test_correlations_by_hand():
    found = label_correlations({"s_mos": S_MOS}, {"sdi": SDI, "pesq": TAUGHT}, {"pesq": PESQ}, resamples=50)
    assert [(item.pseudo, item.against) for item in found] == [("pesq", "s_mos"), ("sdi", "s_mos"), ("pesq", "true")]
    of_score, falling, of_truth = found
    assert of_score.values["lcc"] == pytest.approx(np.corrcoef(S_MOS, TAUGHT)[0, 1])
    assert of_score.values["srcc"] == statistics.srcc(S_MOS, TAUGHT)
    assert of_score.intervals["lcc"].low < of_score.values["lcc"] < of_score.intervals["lcc"].high
    assert "rmse" not in of_score.values, "the scales differ"
    assert falling.values["lcc"] < -0.8, "distortion falls where quality rises"
    assert of_truth.values["bias"] == pytest.approx(np.mean(TAUGHT - PESQ))
    assert of_truth.values["rmse"] == pytest.approx(math.sqrt(np.mean((TAUGHT - PESQ) ** 2)))


def test_gaps_are_left_out_and_what_has_no_pair_is_not_there():
    pseudo = np.where(np.arange(50) < 20, PESQ, np.nan)
    (found,) = label_correlations({"s_mos": S_MOS, "n_mos": np.full(50, np.nan)}, {"pesq": pseudo}, resamples=20)
    assert (found.against, found.pairs) == ("s_mos", 20)
    assert label_correlations({"s_mos": S_MOS}, {"pesq": np.full(50, np.nan)}, resamples=20) == []
    assert correlation_lines([]) == []


def test_constants_and_two_pairs_have_no_correlation(tmp_path):
    found = label_correlations({"s_mos": S_MOS, "g_mos": [3.0] * 50}, {"stoi": [0.9] * 50}, resamples=20)
    found += label_correlations({"g_mos": [1.0, 2.0]}, {"pesq": [1.0, 2.0]}, resamples=20)
    assert all(math.isnan(item.values["lcc"]) and math.isnan(item.intervals["srcc"].low) for item in found)
    assert json.dumps(correlation_records(found), allow_nan=False)
    assert "–" in correlation_lines(found)[2]
    write_correlations(tmp_path / "r.csv", found)
    assert {row["lcc"] for row in read_table(tmp_path / "r.csv", COLUMNS)} == {""}


def test_rows_give_their_own_labels_or_a_teachers_estimates(tmp_path):
    rows = [
        LabelledRecording(tmp_path / f"{index}.wav", "test", {"s_mos": float(score), "pesq": float(pesq)})
        for index, (score, pesq) in enumerate(zip(S_MOS, PESQ, strict=True))
    ]
    (own,) = correlations_of_recordings(rows, resamples=20)
    assert (own.pseudo, own.against, own.values["lcc"]) == ("pesq", "s_mos", statistics.lcc(S_MOS, PESQ))
    estimates = {row.path: {"pesq": float(value)} for row, value in list(zip(rows, TAUGHT, strict=True))[:30]}
    of_score, of_truth = correlations_of_recordings(rows, estimates, resamples=20)
    assert (of_score.pairs, of_score.values["lcc"]) == (30, statistics.lcc(S_MOS[:30], TAUGHT[:30]))
    assert of_truth.values["lcc"] == statistics.lcc(PESQ[:30], TAUGHT[:30])


def test_a_table_a_file_and_records_say_the_same(tmp_path):
    found = label_correlations({"s_mos": S_MOS}, {"pesq": TAUGHT, "sdi": SDI}, {"pesq": PESQ}, resamples=50)
    lines = correlation_lines(found)
    assert lines[0].split() == ["S-MOS", "true", "values"]
    assert [line.split()[0] for line in lines[1:]] == ["PESQ", "LCC", "SRCC", "SDI", "LCC", "SRCC"]
    assert lines[1].split()[1:3] == ["n", str(found[0].pairs)]
    assert f"{found[0].values['lcc']:.3f} ({found[0].intervals['lcc'].low:.3f} to" in lines[2]
    write_correlations(tmp_path / "pseudo_labels.csv", found)
    table = read_table(tmp_path / "pseudo_labels.csv", COLUMNS)
    for row, record in zip(table, correlation_records(found), strict=True):
        assert row == {name: "" if value is None else str(value) for name, value in record.items()}


def test_unequal_arrays_are_refused():
    with pytest.raises(ValueError, match="50 labels against 49 estimates"):
        label_correlations({"s_mos": S_MOS}, {"pesq": PESQ[:-1]})
