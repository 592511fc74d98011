"""Networks as ONNX models that keep the contract of a scorer."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from mtqscore.errors import UsageError
from mtqscore.models import LARGEST_MODEL_BYTES
from mtqscore.training.export.calibration import Calibration
from mtqscore.training.export.graph.builder import IR_VERSION
from mtqscore.training.export.graph.compact import compact_model
from mtqscore.training.export.graph.traced import traced_model
from mtqscore.training.networks import Network
from mtqscore.training.networks.compact import CompactNet

FLOAT_BYTES = 4


def build_graph(network: Network, calibration: Calibration, name: str) -> onnx.ModelProto:
    """Turn a network and its calibration into an ONNX model.

    Args:
        network: in evaluation mode, with the heads to export only.
        calibration: monotone map a target, applied to utterance and frame scores.
        name: name of the graph.

    Returns:
        A checked model: ``waveform`` float32 (batch, samples) and ``lengths`` int64 (batch,) to ``scores`` float32
        (batch, targets) and ``frame_scores`` float32 (batch, frames, targets), zero beyond an item's frames.

    Raises:
        UsageError: the network is too large for one file.
    """
    front = network.front_end()
    weights = {*network.parameters(), *(() if front is None else front.pretrained_parameters())}
    size_bytes = FLOAT_BYTES * sum(weight.numel() for weight in weights)
    if size_bytes >= LARGEST_MODEL_BYTES:
        raise UsageError(
            f"the network has {size_bytes / 1e9:.1f} GB of weights; one ONNX file holds {LARGEST_MODEL_BYTES / 1e9:.1f}"
        )
    if isinstance(network, CompactNet):
        model = compact_model(network, calibration)
    else:
        model = traced_model(network, calibration)
    return _with_interface(model, name, len(network.targets))


def _with_interface(model: onnx.ModelProto, name: str, targets: int) -> onnx.ModelProto:
    """Name a graph in place, declare its inputs and outputs, and check it."""
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
