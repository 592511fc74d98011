"""Networks as ONNX graphs: the compact one written node by node, all others traced by torch."""

from mtqscore.training.export.graph.builder import MIN_SAMPLES, OPSET
from mtqscore.training.export.graph.model import build_graph

__all__ = ["MIN_SAMPLES", "OPSET", "build_graph"]
