"""Collector of the nodes and constants of an ONNX graph that is written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from mtqscore.targets import SAMPLE_RATE_HZ

OPSET = 20
IR_VERSION = 10

MIN_SAMPLES = SAMPLE_RATE_HZ // 2
"""Shortest recording that a model scores."""

Array = NDArray[np.float32] | NDArray[np.int64]


class GraphBuilder:
    """Collects nodes and constants under readable names."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def add(self, operator: str, *inputs: str, name: str, **attributes: Any) -> str:
        """Append a node with one output, and give the output's name."""
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def floats(self, name: str, value: object) -> str:
        """Store a float32 constant, and give its name."""
        return self._store(name, np.asarray(value, dtype=np.float32))

    def ints(self, name: str, value: int | Sequence[int]) -> str:
        """Store an int64 constant, and give its name."""
        return self._store(name, np.asarray(value, dtype=np.int64))

    def integer(self, value: int) -> str:
        """Store an int64 scalar under a name made of its value."""
        return self.ints(f"integer_{value}", value)

    def vector(self, *values: int) -> str:
        """Store int64 (values,), such as axes or a shape, under a name made of the values."""
        return self.ints(f"vector_{'_'.join(map(str, values))}", values)

    def model(self) -> onnx.ModelProto:
        """Give the model of what was collected, without inputs and outputs."""
        graph = helper.make_graph(self.nodes, "graph", [], [], list(self.constants.values()))
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)

    def _store(self, name: str, value: Array) -> str:
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name
