"""ONNX files of other makers as teachers."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mtqscore.errors import EnvironmentProblemError, InputError, UsageError
from mtqscore.training.data.frame_labels import CURVE_HOP_SAMPLES
from mtqscore.training.teachers.external_onnx import ExternalOnnxTeacher
from mtqscore.training.teachers.open_teacher import open_teacher

WINDOW = 122_880
"""Of Distill-MOS: 7.68 s."""


def save(path: Path, x: onnx.ValueInfoProto, *parts: object) -> None:
    """Write a model of the input, and of nodes, names of outputs and constants."""
    nodes, names, constants = parts
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]
    graph = helper.make_graph(nodes, "test", [x], outputs, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)


def write_loudness(path: Path, sizes: tuple[object, ...] = ("batch", WINDOW)) -> None:
    """A scorer of the mean absolute value: ``whole`` (batch, 2) holds it and its double, ``along`` (batch, frames)."""
    axes = {"axes": list(range(1, len(sizes)))} if len(sizes) > 1 else {}
    nodes = [
        helper.make_node("Abs", ["x"], ["a"]),
        helper.make_node("ReduceMean", ["a"], ["m"], keepdims=0, **axes),
        helper.make_node("Reshape", ["m", "column"], ["one"]),
        helper.make_node("Add", ["one", "one"], ["two"]),
        helper.make_node("Concat", ["one", "two"], ["whole"], axis=1),
        helper.make_node("Reshape", ["a", "frames"], ["cut"]),
        helper.make_node("ReduceMean", ["cut"], ["along"], axes=[2], keepdims=0),
    ]
    shapes = [numpy_helper.from_array(np.array(shape), name) for name, shape in
              (("column", [-1, 1]), ("frames", [0 if len(sizes) > 1 else 1, -1, 512]))]  # fmt: skip
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, list(sizes))
    save(path, x, nodes, ("whole", "along"), shapes)


def described(folder: Path, text: str) -> ExternalOnnxTeacher:
    (folder / "t.toml").write_text(f'model = "t.onnx"\n{text}')
    return ExternalOnnxTeacher(folder / "t.toml")


WHOLE = '[[outputs]]\nname = "whole"\ntarget = "g_mos"\ncolumn = 1\nmap = [1, 2]\n'


@pytest.mark.parametrize(
    ("seconds", "starts"),
    [(2.0, [0]), (7.68, [0]), (8.0, [0, 5120]), (9.0, [0, 10560, 21120]), (8.68, [0, 16000])],
)
def test_windows_are_those_of_distill_mos(tmp_path, seconds, starts):
    """A recording of 7.68 s is one window; a longer one has equally spaced ones, a second apart at most."""
    write_loudness(tmp_path / "t.onnx")
    teacher = described(tmp_path, f"window_samples = {WINDOW}\nhop_samples = 16000\n{WHOLE}")
    found, windows = teacher.windows(np.ones(int(seconds * 16000), dtype=np.float32))
    assert found.tolist() == starts
    assert windows.shape == (len(starts), WINDOW)


def test_what_comes_out_is_mapped_and_averaged_over_windows(tmp_path):
    write_loudness(tmp_path / "t.onnx")
    text = f"window_samples = {WINDOW}\nhop_samples = 16000\n{WHOLE}"
    text += '[[outputs]]\nname = "along"\ntarget = "g_mos"\nmap = [1, 4]\nframe_hop_samples = 512\n'
    text += '[[outputs]]\nname = "along"\ntarget = "n_mos"\nmap = [1, 0, 1]\nframe_hop_samples = 512\n'
    teacher = described(tmp_path, text)
    clip = np.full(8 * 16000, 0.5, dtype=np.float32)
    quiet, short = clip.copy(), np.full(WINDOW // 2, 0.5, dtype=np.float32)
    quiet[: len(quiet) // 2] = 0.25
    constant, changing, padded = teacher.estimate_clips([clip, quiet, short])
    assert teacher.targets == ("n_mos", "g_mos")
    np.testing.assert_allclose(constant.scores, [1.25, 3.0], rtol=1e-5)
    assert constant.curve is not None and changing.curve is not None
    np.testing.assert_allclose(constant.curve, np.tile([1.25, 3.0], (251, 1)), rtol=1e-5)
    np.testing.assert_allclose(changing.curve[[20, -20], 1], [2.0, 3.0], rtol=1e-5)
    np.testing.assert_allclose(padded.scores[1], 2.0, rtol=1e-4, err_msg="zeros fill up what is shorter")
    with open_teacher(str(tmp_path / "t.toml"), [], tmp_path, None) as opened:  # type: ignore[arg-type]
        assert opened.fingerprint == teacher.fingerprint


@pytest.mark.parametrize(
    ("normalise", "expected"),
    [("none", 0.25), ("peak", 1.0), ("variance", 1.0), ('level"\nlevel_db = -20\npadding = "zeros', 0.1)],
)
def test_normalisations_of_a_square_wave(tmp_path, normalise, expected):
    write_loudness(tmp_path / "t.onnx", ("batch", 1, "samples"))
    layout = f'layout = "batch 1 samples"\nnormalise = "{normalise}"\n'
    teacher = described(tmp_path, layout + WHOLE.replace("map = [1, 2]", "map = [1, 1]"))
    square = np.where(np.arange(51200) % 100 < 50, 0.25, -0.25).astype(np.float32)
    found = teacher.estimate_clips([square, square[:25600]])
    np.testing.assert_allclose([one.scores[0] for one in found], 1 + 2 * expected, rtol=1e-4)


def test_other_rates_repetition_and_a_model_without_batches(tmp_path):
    write_loudness(tmp_path / "t.onnx", (40_960,))
    text = 'layout = "samples"\nsample_rate_hz = 8000\nwindow_samples = 40960\npadding = "repeat"\n'
    text += '[[outputs]]\nname = "along"\ntarget = "n_mos"\nmap = [1, 4]\nframe_hop_samples = 512\n'
    teacher = described(tmp_path, text + WHOLE)
    tone = np.sin(np.arange(32_000) / 16).astype(np.float32)
    (found,) = teacher.estimate_clips([tone])
    assert found.curve is not None and found.curve.shape == (32_000 // CURVE_HOP_SAMPLES + 1, 2)
    np.testing.assert_allclose(found.scores, [1 + 4 * 2 / np.pi, 1 + 2 * 4 / np.pi], rtol=0.01)
    np.testing.assert_allclose(found.curve[5:-5, 0], 1 + 4 * 2 / np.pi, rtol=0.03)


def test_description_of_dnsmos_in_the_documentation(tmp_path):
    """Windows of 9.01 s, a second apart at most, shorter recordings repeated; a polynomial a column of one output."""
    page = (Path(__file__).parents[3] / "docs" / "distillation.md").read_text(encoding="utf-8")
    (text,) = [block for block in re.findall(r"```toml\n(.*?)```", page, re.DOTALL) if "sig_bak_ovr" in block]
    (tmp_path / "dnsmos.toml").write_text(text.replace("Identity:0", "levels"))
    nodes = [
        helper.make_node("Slice", ["x", "zero", "three", "one"], ["head"]),
        helper.make_node("Abs", ["head"], ["levels"]),
    ]
    numbers = {"zero": 0, "one": 1, "three": 3}
    constants = [numpy_helper.from_array(np.array([value]), name) for name, value in numbers.items()]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 144_160])
    save(tmp_path / "sig_bak_ovr.onnx", x, nodes, ["levels"], constants)
    teacher = ExternalOnnxTeacher(tmp_path / "dnsmos.toml")
    assert teacher.targets == ("s_mos", "n_mos", "g_mos")
    starts, _ = teacher.windows(np.ones(12 * 16_000, np.float32))
    assert len(starts) == 4 and np.diff(starts).max() <= 16_000
    for length in (5, 12):
        (found,) = teacher.estimate_clips([np.ones(length * 16_000, np.float32)])
        expected = [0.0052439 + 1.22083953 - 0.08397278, -0.39604546 + 1.60915514 - 0.13166888]
        np.testing.assert_allclose(found.scores, [*expected, 0.04602535 + 1.11546468 - 0.06766283], rtol=1e-5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lacks outputs"),
        ("outputs = [{name = 'whole'}]", "outputs: lacks target"),
        (WHOLE.replace("g_mos", "mos"), "target mos: choose one of"),
        (WHOLE.replace("whole", "gone"), "has no output gone; it has whole, along"),
        (f'input = "wave"\n{WHOLE}', "the inputs of .* are x"),
        (f'layout = "samples"\n{WHOLE}', "axes 'samples'"),
        (f"window_samples = 5\nhop_samples = 6\n{WHOLE}", "the hop is no longer"),
        (f"{WHOLE}{WHOLE}", "a target once"),
        (f"colour = 1\n{WHOLE}", "unknown setting colour"),
    ],
)
def test_faulty_descriptions_are_named(tmp_path, text, message):
    write_loudness(tmp_path / "t.onnx")
    with pytest.raises(UsageError, match=message) as caught:
        described(tmp_path, text)
    assert str(caught.value).startswith(str(tmp_path / "t.toml"))


def test_files_that_do_not_fit_are_named(tmp_path):
    with pytest.raises(InputError, match="cannot read its model"):
        described(tmp_path, WHOLE)
    write_loudness(tmp_path / "t.onnx")
    clip = np.ones(WINDOW, dtype=np.float32)
    with pytest.raises(UsageError, match="has no column 7"):
        described(tmp_path, f"window_samples = {WINDOW}\n" + WHOLE.replace("column = 1", "column = 7")).estimate_clips(
            [clip]
        )
    with pytest.raises(EnvironmentProblemError, match="failed on"):
        described(tmp_path, f"window_samples = 1000\n{WHOLE}").estimate_clips([clip])
