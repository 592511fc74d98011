"""Settings, networks, optimisers, and the choice of the best epoch."""

from __future__ import annotations

import csv
import dataclasses
import errno
import itertools
import json
import math
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from mtqscore.base.schema import from_plain, to_plain
from mtqscore.errors import EnvironmentProblemError, InputError, MissingExtraError, UsageError
from mtqscore.training import checkpoint as store
from mtqscore.training.checkpoint import read_checkpoint
from mtqscore.training.config import TrainConfig
from mtqscore.training.network_config import MosaNetConfig, MosSslConfig, SslConfig
from mtqscore.training.networks import build
from mtqscore.training.run import train_run
from mtqscore.training.schedule import learning_rate, make_optimizer
from mtqscore.training.tracking.history import best_epoch, quality
from mtqscore.training.tracking.tensorboard import Board
from mtqscore.training.weights import LAST_FILE, best_file
from tests.training_kit import QUIET, StopError, same_tensors, small_config, stopping

TINY_SSL = SslConfig(model="custom", layers="weighted", custom_units=8, custom_layers=1, custom_heads=1)
TINY_MOSA = MosaNetConfig(channels=(2, 2), lstm_units=4, dense_units=4)


def read_curves(folder: Path) -> list[dict[str, str]]:
    with (folder / "curves.csv").open() as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("metric", ["srcc", "loss"])
def test_the_best_epoch_is_chosen_by_a_metric_and_by_target(small_corpus, tmp_path, metric):
    config = small_config(epochs=3, lr=2e-2, ema=0.5, monitor=("n_mos", "stoi"), monitor_metric=metric)
    results = train_run(small_corpus, tmp_path, dataclasses.replace(config, best_per_target=True), QUIET)
    curves = read_curves(tmp_path)
    sign = 1 if metric == "srcc" else -1
    by_hand = [sign * (float(row[f"val_n_mos_{metric}"]) + float(row[f"val_stoi_{metric}"])) / 2 for row in curves]
    assert [float(row["monitor"]) for row in curves] == pytest.approx(by_hand, rel=1e-4)
    assert by_hand[results["best_epoch"] - 1] == max(by_hand)
    for target, epoch in results["best_epochs"].items():
        assert read_checkpoint(tmp_path / best_file(target)).state["epoch"] == epoch
    values = [sign * float(row[f"val_stoi_{metric}"]) for row in curves]
    assert values[results["best_epochs"]["stoi"] - 1] == max(values)


def test_undefined_correlations_leave_the_choice_to_the_loss():
    history = [
        {"epoch": float(at), "val_loss": loss, "monitor": -1 - loss} for at, loss in enumerate((3.0, 2.0, 4.0), 1)
    ]
    assert best_epoch(history, small_config()) == 2
    assert quality({"val_loss": 2.0, "val_s_mos_lcc": float("nan")}, ["s_mos"], small_config()) == -3.0
    assert quality({"val_loss": 2.0, "val_s_mos_lcc": -0.9}, ["s_mos"], small_config()) > -3.0


def test_settings_are_read_from_json():
    plain = json.loads(json.dumps(to_plain(small_config(alpha={"default": 0.5, "s_mos": 1}))))
    found = from_plain(TrainConfig, plain, "here")
    assert json.loads(json.dumps(to_plain(found))) == plain
    assert (found.alpha_of("s_mos"), found.alpha_of("sdi")) == (1.0, 0.5)
    assert from_plain(TrainConfig, {"bfloat16": True, "alpha": 0.5}, "here").precision == "bfloat16"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs 0 is outside"),
        ({"lr": float("nan")}, "lr nan is outside"),
        ({"alpha": {"default": 1.0, "csig": 1.0}}, "no target is called csig"),
        ({"delta": {"s_mos": 0.0}}, "delta 0 is outside"),
        ({"monitor": ("mos",)}, "no target is called mos"),
        ({"device": "tpu"}, "device 'tpu'"),
        ({"bfloat16": True, "precision": "float16"}, "contradicts"),
    ],
)
def test_settings_without_sense_are_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        TrainConfig(**settings)


def test_learning_rate_warms_up_and_ends_at_zero_or_stays():
    config = small_config(epochs=10, warmup_epochs=2.0, lr=1.0)
    rates = [learning_rate(config, step, 5) for step in range(50)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == pytest.approx(1.0)
    assert all(later < earlier for earlier, later in itertools.pairwise(rates[10:]))
    assert rates[-1] == pytest.approx(0.5 * (1 - math.cos(math.pi / 40)))
    constant = small_config(schedule="constant", warmup_epochs=0.0, lr=1e-4)
    assert {learning_rate(constant, step, 5) for step in range(50)} == {1e-4}
    sloped = small_config(schedule="constant", warmup_epochs=0.3, lr=1.0)
    assert max(learning_rate(sloped, step, 5) for step in range(9)) == 1.0


def test_another_optimiser_goes_on_bit_identically(small_corpus, tmp_path):
    for choice, kind in (("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)):
        config = small_config(epochs=2, optimizer=choice, schedule="constant", warmup_epochs=0.0, lr=1e-3)
        assert type(make_optimizer(config, build(config))) is kind
    train_run(small_corpus, tmp_path / "whole", config, QUIET)
    with pytest.raises(StopError):
        train_run(small_corpus, tmp_path / "stopped", config, stopping(3))
    train_run(small_corpus, tmp_path / "stopped", config, QUIET)
    assert any(name.startswith("optimizer.") for name in read_checkpoint(tmp_path / "whole" / LAST_FILE).tensors)
    assert same_tensors(tmp_path / "whole" / LAST_FILE, tmp_path / "stopped" / LAST_FILE)


def test_front_ends_learn_at_their_own_rate_or_not_at_all():
    frozen = build(small_config(network=dataclasses.replace(TINY_MOSA, ssl=TINY_SSL)))
    trained = {p for group in make_optimizer(small_config(), frozen).param_groups for p in group["params"]}
    front = frozen.front_end()
    assert front is not None
    assert trained.isdisjoint(front.pretrained_parameters())
    assert front.layer_weights in trained
    tuned = build(small_config(network=dataclasses.replace(TINY_MOSA, ssl=dataclasses.replace(TINY_SSL, tune=True))))
    rates = {p: group["peak"] for group in make_optimizer(small_config(), tuned).param_groups for p in group["params"]}
    own = tuned.front_end()
    assert own is not None
    assert {rates[p] for p in own.pretrained_parameters()} == {TINY_SSL.lr}
    assert rates[own.layer_weights] == small_config().lr
    assert len(rates) == len([*tuned.parameters()])


@pytest.mark.parametrize(
    ("network", "penalised"),
    [
        (dataclasses.replace(TINY_MOSA, attention_penalty=1e-4), True),
        (dataclasses.replace(TINY_MOSA, ssl=TINY_SSL), True),
        (MosSslConfig(ssl=dataclasses.replace(TINY_SSL, tune=True, layers="last")), False),
    ],
    ids=["penalty", "frozen", "tuned"],
)
def test_other_networks_go_on_within_an_epoch_and_are_read_back(small_corpus, tmp_path, network, penalised):
    config = small_config(epochs=1, network=network, max_clip_s=0.6, lr=1e-3, checkpoint_minutes=1e-9)
    whole = tmp_path / "whole"
    results = train_run(small_corpus, whole, config, QUIET)
    assert ("train_penalty" in read_curves(whole)[0]) == penalised
    folder = tmp_path / "stopped"
    with pytest.raises(StopError):
        train_run(small_corpus, folder, config, stopping(1))
    assert read_checkpoint(folder / LAST_FILE).state["step"] == 1
    assert train_run(small_corpus, folder, config, QUIET)["val"]["n_mos"] == results["val"]["n_mos"]
    assert same_tensors(whole / LAST_FILE, folder / LAST_FILE)


def test_weights_that_were_trained_on_another_front_end_are_refused(tmp_path, monkeypatch):
    config = small_config(network=dataclasses.replace(TINY_MOSA, ssl=TINY_SSL))
    network = build(config)
    front = network.front_end()
    assert front is not None
    assert store.describe_front_end(network) == {}, "random weights are in the checkpoint"
    front.kept = False
    monkeypatch.setattr(front, "fingerprint", lambda: "wavlm-large sha256:1")
    found = store.Checkpoint(tmp_path, config, network.state_dict(), store.describe_front_end(network))
    monkeypatch.setattr(front, "fingerprint", lambda: "wavlm-large sha256:2")
    with pytest.raises(InputError, match=r"trained on the front end wavlm-large sha256:1, and this one is .*sha256:2"):
        store.load_weights(network, found)


def events(folder: Path) -> Iterator[Any]:
    """Read what is for TensorBoard."""
    protocol = pytest.importorskip("tensorboardX.proto.event_pb2")
    for file in sorted((folder / "tensorboard").iterdir()):
        content = file.read_bytes()
        while content:
            (size,) = struct.unpack("<Q", content[:8])
            yield protocol.Event.FromString(content[12 : 12 + size])
            content = content[12 + size + 4 :]


def test_tensorboard_shows_losses_and_correlations_of_a_run_that_was_stopped(small_corpus, tmp_path, monkeypatch):
    config = small_config(epochs=2, tensorboard=True)
    with pytest.raises(StopError):
        train_run(small_corpus, tmp_path / "run", config, stopping(3))
    train_run(small_corpus, tmp_path / "run", config, QUIET)
    seen: dict[tuple[str, int], float] = {}
    for event in events(tmp_path / "run"):
        if event.HasField("session_log"):  # TensorBoard forgets what is not before this step
            seen = {key: value for key, value in seen.items() if key[1] < event.step}
        again = {(value.tag, event.step): value.simple_value for value in event.summary.value}
        assert not seen.keys() & again.keys()
        seen |= again
    curves = read_curves(tmp_path / "run")
    for row, step in zip(curves, (2, 4), strict=True):
        assert seen["val_lcc/n_mos", step] == pytest.approx(float(row["val_n_mos_lcc"]), rel=1e-4)
        assert seen["epoch/train_loss", step] == pytest.approx(float(row["train_loss"]), rel=1e-4)
    assert {step for name, step in seen if name == "step/loss"} == {1, 2, 3, 4}
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'mtqscore\[tensorboard\]'"):
        train_run(small_corpus, tmp_path / "other", small_config(epochs=1, tensorboard=True), QUIET)


def test_no_room_for_tensorboard_ends_the_run_in_one_line(tmp_path, monkeypatch):
    pytest.importorskip("tensorboardX")
    board = Board(tmp_path, 0, wanted=True)
    monkeypatch.setattr(board._writer.file_writer, "flush", Mock(side_effect=OSError(errno.EFBIG, "File too large")))
    with pytest.raises(EnvironmentProblemError, match=r"tensorboard: cannot be written: File too large; finished"):
        board.close()
