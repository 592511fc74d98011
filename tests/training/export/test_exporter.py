from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
import torch

from mtqscore.errors import InputError, MtqscoreError, UsageError
from mtqscore.labels.table import LabelledRecording
from mtqscore.models import find_model, parse_metadata
from mtqscore.targets import PSEUDO, TARGETS
from mtqscore.training.checkpoint import load_network, read_checkpoint, write_checkpoint
from mtqscore.training.config import names_of
from mtqscore.training.export.calibration import fit_from_predictions, fit_line, from_points, read_calibration
from mtqscore.training.export.config import ExportConfig
from mtqscore.training.export.exporter import export_model, open_trained
from mtqscore.training.export.graph import OPSET, build_graph
from mtqscore.training.export.parity import compare, pad, read_clips
from mtqscore.training.network_config import CompactConfig
from mtqscore.training.networks.compact import CompactNet
from mtqscore.training.run import write_predictions
from mtqscore.training.teachers.onnx_scorer import OnnxTeacher
from tests.conftest import Run
from tests.training.export.kit import IDENTITY, NONE, check_batch_and_padding, clips, score, write_run
from tests.training_kit import SMALL, small_config, small_network

CORNERS = {"s_mos": [(1.5, 1.0), (2.5, 2.0), (4.0, 4.9)], "g_mos": [(2.0, 1.2), (3.0, 3.4)]}


def teacher_network() -> CompactNet:
    return small_network().with_targets(target.name for target in PSEUDO)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("run") / "best.safetensors"
    write_checkpoint(path, small_config(), {"average": small_network().state_dict()}, {"epoch": 1})
    return path


@pytest.fixture(scope="module")
def exported(checkpoint, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("model") / "small.onnx"
    export_model(open_trained(checkpoint), out, IDENTITY, NONE, clips())
    return out


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


def test_scores_differ_from_clip_to_clip(exported):
    scores, _ = score(str(exported), *pad(clips()))
    assert scores.std(axis=0).min() > 1e-2, "scores that are all alike would pass every comparison"


def test_batch_and_padding_do_not_matter_in_onnxruntime(exported):
    check_batch_and_padding(exported.read_bytes(), 512)


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
    assert metadata["training_corpora"] == "its corpora"
    assert metadata["label_definition"] == "what it means"
    assert metadata["producing_command"] == "mtqscore export"
    info = parse_metadata("it", metadata)
    assert (info.label, info.conformance, info.targets) == ("mtqnet-test@3", "7", ("s_mos", "n_mos", "g_mos"))
    assert (info.frame_hop_samples, info.window_samples, info.min_samples) == (512, 160_000, 8_000)


def test_same_checkpoint_gives_the_same_file(checkpoint, exported, tmp_path):
    export_model(open_trained(checkpoint), tmp_path / "again.onnx", IDENTITY, NONE, clips()[:1])
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
        export_model(open_trained(checkpoint), tmp_path / "bad.onnx", IDENTITY, NONE, clips())
    assert not list(tmp_path.iterdir())


def test_network_that_answers_nan_is_refused(tmp_path):
    network = small_network()
    with torch.no_grad():
        network.dense.weight[0, 0] = torch.nan
    write_checkpoint(tmp_path / "nan.safetensors", small_config(), {"average": network.state_dict()}, {})
    with pytest.raises(MtqscoreError, match="differ by"):
        export_model(open_trained(tmp_path / "nan.safetensors"), tmp_path / "nan.onnx", IDENTITY, NONE, clips())


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
    """Names that are no text, from a table or from a corpus by name."""
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


def test_what_is_exported_unless_named(tmp_path: Path) -> None:
    def names(path: Path, wanted: list[str] | None = None) -> list[str]:
        return [target.name for target in open_trained(path, wanted).network.targets]

    whole = write_run(tmp_path / "whole", small_network(), max_clip_s=4.0)
    assert names(whole) == ["s_mos", "n_mos", "g_mos"]
    assert names(whole, ["stoi", "g_mos"]) == ["g_mos", "stoi"]
    assert open_trained(whole).window_samples == 64_000
    with pytest.raises(UsageError, match="has no target loudness; it has s_mos"):
        names(whole, ["loudness"])
    teacher = write_run(tmp_path / "teacher", teacher_network(), max_clip_s=0.2)
    assert names(teacher) == ["pesq", "stoi", "sdi"]
    assert open_trained(teacher).window_samples == 16_000
    assert open_trained(write_run(tmp_path / "long", small_network(), max_clip_s=60.0)).window_samples == 160_000


def test_a_teacher_is_exported_and_taken(run: Run, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", teacher_network())
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
        raw = teacher_network()(torch.from_numpy(clip[None]), torch.tensor([len(clip)])).scores
    # The labels of pesq and sdi lie on lines over the estimates; those of stoi are missing.
    expected = raw[0].numpy() * [1.5, 1.0, 1.5] - [0.5, 0.0, 0.0]
    np.testing.assert_allclose(estimates[0], np.clip(expected, [-0.5, 0.0, 0.0], [4.5, 1.0, 1.5]), atol=1e-3)
    assert estimates[0].tolist() != [-0.5, 0.0, 0.0]


def test_wrong_use_is_one_line(run: Run, tmp_path: Path) -> None:
    write_run(tmp_path / "run", small_network())
    done = run("export", "run", "--out", "m.onnx", "--targets", "loudness")
    assert done.returncode == 2
    assert b"has no target loudness" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    for values in ({"targets": names_of(" , ")}, {"clip_count": 0}):
        with pytest.raises(UsageError, match=r"--targets names nothing|clip_count 0 is outside"):
            ExportConfig(**values)


def test_recordings_too_short_for_a_model_are_left_out(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "short.wav", np.zeros(7_999, np.float32), 16_000)
    soundfile.write(tmp_path / "long.wav", np.zeros(40_000, np.float32), 16_000)
    assert [len(clip) for clip in read_clips([tmp_path / "short.wav", tmp_path / "long.wav"], 20_000)] == [20_000]
    with pytest.raises(InputError, match="none of 1 recordings is"):
        read_clips([tmp_path / "short.wav"], 20_000)
