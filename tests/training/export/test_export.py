from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import soundfile
import torch

from mtqscore.errors import InputError, MtqscoreError
from mtqscore.labels.table import LabelledRecording
from mtqscore.models import find_model, parse_metadata
from mtqscore.targets import TARGETS
from mtqscore.training.checkpoint import load_network, read_checkpoint, write_checkpoint
from mtqscore.training.export.calibration import fit_from_predictions, fit_line, from_points, read_calibration
from mtqscore.training.export.exporter import ModelIdentity, compare, export_model, open_source, pad, synthetic_clips
from mtqscore.training.export.graph import OPSET, build_graph
from mtqscore.training.network_config import CompactConfig
from mtqscore.training.networks.compact import CompactNet
from mtqscore.training.tracking.predictions import write_predictions
from tests.training_kit import SMALL, paused_tone, small_config, small_network

IDENTITY = ModelIdentity("mtqnet-test", "3", "7", "what it means", "what it heard", "MIT", "mtqscore export")
NONE = from_points({})
CORNERS = {"s_mos": [(1.5, 1.0), (2.5, 2.0), (4.0, 4.9)], "g_mos": [(2.0, 1.2), (3.0, 3.4)]}


def clips() -> list[np.ndarray]:
    """Dataset with pauses, of awkward lengths and of levels 100 dB apart, and some that are not speech at all."""
    sounds = [paused_tone(length, 0.03 * index, index) for index, length in enumerate((48_000, 8_000, 24_576, 24_575))]
    sounds += [sounds[0][:20_000] * 1e-5, np.zeros(9_000, np.float32), np.ones(9_001, np.float32)]
    noise = np.random.default_rng(0).standard_normal(16_384).astype(np.float32)
    return [*sounds, noise, np.sign(noise) * np.linspace(1, 1e-6, 16_384, dtype=np.float32)]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("run") / "best.safetensors"
    write_checkpoint(path, small_config(), {"average": small_network().state_dict()}, {"epoch": 1})
    return path


@pytest.fixture(scope="module")
def exported(checkpoint, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("model") / "small.onnx"
    export_model(open_source(checkpoint), out, IDENTITY, NONE, clips())
    return out


def score(content: str | bytes, waveform: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    scores, frames = session.run(None, {"waveform": waveform, "lengths": lengths})
    return scores, frames


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        CompactConfig(conv_channels=(4, 6, 7), conv_widths=(7, 3, 1), conv_strides=(2, 4, 4), lstm_units=5),
        CompactConfig(conv_channels=(3,), conv_widths=(1,), conv_strides=(2,), squeeze_units=8, dense_units=6),
    ],
)
@pytest.mark.parametrize("calibration", [NONE, from_points(CORNERS)], ids=["plain", "calibrated"])
def test_graph_computes_what_torch_computes(config, calibration):
    network = small_network(config=config).with_targets(["s_mos", "n_mos", "g_mos"])
    content = build_graph(network, calibration, "test").SerializeToString()
    parity = compare(network, calibration, content, clips())
    assert parity.clips == 9
    assert parity.worst < 1e-4


def test_full_size_network_is_exported_within_its_limits():
    torch.manual_seed(0)
    network = CompactNet(CompactConfig()).eval().with_targets(["s_mos", "n_mos", "g_mos"])
    content = build_graph(network, NONE, "test").SerializeToString()
    assert len(content) < 5e6
    assert compare(network, NONE, content, clips()[:4]).worst < 1e-4


def test_scores_differ_from_clip_to_clip(exported):
    scores, _ = score(str(exported), *pad(clips()))
    assert scores.std(axis=0).min() > 1e-2, "scores that are all alike would pass every comparison"


def test_batch_and_padding_do_not_matter_in_onnxruntime(exported):
    waveform, lengths = pad(clips())
    garbage = np.random.default_rng(1).standard_normal((len(clips()), waveform.shape[1] + 7_777)).astype(np.float32)
    for row, clip in enumerate(clips()):
        garbage[row, : len(clip)] = clip
    together, together_frames = score(str(exported), garbage, lengths)
    for row, clip in enumerate(clips()):
        alone, alone_frames = score(str(exported), clip[None], lengths[row : row + 1])
        own = len(clip) // 512 + 1
        np.testing.assert_allclose(alone[0], together[row], atol=1e-4)
        np.testing.assert_allclose(alone_frames[0], together_frames[row, :own], atol=1e-4)
        assert alone_frames.shape == (1, own, 3)
        assert not together_frames[row, own:].any()


def test_file_keeps_the_contract(exported):
    model = onnx.load(exported)
    onnx.checker.check_model(model, full_check=True)
    assert {item.domain for item in model.opset_import} == {""}
    assert model.opset_import[0].version == OPSET <= 21
    shapes = {
        value.name: [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {
        "waveform": ["batch", "samples"],
        "lengths": ["batch"],
        "scores": ["batch", 3],
        "frame_scores": ["batch", "frames", 3],
    }
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata["scale"] == "1-5"
    assert metadata["licence"] == "MIT"
    assert metadata["training_corpora"] == "what it heard"
    assert metadata["label_definition"] == "what it means"
    assert metadata["producing_command"] == "mtqscore export"
    info = parse_metadata("it", metadata)
    assert (info.label, info.conformance, info.targets) == ("mtqnet-test@3", "7", ("s_mos", "n_mos", "g_mos"))
    assert (info.frame_hop_samples, info.window_samples, info.min_samples) == (512, 160_000, 8_000)


def test_same_checkpoint_gives_the_same_file(checkpoint, exported, tmp_path):
    export_model(open_source(checkpoint), tmp_path / "again.onnx", IDENTITY, NONE, clips()[:1])
    assert (tmp_path / "again.onnx").read_bytes() == exported.read_bytes()


def test_the_checkpoint_beside_the_released_model_scores_as_its_onnx_file():
    entry = find_model("mtqnet-s@6")
    assert entry.weights_path is not None
    assert hashlib.sha256(entry.weights_path.read_bytes()).hexdigest() == entry.weights_sha256
    checkpoint = read_checkpoint(entry.weights_path)
    network = load_network(checkpoint)
    assert checkpoint.config.targets == tuple(target.name for target in network.targets) == ("s_mos", "n_mos", "g_mos")
    assert compare(network, NONE, entry.path.read_bytes(), clips()).worst < 1e-4


def test_disagreement_with_torch_writes_nothing(checkpoint, tmp_path, monkeypatch):
    def other(network: CompactNet, calibration, name: str) -> onnx.ModelProto:
        network.heads["n_mos"].score.bias.data += 0.01
        model = build_graph(network, calibration, name)
        network.heads["n_mos"].score.bias.data -= 0.01
        return model

    monkeypatch.setattr("mtqscore.training.export.exporter.build_graph", other)
    with pytest.raises(MtqscoreError, match="differ by"):
        export_model(open_source(checkpoint), tmp_path / "bad.onnx", IDENTITY, NONE, clips())
    assert not list(tmp_path.iterdir())


def test_network_that_answers_nan_is_refused(tmp_path):
    network = small_network()
    with torch.no_grad():
        network.dense.weight[0, 0] = torch.nan
    write_checkpoint(tmp_path / "nan.safetensors", small_config(), {"average": network.state_dict()}, {})
    with pytest.raises(MtqscoreError, match="differ by"):
        export_model(open_source(tmp_path / "nan.safetensors"), tmp_path / "nan.onnx", IDENTITY, NONE, clips())


def test_no_checkpoint_is_named(tmp_path):
    with pytest.raises(InputError, match="no such checkpoint"):
        export_model(open_source(tmp_path / "none"), tmp_path / "x.onnx", IDENTITY, NONE, clips())


def test_calibration_runs_through_its_corners_and_stays_on_the_scale():
    calibration = from_points(CORNERS)
    raw = np.array([[1.5, 2.0, 2.0], [2.5, 3.0, 3.0], [4.0, 4.5, 2.5], [5.0, 1.0, 5.0], [1.0, 5.0, 1.0]])
    expected = [[1.0, 2.0, 1.2], [2.0, 3.0, 3.4], [4.9, 4.5, 2.3], [5.0, 1.0, 5.0], [1.0, 5.0, 1.0]]
    np.testing.assert_allclose(calibration(raw), expected, atol=1e-12)
    grid = np.repeat(np.linspace(1, 5, 401)[:, None], 3, axis=1)
    assert (np.diff(calibration(grid), axis=0) >= -1e-12).all()


def test_fitted_line_restores_mean_and_spread():
    rng = np.random.default_rng(0)
    truth = rng.uniform(1, 5, 500)
    raw = 2.0 + 0.4 * truth + 0.1 * rng.standard_normal(500)
    mapped = from_points({"n_mos": fit_line([*raw, 3.0], [*truth, np.nan])})(np.stack([raw] * 3, axis=1))[:, 1]
    assert mapped.mean() == pytest.approx(truth.mean(), abs=0.02)
    assert mapped.std() == pytest.approx(truth.std(), rel=0.03)


def test_line_for_too_few_pairs_changes_nothing():
    assert fit_line([1, 2, 3], [3, 4, 5]) == [(1.0, 1.0), (5.0, 5.0)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no json", "not a calibration"),
        ("[1]", "not a calibration"),
        ('{"s_mos": [[1, 2]]}', "two or more pairs"),
        ('{"s_mos": [[1, 2], [3, 1]]}', "do not rise"),
        ('{"pesq": [[1, 2], [3, 4]]}', "unknown target pesq"),
    ],
)
def test_faulty_calibration_is_named(tmp_path, content, message):
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(InputError, match=message):
        read_calibration(tmp_path / "c.json")


def test_calibration_is_read_and_fitted_from_files(tmp_path):
    (tmp_path / "c.json").write_text(json.dumps(CORNERS))
    raw = np.full((1, 3), 2.5)
    np.testing.assert_array_equal(read_calibration(tmp_path / "c.json")(raw), from_points(CORNERS)(raw))
    lines = ["s_mos,n_mos,g_mos,label_s_mos,label_n_mos,label_g_mos"]
    lines += [f"{x},{x},{x},{2 * x - 3},{x},".replace("nan", "") for x in np.linspace(2, 4, 12)]
    (tmp_path / "p.csv").write_text("\n".join(lines) + "\n")
    np.testing.assert_allclose(fit_from_predictions(tmp_path / "p.csv")(raw), [[2.0, 2.5, 2.5]])


def test_command_line_exports_a_model_that_assess_takes(run, checkpoint, tmp_path):
    done = run("export", str(checkpoint), "--out", "m.onnx", "--name", "mine", "--licence", "MIT", "--clip-count", "3")
    assert done.returncode == 0, done.stderr.decode()
    assert b"comparing on synthetic ones" in done.stderr
    assert b"largest difference from torch on 3 recordings" in done.stderr
    soundfile.write(tmp_path / "a.wav", clips()[0], 16_000)
    assessed = run("assess", "a.wav", "--model", "./m.onnx", "--csv", "-", model=None)
    assert assessed.returncode == 0, assessed.stderr.decode()
    assert b"mine@1" in assessed.stdout
    listed = run("export", str(checkpoint), "--out", "n.onnx", "--clips", ".")
    assert b"on 1 recordings" in listed.stderr


def test_export_compares_on_the_validation_recordings_of_the_run(run, checkpoint, tmp_path):
    """Whatever they are called, and whether they came from a table or from a corpus by name."""
    (tmp_path / "run").mkdir()
    shutil.copy(checkpoint, tmp_path / "run" / "best.safetensors")
    paths = [tmp_path / os.fsdecode(name) for name in (b"-a,\xff.flac", b"b\n.flac")]
    for path, clip in zip(paths, clips(), strict=False):
        with path.open("wb") as stream:
            soundfile.write(stream, clip, 16_000, format="FLAC")
    scores = np.full((2, len(TARGETS)), 3, dtype=np.float32)
    write_predictions(
        tmp_path / "run" / "predictions_val.csv", tmp_path / "run", [*map(LabelledRecording, paths)], scores
    )
    done = run("export", "run", "--out", "m.onnx")
    assert done.returncode == 0, done.stderr.decode()
    assert b"on 2 recordings" in done.stderr
    assert b"synthetic" not in done.stderr


def test_synthetic_clips_are_long_enough_and_differ():
    made = synthetic_clips(5)
    assert min(len(clip) for clip in made) >= 8_000
    assert len({len(clip) for clip in made}) == 5
    assert len(TARGETS) == 6
