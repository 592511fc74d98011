"""Collects the nodes and constants of an ONNX graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Array = NDArray[np.float32] | NDArray[np.int64]


@dataclass(frozen=True)
class RawScores:
    """Names of what a network says before calibration.

    Args:
        scores: of utterances, float32 (batch, targets).
        frame_scores: of the frames of the contract, float32 (batch, frames, targets); anything beyond an item's end.
        valid: 1 for an item's own frames and 0 for others, float32 (batch, frames, 1).
    """

    scores: str
    frame_scores: str
    valid: str


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

    def number(self, value: float) -> str:
        """Store a float32 scalar under a name made of its value."""
        return self.floats(f"number_{value!r}", value)

    def integer(self, value: int) -> str:
        """Store an int64 scalar under a name made of its value."""
        return self.ints(f"integer_{value}", value)

    def vector(self, *values: int) -> str:
        """Store int64 (values,), such as axes or a shape, under a name made of the values."""
        return self.ints(f"vector_{'_'.join(map(str, values))}", values)

    def size(self, x: str, axis: int, name: str) -> str:
        """Give the extent of one axis of a tensor, int64 ()."""
        sizes = self.add("Shape", x, name=f"{name}_1d", start=axis, end=axis + 1)
        return self.add("Squeeze", sizes, name=name)

    def _store(self, name: str, value: Array) -> str:
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name
