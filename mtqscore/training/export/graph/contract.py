"""The interface of an exported file: its inputs, its outputs and the versions of ONNX."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from mtqscore.targets import SAMPLE_RATE_HZ

OPSET = 20
IR_VERSION = 10

MIN_SAMPLES = SAMPLE_RATE_HZ // 2
"""Shortest recording that a model scores."""


def with_interface(model: onnx.ModelProto, name: str, targets: int) -> onnx.ModelProto:
    """Name a graph, declare its inputs and outputs, and check it.

    Args:
        model: with the nodes and constants; it is changed.
        name: of the graph.
        targets: how many scores an item.
    """
    graph = model.graph
    del graph.input[:], graph.output[:]
    graph.name, graph.doc_string = name, ""
    model.ir_version, model.producer_name, model.producer_version = IR_VERSION, "", ""
    graph.input.extend(
        [
            helper.make_tensor_value_info("waveform", TensorProto.FLOAT, ["batch", "samples"]),
            helper.make_tensor_value_info("lengths", TensorProto.INT64, ["batch"]),
        ]
    )
    graph.output.extend(
        [
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", targets]),
            helper.make_tensor_value_info("frame_scores", TensorProto.FLOAT, ["batch", "frames", targets]),
        ]
    )
    onnx.checker.check_model(model, full_check=True)
    return model
