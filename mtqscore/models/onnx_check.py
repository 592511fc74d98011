"""What stands in an ONNX file, read from its bytes before any library runs it; what could do harm is refused.

Only the few fields of ``onnx.proto`` that matter here are known. The walk needs time in proportion to the file, keeps
no copy of it, and ends every fault in one line.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field

from mtqscore.errors import UsageError
from mtqscore.models.wire_format import BYTES, Field, Span, WireError, WireReader, damaged, signed

LARGEST_VALUES = 1 << 28
"""Elements that one tensor may hold by what is written in the file; 1 GiB of float32."""

MOST_NODES = 10_000
DEEPEST_GRAPH = 8
MOST_AXES = 64

_STANDARD_DOMAINS = ("", "ai.onnx")
_LOOPS = ("Loop", "Scan", "SequenceMap")
_SHAPED_BY = {"ConstantOfShape": (0,), "Expand": (1,), "Tile": (1,), "Range": (0, 1, 2)}
"""Operators that make as much as an input of theirs says, and the place of that input."""

_BITS = {
    **dict.fromkeys((2, 3, 9, 17, 18, 19, 20, 24), 8),
    **dict.fromkeys((4, 5, 10, 16), 16),
    **dict.fromkeys((1, 6, 12), 32),
    **dict.fromkeys((7, 11, 13, 14), 64),
    **dict.fromkeys((21, 22, 23), 4),
    **dict.fromkeys((25, 26), 2),
    15: 128,
}
"""Size of an element by ONNX's number of its type; text (8) has none."""

_INT64, _TEXT = 7, 8
_EXTERNAL = 1


@dataclass(frozen=True)
class Value:
    """An input or output as the file declares it.

    Args:
        name: its name.
        element: ONNX's number of the type of its elements; None for what is no tensor.
        sizes: extent by axis, None where it is open; None in all without a declared shape.
    """

    name: str
    element: int | None
    sizes: tuple[int | None, ...] | None


@dataclass(frozen=True)
class OnnxFile:
    """What a file says about itself.

    Args:
        metadata: its ``metadata_props``.
        inputs: of the graph.
        outputs: of the graph.
    """

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
    """
    try:
        return _Walk(content).model()
    except WireError as fault:
        raise UsageError(f"{label}: {fault}") from None


@dataclass
class _Node:
    operator: str = ""
    domain: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)


@dataclass
class _Tensor:
    """A constant: its elements lie in a row from ``raw`` on, or are listed one by one."""

    name: str = ""
    kind: int = 0
    dims: list[int] = field(default_factory=list)
    raw: int = 0
    raw_bytes: int = 0
    listed_bytes: int = 0
    listed_ints: list[int] = field(default_factory=list)


class _Walk:
    """One pass over a file.

    Args:
        content: the file.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._read = WireReader(content)
        self._nodes = 0
        self._constants: dict[str, list[int]] = {}
        self._shaped: list[_Node] = []

    def model(self) -> OnnxFile:
        """Read the outermost message."""
        graph: tuple[list[Value], list[Value]] | None = None
        metadata: dict[str, str] = {}
        for part in self._read.fields((0, len(self._content))):
            if part.number == 7:
                if graph is not None:
                    raise damaged("it has two graphs", part.start)
                graph = self._graph(self._read.message(part), 0)
            elif part.number == 8:
                self._opset(part)
            elif part.number == 14:
                key, value = self._read.pair(part)
                metadata[key] = value
            elif part.number == 20:
                raise _refused("it carries instructions for training")
            elif part.number == 25:
                raise _refused("it defines functions of its own")
        if graph is None:
            raise WireError("not an ONNX file: there is no graph in it")
        for node in self._shaped:
            self._check_growth(node)
        return OnnxFile(metadata, tuple(graph[0]), tuple(graph[1]))

    def _opset(self, part: Field) -> None:
        for inner in self._read.fields(self._read.message(part)):
            if inner.number == 1:
                _check_domain(self._read.text(inner), "it is")

    def _graph(self, span: Span, depth: int) -> tuple[list[Value], list[Value]]:
        if depth > DEEPEST_GRAPH:
            raise _refused(f"graphs within graphs, more than {DEEPEST_GRAPH} deep")
        inputs: list[Value] = []
        outputs: list[Value] = []
        for part in self._read.fields(span):
            if part.number == 1:
                self._node(part, depth)
            elif part.number == 5:
                name, numbers = self._tensor(part)
                self._constants[name] = numbers
            elif part.number == 15:
                raise _refused("it has sparse constants")
            elif part.number in (11, 12, 13):
                value = self._value(part)
                if part.number != 13:
                    (inputs if part.number == 11 else outputs).append(value)
        return inputs, outputs

    def _node(self, part: Field, depth: int) -> None:
        self._nodes += 1
        if self._nodes > MOST_NODES:
            raise _refused(f"more than {MOST_NODES} operators")
        node = _Node()
        constants: list[list[int]] = []
        for inner in self._read.fields(self._read.message(part)):
            if inner.number == 1:
                node.inputs.append(self._read.text(inner))
            elif inner.number == 2:
                node.outputs.append(self._read.text(inner))
            elif inner.number == 4:
                node.operator = self._read.text(inner)
            elif inner.number == 5:
                constants.append(self._attribute(inner, depth))
            elif inner.number == 7:
                node.domain = self._read.text(inner)
        _check_domain(node.domain, f"operator {_quoted(node.operator)} is")
        if node.operator in _LOOPS:
            raise _refused(f"operator {node.operator} is a loop, and nobody can tell when it ends")
        if node.operator in _SHAPED_BY:
            self._shaped.append(node)
        elif node.operator == "Constant" and node.outputs and constants:
            self._constants[node.outputs[0]] = constants[-1]

    def _attribute(self, part: Field, depth: int) -> list[int]:
        """Look into an attribute and return its small whole numbers: as a Constant they may be a shape."""
        numbers: list[int] = []
        seen: set[int] = set()
        for inner in self._read.fields(self._read.message(part)):
            if inner.number in (5, 6):  # a second one would be merged with the first
                if inner.number in seen:
                    raise damaged("a value is there twice", inner.start)
                seen.add(inner.number)
            if inner.number in (5, 10):
                numbers = self._tensor(inner)[1]
            elif inner.number in (6, 11):
                self._graph(self._read.message(inner), depth + 1)
            elif inner.number in (22, 23):
                raise _refused("it has sparse constants")
            elif inner.number in (3, 8):
                numbers += self._read.numbers(inner, MOST_AXES)
        return numbers if len(numbers) <= MOST_AXES else []

    def _tensor(self, part: Field) -> tuple[str, list[int]]:
        """Check a constant; return its name, and its whole numbers if they are few."""
        found = _Tensor()
        for inner in self._read.fields(self._read.message(part)):
            if inner.number == 1:
                found.dims += self._read.numbers(inner, MOST_AXES)
            elif inner.number == 2:
                found.kind = inner.value
            elif inner.number == 8:
                found.name = self._read.text(inner)
            elif inner.number == 9:
                found.raw, found.raw_bytes = inner.start, inner.end - inner.start
            elif inner.number in (4, 5, 6, 7, 10, 11):
                found.listed_bytes += inner.end - inner.start if inner.wire == BYTES else 8
                if inner.number == 6:
                    found.listed_bytes += 8  # an empty text is an element too
                elif inner.number == 7 and len(found.listed_ints) <= MOST_AXES:
                    found.listed_ints += self._read.numbers(inner, MOST_AXES)
            elif inner.number == 13 or (inner.number == 14 and inner.value == _EXTERNAL):
                raise _refused(f"constant {_quoted(found.name)} is kept in another file")
        _check_size(found)
        return found.name, self._small_numbers(found)

    def _small_numbers(self, found: _Tensor) -> list[int]:
        if found.kind != _INT64 or found.raw_bytes > 8 * MOST_AXES or len(found.listed_ints) > MOST_AXES:
            return []
        if found.raw:
            return list(struct.unpack_from(f"<{found.raw_bytes // 8}q", self._content, found.raw))
        return found.listed_ints

    def _value(self, part: Field) -> Value:
        span = self._read.message(part)
        name = next((self._read.text(inner) for inner in self._read.fields(span) if inner.number == 1), "")
        type_span = self._read.only(span, 2)
        tensor = None if type_span is None else self._read.only(type_span, 1)
        if tensor is None:
            return Value(name, None, None)
        element = next((inner.value for inner in self._read.fields(tensor) if inner.number == 1), 0)
        shape = self._read.only(tensor, 2)
        if shape is None:
            return Value(name, element, None)
        sizes = tuple(self._axis(axis) for axis in self._read.fields(shape) if axis.number == 1)
        known = [size for size in sizes if size is not None]
        if not _fits(known):
            raise _refused(f"{_quoted(name)} is declared with {_shape(known)} elements")
        return Value(name, element, sizes)

    def _axis(self, part: Field) -> int | None:
        sizes = [signed(inner.value) for inner in self._read.fields(self._read.message(part)) if inner.number == 1]
        return sizes[-1] if sizes else None

    def _check_growth(self, node: _Node) -> None:
        places = [place for place in _SHAPED_BY[node.operator] if place < len(node.inputs)]
        known = [self._constants[node.inputs[place]] for place in places if node.inputs[place] in self._constants]
        if node.operator == "Range":
            ends = [numbers[0] for numbers in known if len(numbers) == 1]
            if len(ends) < 3 or not ends[2]:
                return
            count = (ends[1] - ends[0]) // ends[2]
        else:
            count = max((math.prod(numbers) for numbers in known), default=0)
        if count > LARGEST_VALUES:
            raise _refused(f"operator {node.operator} would make {count} elements")


def _check_domain(domain: str, what: str) -> None:
    if domain not in _STANDARD_DOMAINS:
        raise _refused(f"{what} not of the ONNX standard, but of {_quoted(domain)}")


def _check_size(found: _Tensor) -> None:
    """Refuse a constant that claims more than the file holds: memory would be taken for it before anyone counts."""
    if not _fits(found.dims) or min(found.dims, default=0) < 0:
        raise _refused(f"constant {_quoted(found.name)} has the shape {_shape(found.dims)}")
    if found.kind not in _BITS and found.kind != _TEXT:
        raise _refused(f"constant {_quoted(found.name)} is of the unknown type {found.kind}")
    count = math.prod(found.dims)
    # Listed numbers take a byte or more each, which may hold four of the smallest type.
    room = max(found.raw_bytes * 8 // _BITS.get(found.kind, 8), found.listed_bytes * 4)
    if count > room:
        raise _refused(f"constant {_quoted(found.name)} claims {count} elements and has {room} at most")


def _fits(sizes: list[int]) -> bool:
    return len(sizes) <= MOST_AXES and max(sizes, default=0) <= LARGEST_VALUES and math.prod(sizes) <= LARGEST_VALUES


def _refused(what: str) -> WireError:
    return WireError(f"refused: {what}")


def _quoted(text: str) -> str:
    shown = ascii(text)
    return shown if len(shown) <= 80 else f"{shown[:76]}…'"


def _shape(sizes: list[int]) -> str:
    return " x ".join(map(str, sizes[:8])) + (" x …" if len(sizes) > 8 else "")
