"""A scorer of a few hundred bytes that keeps the whole ONNX contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from pathlib import Path

HOP_SAMPLES = 512
METADATA = {
    "name": "fake",
    "version": "1",
    "conformance": "1",
    "targets": "s_mos,n_mos,g_mos",
    "scale": "1-5",
    "sample_rate_hz": "16000",
    "frame_hop_samples": str(HOP_SAMPLES),
    "window_samples": "160000",
    "min_samples": "4000",
    "label_definition": "follows the level and the slope of the signal",
    "training_corpora": "none",
    "licence": "MIT",
    "producing_command": "tests/fake_model.py",
}


def write_fake_model(
    path: Path, *, metadata: dict[str, str] | None = None, drop: str | None = None, targets: int = 3
) -> Path:
    """Write a scorer: log magnitude and log slope a frame, mixed into scores, averaged over valid frames.

    Args:
        path: where to.
        metadata: replaces the metadata of the contract.
        drop: an output to leave out.
        targets: columns of the outputs.
    """
    constants = {
        "wave_axes": np.array([1], np.int64),
        "edges": np.array([0, 0, HOP_SAMPLES // 2, 0, 0, HOP_SAMPLES // 2], np.int64),
        "kernels": np.stack([np.full((1, HOP_SAMPLES), 1 / HOP_SAMPLES, np.float32)] * 2),
        "floor": np.array(1e-6, np.float32),
        "mix": np.linspace(-0.4, 0.4, 2 * targets, dtype=np.float32).reshape(2, targets),
        "shift": np.linspace(-0.5, 0.5, targets, dtype=np.float32),
        "four": np.array(4.0, np.float32),
        "one": np.array(1.0, np.float32),
        "hop": np.array(HOP_SAMPLES, np.int64),
        "one_int": np.array(1, np.int64),
        "zero_int": np.array(0, np.int64),
        "two_index": np.array(2, np.int64),
        "last_axis": np.array([2], np.int64),
        "first_axis": np.array([1], np.int64),
        "groups_kernels": np.zeros(1, np.float32),
    }
    constants["slope"] = np.array([[[0, 1, 0]], [[-1, 2, -1]]], np.float32)
    del constants["groups_kernels"], constants["wave_axes"]
    node = helper.make_node
    nodes = [
        node("Unsqueeze", ["waveform", "first_axis"], ["wave3"]),
        node("Conv", ["wave3", "slope"], ["signals"], pads=[1, 1]),
        node("Abs", ["signals"], ["magnitudes"]),
        node("Pad", ["magnitudes", "edges"], ["padded"]),
        node("Conv", ["padded", "kernels"], ["means"], strides=[HOP_SAMPLES], group=2),
        node("Add", ["means", "floor"], ["positive"]),
        node("Log", ["positive"], ["logs"]),
        node("Transpose", ["logs"], ["features"], perm=[0, 2, 1]),
        node("MatMul", ["features", "mix"], ["mixed"]),
        node("Add", ["mixed", "shift"], ["shifted"]),
        node("Sigmoid", ["shifted"], ["squashed"]),
        node("Mul", ["squashed", "four"], ["scaled"]),
        node("Add", ["scaled", "one"], ["frame_scores"]),
        node("Shape", ["frame_scores"], ["shape"]),
        node("Gather", ["shape", "one_int"], ["frame_count"]),
        node("Range", ["zero_int", "frame_count", "one_int"], ["frame_index"]),
        node("Div", ["lengths", "hop"], ["last_frame"]),
        node("Unsqueeze", ["last_frame", "first_axis"], ["last_frame2"]),
        node("LessOrEqual", ["frame_index", "last_frame2"], ["valid"]),
        node("Cast", ["valid"], ["mask"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["mask", "last_axis"], ["mask3"]),
        node("Mul", ["frame_scores", "mask3"], ["masked"]),
        node("ReduceSum", ["masked", "first_axis"], ["total"], keepdims=0),
        node("ReduceSum", ["mask3", "first_axis"], ["count"], keepdims=0),
        node("Div", ["total", "count"], ["scores"]),
    ]
    del constants["two_index"]
    outputs = [
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", targets]),
        helper.make_tensor_value_info("frame_scores", TensorProto.FLOAT, ["batch", "frames", targets]),
    ]
    graph = helper.make_graph(
        nodes,
        "fake",
        [
            helper.make_tensor_value_info("waveform", TensorProto.FLOAT, ["batch", "samples"]),
            helper.make_tensor_value_info("lengths", TensorProto.INT64, ["batch"]),
        ],
        [output for output in outputs if output.name != drop],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    for key, value in (METADATA if metadata is None else metadata).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path
