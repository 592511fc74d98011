"""Pruned networks: what is cut, what is left, and what cannot be pruned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

from mtqscore.cli.learn.prune import prune as command
from mtqscore.errors import InputError, UsageError
from mtqscore.labels.table import read_label_table
from mtqscore.targets import TARGETS
from mtqscore.training.checkpoint import load_network, read_checkpoint, write_checkpoint
from mtqscore.training.data.dataset import Dataset
from mtqscore.training.export.calibration import from_points
from mtqscore.training.export.graph import build_graph
from mtqscore.training.export.inference_cost import count_parameters, measure
from mtqscore.training.export.parity import compare, synthetic_clips
from mtqscore.training.losses import MplLoss
from mtqscore.training.network_config import CompactConfig, MosaNetConfig
from mtqscore.training.networks import build
from mtqscore.training.networks.compact import CompactNet
from mtqscore.training.pruning.config import PARTS, PruneConfig
from mtqscore.training.pruning.cutting import choose, cut, prunable_groups
from mtqscore.training.pruning.importance import by_magnitude, by_taylor
from mtqscore.training.pruning.run import prune, prune_run
from mtqscore.training.run import train_run
from mtqscore.training.validation import evaluate_split
from tests.conftest import Run
from tests.training_kit import QUIET, small_config, small_network

DEAD = {
    "channels 1": [0, 3],
    "channels 2": [7],
    "squeeze": [1, 2, 15],
    "recurrent forwards": [0, 5],
    "recurrent backwards": [3, 7],
    "dense": [4, 11],
}


@pytest.fixture(scope="module")
def recordings(small_corpus: Path) -> Dataset:
    return Dataset([row for row in read_label_table(small_corpus) if row.split == "train"], 1e9, 1)


def with_dead_units() -> CompactNet:
    """A network some of whose units are always 0; what reads them is as large as ever."""
    network = small_network(4)
    state = network.state_dict()
    for group in prunable_groups(network):
        for layer in group.layers:
            for weights in layer.written:
                if "running" not in weights.tensor:
                    state[weights.tensor].index_fill_(weights.axis, weights.index[DEAD[layer.name]].flatten(), 0.0)
    return network


def alive(network: CompactNet) -> dict[str, Tensor]:
    layers = [layer for group in prunable_groups(network) for layer in group.layers]
    return {
        layer.name: torch.tensor([unit for unit in range(layer.units) if unit not in DEAD[layer.name]])
        for layer in layers
    }


def score(network: CompactNet) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    waveform = torch.randn(3, 20_000, generator=generator) * torch.linspace(0.01, 1, 20_000)
    with torch.inference_mode():
        estimates = network(waveform, torch.tensor([20_000, 9_000, 15_001]))
    return estimates.scores, torch.where(estimates.mask[..., None], estimates.frame_scores, 0.0)


def test_without_its_dead_units_a_network_has_the_same_scores_in_torch_and_as_onnx() -> None:
    network = with_dead_units()
    smaller = cut(network, alive(network))
    assert smaller.config.conv_channels == (5, 7)
    assert (smaller.config.squeeze_units, smaller.config.lstm_units, smaller.config.dense_units) == (13, 6, 10)
    for before, after in zip(score(network), score(smaller), strict=True):
        torch.testing.assert_close(after, before, atol=2e-6, rtol=0)
        assert before.std() > 0.01
    content = build_graph(smaller, from_points({}, TARGETS), "smaller").SerializeToString()
    # The larger network in torch against the smaller one in onnxruntime.
    assert compare(network, from_points({}, TARGETS), content, synthetic_clips(4)).worst < 1e-4
    assert len(content) < len(build_graph(network, from_points({}, TARGETS), "larger").SerializeToString())


def test_data_find_the_dead_units_and_they_go_first(recordings: Dataset) -> None:
    network = with_dead_units()
    found = by_taylor(network, recordings, small_config(), lambda *_: None)
    for name, importance in found.items():
        assert importance[DEAD[name]].abs().max() == 0.0
        assert importance.count_nonzero() >= len(importance) / 2, "most units are used by some recording"
    keep = count_parameters(cut(network, alive(network))) / count_parameters(network)
    pruned = prune(network, recordings, small_config(), PruneConfig(keep=keep, rounds=1), QUIET)
    assert pruned.config.dense_units < network.config.dense_units
    before, after = (evaluate_split(each, recordings, small_config()).scores for each in (network, pruned))
    np.testing.assert_allclose(after, before, atol=2e-6)


@pytest.mark.parametrize(("name", "module", "axis"), [("channels 2", "blocks.1", 1), ("dense", "dropout", 2)])
def test_importance_is_the_squared_slope_of_the_loss_in_a_gate(
    recordings: Dataset, name: str, module: str, axis: int
) -> None:
    network = small_network(1)
    one = Dataset(recordings.rows[:1], 1e9, 1)
    importance = by_taylor(network, one, small_config(), lambda *_: None)[name]
    loss = MplLoss(small_config())
    waveform = torch.from_numpy(one.audio(0) / np.float32(32768))[None]
    gate = torch.ones(len(importance))
    network.get_submodule(module).register_forward_hook(
        lambda _module, _inputs, output: output * gate.view([-1 if at == axis else 1 for at in range(output.ndim)])
    )
    for unit in importance.topk(3).indices:
        values = []
        for change in (-0.02, 0.02):
            gate[unit] = 1 + change
            with torch.no_grad():
                values.append(loss(network(waveform, torch.tensor([waveform.shape[1]])), torch.from_numpy(one.labels)))
        gate[unit] = 1
        slope = (values[1].total - values[0].total) / 0.04
        assert float(slope.square()) == pytest.approx(float(importance[unit]), rel=0.05)


@pytest.mark.parametrize("part", PARTS)
def test_only_what_is_named_is_cut(recordings: Dataset, part: str) -> None:
    network = small_network()
    before = vars(network.config)
    pruned = prune(network, recordings, small_config(), PruneConfig(keep=0.9, parts=(part,)), QUIET)  # type: ignore[arg-type]
    changed = {name for name, value in vars(pruned.config).items() if value != before[name]}
    allowed = {"channels": {"conv_channels"}, "recurrent": {"lstm_units"}, "dense": {"squeeze_units", "dense_units"}}
    assert changed
    assert changed <= allowed[part]
    assert 0.8 < count_parameters(pruned) / count_parameters(network) <= 0.9


def test_the_best_units_of_both_directions_stay() -> None:
    network = small_network()
    importance = by_magnitude(network)
    importance["recurrent forwards"] = torch.arange(8.0)
    importance["recurrent backwards"] = torch.arange(8.0).flip(0)
    kept = choose(network, importance, ("recurrent",), "parameters", lambda sizes: sizes.lstm_units, 3)
    assert kept["recurrent forwards"].tolist() == [5, 6, 7]
    assert kept["recurrent backwards"].tolist() == [0, 1, 2]
    assert kept.keys() == {"recurrent forwards", "recurrent backwards"}


def test_to_save_time_channels_go_in_blocks() -> None:
    network = CompactNet(CompactConfig(conv_channels=(15, 31, 47, 60)))
    importance = by_magnitude(network)
    seen = []

    def share_of(sizes: CompactConfig) -> float:
        seen.append(sizes.conv_channels)
        return sum(sizes.conv_channels)

    choose(network, importance, ("channels",), "time", share_of, 100)
    assert len(set(seen)) > 2
    assert {width for widths in seen for width in widths} <= {7, 15, 31, 47, 60}


def test_magnitude_is_the_mean_weight_of_a_filter_and_ranks_within_a_layer() -> None:
    network = small_network()
    with torch.no_grad():
        network.squeeze.weight[3] *= 10
    importance = by_magnitude(network)["squeeze"]
    assert importance.argmax() == 3
    assert float(importance.mean()) == pytest.approx(1.0)


def test_time_is_measured() -> None:
    # Wide enough that its convolutions are most of its time: a third of it is left where all but 15 channels go.
    network = small_network(0, CompactConfig(conv_channels=(63, 63), conv_strides=(2, 6), conv_widths=(5, 5)))
    options = PruneConfig(keep=0.6, of="time", criterion="magnitude", parts=("channels",))
    pruned = prune(network, None, small_config(), options, QUIET)
    assert set(pruned.config.conv_channels) <= {7, 15, 31, 47, 63}
    costs = measure({"before": network, "after": pruned}, 3)
    assert costs["after"].cpu_ms < costs["before"].cpu_ms
    assert costs["after"].onnx_bytes < costs["before"].onnx_bytes


def write_run(folder: Path) -> Path:
    network = small_network()
    folder.mkdir()
    config = small_config(network=network.config)
    write_checkpoint(folder / "best.safetensors", config, {"average": network.state_dict()}, {"epoch": 1})
    return folder


def test_prune_train_and_export(run: Run, tmp_path: Path, small_corpus: Path) -> None:
    write_run(tmp_path / "a run\n'1'")
    out = "--pruned\nrun"
    made = run("prune", "a run\n'1'", "--data", str(small_corpus), "--keep", "0.5", f"--out={out}", "--threads", "1")
    assert made.returncode == 0, made.stderr
    assert made.stdout == b""
    assert b"val: s_mos LCC" in made.stderr
    report = json.loads((tmp_path / out / "pruning.json").read_text())
    network = load_network(read_checkpoint(tmp_path / out))
    assert count_parameters(network) == report["after"]["parameters"] <= 0.5 * report["before"]["parameters"]
    assert report["val"]["after"].keys() == {target.name for target in TARGETS}
    train_run(small_corpus, tmp_path / "tuned", small_config(epochs=1), QUIET, init=tmp_path / out)
    assert read_checkpoint(tmp_path / "tuned").config.network == network.config  # type: ignore[comparison-overlap]
    made = run("export", f"./{out}", "--out", "pruned.onnx", "--clip-count", "3")
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "pruned.onnx").stat().st_size == pytest.approx(report["after"]["onnx_bytes"], abs=2_000)
    onnx.checker.check_model(str(tmp_path / "pruned.onnx"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"keep": 1.0}, "keep 1 is not between 0 and 1"),
        ({"keep": float("nan")}, "keep nan is not between 0 and 1"),
        ({"keep": 0.01}, "even with a tenth of channels 1, channels 2, squeeze, recurrent, dense"),
        ({"parts": ["heads"]}, "'heads' is none of channels, recurrent, dense"),
        ({"parts": []}, "no part is named"),
        ({"of": "bytes"}, "of: 'bytes' is none of parameters, time"),
        ({"criterion": "taylor"}, "name some with --data"),
        ({"recordings": 0}, "rounds and recordings are 1 or more"),
    ],
)
def test_wrong_use_is_refused(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    source = write_run(tmp_path / "run")
    with pytest.raises(UsageError, match=words):
        command(str(source), str(tmp_path / "out"), pruning={"criterion": "magnitude", **options})
    assert not (tmp_path / "out/best.safetensors").exists()


def test_what_cannot_be_pruned_is_refused(tmp_path: Path, small_corpus: Path) -> None:
    options = PruneConfig(criterion="magnitude")
    source = write_run(tmp_path / "run")
    with pytest.raises(UsageError, match="holds a run already"):
        prune_run(source, None, [], source, options, QUIET)
    with pytest.raises(InputError, match="no such checkpoint"):
        prune_run(tmp_path / "nothing", None, [], tmp_path / "out", options, QUIET)
    rows = [row for row in read_label_table(small_corpus) if row.split == "val"]
    with pytest.raises(InputError, match="the split train has no recordings"):
        prune_run(source, small_corpus, rows, tmp_path / "out", PruneConfig(), QUIET)
    config = small_config(network=MosaNetConfig(channels=(2, 2), lstm_units=2, dense_units=2))
    (tmp_path / "mosa").mkdir()
    write_checkpoint(tmp_path / "mosa/best.safetensors", config, {"average": build(config).state_dict()}, {})
    with pytest.raises(UsageError, match="holds a network mosa-net; only compact ones can be pruned"):
        prune_run(tmp_path / "mosa", None, [], tmp_path / "out", options, QUIET)
    assert not (tmp_path / "out").exists()
