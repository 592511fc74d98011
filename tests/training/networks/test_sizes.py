from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mtqscore.errors import UsageError
from mtqscore.targets import TARGETS
from mtqscore.training.export.calibration import from_points
from mtqscore.training.export.graph import build_graph
from mtqscore.training.export.parity import compare, nearest_frames, synthetic_clips
from mtqscore.training.network_config import SIZES, CompactConfig
from mtqscore.training.networks.compact import CompactNet
from mtqscore.training.networks.spectrum import PowerSpectrum
from mtqscore.training.settings import NetworkFlags, train_settings
from tests.conftest import Run
from tests.training_kit import SMALL, small_network, write_corpus


def parameters(name: str) -> int:
    return sum(parameter.numel() for parameter in CompactNet(SIZES[name]).parameters())


def test_sizes_go_from_under_fifty_thousand_parameters_to_several_million() -> None:
    counts = [parameters(name) for name in SIZES]
    assert counts == sorted(counts)
    assert counts[0] < 50_000
    assert counts[-1] > 3_000_000
    assert SIZES["base"] == CompactConfig()
    assert parameters("base") == 193_776


@pytest.mark.parametrize(("hop", "stride", "second"), [(256, 3, 1), (512, 1, 1), (512, 2, 1), (256, 2, 2), (256, 1, 3)])
def test_other_steps_keep_the_contract(hop: int, stride: int, second: int) -> None:
    config = replace(SMALL, hop_samples=hop, time_stride=stride, second_time_stride=second)  # type: ignore[arg-type]
    network = small_network(2, config)
    step = hop * stride * second
    assert network.grid_hop_samples == step
    clips = [*synthetic_clips(7), np.ones(8192, np.float32), np.ones(8191, np.float32), np.ones(8704, np.float32)]
    content = build_graph(network, from_points({}, TARGETS), "steps").SerializeToString()
    assert compare(network, from_points({}, TARGETS), content, clips).worst < 2e-4
    for samples in (8191, 8192, 8193):
        frames = network(torch.ones(1, samples), torch.tensor([samples])).frame_scores
        assert frames.shape[1] == samples // step + 1 == len(network.frame_positions(samples))
        assert len(nearest_frames(network, samples)) == frames.shape[1]


def test_a_double_step_takes_every_other_frame_of_the_spectrum() -> None:
    clip = torch.randn(1, 8_000, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([8_000])
    every, _ = PowerSpectrum(CompactConfig())(clip, lengths)
    other, mask = PowerSpectrum(CompactConfig(hop_samples=512))(clip, lengths)
    assert mask.all()
    torch.testing.assert_close(other, every[:, ::2])


def test_a_size_is_chosen_by_option_or_file_and_changed_by_the_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('[network]\nsize = "small"\nlstm_units = 20\n')
    assert train_settings(None, {}, NetworkFlags(size="fast"))[0].network == SIZES["fast"]
    config, chosen = train_settings(file, {})
    assert chosen
    assert config.network == replace(SIZES["small"], lstm_units=20)
    assert train_settings(file, {}, NetworkFlags(size="tiny"))[0].network.lstm_units == 20  # type: ignore[union-attr]
    assert train_settings(file, {}, NetworkFlags(kind="mosa-net"))[0].network.kind == "mosa-net"
    with pytest.raises(UsageError, match="size tinier: choose one of tiny, small, fast, base, large, huge"):
        train_settings(None, {}, NetworkFlags(size="tinier"))
    with pytest.raises(UsageError, match="only the network compact has named sizes, not mosa-net"):
        train_settings(None, {}, NetworkFlags(kind="mosa-net", size="tiny"))


def test_train_and_export_a_size(run: Run, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", 12)
    options = ["--size", "tiny", "--epochs", "1", "--threads", "1"]
    made = run("train", "--data", str(corpus), "--out", "run", *options)
    assert made.returncode == 0, made.stderr
    assert json.loads((tmp_path / "run/config.json").read_text())["network"]["hop_samples"] == 512
    made = run("export", "run", "--out", "tiny.onnx")
    assert made.returncode == 0, made.stderr
    made = run("assess", str(corpus / "0.flac"), "--jsonl", "-", "--frames", model=str(tmp_path / "tiny.onnx"))
    assert made.returncode == 0, made.stderr
    row = json.loads(made.stdout)
    assert 1 <= row["g_mos"] <= 5
