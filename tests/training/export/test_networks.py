"""Export of MOSA-Net and MTQ-Net, and of networks on self-supervised front ends."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import soundfile
import torch
from torch import nn

from mtqscore.cli.learn.export import export
from mtqscore.errors import InputError, UsageError
from mtqscore.labels.table import LabelledRecording
from mtqscore.targets import PSEUDO, SUPERVISED, TARGETS
from mtqscore.training.checkpoint import write_checkpoint
from mtqscore.training.export.calibration import from_points
from mtqscore.training.export.exporter import compare, nearest_frames, open_source, pad, read_clips
from mtqscore.training.export.graph import build_graph
from mtqscore.training.network_config import MosaNetConfig, MosSslConfig, NetworkConfig, SslConfig, XlsRSqaConfig
from mtqscore.training.networks import Network, build
from mtqscore.training.networks.mosa_net import MosaNet
from mtqscore.training.networks.xls_r_sqa import MaskedBatchNorm
from mtqscore.training.teachers.onnx_scorer import OnnxTeacher
from tests.conftest import Run
from tests.training.export.test_export import clips, score
from tests.training.networks.test_mosa_net import KINDS, SMALL, lively
from tests.training_kit import paused_tone, small_config

CUSTOM = SslConfig(model="custom")
FRONT_ENDS: dict[str, NetworkConfig] = {
    like: MosSslConfig(ssl=replace(CUSTOM, custom_like=like, layers="last"))
    for like in ("hubert-base", "wavlm-base-plus", "wavlm-large", "xls-r-300m")
} | {
    "weighted sum": MosSslConfig(ssl=replace(CUSTOM, normalize_layers=True)),
    "weighted sum, group norm": MosSslConfig(ssl=replace(CUSTOM, custom_like="wavlm-base-plus")),
    "input of the first block": MosSslConfig(ssl=replace(CUSTOM, layers="0", tune=True)),
    "XLS-R-SQA": XlsRSqaConfig(ssl=replace(CUSTOM, custom_like="xls-r-300m", layers="1")),
}


def on_front_end(config: NetworkConfig) -> Network:
    """A network in evaluation mode whose normalisations, gates and heads are all away from their start."""
    torch.manual_seed(2)
    network = build(small_config(network=config))
    front = network.front_end()
    assert front is not None
    with torch.no_grad():
        for parameter in {*network.parameters(), *front.pretrained_parameters()}:
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


def graph_of(network: Network) -> bytes:
    return build_graph(network, from_points({}, network.targets), "test").SerializeToString()


def write_run(path: Path, network: Network, **changes: Any) -> Path:
    config = small_config(network=network.config, targets=tuple(item.name for item in network.targets), **changes)
    path.mkdir(exist_ok=True)
    write_checkpoint(path / "best.safetensors", config, {"average": network.state_dict()}, {"epoch": 1})
    return path


@pytest.fixture(scope="module")
def kinds() -> dict[str, Network]:
    """Every way to put a network together, small."""
    found: dict[str, Network] = {name: lively(config).eval() for name, config in KINDS.items()}
    return found | {name: on_front_end(config) for name, config in FRONT_ENDS.items()}


@pytest.mark.parametrize("kind", [*KINDS, *FRONT_ENDS])
def test_graph_computes_what_torch_computes(kinds: dict[str, Network], kind: str) -> None:
    network = kinds[kind]
    content = graph_of(network)
    parity = compare(network, from_points({}, network.targets), content, clips())
    assert parity.worst < 1e-4
    scores, frames = score(content, *pad(clips()))
    inside = [(item.low < scores[:, row]) & (scores[:, row] < item.high) for row, item in enumerate(network.targets)]
    assert np.mean(inside) > 0.5, "scores at the ends of a scale would pass every comparison"
    assert max(scores.std(axis=0)) > 1e-3
    assert max(frames[0].std(axis=0)) > 1e-3


@pytest.mark.parametrize("kind", ["log, bounded, strided", "front end", "hubert-base"])
def test_padding_is_never_heard(kinds: dict[str, Network], kind: str) -> None:
    network = kinds[kind]
    session = onnxruntime.InferenceSession(graph_of(network), providers=["CPUExecutionProvider"])
    waveform, lengths = pad(clips())
    garbage = np.full((len(waveform), waveform.shape[1] + 7_777), np.nan, np.float32)
    for row, clip in enumerate(clips()):
        garbage[row, : len(clip)] = clip
    together, frames = session.run(None, {"waveform": garbage, "lengths": lengths})
    hop = network.grid_hop_samples
    for row, clip in enumerate(clips()):
        alone, alone_frames = session.run(None, {"waveform": clip[None], "lengths": lengths[row : row + 1]})
        own = len(clip) // hop + 1
        assert alone_frames.shape == (1, own, len(TARGETS))
        np.testing.assert_allclose(alone[0], together[row], atol=1e-4)
        np.testing.assert_allclose(alone_frames[0], frames[row, :own], atol=1e-4)
        assert not frames[row, own:].any()


def test_published_size() -> None:
    torch.manual_seed(0)
    network = MosaNet(MosaNetConfig(), TARGETS).eval().with_targets(item.name for item in SUPERVISED)
    content = graph_of(network)
    assert 5e6 < len(content) < 8e6
    assert compare(network, from_points({}), content, [clips()[0], clips()[2]]).worst < 1e-4


def test_frames_of_the_contract(kinds: dict[str, Network]) -> None:
    for length in (9_000, 9_039, 9_040, 9_279, 9_280):
        # From 320 t the frames with their middle at 320 t - 120 are nearer than those at 320 t + 200.
        front = nearest_frames(kinds["wavlm-large"], length).tolist()
        last = (length - 400) // 320
        assert front == [min(max(place - 1, 0), last) for place in range(length // 320 + 1)]
        joined = nearest_frames(kinds["front end"], length).tolist()
        assert joined == list(range(length // 256 + 1)), "of the spectrum alone"
    assert kinds["log, bounded, strided"].grid_hop_samples == 512


def test_what_is_exported_unless_named(tmp_path: Path) -> None:
    def names(path: Path, wanted: list[str] | None = None) -> list[str]:
        return [target.name for target in open_source(path, wanted).network.targets]

    whole = write_run(tmp_path / "whole", lively(SMALL), max_clip_s=4.0)
    assert names(whole) == ["s_mos", "n_mos", "g_mos"]
    assert names(whole, ["stoi", "g_mos"]) == ["g_mos", "stoi"]
    assert open_source(whole).window_samples == 64_000
    with pytest.raises(UsageError, match="has no target loudness; it has s_mos"):
        names(whole, ["loudness"])
    teacher = write_run(tmp_path / "teacher", lively(SMALL, targets=PSEUDO), max_clip_s=0.2)
    assert names(teacher) == ["pesq", "stoi", "sdi"]
    assert open_source(teacher).window_samples == 16_000
    assert open_source(write_run(tmp_path / "long", lively(SMALL), max_clip_s=60.0)).window_samples == 160_000


def test_mtq_net_scores_long_recordings_in_any_batch(run: Run, tmp_path: Path) -> None:
    write_run(tmp_path / "run", lively(SMALL))
    done = run("export", "run", "--out", "m.onnx", "--clip-count", "2", "--name", "mtq")
    assert done.returncode == 0, done.stderr.decode()
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
        assert one["model"] == "mtq@1"
        for name in ("s_mos", "n_mos", "g_mos"):
            assert one[name] == pytest.approx(other[name], abs=2e-4)
    frames = found[0][0]["frames"]
    assert frames["hop_s"] == 0.016
    assert len(frames["g_mos"]) == (37 * 16_000 + 123) // 256 + 1


def test_a_teacher_is_exported_and_taken(run: Run, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", lively(SMALL, targets=PSEUDO))
    with (folder / "predictions_val.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", *(name for item in PSEUDO for name in (item.name, f"label_{item.name}"))])
        for step in range(12):
            writer.writerow(["a.wav", step / 6, step / 4 - 0.5, step / 12, "", step / 12, step / 8])
    done = run("export", "run", "--out", "teacher.onnx", "--calibration", "val", "--clip-count", "2")
    assert done.returncode == 0, done.stderr.decode()
    assert b"a --teacher of `mtqscore train`" in done.stderr
    card = (tmp_path / "teacher.md").read_text()
    assert "Estimates PESQ, STOI, SDI of speech" in card
    assert "--teacher teacher.onnx" in card
    assert "| PESQ LCC | SDI LCC | PESQ RMSE | SDI RMSE |" in card
    clip = clips()[2]  # without digital silence at its ends, which is left out
    soundfile.write(tmp_path / "a.wav", clip, 16_000, subtype="FLOAT")
    refused = run("assess", "a.wav", "--model", "teacher.onnx", model=None)
    assert refused.returncode == 2
    assert b"its targets are pesq, stoi, sdi" in refused.stderr
    teacher = OnnxTeacher(str(tmp_path / "teacher.onnx"))
    assert teacher.targets == ("pesq", "stoi", "sdi")
    estimates = teacher.estimate([LabelledRecording(tmp_path / "a.wav", "train", {})])
    with torch.inference_mode():
        raw = lively(SMALL, targets=PSEUDO).eval()(torch.from_numpy(clip[None]), torch.tensor([len(clip)])).scores
    # The labels of pesq and sdi lie on lines over the estimates; those of stoi are missing.
    expected = raw[0].numpy() * [1.5, 1.0, 1.5] - [0.5, 0.0, 0.0]
    np.testing.assert_allclose(estimates[0], np.clip(expected, [-0.5, 0.0, 0.0], [4.5, 1.0, 1.5]), atol=1e-3)
    assert estimates[0].tolist() != [-0.5, 0.0, 0.0]


def test_wrong_use_is_one_line(run: Run, tmp_path: Path) -> None:
    write_run(tmp_path / "run", lively(SMALL))
    done = run("export", "run", "--out", "m.onnx", "--targets", "loudness")
    assert done.returncode == 2
    assert b"has no target loudness" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    for words in ({"targets": " , "}, {"clip_count": 0}, {"name": "a b"}):
        with pytest.raises(UsageError, match=r"--targets names nothing|--clip-count is 1 or more|cannot export as"):
            export(str(tmp_path / "run"), str(tmp_path / "m.onnx"), **words)


def test_recordings_that_no_model_judges_are_left_out(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "short.wav", np.zeros(7_999, np.float32), 16_000)
    soundfile.write(tmp_path / "long.wav", np.zeros(40_000, np.float32), 16_000)
    assert [len(clip) for clip in read_clips([tmp_path / "short.wav", tmp_path / "long.wav"], 20_000)] == [20_000]
    with pytest.raises(InputError, match="none of 1 recordings is"):
        read_clips([tmp_path / "short.wav"])
