"""Networks as ONNX graphs: what all have in common, from the choice of the body to calibration and outputs."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from mtqscore.errors import UsageError
from mtqscore.models import LARGEST_MODEL_BYTES
from mtqscore.targets import HOP_SAMPLES
from mtqscore.training.export.calibration import Calibration
from mtqscore.training.export.graph.builder import GraphBuilder, RawScores
from mtqscore.training.export.graph.compact import compact_scores
from mtqscore.training.export.graph.mosa_net import mosa_net_scores
from mtqscore.training.export.graph.ssl_networks import mos_ssl_scores, xls_r_sqa_scores
from mtqscore.training.networks import Network
from mtqscore.training.networks.compact import CompactNet
from mtqscore.training.networks.mos_ssl import MosSslNet
from mtqscore.training.networks.mosa_net import MosaNet
from mtqscore.training.networks.ssl.front_end import HOP_SAMPLES as SSL_HOP_SAMPLES
from mtqscore.training.networks.xls_r_sqa import XlsRSqaNet

OPSET = 20
IR_VERSION = 10


def frame_hop_samples(network: Network) -> int:
    """Say how far apart the frame scores of an exported network stand."""
    if isinstance(network, CompactNet):
        return network.config.frame_hop_samples
    return HOP_SAMPLES * network.config.time_stride if isinstance(network, MosaNet) else SSL_HOP_SAMPLES


def build_graph(network: Network, calibration: Calibration, name: str) -> onnx.ModelProto:
    """Write a network and its calibration as an ONNX model.

    Args:
        network: in evaluation mode, with the heads to export only.
        calibration: monotone map a target, applied to utterance and frame scores.
        name: name of the graph.

    Returns:
        A checked model: ``waveform`` float32 (batch, samples) and ``lengths`` int64 (batch,) to ``scores`` float32
        (batch, targets) and ``frame_scores`` float32 (batch, frames, targets), zero beyond an item's frames.

    Raises:
        UsageError: there is no graph for this network, or it is too large for one file.
    """
    graph = GraphBuilder()
    raw = _body(graph, network)
    scores = _calibrated(graph, raw.scores, calibration.ordered(network.targets), "utterance")
    graph.add("Identity", scores, name="scores")
    frames = _calibrated(graph, raw.frame_scores, calibration.ordered(network.targets), "frame")
    graph.add("Mul", frames, raw.valid, name="frame_scores")
    size_bytes = sum(len(constant.raw_data) for constant in graph.constants.values())
    if size_bytes >= LARGEST_MODEL_BYTES:
        raise UsageError(
            f"the network has {size_bytes / 1e9:.1f} GB of weights; one ONNX file holds {LARGEST_MODEL_BYTES / 1e9:.1f}"
        )
    targets = len(network.targets)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            name,
            [
                helper.make_tensor_value_info("waveform", TensorProto.FLOAT, ["batch", "samples"]),
                helper.make_tensor_value_info("lengths", TensorProto.INT64, ["batch"]),
            ],
            [
                helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", targets]),
                helper.make_tensor_value_info("frame_scores", TensorProto.FLOAT, ["batch", "frames", targets]),
            ],
            list(graph.constants.values()),
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _body(graph: GraphBuilder, network: Network) -> RawScores:
    if isinstance(network, CompactNet):
        return compact_scores(graph, network)
    if isinstance(network, MosaNet):
        return mosa_net_scores(graph, network)
    if isinstance(network, MosSslNet):
        return mos_ssl_scores(graph, network)
    if isinstance(network, XlsRSqaNet):
        return xls_r_sqa_scores(graph, network)
    raise UsageError(f"a {type(network).__name__} cannot be exported")


def _calibrated(graph: GraphBuilder, x: str, calibration: Calibration, name: str) -> str:
    """Apply base + sum_i slope_i * max(0, x - knot_i) to the last axis, then the limits of the scale."""
    knots = graph.floats("calibration_knots", calibration.knots)
    slopes = graph.floats("calibration_slopes", calibration.slopes)
    base = graph.floats("calibration_base", calibration.base)
    x = graph.add("Unsqueeze", x, graph.vector(-1), name=f"{name}_column")
    x = graph.add("Relu", graph.add("Sub", x, knots, name=f"{name}_excess"), name=f"{name}_ramps")
    x = graph.add("Mul", x, slopes, name=f"{name}_rises")
    x = graph.add("ReduceSum", x, graph.vector(-1), name=f"{name}_rise", keepdims=0)
    x = graph.add("Add", x, base, name=f"{name}_calibrated")
    x = graph.add("Max", x, graph.floats("score_low", calibration.low), name=f"{name}_above_low")
    return graph.add("Min", x, graph.floats("score_high", calibration.high), name=f"{name}_limited")
