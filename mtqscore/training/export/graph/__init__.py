"""Networks as ONNX graphs, written node by node: one module a kind of network, and what they share."""

from mtqscore.training.export.graph.model import OPSET, build_graph, frame_hop_samples

__all__ = ["OPSET", "build_graph", "frame_hop_samples"]
