from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest

from mtqscore.analysis.estimates import read_estimates
from mtqscore.analysis.evaluate import (
    ALL_FILES,
    Level,
    Over,
    Significance,
    contrast,
    evaluate,
    largest_errors,
    natural_key,
)
from mtqscore.errors import InputError, UsageError
from mtqscore.labels.table import LabelledRecording
from mtqscore.report.agreement import GROUPS_SHOWN, agreement_lines, write_csv
from tests.signals import speechlike, write

TRUTH = [1.0, 2.0, 3.0, 4.0, 5.0, 2.0]
ESTIMATE = [1.2, 2.1, 2.8, 4.4, 4.6, 2.0]
CONDITIONS = ["c10", "c9", "c10", "c9", "c2", "c2"]


def some_rows() -> list[LabelledRecording]:
    return [
        LabelledRecording(Path(f"/x/{index}.wav"), "test", {"s_mos": label}, {"condition": condition})
        for index, (label, condition) in enumerate(zip(TRUTH, CONDITIONS, strict=True))
    ]


def some_estimates() -> dict[Path, dict[str, float]]:
    return {row.path: {"s_mos": value} for row, value in zip(some_rows(), ESTIMATE, strict=True)}


def test_files_means_and_groups_by_hand():
    found = {item.over: item for item in evaluate(some_rows(), some_estimates(), resamples=50)}
    groups = [Over(Level.GROUP, "condition", name) for name in ("c2", "c9", "c10")]
    assert list(found) == [ALL_FILES, Over(Level.MEANS, "condition"), *groups]
    assert [str(over) for over in found][:3] == ["files", "means by condition", "condition = c2"]
    files = found[ALL_FILES]
    assert (files.pairs, files.mean_label, files.mean_estimate) == (6, pytest.approx(17 / 6), pytest.approx(17.1 / 6))
    assert files.values["lcc"] == pytest.approx(np.corrcoef(TRUTH, ESTIMATE)[0, 1])
    assert files.values["mse"] == pytest.approx((0.04 + 0.01 + 0.04 + 0.16 + 0.16) / 6)
    assert files.values["rmse"] == pytest.approx(math.sqrt(files.values["mse"]))
    assert files.values["bias"] == pytest.approx(0.1 / 6)
    assert math.isnan(files.intervals["lcc"].low), "six pairs are too few"
    means = found[Over(Level.MEANS, "condition")]
    assert means.pairs == 3
    assert means.values["lcc"] == pytest.approx(np.corrcoef([3.5, 3.0, 2.0], [3.3, 3.25, 2.0])[0, 1])
    assert found[groups[0]].values["rmse"] == pytest.approx(math.sqrt(0.16 / 2))
    assert math.isnan(found[groups[0]].values["lcc"]), "two pairs say nothing"


def test_equal_labels_have_equal_means_however_many_there_are():
    # 0.1 + 0.2 + … is not what multiplication gives: without rounding such means would seem to rank.
    rows = [
        LabelledRecording(Path(f"{index}.wav"), "test", {"s_mos": 3.3}, {"condition": name})
        for index, name in enumerate("aabbbbcccccc")
    ]
    found = evaluate(rows, {row.path: {"s_mos": 1.0 + index % 3} for index, row in enumerate(rows)}, resamples=0)
    means = next(item for item in found if item.over.level is Level.MEANS)
    assert math.isnan(means.values["srcc"])
    assert math.isnan(means.values["lcc"])
    assert means.intervals == {}


def test_what_lacks_a_label_or_an_estimate_is_left_out():
    rows, estimates = some_rows(), some_estimates()
    rows[0].labels.clear()
    del estimates[rows[1].path]
    assert evaluate(rows, estimates, resamples=5)[0].pairs == 4
    with pytest.raises(InputError, match="no recording has both"):
        evaluate(rows, {}, resamples=5)


def test_unknown_column_is_named():
    with pytest.raises(UsageError, match=r"no column 'kind'; it has condition, split"):
        evaluate(some_rows(), some_estimates(), ["kind"])


def test_numbers_in_names_sort_by_value():
    assert sorted(["c10", "c9", "10", "9.5", "b"], key=natural_key) == ["9.5", "10", "b", "c9", "c10"]


def test_largest_errors_come_first_on_either_side():
    found = largest_errors(some_rows(), some_estimates(), 3)
    assert [round(miss.error, 6) for miss in found] in ([0.4, -0.4, 0.2], [0.4, -0.4, -0.2], [-0.4, 0.4, -0.2])
    assert {found[0].path.name, found[1].path.name} == {"3.wav", "4.wav"}
    assert largest_errors(some_rows(), some_estimates(), 0) == []


def test_a_contrast_says_which_is_better_on_what_both_have():
    draw = np.random.default_rng(2)
    rows = [LabelledRecording(Path(f"{index}.wav"), "test", {"s_mos": draw.uniform(1, 5)}) for index in range(60)]
    good = {row.path: {"s_mos": row.labels["s_mos"] + draw.normal(0, 0.2)} for row in rows}
    bad = {path: {"s_mos": value["s_mos"] + draw.normal(0, 0.5)} for path, value in list(good.items())[:50]}
    found = {item.measure: item for item in contrast(rows, good, bad, resamples=200)}
    assert list(found) == ["lcc", "srcc", "ktau", "mse", "rmse"]
    assert {item.significance for item in found.values()} == {Significance.BETTER}
    assert found["mse"].first < found["mse"].second
    assert {item.pairs for item in found.values()} == {50}
    assert {item.significance for item in contrast(rows, bad, good, resamples=200)} == {Significance.WORSE}
    assert {item.significance for item in contrast(rows, good, good, resamples=20)} == {Significance.NOT_SIGNIFICANT}
    few = {row.path: good[row.path] for row in rows[:5]}
    assert {item.significance for item in contrast(rows, few, bad, resamples=20)} == {Significance.UNKNOWN}
    flat = {path: dict.fromkeys(scores, 3.0) for path, scores in good.items()}
    results = {item.measure: item.significance for item in contrast(rows, good, flat, resamples=50)}
    assert results["lcc"] == results["ktau"] == Significance.UNDEFINED, "a constant correlates with nothing"
    assert results["rmse"] == Significance.BETTER


def test_of_very_many_groups_the_worst_are_shown():
    rows = [
        LabelledRecording(Path(f"{index}.wav"), "test", {"s_mos": 3.0}, {"condition": f"c{index % 50}"})
        for index in range(100)
    ]
    estimates = {row.path: {"s_mos": 3.0 + (index % 50) / 100} for index, row in enumerate(rows)}
    lines = agreement_lines(evaluate(rows, estimates, resamples=0))
    shown = [line.split()[0] for line in lines if line.startswith("c") and not line.startswith("condition")]
    assert shown == [f"c{index}" for index in range(20, 50)]
    assert lines[-1].startswith(f"{GROUPS_SHOWN} of 50 groups")


def test_names_of_groups_cannot_break_a_table():
    names = ["new\nline", "\x1b[2J", "=1+1", "", "x" * 300, "\udcff"]
    rows = [LabelledRecording(Path(f"{name!r}.wav"), "test", {"g_mos": 3.0}, {"condition": name}) for name in names]
    found = evaluate(rows, {row.path: {"g_mos": 2.0} for row in rows}, resamples=0)
    lines = agreement_lines(found)
    assert all(line.isprintable() and len(line) < 120 for line in lines)
    assert sum("(none)" in line for line in lines) == 1
    stream = io.StringIO()
    write_csv(stream, found)
    values = [row["value"] for row in csv.DictReader(io.StringIO(stream.getvalue())) if row["level"] == "group"]
    assert sorted(values) == sorted(["new\nline", "\x1b[2J", "'=1+1", "", "x" * 300, r"\udcff"])


@pytest.fixture
def corpus(tmp_path) -> Path:
    """Recordings of falling level, which the small model notices, labelled by it."""
    lines = ["path,split,s_mos,n_mos,g_mos,condition,comment"]
    for index in range(6):
        write(tmp_path / f"{index}.wav", speechlike(1.0, seed=index) * 0.7**index)
        lines.append(f"{index}.wav,{'train' if index == 0 else 'test'},{4 - index / 2},,,{'ab'[index % 2]},ignored")
    (tmp_path / "m.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.fixture
def tables(tmp_path) -> Path:
    """Labels of forty recordings that need not be there, good estimates of all targets, and worse ones."""
    draw = np.random.default_rng(4)
    labels, good, bad = ["path,s_mos,g_mos,pesq,kind"], ["path,s_mos,g_mos,pesq"], ["path,s_mos,g_mos"]
    for index in range(40):
        s, g, pesq = draw.uniform(1, 4.5, 3)
        near, far = draw.normal(0, 0.1, 3), draw.normal(0, 0.6, 2)
        labels.append(f"a/{index}.wav,{s},{g if index else ''},{pesq},{'xyz'[index % 3]}")
        good.append(f"a/{index}.wav,{s + near[0]},{g + near[1]},{pesq + near[2]}")
        bad.append(f"a/{index}.wav,{s + far[0]},{g + far[1]}")
    for name, lines in (("labels", labels), ("good", good), ("bad", bad)):
        (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def table_of(text: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text.decode())))


@pytest.mark.usefixtures("corpus")
def test_command_scores_a_table_with_a_model(run, fake_model):
    done = run("evaluate", "m.csv", "--model", fake_model, "--split", "test", "--resamples", "20", "--csv", "-")
    assert done.returncode == 0, done.stderr.decode()
    table = table_of(done.stdout)
    assert [row["level"] for row in table] == ["files", "means", "group", "group"]
    assert [row["value"] for row in table] == ["", "", "a", "b"]
    assert table[0]["target"] == "s_mos"
    assert table[0]["n"] == "5"
    assert abs(float(table[0]["lcc"])) > 0.9
    assert float(table[0]["mse"]) == pytest.approx(float(table[0]["rmse"]) ** 2, abs=1e-3)
    assert table[0]["lcc_low"] == "", "five pairs are too few for an interval"


@pytest.mark.usefixtures("tables")
def test_command_shows_tables(run):
    done = run("evaluate", "labels.csv", "--predictions", "good.csv", "--resamples", "50", "--errors", "2")
    assert done.returncode == 0, done.stderr.decode()
    blocks = [block.splitlines() for block in done.stdout.decode().split("\n\n")]
    assert blocks[0][0].split() == ["score", "measure", "files", "95", "%", "means", "by", "kind", "95", "%"]
    assert [block[0].split()[:3] for block in blocks[1:4]] == [
        ["S-MOS", "n", "40"],
        ["G-MOS", "n", "39"],
        ["PESQ", "n", "40"],
    ]
    assert [line.split()[0] for line in blocks[1][1:]] == ["LCC", "SRCC", "KTAU", "MSE", "RMSE", "RMSE", "bias"]
    assert " to " in blocks[1][1]
    assert blocks[4][0].split()[:5] == ["kind", "n", "S-MOS", "LCC", "RMSE"]
    assert [line[0] for line in blocks[4][1:]] == ["x", "y", "z"]
    assert [line.split()[0] for line in blocks[5]] == ["score", *["S-MOS"] * 2, *["G-MOS"] * 2, *["PESQ"] * 2]
    assert blocks[6] == ["good.csv; 95 % intervals from 50 resamples"]
    assert done.stderr == b""


@pytest.mark.usefixtures("tables")
def test_command_compares_two_tables(run):
    wanted = ("evaluate", "labels.csv", "--predictions", "good.csv", "--against", "bad.csv", "--resamples", "100")
    done = run(*wanted, "--json", "-", "--seed", "3")
    assert done.returncode == 0, done.stderr.decode()
    document = json.loads(done.stdout)
    assert document["schema"] == "mtqscore.evaluate/1"
    assert (document["estimates"], document["against"], document["seed"]) == ("good.csv", "bad.csv", 3)
    files = [item for item in document["contrasts"] if item["level"] == "files"]
    assert {item["target"] for item in files} == {"s_mos", "g_mos"}, "the other table has no PESQ"
    assert {item["result"] for item in files} == {"better"}
    for item in files:
        assert item["low"] < item["difference"] < item["high"]
        assert item["difference"] == pytest.approx(item["these"] - item["others"], abs=2e-6)
    means = next(item for item in document["agreement"] if item["level"] == "means")
    assert means["measures"]["lcc"]["low"] is None, "three groups are too few"
    assert len(document["largest_errors"]) == 9
    shown = run(*wanted).stdout.decode()
    assert "better" in shown
    assert "too few" not in shown, "what cannot be told needs no lines"


@pytest.mark.usefixtures("corpus")
def test_predictions_of_assess_are_taken(run, fake_model):
    run("assess", *(f"{index}.wav" for index in range(6)), "--csv", "p.csv")
    by_table = run("evaluate", "m.csv", "--predictions", "p.csv", "--resamples", "20", "--csv", "-")
    by_model = run("evaluate", "m.csv", "--model", fake_model, "--resamples", "20", "--csv", "-")
    assert by_table.returncode == 0, by_table.stderr.decode()
    for one, other in zip(table_of(by_table.stdout), table_of(by_model.stdout), strict=True):
        assert float(one["rmse"]) == pytest.approx(float(other["rmse"]), abs=1e-3)


def test_unscorable_recording_is_named_and_exits_3(run, corpus, fake_model):
    (corpus / "5.wav").write_text("no audio")
    done = run("evaluate", "m.csv", "--model", fake_model, "--resamples", "20", "--csv", "-")
    assert done.returncode == 3
    assert table_of(done.stdout)[0]["n"] == "5"
    assert b"5.wav: unreadable" in done.stderr


def test_missing_and_additional_rows_are_counted(run, tables):
    lines = (tables / "good.csv").read_text().splitlines()
    (tables / "part.csv").write_text("\n".join([*lines[:31], "other.wav,3,3,3"]) + "\n")
    done = run("evaluate", "labels.csv", "--predictions", "part.csv", "--resamples", "20", "--csv", "-")
    assert done.returncode == 3
    assert table_of(done.stdout)[0]["n"] == "30"
    said = done.stderr.decode().splitlines()
    assert said[0] == "part.csv: 1 row belongs to no labelled recording, such as other.wav"
    assert said[1].startswith("10 of 40 labelled recordings have no estimate and were left out: a/30.wav, a/31.wav")
    assert run("evaluate", "labels.csv", "--predictions", "part.csv", "-q", "--resamples", "5").stderr == b""


def test_constant_estimates_have_errors_but_no_correlation(run, tables):
    lines = ["path,s_mos", *(f"a/{index}.wav,3" for index in range(40))]
    (tables / "flat.csv").write_text("\n".join(lines) + "\n")
    done = run("evaluate", "labels.csv", "--predictions", "flat.csv", "--resamples", "20", "--json", "-")
    assert done.returncode == 0, done.stderr.decode()
    measures = json.loads(done.stdout)["agreement"][0]["measures"]
    assert measures["lcc"] == {"value": None, "low": None, "high": None}
    assert measures["mse"]["low"] < measures["mse"]["value"] < measures["mse"]["high"]


@pytest.mark.usefixtures("corpus")
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["m.csv", "--split", "dev"], 2, b"--split dev"),
        (["m.csv", "--split", "val"], 2, b"no recordings in the split val"),
        (["m.csv", "--model", "x.onnx", "--predictions", "p.csv"], 2, b"not both"),
        (["m.csv", "--predictions", "none.csv"], 3, b"cannot read the estimates"),
        (["m.csv", "--predictions", "m.csv", "--by", "speaker"], 2, b"no column 'speaker'"),
        (["m.csv", "--predictions", "m.csv", "--resamples", "0"], 2, b"resamples 0 is outside 1 to"),
        (["m.csv", "--predictions", "m.csv", "--csv", "./m.csv"], 2, b"would replace what is read"),
        (["m.csv", "--predictions", "m.csv", "--plot", "a.gif"], 2, b"ends in .png, .svg, .pdf"),
        (["m.csv", "--predictions", "m.csv", "--colour", "split"], 2, b"--colour is for a plot"),
        (["m.csv", "--predictions", "m.csv", "--plot", "a.png", "--colour", "no"], 2, b"no column 'no'"),
        (["none.csv"], 3, b"cannot read the table"),
        (["x" * 300], 3, b"cannot read the table"),
    ],
)
def test_wrong_use_ends_in_one_line(run, arguments, code, message):
    done = run("evaluate", *arguments)
    assert done.returncode == code
    assert message in done.stderr
    assert done.stderr.count(b"\n") == 1
    assert done.stdout == b""


@pytest.mark.parametrize(
    ("labels", "code", "message"),
    [
        ("path,s_mos,label_s_mos\n0.wav,2,3\n", 2, b"give the label table of the corpus"),
        ("path,condition\n0.wav,a\n", 3, b"none of its recordings has a label"),
        ("path,pesq\n0.wav,2\n", 3, b"no recording has both a label and an estimate"),
    ],
)
def test_what_is_no_label_table_is_refused(run, tmp_path, labels, code, message):
    (tmp_path / "l.csv").write_text(labels)
    (tmp_path / "p.csv").write_text("path,s_mos\n0.wav,2\n")
    done = run("evaluate", "l.csv", "--predictions", "p.csv")
    assert done.returncode == code
    assert message in done.stderr
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,s_mos\n", "not a table of estimates"),
        ("path,s_mos\n", "has no rows"),
        ("path,s_mos\nx.wav,2\n", "none of its 1 rows belongs"),
        ("path,s_mos\n0.wav,2\n./0.wav,2\n", "line 3: ./0.wav has an estimate already, in line 2"),
        ("path,s_mos\n0.wav,good\n", "'good' is not a number"),
        ("path,s_mos\n0.wav,-inf\n", "-inf is not a finite number"),
    ],
)
def test_faulty_estimates_are_named(tmp_path, content, message):
    rows = [LabelledRecording(tmp_path / f"{index}.wav") for index in range(6)]
    (tmp_path / "p.csv").write_text(content)
    with pytest.raises(InputError, match=message):
        read_estimates(tmp_path / "p.csv", rows, tmp_path)


def test_an_empty_cell_and_nan_are_no_estimates(tmp_path):
    rows = [LabelledRecording(tmp_path / f"{index}.wav") for index in range(3)]
    (tmp_path / "p.csv").write_text("path,s_mos,n_mos\n0.wav,nan,2\n1.wav,,\n2.wav\n")
    assert read_estimates(tmp_path / "p.csv", rows, tmp_path) == {
        rows[0].path: {"n_mos": 2.0},
        rows[1].path: {},
        rows[2].path: {},
    }


def test_estimates_are_found_through_links_and_from_other_folders(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "runs").mkdir()
    rows = [LabelledRecording(tmp_path / "real" / f"{index}.wav") for index in range(2)]
    table = tmp_path / "runs" / "p.csv"
    table.write_text("path,s_mos\n../link/0.wav,2\nreal/1.wav,3\n")
    found = read_estimates(table, rows, tmp_path)
    assert [found[row.path]["s_mos"] for row in rows] == [2.0, 3.0]


@pytest.mark.usefixtures("tables")
def test_without_the_extra_stats_one_line_names_it(run, tmp_path):
    (tmp_path / "scipy.py").write_text("raise ModuleNotFoundError('no scipy', name='scipy')")
    done = run(
        "evaluate",
        "labels.csv",
        "--predictions",
        "good.csv",
        env={"PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}"},
    )
    assert done.returncode == 4
    assert b"pip install 'mtqscore[stats]'" in done.stderr
    assert done.stderr.count(b"\n") == 1
