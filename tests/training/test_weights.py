"""Weights named by a run folder, a file or a released model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mtqscore.cli.learn.prune import prune
from mtqscore.cli.learn.train import train
from mtqscore.errors import InputError, UsageError
from mtqscore.models import find_model
from mtqscore.training.checkpoint import read_checkpoint
from mtqscore.training.weights import BEST_FILE, find_weights

MODEL = "mtqnet-s@6"


def test_a_run_a_checkpoint_and_a_model_are_found(tmp_path: Path) -> None:
    released = find_model(MODEL)
    assert find_weights(MODEL) == released.weights_path
    for name in (BEST_FILE, "mine.safetensors"):
        shutil.copy(find_weights(MODEL), tmp_path / name)
    shutil.copy(released.path, tmp_path / "mine.onnx")
    assert find_weights(tmp_path) == tmp_path / BEST_FILE
    for name in ("mine.safetensors", "mine.onnx"):
        assert find_weights(tmp_path / name) == tmp_path / "mine.safetensors"
    assert read_checkpoint(MODEL).config.targets == ("s_mos", "n_mos", "g_mos")


@pytest.mark.usefixtures("bundle")
def test_what_has_no_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lone.onnx").write_bytes(b"no model")
    for choice, error, message in (
        ("nobody", InputError, "nobody: no such run folder or checkpoint, and no model 'nobody'"),
        (tmp_path / "none", InputError, "no such checkpoint"),
        (tmp_path, InputError, "no such checkpoint"),
        (tmp_path / "lone.onnx", UsageError, r"no lone\.safetensors beside it to train on"),
        ("m@2", UsageError, "m@2: has no weights to train on"),
    ):
        with pytest.raises(error, match=message):
            find_weights(choice)


@pytest.mark.parametrize("begin", [{"init": MODEL}, {"settings": {"recipe": "kt", "teacher": MODEL}}])
def test_a_user_trains_the_released_model_on(
    tmp_path: Path, small_corpus: Path, capsys: pytest.CaptureFixture[str], begin: dict[str, Any]
) -> None:
    common = {"epochs": 1, "lr": 1e-5, "threads": 1, "batch_size": 6, "silence_share": 0.0, "warmup_epochs": 0.0}
    settings = common | begin.get("settings", {})
    train(str(small_corpus), str(tmp_path / "run"), init=begin.get("init"), settings=settings)
    assert f"{MODEL}: 100% of the weights below the heads are taken" in capsys.readouterr().err
    assert read_checkpoint(tmp_path / "run").config.network == read_checkpoint(MODEL).config.network


def test_a_user_prunes_the_released_model(tmp_path: Path) -> None:
    prune(MODEL, str(tmp_path / "half"), pruning={"criterion": "magnitude", "keep": 0.5, "threads": 1})
    report = json.loads((tmp_path / "half" / "pruning.json").read_text())
    assert report["after"]["parameters"] < 0.6 * report["before"]["parameters"]
