"""Whole runs: the folder that they leave, the choices along the way, and the command line."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import math
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mtqscore.errors import InputError, MtqscoreError, UsageError
from mtqscore.labels.table import write_table
from mtqscore.training.checkpoint import load_network, read_checkpoint
from mtqscore.training.compute.precision import resolved
from mtqscore.training.loop import Watch
from mtqscore.training.run import train_run
from mtqscore.training.schedule import learning_rate
from mtqscore.training.weights import BEST_FILE, LAST_FILE
from tests.training_kit import QUIET, same_tensors, small_config, stopping, write_corpus


@pytest.fixture(scope="module")
def finished(corpus, tmp_path_factory) -> Path:
    """A run of three epochs without a stop."""
    folder = tmp_path_factory.mktemp("run")
    train_run(corpus, folder, small_config(), QUIET)
    return folder


def test_run_folder_explains_itself(finished, corpus):
    config = json.loads((finished / "config.json").read_text())
    assert config["batch_size"] == 6
    assert config["network"]["lstm_units"] == 8
    environment = json.loads((finished / "environment.json").read_text())
    assert environment["data"] == str(corpus.resolve())
    assert environment["recordings"] == {"train": 18, "val": 6, "test": 0}
    with (finished / "curves.csv").open() as stream:
        curves = list(csv.DictReader(stream))
    assert [row["epoch"] for row in curves] == ["1", "2", "3"]
    assert float(curves[-1]["train_loss"]) < float(curves[0]["train_loss"])
    assert (finished / "curves.png").read_bytes().startswith(b"\x89PNG")
    results = json.loads((finished / "results.json").read_text())
    assert results["best_epoch"] in {1, 2, 3}
    assert results["val"]["sdi"]["lcc"] is None, "what is undefined is null, since JSON has no NaN"
    with (finished / "predictions_val.csv").open() as stream:
        predictions = list(csv.DictReader(stream))
    assert len(predictions) == 6
    assert (finished / predictions[0]["path"]).is_file()


def test_training_learns_the_noise_level(corpus, tmp_path):
    config = small_config(epochs=15, lr=1e-2, ema=0.9)
    results = train_run(corpus, tmp_path, config, QUIET)
    assert results["val"]["n_mos"]["lcc"] > 0.9


def test_best_checkpoint_is_the_averaged_network_of_the_best_epoch(finished):
    best = read_checkpoint(finished)
    assert all(name.startswith("average.") for name in best.tensors)
    network = load_network(best)
    assert not network.training
    last = read_checkpoint(finished / LAST_FILE)
    assert any(not torch.equal(last.part("model")[name], tensor) for name, tensor in last.part("average").items())


def test_a_finished_run_is_not_changed(corpus, finished, tmp_path):
    before = (finished / LAST_FILE).read_bytes()
    with pytest.raises(UsageError, match=r"batch_size 6 → 5") as caught:
        train_run(corpus, finished, small_config(batch_size=5, threads=2), QUIET)
    assert "\n" not in str(caught.value)
    assert "threads" not in str(caught.value), "threads change no result"
    with pytest.raises(UsageError, match="another label table"):
        train_run(write_corpus(tmp_path, 8), finished, small_config(), QUIET)
    train_run(corpus, finished, small_config(), stopping(1))
    assert (finished / LAST_FILE).read_bytes() == before


def test_init_starts_from_other_weights(corpus, finished, tmp_path):
    train_run(corpus, tmp_path / "tuned", small_config(epochs=1, lr=0.0), QUIET, init=finished)
    tuned, start = read_checkpoint(tmp_path / "tuned").part("average"), read_checkpoint(finished).part("average")
    assert all(torch.equal(tuned[name], start[name]) for name in start if "weight" in name and "norm" not in name)


def test_patience_ends_a_run_early(corpus, tmp_path):
    config = small_config(epochs=9, patience=2, lr=0.0, ema=0.0)
    lines: list[str] = []
    train_run(corpus, tmp_path, config, Watch(QUIET.step, lines.append))
    epochs = [line for line in lines if line.startswith("epoch ")]
    assert 3 <= len(epochs) < 9


def test_split_without_labels_is_refused(corpus, tmp_path):
    record = {"path": str(corpus / "0.flac"), "split": "train", "s_mos": 3}
    write_table(tmp_path / "manifest.csv", list(record), [record])
    with pytest.raises(InputError, match="split val has no recordings with labels"):
        train_run(tmp_path, tmp_path / "run", small_config(), QUIET)
    with pytest.raises(InputError, match="split train has no recordings with labels of sdi"):
        train_run(corpus, tmp_path / "run", small_config(targets=("sdi",)), QUIET)
    assert not (tmp_path / "run").exists()


def test_diverged_loss_ends_with_advice(corpus, tmp_path):
    with pytest.raises(MtqscoreError, match="lower --lr"):
        train_run(corpus, tmp_path, small_config(lr=1e30, grad_clip=1e30), QUIET)


def test_damaged_checkpoints_are_named(finished, tmp_path):
    (tmp_path / "cut.safetensors").write_bytes((finished / BEST_FILE).read_bytes()[:100])
    with pytest.raises(InputError, match="not a checkpoint"):
        read_checkpoint(tmp_path / "cut.safetensors")
    with pytest.raises(InputError, match="no such checkpoint"):
        read_checkpoint(tmp_path)
    best = read_checkpoint(finished)
    narrower = dataclasses.replace(best.config.network, dense_units=5)
    with pytest.raises(InputError, match="do not fit"):
        load_network(dataclasses.replace(best, config=small_config(network=narrower)))


def test_learning_rate_warms_up_and_ends_at_zero():
    config = small_config(epochs=10, warmup_epochs=2.0, lr=1.0)
    rates = [learning_rate(config, step, 5) for step in range(50)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == pytest.approx(1.0)
    assert all(later < earlier for earlier, later in itertools.pairwise(rates[10:]))
    assert rates[-1] == pytest.approx(0.5 * (1 - math.cos(math.pi / 40)))


def test_arithmetic_is_settled_before_it_is_written():
    assert resolved(small_config(precision="auto")).precision in {"bfloat16", "float32"}
    assert resolved(small_config(precision="bfloat16")).precision == "bfloat16"
    with pytest.raises(UsageError, match="needs a GPU"):
        resolved(small_config(precision="float16", device="cpu"))


def test_bfloat16_learns_like_float32(corpus, finished, tmp_path):
    train_run(corpus, tmp_path, small_config(precision="bfloat16"), QUIET)
    losses = []
    for folder in (finished, tmp_path):
        with (folder / "curves.csv").open() as stream:
            losses.append(float(list(csv.DictReader(stream))[-1]["train_loss"]))
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert losses[1] != losses[0]


def write_toml(folder: Path) -> Path:
    file = folder / "small.toml"
    file.write_text(
        "epochs = 400\nbatch_size = 6\nlr = 5e-3\nsilence_share = 0\nthreads = 1\nbfloat16 = false\n"
        "[network]\nconv_channels = [7, 8]\n"
        "conv_widths = [5, 7]\nconv_strides = [2, 6]\nsqueeze_units = 16\nlstm_units = 8\ndense_units = 12\n"
    )
    return file


def test_command_line_trains_and_flags_win_over_the_file(run, corpus, finished, tmp_path):
    done = run("train", "--data", str(corpus), "--config", str(write_toml(tmp_path)), "--epochs", "3", "--out", "r")
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == b""
    assert b"epoch 3/3" in done.stderr
    assert same_tensors(tmp_path / "r" / LAST_FILE, finished / LAST_FILE), "a process gives what a call gives"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_command_exits_130_and_keeps_its_epochs(corpus, tmp_path, number):
    command = [sys.executable, "-m", "mtqscore", "train", "--data", str(corpus), "--out", str(tmp_path / "r")]
    # Far more epochs than it will get to, however late the signal comes.
    command += ["--config", str(write_toml(tmp_path)), "--epochs", "500"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stderr=subprocess.PIPE, cwd=root, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("epoch 2/"):
                break
        time.sleep(0.05)
        process.send_signal(number)
        rest = process.stderr.read()
        assert process.wait(20) == 130
    assert "interrupted" in rest
    assert "Traceback" not in rest
    assert read_checkpoint(tmp_path / "r" / LAST_FILE).state["epoch"] >= 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "none"], b"no such file or folder"),
        (["--data", "none", "--delta", "x"], b"--delta x"),
        (["--data", "none", "--config", "none.toml"], b"none.toml"),
    ],
)
def test_wrong_use_ends_in_one_line(run, arguments, message):
    done = run("train", *arguments)
    assert done.returncode in {2, 3}
    assert message in done.stderr
    assert done.stderr.count(b"\n") == 1
