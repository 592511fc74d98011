"""Export of MOSA-Net, MTQ-Net and networks on self-supervised front ends, which torch traces."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import nn

from mtqscore.errors import UsageError
from mtqscore.models.onnx_check import read_onnx
from mtqscore.training.checkpoint import load_network, read_checkpoint
from mtqscore.training.export.calibration import from_points
from mtqscore.training.export.exporter import export_model, open_trained, weights_beside
from mtqscore.training.export.graph import build_graph
from mtqscore.training.export.parity import compare, nearest_frames, pad
from mtqscore.training.network_config import MosSslConfig, NetworkConfig, SslConfig, XlsRSqaConfig
from mtqscore.training.networks import Network, build
from mtqscore.training.networks.xls_r_sqa import MaskedBatchNorm
from tests.conftest import Run
from tests.training.export.kit import IDENTITY, NONE, check_batch_and_padding, clips, score, write_run
from tests.training.networks.test_mosa_net import SMALL, lively
from tests.training_kit import paused_tone, small_config

CUSTOM = SslConfig(model="custom", custom_layers=1)
CONFIGS: dict[str, NetworkConfig] = {
    "published": SMALL,
    "log, strided, WavLM": replace(
        SMALL,
        spectrum="log",
        activation="bounded",
        time_stride=2,
        convolutions=1,
        ssl=replace(CUSTOM, normalize_layers=True),
    ),
    "MOS-SSL, group norm": MosSslConfig(ssl=replace(CUSTOM, custom_like="hubert-base", layers="last", tune=True)),
    "XLS-R-SQA": XlsRSqaConfig(ssl=replace(CUSTOM, custom_like="xls-r-300m", layers="0"), layers=1),
}


def made(config: NetworkConfig) -> Network:
    """A network in evaluation mode whose normalisations, gates and heads are all away from their start."""
    if isinstance(config, type(SMALL)):
        return lively(config).eval()
    torch.manual_seed(2)
    network = build(small_config(network=config))
    front = network.front_end()
    assert front is not None
    with torch.no_grad():
        for parameter in dict.fromkeys([*network.parameters(), *front.pretrained_parameters()]):  # in one order
            if parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn(parameter.shape))
        for module in network.modules():
            if isinstance(module, MaskedBatchNorm):
                module.norm.running_mean.normal_(0.0, 0.3)
                module.norm.running_var.uniform_(0.3, 2.0)
        for head in network.heads.values():
            for part in head.modules():
                if isinstance(part, nn.Linear):
                    part.weight.mul_(0.1 / part.weight.std())
    return network.eval()


@pytest.mark.parametrize("kind", [kind for kind in CONFIGS if kind != "published"])
def test_graph_computes_what_torch_computes_for_any_batch(kind: str) -> None:
    network = made(CONFIGS[kind]).with_targets(["n_mos", "stoi"])  # one bounded and one not; each head takes seconds
    calibration = from_points({}, network.targets)
    content = build_graph(network, calibration, "test").SerializeToString()
    read_onnx(content, kind)
    assert compare(network, calibration, content, clips()).worst < 1e-4
    scores, frames = score(content, *pad(clips()))
    inside = [(item.low < scores[:, row]) & (scores[:, row] < item.high) for row, item in enumerate(network.targets)]
    assert np.mean(inside) > 0.5, "scores at the ends of a scale would pass every comparison"
    assert max(scores.std(axis=0)) > 1e-3
    assert max(frames[0].std(axis=0)) > 1e-3
    check_batch_and_padding(content, network.grid_hop_samples)
    assert str(Path.home()).encode() not in content and b"site-packages" not in content


def test_mtq_net_as_published_scores_long_recordings_and_keeps_its_weights(run: Run, tmp_path: Path) -> None:
    trained = open_trained(write_run(tmp_path / "run", made(SMALL)))
    out = tmp_path / "m.onnx"
    parity = export_model(trained, out, IDENTITY, from_points({"g_mos": [(1, 2), (5, 4)]}), clips())
    assert parity.worst < 1e-4
    check_batch_and_padding(out.read_bytes(), 256)
    soundfile.write(tmp_path / "long.wav", paused_tone(37 * 16_000 + 123, 0.3, 1), 16_000)
    soundfile.write(tmp_path / "short.wav", paused_tone(9_000, 0.1, 2), 16_000)
    found = []
    for words in (["--batch-seconds", "1", "--threads", "1"], ["--batch-seconds", "60", "--threads", "2"]):
        done = run(
            "assess", "long.wav", "short.wav", "--model", "m.onnx", "--json", "-", "--frames", *words, model=None
        )
        assert done.returncode == 0, done.stderr.decode()
        found.append(json.loads(done.stdout)["results"])
    for one, other in zip(*found, strict=True):
        assert one["model"] == "mtqnet-test@3"
        for name in ("s_mos", "n_mos", "g_mos"):
            assert one[name] == pytest.approx(other[name], abs=2e-4)
    frames = found[0][0]["frames"]
    assert frames["hop_s"] == 0.016
    assert len(frames["g_mos"]) == (37 * 16_000 + 123) // 256 + 1
    beside = read_checkpoint(weights_beside(out))
    assert beside.state == {"released": "mtqnet-test@3"}
    waveform, lengths = map(torch.from_numpy, pad(clips()))
    with torch.no_grad():
        again, first = load_network(beside)(waveform, lengths), made(SMALL)(waveform, lengths)
    assert torch.equal(again.scores, first.scores), "with all six heads"


def test_frames_of_the_contract() -> None:
    front, joined = made(CONFIGS["MOS-SSL, group norm"]), made(CONFIGS["log, strided, WavLM"])
    for length in (9_000, 9_039, 9_040, 9_279, 9_280):
        # From 320 t the frames with their middle at 320 t - 120 are nearer than those at 320 t + 200.
        last = (length - 400) // 320
        places = [min(max(place - 1, 0), last) for place in range(length // 320 + 1)]
        assert nearest_frames(front, length).tolist() == places
        assert nearest_frames(joined, length).tolist() == list(range(length // 512 + 1)), "of the spectrum alone"


def test_a_network_too_large_for_one_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtqscore.training.export.graph.model.LARGEST_MODEL_BYTES", 1_000)
    with pytest.raises(UsageError, match="GB of weights; one ONNX file holds"):
        build_graph(made(SMALL), NONE, "test")
