"""Whole runs: the folder that they leave, the choices along the way, and the command line."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mtqscore.errors import InputError, MtqscoreError, UsageError
from mtqscore.labels.table import write_table
from mtqscore.training import loop
from mtqscore.training.checkpoint import load_network, read_checkpoint
from mtqscore.training.compute.precision import resolved
from mtqscore.training.config import TrainConfig
from mtqscore.training.loop import Watch
from mtqscore.training.networks import Network
from mtqscore.training.run import train_run
from mtqscore.training.weights import LAST_FILE
from tests.training_kit import QUIET, careful_config, same_tensors, small_config, stopping, write_corpus


def read_curves(folder: Path) -> list[dict[str, str]]:
    with (folder / "curves.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_run_folder_explains_itself(finished, corpus):
    config = json.loads((finished / "config.json").read_text())
    assert (config["batch_size"], config["network"]["lstm_units"]) == (6, 8)
    environment = json.loads((finished / "environment.json").read_text())
    assert environment["data"] == str(corpus.resolve())
    assert environment["recordings"] == {"train": 18, "val": 6, "test": 0}
    curves = read_curves(finished)
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


def test_everything_follows_the_targets_of_the_network(small_corpus, tmp_path):
    lines: list[str] = []
    config = small_config(epochs=1, targets=("pesq", "stoi"))
    results = train_run(small_corpus, tmp_path, config, Watch(QUIET.step, lines.append))
    assert list(results["val"]) == ["pesq", "stoi"]
    columns = read_curves(tmp_path)[0]
    assert "val_pesq_lcc" in columns
    assert not any("mos" in name for name in columns)
    (epoch,) = [line for line in lines if line.startswith("epoch")]
    assert "val LCC pesq" in epoch
    assert "left" in epoch
    with (tmp_path / "predictions_val.csv").open() as stream:
        assert next(csv.reader(stream)) == ["path", "pesq", "stoi", "label_pesq", "label_stoi"]
    assert [target.name for target in load_network(read_checkpoint(tmp_path)).targets] == ["pesq", "stoi"]


def test_training_learns_the_noise_level(corpus, tmp_path):
    results = train_run(corpus, tmp_path, small_config(epochs=10, lr=1e-2, ema=0.9), QUIET)
    assert results["val"]["n_mos"]["lcc"] > 0.9


def test_best_checkpoint_is_the_averaged_network_of_the_best_epoch(finished):
    best = read_checkpoint(finished)
    assert all(name.startswith("average.") for name in best.tensors)
    assert not load_network(best).training
    last = read_checkpoint(finished / LAST_FILE)
    assert any(not torch.equal(last.part("model")[name], tensor) for name, tensor in last.part("average").items())


def test_a_finished_run_is_not_changed(corpus, finished, tmp_path):
    before = (finished / LAST_FILE).read_bytes()
    with pytest.raises(UsageError, match=r"batch_size 6 → 5") as caught:
        train_run(corpus, finished, careful_config(batch_size=5, threads=2), QUIET)
    assert "\n" not in str(caught.value)
    assert "threads" not in str(caught.value), "threads change no result"
    with pytest.raises(UsageError, match="another label table"):
        train_run(write_corpus(tmp_path, 8), finished, careful_config(), QUIET)
    train_run(corpus, finished, careful_config(), stopping(1))
    assert (finished / LAST_FILE).read_bytes() == before


def test_init_starts_from_other_weights(corpus, finished, tmp_path):
    train_run(corpus, tmp_path, small_config(epochs=1, lr=0.0), QUIET, init=finished)
    tuned, start = read_checkpoint(tmp_path).part("average"), read_checkpoint(finished).part("average")
    assert all(torch.equal(tuned[name], start[name]) for name in start if "weight" in name and "norm" not in name)


def test_patience_ends_a_run_early(small_corpus, tmp_path):
    results = train_run(small_corpus, tmp_path, small_config(epochs=9, patience=2, lr=0.0, ema=0.0), QUIET)
    assert 3 <= results["epochs"] < 9


def test_split_without_labels_is_refused(corpus, tmp_path):
    record = {"path": str(corpus / "0.flac"), "split": "train", "s_mos": 3}
    write_table(tmp_path / "manifest.csv", list(record), [record])
    with pytest.raises(InputError, match="split val has no recordings with labels"):
        train_run(tmp_path, tmp_path / "run", small_config(), QUIET)
    with pytest.raises(InputError, match="split train has no recordings with labels of sdi"):
        train_run(corpus, tmp_path / "run", small_config(targets=("sdi",)), QUIET)
    assert not (tmp_path / "run").exists()


def test_nothing_that_is_not_finite_is_kept(corpus, tmp_path, monkeypatch):
    """The loss itself, what the network estimates after the only step, or the gradient of that step."""
    only = {"epochs": 1, "batch_size": 18, "warmup_epochs": 0.0}
    with pytest.raises(MtqscoreError, match="the loss is nan in epoch 1; try a lower --lr"):
        train_run(corpus, tmp_path, small_config(lr=1e30, grad_clip=1e30), QUIET)
    with pytest.raises(MtqscoreError, match="the validation loss is nan in epoch 1; try a lower --lr"):
        train_run(corpus, tmp_path, small_config(**only, lr=1e30), QUIET)
    make = loop.build

    def ill(settings: TrainConfig) -> Network:
        network = make(settings)
        network.dense.weight.register_hook(lambda gradient: gradient * torch.nan)
        return network

    monkeypatch.setattr(loop, "build", ill)
    for grad_clip in (0.0, 1.0):
        with pytest.raises(MtqscoreError, match="the gradient is nan in epoch 1; try a lower --lr"):
            train_run(corpus, tmp_path, small_config(**only, grad_clip=grad_clip), QUIET)
    assert not [*tmp_path.glob("*.safetensors")]


def test_arithmetic_is_settled_before_it_is_written():
    assert resolved(small_config(precision="auto")).precision in {"bfloat16", "float32"}
    assert resolved(small_config(precision="bfloat16")).precision == "bfloat16"
    with pytest.raises(UsageError, match="needs a GPU"):
        resolved(small_config(precision="float16", device="cpu"))


def test_bfloat16_learns_like_float32(corpus, finished, tmp_path):
    train_run(corpus, tmp_path, small_config(precision="bfloat16"), QUIET)
    exact, rounded = (float(read_curves(folder)[-1]["train_loss"]) for folder in (finished, tmp_path))
    assert rounded == pytest.approx(exact, rel=0.02)
    assert rounded != exact


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


def test_interrupted_command_exits_130_and_keeps_its_epochs(small_corpus, tmp_path):
    command = [sys.executable, "-m", "mtqscore", "train", "--data", str(small_corpus), "--out", str(tmp_path / "r")]
    # Far more epochs than it will get to, however late the signal comes.
    command += ["--config", str(write_toml(tmp_path)), "--epochs", "500"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stderr=subprocess.PIPE, cwd=root, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("epoch 2/"):
                break
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(20) == 130
    assert "interrupted" in rest
    assert "Traceback" not in rest
    assert read_checkpoint(tmp_path / "r" / LAST_FILE).state["epoch"] >= 2
