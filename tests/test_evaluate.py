from __future__ import annotations

import csv
import io
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mtqscore.errors import InputError, UsageError
from mtqscore.evaluation import evaluate, natural_key, read_estimates
from mtqscore.manifest import Row
from tests.signals import speechlike, write

TRUTH = [1.0, 2.0, 3.0, 4.0, 5.0, 2.0]
ESTIMATE = [1.2, 2.1, 2.8, 4.4, 4.6, 2.0]
CONDITIONS = ["c10", "c9", "c10", "c9", "c2", "c2"]


def some_rows() -> list[Row]:
    return [
        Row(Path(f"/x/{index}.wav"), "test", {"s_mos": label}, {"condition": condition})
        for index, (label, condition) in enumerate(zip(TRUTH, CONDITIONS, strict=True))
    ]


def some_estimates() -> dict[Path, dict[str, float]]:
    return {row.path: {"s_mos": value} for row, value in zip(some_rows(), ESTIMATE, strict=True)}


def test_files_means_and_groups_by_hand():
    found = {item.group: item for item in evaluate(some_rows(), some_estimates(), resamples=50)}
    assert list(found) == ["files", "means by condition", "condition = c2", "condition = c9", "condition = c10"]
    files = found["files"]
    assert files.pairs == 6
    assert files.lcc == pytest.approx(np.corrcoef(TRUTH, ESTIMATE)[0, 1])
    assert files.rmse == pytest.approx(math.sqrt((0.04 + 0.01 + 0.04 + 0.16 + 0.16) / 6))
    assert files.bias == pytest.approx(0.1 / 6)
    assert files.lcc_interval is not None
    assert files.lcc_interval.low <= files.lcc <= files.lcc_interval.high
    means = found["means by condition"]
    assert means.pairs == 3
    assert means.lcc == pytest.approx(np.corrcoef([3.5, 3.0, 2.0], [3.3, 3.25, 2.0])[0, 1])
    assert found["condition = c2"].rmse == pytest.approx(math.sqrt(0.16 / 2))
    assert math.isnan(found["condition = c2"].lcc), "two pairs say nothing"


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


@pytest.fixture
def corpus(tmp_path) -> Path:
    """Recordings of falling level, which the small model notices, labelled by it; the last one is no audio."""
    lines = ["path,split,s_mos,n_mos,g_mos,condition,comment"]
    for index in range(6):
        write(tmp_path / f"{index}.wav", speechlike(1.0, seed=index) * 0.7**index)
        lines.append(f"{index}.wav,{'train' if index == 0 else 'test'},{4 - index / 2},,,{'ab'[index % 2]},ignored")
    (tmp_path / "m.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def table_of(text: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text.decode())))


@pytest.mark.usefixtures("corpus")
def test_command_scores_a_table_with_a_model(run, fake_model):
    done = run("evaluate", "m.csv", "--model", fake_model, "--split", "test", "--resamples", "20", "--csv", "-")
    assert done.returncode == 0, done.stderr.decode()
    table = table_of(done.stdout)
    assert [row["group"] for row in table] == ["files", "means by condition", "condition = a", "condition = b"]
    assert table[0]["target"] == "s_mos"
    assert table[0]["n"] == "5"
    assert abs(float(table[0]["lcc"])) > 0.9
    assert b"5 recordings scored by fake@1" in done.stderr


@pytest.mark.usefixtures("corpus")
def test_command_shows_a_table(run, fake_model):
    done = run("evaluate", "m.csv", "--model", fake_model, "--by", "split", "--resamples", "20")
    lines = done.stdout.decode().splitlines()
    assert lines[0].split() == ["target", "group", "n", "LCC", "95", "%", "SRCC", "KTAU", "RMSE", "95", "%", "bias"]
    assert [line[:24].split(maxsplit=1)[1].strip() for line in lines[1:]] == [
        "files",
        "means by split",
        "split = test",
        "split = train",
    ]
    assert "–" in lines[4], "one recording has no correlation"


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


@pytest.mark.usefixtures("corpus")
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["m.csv", "--split", "dev"], 2, b"--split dev"),
        (["m.csv", "--split", "val"], 2, b"no recordings in the split val"),
        (["m.csv", "--model", "x.onnx", "--predictions", "p.csv"], 2, b"not both"),
        (["m.csv", "--predictions", "none.csv"], 3, b"cannot read the estimates"),
        (["m.csv", "--predictions", "m.csv", "--by", "speaker"], 2, b"no column 'speaker'"),
        (["none.csv"], 3, b"cannot read the table"),
    ],
)
def test_wrong_use_ends_in_one_line(run, arguments, code, message):
    done = run("evaluate", *arguments)
    assert done.returncode == code
    assert message in done.stderr
    assert done.stderr.count(b"\n") == 1
    assert done.stdout == b""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,s_mos\n", "not a table of estimates"),
        ("path,s_mos\n0.wav,2\n", "no estimate for 5 of 6"),
        ("path,s_mos\n0.wav,2\n./0.wav,2\n", "has an estimate already"),
        ("path,s_mos\n0.wav,good\n", "'good' is not a number"),
    ],
)
def test_faulty_estimates_are_named(tmp_path, content, message):
    rows = [Row(tmp_path / f"{index}.wav") for index in range(6)]
    (tmp_path / "p.csv").write_text(content)
    with pytest.raises(InputError, match=message):
        read_estimates(tmp_path / "p.csv", rows, tmp_path)


def test_evaluation_of_predictions_imports_no_torch(corpus):
    code = "import sys; from mtqscore.cli import main\ntry: main()\nexcept SystemExit: pass\n"
    code += "assert not {'torch', 'scipy', 'onnxruntime'} & set(sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, "evaluate", "m.csv", "--predictions", "m.csv", "--resamples", "5"],
        cwd=corpus,
        capture_output=True,
        check=False,
        env={"PYTHONPATH": str(Path(__file__).parent.parent)},
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"files" in done.stdout
