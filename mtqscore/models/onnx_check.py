"""Inspection of ONNX files from elsewhere, before any runtime sees them; what may do harm is refused."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mtqscore.errors import MissingExtraError, UsageError
from mtqscore.models.metadata import LARGEST_MODEL_BYTES

LARGEST_VALUES = 1 << 28
"""Elements that one tensor may hold by what is written in the file; 1 GiB of float32."""

MOST_NODES = 10_000
DEEPEST_GRAPH = 8
MOST_AXES = 64

_STANDARD_DOMAINS = ("", "ai.onnx")
_LOOPS = ("Loop", "Scan", "SequenceMap")
_SHAPED_BY = {"ConstantOfShape": (0,), "Expand": (1,), "Tile": (1,), "Range": (0, 1, 2)}
"""Operators that make as much as an input of theirs says, and the place of that input."""

_LISTS = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")
_PACKED = 4
"""Elements of the smallest type (2 bits) that one byte or one listed number may hold."""


@dataclass(frozen=True)
class Value:
    """An input or output as the file declares it.

    The element type is ONNX's number, None for what is no tensor; sizes are None where open, and without a shape.
    """

    name: str
    element: int | None
    sizes: tuple[int | None, ...] | None


@dataclass(frozen=True)
class OnnxFile:
    """Metadata of a file (``metadata_props``) and signature of its graph."""

    metadata: dict[str, str]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]


def read_onnx(content: bytes, label: str) -> OnnxFile:
    """Read a file, and refuse what no scorer needs and what may do harm.

    Refused are operators and functions outside the standard, loops, data in other files, sparse tensors, constants
    that claim more than the file holds, and shapes beyond ``LARGEST_VALUES``.

    Args:
        content: the whole file.
        label: how the user knows it, for messages.

    Raises:
        UsageError: it is no ONNX file, or one of those.
        MissingExtraError: the package onnx is not installed.
    """
    try:
        from google.protobuf.message import DecodeError
        from onnx import ModelProto
    except ImportError as error:
        raise MissingExtraError(f"{label}: the inspection of a model from elsewhere", "onnx", "onnx") from error
    if len(content) > LARGEST_MODEL_BYTES:
        raise UsageError(f"{label}: larger than any model can be")
    try:
        model = ModelProto.FromString(content)  # reads no other file, whatever the content names
        if not model.HasField("graph"):
            raise UsageError(f"{label}: not an ONNX file: there is no graph in it")
        return _Inspection().model(model)
    except (DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{label}: not an ONNX file, or a damaged one") from error
    except _RefusedError as refusal:
        raise UsageError(f"{label}: refused: {refusal}") from None


class _RefusedError(Exception):
    """Something in a file that may do harm."""


class _Inspection:
    """One pass over a model."""

    def __init__(self) -> None:
        self._nodes = 0
        self._constants: dict[str, Sequence[int]] = {}
        self._shaped: list[Any] = []

    def model(self, model: Any) -> OnnxFile:
        if model.functions:
            raise _RefusedError("it defines functions of its own")
        if model.training_info:
            raise _RefusedError("it carries instructions for training")
        self._graph(model.graph, 0)
        for opset in model.opset_import:
            _check_domain(opset.domain, "it is")
        for node in self._shaped:
            self._check_growth(node)
        return OnnxFile(
            {entry.key: entry.value for entry in model.metadata_props},
            tuple(map(_value, model.graph.input)),
            tuple(map(_value, model.graph.output)),
        )

    def _graph(self, graph: Any, depth: int) -> None:
        if depth > DEEPEST_GRAPH:
            raise _RefusedError(f"graphs within graphs, more than {DEEPEST_GRAPH} deep")
        if graph.sparse_initializer:
            raise _RefusedError("it has sparse constants")
        for value in (*graph.input, *graph.output, *graph.value_info):
            _value(value)
        for tensor in graph.initializer:
            self._constants[tensor.name] = _small_numbers(tensor)
        for node in graph.node:
            self._node(node, depth)

    def _node(self, node: Any, depth: int) -> None:
        self._nodes += 1
        if self._nodes > MOST_NODES:
            raise _RefusedError(f"more than {MOST_NODES} operators")
        _check_domain(node.domain, f"operator {_quoted(node.op_type)} is")
        if node.op_type in _LOOPS:
            raise _RefusedError(f"operator {node.op_type} is a loop that may never end")
        if node.op_type in _SHAPED_BY:
            self._shaped.append(node)
        for attribute in node.attribute:
            numbers = self._attribute(attribute, depth)
            if node.op_type == "Constant" and node.output:
                self._constants[node.output[0]] = numbers

    def _attribute(self, attribute: Any, depth: int) -> Sequence[int]:
        """Inspect an attribute and return its small whole numbers: as a Constant they may be a shape."""
        if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
            raise _RefusedError("it has sparse constants")
        for graph in _all(attribute, "g", attribute.graphs):
            self._graph(graph, depth + 1)
        numbers = [*_all(attribute, "i", attribute.ints[: MOST_AXES + 1])]
        for tensor in _all(attribute, "t", attribute.tensors):
            numbers += _small_numbers(tensor)
        return numbers if len(numbers) <= MOST_AXES else []

    def _check_growth(self, node: Any) -> None:
        places = [place for place in _SHAPED_BY[node.op_type] if place < len(node.input)]
        known = [self._constants[node.input[place]] for place in places if node.input[place] in self._constants]
        if node.op_type == "Range":
            ends = [numbers[0] for numbers in known if len(numbers) == 1]
            if len(ends) < 3 or not ends[2]:
                return
            count = (ends[1] - ends[0]) // ends[2]
        else:
            count = max((math.prod(numbers) for numbers in known), default=0)
        if count > LARGEST_VALUES:
            raise _RefusedError(f"operator {node.op_type} would make {count} elements")


def _all(attribute: Any, single: str, several: Iterable[Any]) -> list[Any]:
    return [*([getattr(attribute, single)] if attribute.HasField(single) else []), *several]


def _small_numbers(tensor: Any) -> Sequence[int]:
    """Check a constant; return its whole numbers if they are few."""
    from onnx import TensorProto

    if tensor.external_data or tensor.data_location == TensorProto.EXTERNAL:
        raise _RefusedError(f"constant {_quoted(tensor.name)} is kept in another file")
    raw_bytes = len(tensor.raw_data)
    _check_size(tensor, raw_bytes)
    if tensor.data_type != TensorProto.INT64 or raw_bytes > 8 * MOST_AXES or len(tensor.int64_data) > MOST_AXES:
        return []
    return memoryview(tensor.raw_data[: raw_bytes // 8 * 8]).cast("q").tolist() or list(tensor.int64_data)


def _check_size(tensor: Any, raw_bytes: int) -> None:
    """Refuse a constant that claims more than the file holds: memory would be taken for it before anyone counts."""
    from onnx import TensorProto, helper

    dims = list(tensor.dims)
    if not _fits(dims) or min(dims, default=0) < 0:
        raise _RefusedError(f"constant {_quoted(tensor.name)} has the shape {_shape(dims)}")
    listed = sum(len(getattr(tensor, name)) for name in _LISTS)
    if tensor.data_type == TensorProto.STRING:
        room = listed
    else:
        try:
            element_bytes = helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        except (KeyError, ValueError, TypeError):
            unknown = f"constant {_quoted(tensor.name)} is of the unknown type {tensor.data_type}"
            raise _RefusedError(unknown) from None
        room = max(raw_bytes * _PACKED if element_bytes == 1 else raw_bytes // element_bytes, listed * _PACKED)
    count = math.prod(dims)
    if count > room:
        raise _RefusedError(f"constant {_quoted(tensor.name)} claims {count} elements and has {room} at most")


def _value(value: Any) -> Value:
    """Read an input, output or value in between; its declared shape must not be absurd."""
    if not value.type.HasField("tensor_type"):
        return Value(value.name, None, None)
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return Value(value.name, tensor.elem_type, None)
    sizes = [axis.dim_value if axis.HasField("dim_value") else None for axis in tensor.shape.dim]
    known = [size for size in sizes if size is not None]
    if not _fits(known):
        raise _RefusedError(f"{_quoted(value.name)} is declared with {_shape(known)} elements")
    return Value(value.name, tensor.elem_type, tuple(sizes))


def _check_domain(domain: str, what: str) -> None:
    if domain not in _STANDARD_DOMAINS:
        raise _RefusedError(f"{what} not of the ONNX standard, but of {_quoted(domain)}")


def _fits(sizes: Sequence[int]) -> bool:
    return len(sizes) <= MOST_AXES and max(sizes, default=0) <= LARGEST_VALUES and math.prod(sizes) <= LARGEST_VALUES


def _quoted(text: str) -> str:
    shown = ascii(text)
    return shown if len(shown) <= 80 else f"{shown[:76]}…'"


def _shape(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes[:8])) + (" x …" if len(sizes) > 8 else "")
