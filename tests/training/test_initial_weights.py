"""Training that begins with a released model: its ONNX file gives back the network."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from mtqscore.errors import InputError, UsageError
from mtqscore.models import find_model
from mtqscore.targets import SUPERVISED
from mtqscore.training.checkpoint import load_network, read_checkpoint
from mtqscore.training.export.calibration import from_points
from mtqscore.training.export.graph import build_graph
from mtqscore.training.export.graph.restore import NotCompactError, restore_compact
from mtqscore.training.initial_weights import read_weights
from tests.training_kit import SMALL, paused_tone, small_network, write_corpus

CONFIGS = {
    "small": SMALL,
    "three layers": dataclasses.replace(
        SMALL, conv_channels=(5, 6, 7), conv_widths=(3, 5, 3), conv_strides=(2, 3, 4), second_time_stride=2
    ),
    "wide": dataclasses.replace(SMALL, conv_widths=(7, 3), hop_samples=512, time_stride=3),
    "narrow": dataclasses.replace(SMALL, conv_widths=(1, 3)),
    "one layer": dataclasses.replace(
        SMALL, conv_channels=(6,), conv_widths=(5,), conv_strides=(2,), floor_db=-70.0, feature_mean_db=-30.0
    ),
}


def clips() -> list[np.ndarray]:
    return [paused_tone(30_000, noise, seed) for seed, noise in enumerate((0.02, 0.5, 0.1))]


@pytest.mark.parametrize("name", CONFIGS)
def test_a_file_gives_back_its_network(name: str) -> None:
    network = small_network(1, CONFIGS[name]).with_targets([target.name for target in SUPERVISED])
    model = build_graph(network, from_points({}), "small")
    metadata = model.metadata_props.add()
    metadata.key, metadata.value = "targets", ",".join(target.name for target in SUPERVISED)
    again = restore_compact(model, clips())
    assert again.config == CONFIGS[name]
    waveform = torch.from_numpy(np.stack([paused_tone(24_000, 0.1, 5), paused_tone(24_000, 0.7, 6)]))
    lengths = torch.tensor([24_000, 17_300])
    with torch.no_grad():
        mine, theirs = network(waveform, lengths), again(waveform, lengths)
    assert torch.allclose(mine.scores, theirs.scores, atol=2e-4)
    valid = 17_300 // CONFIGS[name].frame_hop_samples + 1
    assert torch.allclose(mine.frame_scores[1, :valid], theirs.frame_scores[1, :valid], atol=2e-4)


def test_in_training_it_stays_near() -> None:
    """With the statistics of the batch in place of those that were stored, on the recordings that gave these."""
    network = small_network(2)
    model = build_graph(network.with_targets([target.name for target in SUPERVISED]), from_points({}), "small")
    metadata = model.metadata_props.add()
    metadata.key, metadata.value = "targets", ",".join(target.name for target in SUPERVISED)
    again = restore_compact(model, clips())
    waveform = torch.from_numpy(np.stack(clips()))
    lengths = torch.full((3,), 30_000)
    with torch.no_grad():
        calm = again(waveform, lengths).scores
        again.train()
        again.dropout.p = 0.0
        assert torch.allclose(again(waveform, lengths).scores, calm, atol=0.02)


def test_the_released_model_and_its_network_say_the_same() -> None:
    checkpoint = read_weights(Path("mtqnet-s@5"))
    network = load_network(checkpoint)
    session = onnxruntime.InferenceSession(find_model("mtqnet-s@5").path.read_bytes())
    waveform, lengths = np.stack(clips()), np.array([30_000, 21_000, 30_000])
    said = session.run(None, {"waveform": waveform, "lengths": lengths})[0]
    with torch.no_grad():
        scores = network(torch.from_numpy(waveform), torch.from_numpy(lengths)).scores
    assert np.allclose(said, scores.numpy(), atol=2e-3)


def test_what_is_no_compact_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="mtqnet-s@1: holds no compact network in the form"):
        read_weights(Path("mtqnet-s@1"))
    with pytest.raises(InputError, match="nobody: no such run folder or checkpoint, and no model 'nobody'"):
        read_weights(Path("nobody"))
    with pytest.raises(InputError, match="no such checkpoint"):
        read_weights(tmp_path / "none")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    with pytest.raises(UsageError, match=r"broken\.onnx"):
        read_weights(broken)
    model = build_graph(small_network().with_targets(["s_mos"]), from_points({}), "small")
    with pytest.raises(NotCompactError):
        restore_compact(model, clips())  # it does not say what it estimates


@pytest.mark.parametrize("begin", [["--init", "mtqnet-s@5"], ["--recipe", "kt", "--teacher", "mtqnet-s@5"]])
def test_a_user_trains_the_released_model_on(tmp_path: Path, begin: list[str]) -> None:
    corpus = write_corpus(tmp_path / "corpus", 12)
    settings = tmp_path / "settings.toml"
    settings.write_text("batch_size = 6\nwarmup_epochs = 0.0\nsilence_share = 0.0\n")
    command = [sys.executable, "-m", "mtqscore", "train", "--data", str(corpus), "--out", str(tmp_path / "run"), *begin]
    command += ["--epochs", "1", "--lr", "1e-5", "--threads", "1", "--config", str(settings)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    assert "mtqnet-s@5: 100% of the weights below the heads are taken" in made.stdout + made.stderr
    config = read_checkpoint(tmp_path / "run").config
    assert config.network == read_weights(Path("mtqnet-s@5")).config.network


def test_a_user_prunes_the_released_model(tmp_path: Path) -> None:
    out = tmp_path / "half"
    command = [sys.executable, "-m", "mtqscore", "prune", "mtqnet-s@5", "--criterion", "magnitude", "--keep", "0.5"]
    made = subprocess.run([*command, "--threads", "1", "--out", str(out)], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    report = json.loads((out / "pruning.json").read_text())
    assert report["after"]["parameters"] < 0.6 * report["before"]["parameters"]
