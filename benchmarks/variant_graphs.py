"""Variants of a model in fp16 and int8, as ONNX graphs; `variants.py` measures them.

Whatever the library offers comes from onnxruntime's own tools. What is done here prepares a graph for them: the front
end stays in float32, and the huge weights that silence padding go where int8 cannot hold them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic, quantize_static
from onnxruntime.transformers.float16 import convert_float_to_float16

from mtqscore.training.export.graph.compact import SILENCER

Model = onnx.ModelProto
Feeds = dict[str, NDArray[Any]]

DENSE = ("MatMul", "Gemm")
CONVOLUTIONS = ("Conv",)
_WEIGHT_AXES = {"Conv": (3, 4), "LSTM": (3,), "MatMul": (2,), "Gemm": (2,)}
"""Of the weights that are rounded; onnxruntime does not multiply stacked matrices with a scale a channel."""

_FEWEST_WEIGHTS = 64
"""Smaller constants are worth no rounding."""


def front_end(model: Model) -> set[str]:
    """Names of the nodes up to the logarithms of the spectrum, or up to the first convolution where there are none.

    Powers meet there that lie up to 100 dB apart.
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    logarithms = [node for node in model.graph.node if node.op_type == "Log"]
    first = [makers[node.input[0]] for node in model.graph.node if node.op_type == "Conv"][:1]
    waiting, found = logarithms or first, set()
    while waiting:
        node = waiting.pop()
        if node.name not in found:
            found.add(node.name)
            waiting += [makers[name] for name in node.input if name in makers]
    return found


def copied(model: Model) -> Model:
    """Copy a model; what follows, and the tools of onnxruntime, change what they are given."""
    copy = Model()
    copy.CopyFrom(model)
    return copy


def with_masks(model: Model) -> Model:
    """Silence padding by a product with a mask, in place of the huge negative weights of the exported graph.

    Rounded to int8 beside a weight of -1e6, all other weights of a convolution would be zero.

    Args:
        model: any of ours; one without such weights stays as it is.
    """
    model = copied(model)
    constants = {constant.name: constant for constant in model.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    masks: dict[str, str] = {}
    mask = ""
    for node in model.graph.node:
        kernel = constants.get(node.input[1]) if node.op_type == "Conv" else None
        weights = np.zeros(0) if kernel is None else numpy_helper.to_array(kernel).copy()
        nodes.append(node)
        if kernel is not None and (weights == SILENCER).any():
            kernel.CopyFrom(numpy_helper.from_array(np.where(weights == SILENCER, np.float32(0), weights), kernel.name))
            if not mask:  # the last channel of the first convolution's input marks padding with 1
                one_bin = {1: slice(-1, None), 2: slice(0, 1)}  # for all: every bin of a frame has the same mark
                marker = _sliced(model, nodes, node.input[0], "end_marker", one_bin)
                model.graph.initializer.append(numpy_helper.from_array(np.ones(1, np.float32), "unmasked"))
                nodes.append(helper.make_node("Sub", ["unmasked", marker], ["mask_0"], "mask_0"))
                mask = "mask_0"
            steps = next(attribute.ints for attribute in node.attribute if attribute.name == "strides")
            parts = {2 + axis: slice(0, None, step) for axis, step in enumerate(steps)}
            mask = masks[node.output[0]] = _sliced(model, nodes, mask, f"mask_{node.name}", parts)
        elif node.op_type == "Relu" and node.input[0] in masks:
            own = node.output[0]
            node.output[0] = f"{own}_unmasked"
            nodes.append(helper.make_node("Mul", [node.output[0], masks[node.input[0]]], [own], f"{own}_masked"))
    return _with_nodes(model, nodes)


def _sliced(model: Model, nodes: list[onnx.NodeProto], source: str, name: str, parts: Mapping[int, slice]) -> str:
    """Append a Slice with a part an axis, and give its output's name."""
    columns = {
        "starts": [part.start for part in parts.values()],
        "ends": [np.iinfo(np.int64).max if part.stop is None else part.stop for part in parts.values()],
        "axes": list(parts),
        "steps": [part.step or 1 for part in parts.values()],
    }
    for key, values in columns.items():
        model.graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64), f"{name}_{key}"))
    nodes.append(helper.make_node("Slice", [source, *(f"{name}_{key}" for key in columns)], [name], name))
    return name


def _with_nodes(model: Model, nodes: Sequence[onnx.NodeProto]) -> Model:
    kept = [*nodes]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    return model


# --- fp16, and weights that are short in the file alone -------------------------------------------------------


def short_weights(model: Model, *, kind: type[np.float16] | type[np.int8], spectrum: bool = False) -> Model:
    """Store weights in float16, or in int8 with one scale a tensor, and turn them into float32 before they are used.

    Args:
        model: in float32.
        kind: of the numbers that are stored.
        spectrum: the weights of the front end too.
    """
    model = copied(model) if kind is np.float16 else with_masks(model)
    kept = set() if spectrum else front_end(model)
    exempt = {name for node in model.graph.node if node.name in kept for name in node.input}
    restoring = []
    for constant in list(model.graph.initializer):
        values, name = numpy_helper.to_array(constant), constant.name
        if values.dtype != np.float32 or values.size < _FEWEST_WEIGHTS or name in exempt:
            continue
        short, scale = f"{name}_short", f"{name}_scale"
        if kind is np.float16:
            largest = np.finfo(np.float16).max
            stored = values.clip(-largest, largest).astype(np.float16)
            restoring.append(helper.make_node("Cast", [short], [name], f"{name}_long", to=TensorProto.FLOAT))
        else:
            step = np.abs(values).max() / np.float32(127)
            stored = np.rint(values / step).astype(np.int8)
            model.graph.initializer.append(numpy_helper.from_array(np.array(step), scale))
            restoring.append(helper.make_node("DequantizeLinear", [short, scale], [name], f"{name}_long"))
        constant.CopyFrom(numpy_helper.from_array(stored, short))
    return _with_nodes(model, [*restoring, *model.graph.node])


def half_precision(model: Model) -> Model:
    """Compute in float16 behind the spectrum; onnxruntime goes back to float32 where the processor has no float16."""
    converted = convert_float_to_float16(
        copied(model), keep_io_types=True, op_block_list=[], node_block_list=sorted(front_end(model))
    )
    # The tool rounds between the nodes that it leaves in float32 too, and repeats a cast for each node that asks.
    nodes = list({node.name: node for node in converted.graph.node}.values())
    rounded = {node.output[0]: node.input[0] for node in nodes if _casts_to(node, TensorProto.FLOAT16)}
    exact = {
        node.output[0]: rounded[node.input[0]]
        for node in nodes
        if _casts_to(node, TensorProto.FLOAT) and node.input[0] in rounded
    }
    nodes = [node for node in nodes if node.output[0] not in exact]
    for node in nodes:
        for place, name in enumerate(node.input):
            node.input[place] = exact.get(name, name)
    return _with_nodes(converted, nodes)


def _casts_to(node: onnx.NodeProto, kind: int) -> bool:
    return node.op_type == "Cast" and node.attribute[0].i == kind


# --- int8 -----------------------------------------------------------------------------------------------------


def products(model: Model, operators: Sequence[str], *, spectrum: bool = False) -> list[onnx.NodeProto]:
    """Find the nodes of some operators that multiply by weights, in the front end only if ``spectrum``."""
    kept = set() if spectrum else front_end(model)
    axes = {constant.name: len(constant.dims) for constant in model.graph.initializer}
    return [
        node
        for node in model.graph.node
        if node.op_type in operators
        and node.name not in kept
        and any(axes.get(name) in _WEIGHT_AXES[node.op_type] for name in node.input[:2])
    ]


def int8_dynamic(model: Model, operators: Sequence[str], *, spectrum: bool = False, masks: bool = True) -> Model:
    """Multiply in int8 with one scale a tensor, that of an input taken from its numbers of the moment."""
    model = with_masks(model) if masks else copied(model)
    names = [node.name for node in products(model, operators, spectrum=spectrum)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "variant.onnx"
        quantize_dynamic(model, path, list(operators), weight_type=QuantType.QInt8, nodes_to_quantize=names)
        return onnx.load(path)


class _Calibration:
    """Inputs one after the other, as the tool of onnxruntime asks for them."""

    def __init__(self, feeds: Sequence[Feeds]) -> None:
        self._left = [*feeds]

    def get_next(self) -> Feeds | None:
        return self._left.pop() if self._left else None


def int8_static(
    model: Model,
    operators: Sequence[str],
    calibration: Sequence[Feeds],
    *,
    spectrum: bool = False,
    per_channel: bool = False,
    seven_bits: bool = False,
) -> Model:
    """Multiply in int8 with ranges fixed beforehand, written as QuantizeLinear and DequantizeLinear.

    What stands right behind a product, its ReLU and the mask, is computed in int8 as well: else every layer would go
    to float32 and back.

    Args:
        model: in float32.
        operators: what is rounded.
        calibration: inputs that show the ranges.
        spectrum: the front end too.
        per_channel: one scale a channel of the weights, not one a tensor.
        seven_bits: weights of 7 bits, for processors that add two products in 16 bits before they widen them.
    """
    model = with_masks(model)
    chosen = products(model, operators, spectrum=spectrum)
    made = {node.output[0] for node in chosen}
    for node in model.graph.node:
        if node.input and node.input[0] in made and (node.op_type == "Relu" or node.name.endswith("_masked")):
            chosen.append(node)
            made.add(node.output[0])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "variant.onnx"
        quantize_static(
            model,
            path,
            _Calibration(calibration),
            nodes_to_quantize=[node.name for node in chosen],
            per_channel=per_channel,
            reduce_range=seven_bits,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return onnx.load(path)


VARIANTS: dict[str, Callable[[Model, Sequence[Feeds]], Model]] = {
    "float32 once more": lambda model, _: copied(model),
    "float32, masks in place of silencing weights": lambda model, _: with_masks(model),
    "fp16 weights, computed in float32": lambda model, _: short_weights(model, kind=np.float16, spectrum=True),
    "fp16 weights behind the spectrum, computed in float32": lambda model, _: short_weights(model, kind=np.float16),
    "fp16 behind the spectrum": lambda model, _: half_precision(model),
    "int8 weights behind the spectrum, computed in float32": lambda model, _: short_weights(model, kind=np.int8),
    "int8 dynamic: everything, as exported": lambda model, _: int8_dynamic(
        model, (*CONVOLUTIONS, *DENSE, "LSTM"), spectrum=True, masks=False
    ),
    "int8 dynamic: convolutions, dense": lambda model, _: int8_dynamic(model, (*CONVOLUTIONS, *DENSE)),
    "int8 dynamic: dense, recurrent": lambda model, _: int8_dynamic(model, (*DENSE, "LSTM"), masks=False),
    "int8 dynamic: dense": lambda model, _: int8_dynamic(model, DENSE, masks=False),
    "int8 static: spectrum, convolutions, dense": lambda model, clips: int8_static(
        model, (*CONVOLUTIONS, *DENSE), clips, spectrum=True
    ),
    "int8 static: convolutions, dense": lambda model, clips: int8_static(model, (*CONVOLUTIONS, *DENSE), clips),
    "int8 static: convolutions": lambda model, clips: int8_static(model, CONVOLUTIONS, clips),
    "int8 static: convolutions, dense; a scale a channel": lambda model, clips: int8_static(
        model, (*CONVOLUTIONS, *DENSE), clips, per_channel=True
    ),
    "int8 static: convolutions; a scale a channel": lambda model, clips: int8_static(
        model, CONVOLUTIONS, clips, per_channel=True
    ),
    "int8 static: convolutions; a scale a channel, 7 bits": lambda model, clips: int8_static(
        model, CONVOLUTIONS, clips, per_channel=True, seven_bits=True
    ),
}
"""Title to what makes it of a model and of inputs for calibration."""
