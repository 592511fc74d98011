"""`mtqscore train` as a process: data, recipes, and what it refuses."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from mtqscore.base.option import options_of
from mtqscore.labels.table import write_table
from mtqscore.training.config import DistillConfig, TrainConfig
from tests.cli.conftest import start
from tests.tmhint_miniature import write_tmhint_qi
from tests.training_kit import write_corpus

SETTINGS = """
epochs = 1
batch_size = 6
threads = 1
precision = "float32"
silence_share = 0
[network]
conv_channels = [7, 8]
conv_widths = [5, 7]
conv_strides = [2, 6]
squeeze_units = 16
lstm_units = 8
dense_units = 12
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    write_corpus(tmp_path / "corpus", 12)
    (tmp_path / "small.toml").write_text(SETTINGS)
    return tmp_path


def test_teacher_then_mpl_then_kt(run, folder):
    """The newcomer's way: pseudo-labels of one network help the next."""
    common = ("train", "--data", "corpus", "--config", "small.toml")
    taught = run(*common, "--recipe", "scratch", "--targets", "pesq,stoi", "--out", "runs/teacher")
    assert (taught.returncode, taught.stdout) == (0, b""), taught.stderr.decode()
    mpl = run(*common, "--teacher", "runs/teacher", "--loss", "mae", "--alpha", "0.5", "--delta", "s_mos=0.75")
    assert (mpl.returncode, mpl.stdout) == (0, b""), mpl.stderr.decode()
    assert b"runs/teacher: pesq, stoi of 12 recordings, kept in corpus/pseudo_labels-" in mpl.stderr
    config = json.loads((folder / "runs" / "corpus" / "config.json").read_text())
    assert (config["recipe"], config["teacher"]) == ("mpl", "runs/teacher")
    assert (config["loss"], config["alpha"], config["delta"]) == ("mae", 0.5, {"default": 1.0, "s_mos": 0.75})
    assert (folder / "runs" / "corpus" / "pseudo_labels.csv").is_file()
    kt = run("train", "--data", "corpus", "--epochs", "1", "--recipe", "kt", "--teacher", "runs/teacher", "--out", "kt")
    assert kt.returncode == 0, kt.stderr.decode()
    assert b"100% of the weights below the heads are taken" in kt.stderr
    assert [*json.loads((folder / "kt" / "results.json").read_text())["val"]] == ["s_mos", "n_mos", "g_mos"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--recipe", "magic"], 2, "'magic' is none of mpl, kt, scratch"),
        (["--network", "resnet"], 2, "network resnet: choose one of compact, mosa-net, mos-ssl, xls-r-sqa"),
        (["--targets", "pesq,csig"], 2, "targets csig"),
        (["--epochs", "x"], 2, "Input should be a valid integer"),
        (["--alpha", "s_mos="], 2, "--alpha s_mos=: give a number"),
        (["--delta", "csig=1"], 2, "no target is called csig"),
        (["--delta", "x"], 2, "--delta x"),
        (["--labels", "mine"], 2, "--labels mine: choose one of"),
        (["--references", "r", "--teacher", "t"], 2, "--references goes with --teacher references"),
        (["--config", "none.toml"], 2, "none.toml: cannot read"),
    ],
)
def test_wrong_settings_are_refused_in_one_line_before_anything_is_read(run, tmp_path, arguments, code, message):
    done = run("train", "--data", "none", *arguments)
    assert (done.returncode, done.stdout) == (code, b"")
    assert message in done.stderr.decode()
    assert "Usage" in done.stderr.decode() or done.stderr.count(b"\n") == 1
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--teacher", "nope"], 2, "--teacher nope: no such run folder or checkpoint, and no model 'nope'"),
        (["--teacher", "x" * 300], 2, "no such run folder or checkpoint"),
        (["--teacher", "runs/none"], 3, "--teacher runs/none: no such run folder, checkpoint or ONNX file"),
        (["--recipe", "kt", "--teacher", "runs/none"], 3, "no such run folder, checkpoint or ONNX file"),
        (["--recipe", "kt", "--teacher", "model.ONNX"], 2, "model.ONNX: no model.safetensors beside it"),
        (["--init", "x" * 300], 3, "no such run folder or checkpoint, and no model"),
    ],
)
def test_teachers_that_are_none_are_refused_in_one_line(run, folder, arguments, code, message):
    (folder / "model.ONNX").write_bytes(b"")
    done = run("train", "--data", "corpus", *arguments)
    assert (done.returncode, done.stdout) == (code, b"")
    assert message in done.stderr.decode().splitlines()[-1]
    assert b"Traceback" not in done.stderr


def test_data_without_a_name_is_no_traceback(run):
    done = run("train", "--data", "/")
    assert done.returncode == 3
    assert b"/: the folder has no manifest.csv" in done.stderr


def test_faults_are_told_where_the_run_folder_cannot_be_written(run, tmp_path):
    write_table(tmp_path / "manifest.csv", ["path"], [{"path": f"{number}.wav"} for number in range(12)])
    done = run("train", "--data", ".", "--out", "/proc/none")
    assert done.returncode == 3
    assert b"/proc/none/faults.txt: cannot be written" in done.stderr
    assert b"12 faults: line 2: no such file: 0.wav" in done.stderr


def test_faults_of_a_corpus_unpacked_in_part_come_with_what_is_missing(run, tmp_path):
    root = write_tmhint_qi(tmp_path)
    shutil.rmtree(root / "test")
    next((root / "train").glob("Noisy*")).write_bytes(b"")
    done = run("train", "--data", "tmhint-qi", "--labels", "given", env={"MTQSCORE_HOME": str(tmp_path)})
    assert done.returncode == 3
    *notes, last = done.stderr.decode().splitlines()
    assert "93 recordings, 12,937 are published" in notes[0]
    assert any("No such file or directory" in note for note in notes)
    assert "1 fault: " in last


def test_more_faults_than_a_line_can_tell_are_in_a_file(run, tmp_path):
    records = [{"path": f"-gone {number}\n.wav", "s_mos": 7} for number in range(12)]
    write_table(tmp_path / "manifest.csv", ["path", "s_mos"], records)
    done = run("train", "--data", "manifest.csv", "--out", "r")
    assert done.returncode == 3
    assert done.stderr.count(b"\n") == 1
    assert b"24 faults (all in r/faults.txt): line 2: " in done.stderr
    lines = (tmp_path / "r" / "faults.txt").read_text().splitlines()
    assert len(lines) == 24
    assert lines[-1].startswith("line 24: ")


def test_named_corpus_that_is_not_here_says_where_it_comes_from(run, tmp_path):
    done = run("train", "--data", "tmhint-qi", env={"MTQSCORE_HOME": str(tmp_path), "MTQSCORE_DATA": ""})
    assert done.returncode == 4
    assert b"drive.google.com" in done.stderr


def test_corpus_by_name_is_judged_by_condition(run, folder):
    """Its labels stay with the run, as the corpus has no table of its own."""
    root = write_tmhint_qi(folder)
    names = sorted(path.name for path in root.glob("t*/[A-Z]*.wav"))
    scores = [f"{name};{2 + number % 3};{'' if number % 9 == 4 else 3};2,5\n" for number, name in enumerate(names)]
    (folder / "3quest.csv").write_text("File;S-MOS;N-MOS;G-MOS\n" + "".join(scores))
    corpus = ("--data", "tmhint-qi", "--labels", "given", "--three-quest-scores", "3quest.csv", "--split-seed", "5")
    done = run("train", *corpus, "--config", "small.toml", "--out", "r", env={"MTQSCORE_HOME": str(folder)})
    assert done.returncode == 0, done.stderr.decode()
    judged = ("--predictions", "r/predictions_test.csv", "--by", "condition", "--csv", "-", "--resamples", "10")
    found = run("evaluate", "r/labels.csv", "--split", "test", *judged)
    assert found.returncode == 0, found.stderr.decode()
    records = list(csv.DictReader(found.stdout.decode().splitlines()))
    assert {record["value"] for record in records} >= {"Noisy-SNR-2-white", "KLT-SNR5-street"}
    assert {record["target"] for record in records} == {"s_mos", "n_mos", "g_mos"}


def test_teacher_that_is_interrupted_ends_130_and_keeps_what_it_has_said(folder):
    """It is stopped while the exact values are computed, by the signal of a batch system."""
    (folder / "clean").symlink_to("corpus", target_is_directory=True)
    words = ("train", "--data", "corpus", "--config", "small.toml", "--out", "r", "--references", "clean")
    with start(folder, *words, env={"MTQSCORE_HOME": str(folder)}, stderr=subprocess.PIPE, text=True) as process:
        for _ in range(600):
            if [*folder.glob("corpus/pseudo*.partial.jsonl")]:
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        said = process.stderr.read()
        assert process.wait(30) == 130, said
    assert "interrupted" in said
    assert "Traceback" not in said
    assert [*folder.glob("corpus/pseudo*.partial.jsonl")]
    assert not [*folder.glob("corpus/pseudo*.csv")]


WITHOUT_TORCH = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "onnx", "safetensors", "matplotlib"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Refuse())
from mtqscore.cli import main
main()
"""


@pytest.mark.parametrize("words", [["train", "--data", "x"], ["export", "run", "--out", "x.onnx"]])
def test_missing_extra_is_one_line_with_its_cure(run, words):
    done = run(*words, program=("-c", WITHOUT_TORCH))
    assert (done.returncode, done.stderr.count(b"\n")) == (4, 1)
    assert done.stderr.startswith(f"mtqscore: mtqscore {words[0]} needs the module ".encode())
    assert b"pip install 'mtqscore[train]'" in done.stderr


def test_help_groups_options(run):
    page = run("train", "--help", env={"COLUMNS": "100"}).stdout.decode()
    held = {text.split(" ─")[0]: text for text in page.split("╭─ ")[1:]}
    assert list(held) == ["Options", "Data", "Recipe and network", "Learning", "Machine"]
    assert "mpl|kt|scratch" in held["Recipe and network"]


@pytest.mark.parametrize("command", ["train", "distill"])
def test_help_shows_every_default(run, command):
    page = " ".join(run(command, "--help", env={"COLUMNS": "300"}).stdout.decode().split())
    settings = {**options_of(TrainConfig), **(options_of(DistillConfig) if command == "distill" else {})}
    for name, (option, default) in settings.items():
        if not option.flags or (command == "distill" and name in ("recipe", "teacher")):
            continue
        described = page.split(f"│ {option.flags[0].split('/')[0]} ", 1)[1].split("│", 1)[0]
        if default not in (None, (), False):
            assert f"[default: {option.shown or default}]" in described, name
