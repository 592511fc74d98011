"""The variants that `benchmarks/variants.py` tries are what their names say, and its verdict keeps its rule."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

from benchmarks import variant_graphs
from mtqscore.models import ModelFile
from mtqscore.models.onnx_check import read_onnx
from mtqscore.targets import TARGETS
from mtqscore.training.export.calibration import from_points
from mtqscore.training.export.graph import build_graph
from mtqscore.training.export.graph.compact import SILENCER
from tests.training_kit import SMALL, paused_tone, small_network, write_corpus

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
CLIPS = [paused_tone(samples, noise, 7) for samples, noise in ((16_000, 0.1), (9_000, 1.0), (24_001, 0.01))]


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    network = small_network(3, replace(SMALL, hop_samples=512))
    return build_graph(network, from_points({}, TARGETS), "small")


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The command as a module; it takes its neighbours from its own folder."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("variants")


def feeds(clips: Sequence[NDArray[np.float32]]) -> dict[str, NDArray[np.float32] | NDArray[np.int64]]:
    longest = max(map(len, clips))
    padded = np.stack([np.pad(clip, (0, longest - len(clip))) for clip in clips])
    return {"waveform": padded, "lengths": np.array([len(clip) for clip in clips])}


def scores(model: onnx.ModelProto, clips: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    content = model.SerializeToString()
    read_onnx(content, "variant")  # what assess would refuse does not pass
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    found: NDArray[np.float32] = session.run(["scores"], feeds(clips))[0]
    return found


def described(model: onnx.ModelProto) -> onnx.ModelProto:
    """With the metadata of a scorer."""
    copy = variant_graphs.copied(model)
    facts = {
        "name": "small",
        "version": "1",
        "conformance": "1",
        "targets": ",".join(target.name for target in TARGETS),
    }
    sizes = {"sample_rate_hz": 16_000, "frame_hop_samples": 1024, "window_samples": 160_000, "min_samples": 8_000}
    onnx.helper.set_model_props(copy, {**facts, **{key: str(value) for key, value in sizes.items()}})
    return copy


def kinds(model: onnx.ModelProto) -> dict[str, int]:
    return {constant.name: constant.data_type for constant in model.graph.initializer}


def spectrum_weights(model: onnx.ModelProto) -> set[str]:
    """The large constants of the front end."""
    front = variant_graphs.front_end(model)
    used = {name for node in model.graph.node if node.name in front for name in node.input}
    found = {constant.name for constant in model.graph.initializer if len(constant.raw_data) > 1000} & used
    assert found
    return found


def test_masks_silence_padding_as_the_exported_weights_do(model: onnx.ModelProto) -> None:
    masked = variant_graphs.with_masks(model)
    weights = [onnx.numpy_helper.to_array(constant) for constant in masked.graph.initializer]
    assert not any((values == SILENCER).any() for values in weights)
    expected = scores(model, CLIPS)
    np.testing.assert_allclose(scores(masked, CLIPS), expected, atol=1e-5)
    # Without the masks padding would be heard, or this test would say nothing.
    for node in masked.graph.node:
        if node.name.endswith("_masked"):
            node.op_type = "Identity"
            del node.input[1:]
    assert np.abs(scores(masked, CLIPS) - expected).max() > 1e-3


def test_fp16_weights_halve_the_file_and_leave_the_spectrum_alone_if_told_to(model: onnx.ModelProto) -> None:
    everywhere = variant_graphs.short_weights(model, kind=np.float16, spectrum=True)
    behind = variant_graphs.short_weights(model, kind=np.float16)
    assert {kinds(everywhere)[f"{name}_short"] for name in spectrum_weights(model)} == {TensorProto.FLOAT16}
    assert {kinds(behind)[name] for name in spectrum_weights(model)} == {TensorProto.FLOAT}
    assert kinds(behind)["lstm_weight_short"] == TensorProto.FLOAT16
    assert everywhere.ByteSize() < behind.ByteSize() < model.ByteSize()
    expected = scores(model, CLIPS)
    assert 0 < np.abs(scores(behind, CLIPS) - expected).max() < 0.01
    assert np.abs(scores(everywhere, CLIPS) - expected).max() < 0.02


def test_half_precision_begins_behind_the_spectrum(model: onnx.ModelProto) -> None:
    half = variant_graphs.half_precision(model)
    assert {kinds(half)[name] for name in spectrum_weights(model)} == {TensorProto.FLOAT}
    assert kinds(half)["conv_1_kernel"] == TensorProto.FLOAT16
    assert 0 < np.abs(scores(half, CLIPS) - scores(model, CLIPS)).max() < 0.02


@pytest.mark.parametrize("per_channel", [False, True])
def test_static_int8_multiplies_in_int8_behind_the_spectrum(model: onnx.ModelProto, per_channel: bool) -> None:
    calibration = [feeds([clip]) for clip in CLIPS]
    made = variant_graphs.int8_static(model, ("Conv",), calibration, per_channel=per_channel)
    stored = {constant.name: constant for constant in made.graph.initializer}
    assert stored["conv_1_kernel_quantized"].data_type == TensorProto.INT8
    assert list(stored["conv_1_kernel_scale"].dims) == ([8] if per_channel else [])
    assert {stored[name].data_type for name in spectrum_weights(model)} == {TensorProto.FLOAT}
    assert stored["dense_weight"].data_type == TensorProto.FLOAT
    assert 0 < np.abs(scores(made, CLIPS) - scores(model, CLIPS)).max() < 0.3


def test_short_int8_weights_are_restored_before_use(model: onnx.ModelProto) -> None:
    made = variant_graphs.short_weights(model, kind=np.int8)
    assert kinds(made)["conv_2_kernel_short"] == kinds(made)["lstm_weight_short"] == TensorProto.INT8
    assert 0 < np.abs(scores(made, CLIPS) - scores(model, CLIPS)).max() < 0.3


def test_the_verdict_names_everything_that_speaks_against_a_variant(
    benchmark: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    moves = {"bundled": np.full((3, 3), 0.01), "more": np.array([[0.0, -0.02, 0.0]])}
    fit = benchmark.Found(moves, 1e-5, {1: 0.9, 2: 0.95}, "")
    faster = replace(fit, times={1: 0.8, 2: 0.81})
    unfit = {
        "moves a score by 0.021": replace(fit, moves={**moves, "more": np.array([[0.0, -0.021, 0.0]])}),
        "moves a score by nan": replace(fit, moves={**moves, "more": np.array([[np.nan, 0.0, 0.0]])}),
        "depends on the batch": replace(fit, dependence=2e-4),
        "not faster": replace(fit, times={1: 0.5, 2: 0.96}),
        "refused: a loop": replace(fit, refusal="refused: a loop"),
    }
    assert fit.objections() == []
    assert [found.objections() for found in unfit.values()] == [[text] for text in unfit]
    benchmark.print_verdict(unfit)
    assert capsys.readouterr().out == "\nNone ships.\n"
    benchmark.print_verdict({**unfit, "fit": fit, "faster": faster})
    assert capsys.readouterr().out == "\nShips: faster, at 0.81 of the time.\n"


def test_the_tables_hold_every_variant_and_the_labels(
    benchmark: ModuleType,
    model: onnx.ModelProto,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(*_: object) -> onnx.ModelProto:
        raise RuntimeError("the tool gave up\nand said why")

    chosen = {
        "same": lambda model, _: model,
        "recurrent": lambda model, _: variant_graphs.int8_dynamic(model, ("LSTM",), masks=False),
        "broken": broken,
    }
    monkeypatch.setattr(benchmark, "VARIANTS", chosen)
    monkeypatch.setattr(logging.root, "disabled", True)  # what main does for the tools
    corpus = write_corpus(tmp_path / "corpus 'x'", 8)
    content = described(model).SerializeToString()
    benchmark.measure(ModelFile("small", content, ""), [f"corpus={corpus}:val"], 1)
    first, labels = capsys.readouterr().out.split("### corpus")
    same, recurrent, given_up = (
        line for line in first.splitlines() if line.startswith(tuple(f"| {x}" for x in chosen))
    )
    assert same.startswith(f"| same | {len(content):,} | 0.0000 | 0.0000 |")
    assert "| 0.00000 |" in same
    assert "refused: operator 'DynamicQuantizeLSTM' is not of the ONNX standard" in recurrent
    assert given_up.endswith("| the tool gave up |")
    assert {line.count("|") for line in first.splitlines() if line.startswith("|")} == {same.count("|")}
    assert "2 recordings." in labels
    assert "| same | nan |" in labels  # two labels are no agreement
    assert "| recurrent |" in labels
    assert "| broken |" not in labels


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--model", "nosuch"], "nosuch"),
        (["--set", "title"], "--set title: write TITLE=MANIFEST or TITLE=MANIFEST:SPLIT"),
        (["--set", "bundled=corpus"], "--set: titles must differ from each other and from bundled"),
        (["--set", "title=corpus:test"], "--set title=corpus:test: no recording of the split test"),
    ],
)
def test_wrong_use_ends_in_one_line(
    benchmark: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    text: str,
) -> None:
    write_corpus(tmp_path / "corpus", 1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["variants.py", *options])
    monkeypatch.setattr(logging, "disable", lambda _: None)
    with pytest.raises(SystemExit) as stopped:
        benchmark.main()
    shown = capsys.readouterr()
    assert stopped.value.code == 2
    assert text in shown.err
    assert len(shown.err.splitlines()) == 1
    assert not shown.out
