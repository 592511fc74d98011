"""Layers that the exported graphs share, as ONNX nodes; frames stand in the second axis wherever none is named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import TensorProto
from torch import Tensor, nn

from mtqscore.training.export.graph.builder import GraphBuilder
from mtqscore.training.networks.blstm import MaskedBlstm
from mtqscore.training.networks.heads import MASKED_SCORE


def linear(graph: GraphBuilder, x: str, layer: nn.Linear, name: str) -> str:
    """Apply a linear layer to the last axis."""
    return affine(graph, x, layer.weight, layer.bias, name)


def affine(graph: GraphBuilder, x: str, weight: Tensor, bias: Tensor | None, name: str) -> str:
    """Multiply the last axis by a weight (outputs, inputs), and add a bias if there is one."""
    kernel = graph.floats(f"{name}_weight", weight.detach().t().numpy())
    if bias is None:
        return graph.add("MatMul", x, kernel, name=name)
    product = graph.add("MatMul", x, kernel, name=f"{name}_product")
    return graph.add("Add", product, graph.floats(f"{name}_bias", bias.detach().numpy()), name=name)


def layer_norm(graph: GraphBuilder, x: str, norm: nn.LayerNorm, name: str) -> str:
    """Normalise the last axis."""
    weights = graph.floats(f"{name}_gain", norm.weight.detach()), graph.floats(f"{name}_bias", norm.bias.detach())
    return graph.add("LayerNormalization", x, *weights, name=name, axis=-1, epsilon=norm.eps)


def blstm(graph: GraphBuilder, x: str, counts: str, layer: MaskedBlstm, name: str = "lstm") -> str:
    """Apply both directions as one operator: (frames, batch, inputs) to (batch, frames, 2 * hidden).

    Args:
        graph: where to add.
        x: float32, frames first.
        counts: valid frames an item, int64 (batch,).
        layer: the weights.
        name: begins all names.
    """
    both = [dict(lstm.named_parameters()) for lstm in (layer.forwards, layer.backwards)]
    biases = [np.concatenate((_gates(lstm["bias_ih_l0"]), _gates(lstm["bias_hh_l0"]))) for lstm in both]
    weights = (
        graph.floats(f"{name}_weight", np.stack([_gates(lstm["weight_ih_l0"]) for lstm in both])),
        graph.floats(f"{name}_recurrence", np.stack([_gates(lstm["weight_hh_l0"]) for lstm in both])),
        graph.floats(f"{name}_bias", np.stack(biases)),
    )
    lengths = graph.add("Cast", counts, name=f"{name}_counts", to=TensorProto.INT32)
    hidden = layer.forwards.hidden_size
    x = graph.add("LSTM", x, *weights, lengths, name=name, direction="bidirectional", hidden_size=hidden)
    x = graph.add("Transpose", x, name=f"{name}_frames", perm=[2, 0, 1, 3])
    return graph.add("Reshape", x, graph.ints("flat_shape", [0, 0, -1]), name=f"{name}_frames_flat")


def _gates(tensor: Tensor) -> NDArray[np.float32]:
    """Reorder gates from torch's input, forget, cell, output to ONNX's input, output, forget, cell."""
    inputs, forget, cell, output = tensor.detach().chunk(4)
    return np.asarray(torch.cat((inputs, output, forget, cell)).numpy(), dtype=np.float32)


@dataclass(frozen=True)
class Frames:
    """Names of a padded sequence of frames.

    Args:
        x: float32 (batch, frames, width).
        counts: valid frames an item, int64 (batch,).
        size: frames, int64 ().
    """

    x: str
    counts: str
    size: str


def frame_mask(graph: GraphBuilder, counts: str, size: str, name: str) -> str:
    """Mark valid frames with 1 and others with 0: float32 (batch, frames, 1).

    Args:
        graph: where to add.
        counts: valid frames an item, int64 (batch,).
        size: frames, int64 ().
        name: begins all names.
    """
    index = graph.add("Range", graph.integer(0), size, graph.integer(1), name=f"{name}_index")
    column = graph.add("Unsqueeze", counts, graph.vector(1), name=f"{name}_counts_2d")
    own = graph.add("Less", index, column, name=f"{name}_own")
    own = graph.add("Cast", own, name=f"{name}_own_float", to=TensorProto.FLOAT)
    return graph.add("Unsqueeze", own, graph.vector(2), name=f"{name}_mask")


def masked(graph: GraphBuilder, frames: Frames, name: str) -> Frames:
    """Zero the frames beyond each item's end."""
    mask = frame_mask(graph, frames.counts, frames.size, name)
    return Frames(graph.add("Mul", frames.x, mask, name=f"{name}_masked"), frames.counts, frames.size)


def join(graph: GraphBuilder, streams: Sequence[Frames], name: str) -> Frames:
    """Put the valid frames of each item's streams next to each other, the first stream's first, with zeros behind.

    Args:
        graph: where to add.
        streams: of one width, zero beyond each item's end.
        name: begins all names.
    """
    if len(streams) == 1:
        return streams[0]
    size, counts = streams[0].size, streams[0].counts
    sizes, starts = [], []
    for number, stream in enumerate(streams[1:], start=1):
        sizes.append(size)
        starts.append(graph.add("Unsqueeze", counts, graph.vector(1), name=f"{name}_start_{number}"))
        size = graph.add("Add", size, stream.size, name=f"{name}_size_{number}")
        counts = graph.add("Add", counts, stream.counts, name=f"{name}_counts_{number}")
    index = graph.add("Range", graph.integer(0), size, graph.integer(1), name=f"{name}_place_index")
    place = index
    for number, (before, start) in enumerate(zip(sizes, starts, strict=True), start=1):
        # What lies at `before` in the padded streams comes at `start`.
        moved = graph.add("Add", index, graph.add("Sub", before, start, name=f"{name}_gap_{number}"),
                          name=f"{name}_moved_{number}")  # fmt: skip
        later = graph.add("GreaterOrEqual", index, start, name=f"{name}_later_{number}")
        place = graph.add("Where", later, moved, place, name=f"{name}_place_{number}")
    last = graph.add("Sub", size, graph.integer(1), name=f"{name}_last")
    place = graph.add("Min", place, last, name=f"{name}_place")
    x = graph.add("Concat", *(stream.x for stream in streams), name=f"{name}_padded", axis=1)
    return masked(graph, Frames(take_frames(graph, x, place, name), counts, size), name)


def take_frames(graph: GraphBuilder, x: str, places: str, name: str) -> str:
    """Take frames of each item by number: (batch, frames, width) at int64 (batch, places)."""
    column = graph.add("Unsqueeze", places, graph.vector(2), name=f"{name}_places_3d")
    return graph.add("GatherND", x, column, name=f"{name}_taken", batch_dims=1)


def absent_energy(graph: GraphBuilder, mask: str, name: str) -> str:
    """Give what attention adds to the energies, so that no frame attends to padding.

    Args:
        graph: where to add.
        mask: from `frame_mask`.
        name: begins all names.

    Returns:
        float32 (batch, 1, frames).
    """
    absent = graph.add("Sub", graph.number(1.0), mask, name=f"{name}_absent_mask")
    absent = graph.add("Mul", absent, graph.number(MASKED_SCORE), name=f"{name}_absent_column")
    return graph.add("Transpose", absent, name=f"{name}_absent", perm=[0, 2, 1])


def mean_over_frames(graph: GraphBuilder, frames: Frames, mask: str, name: str) -> str:
    """Average over the valid frames: float32 (batch, width)."""
    total = graph.add("Mul", frames.x, mask, name=f"{name}_own_part")
    total = graph.add("ReduceSum", total, graph.vector(1), name=f"{name}_sum", keepdims=0)
    count = graph.add("Cast", frames.counts, name=f"{name}_count", to=TensorProto.FLOAT)
    count = graph.add("Unsqueeze", count, graph.vector(1), name=f"{name}_count_2d")
    return graph.add("Div", total, count, name=name)


@dataclass(frozen=True)
class AttentionWeights:
    """Weights of scaled dot-product attention with several heads.

    Args:
        inputs: query, key and value, each a weight (width, width) and a bias (width,).
        output: the layer that joins the heads.
        heads: how many.
    """

    inputs: Sequence[tuple[Tensor, Tensor]]
    output: nn.Linear
    heads: int


def multi_head_attention(graph: GraphBuilder, x: str, weights: AttentionWeights, bias: str, name: str) -> str:
    """Attend from every frame to every frame: (batch, frames, width) to the same size.

    Args:
        graph: where to add.
        x: float32 (batch, frames, width).
        weights: of all projections.
        bias: added to the energies, of a shape that spreads to float32 (batch, heads, frames, frames).
        name: begins all names.
    """
    width = len(weights.inputs[0][0]) // weights.heads
    scales = (width**-0.5, 1.0, 1.0)
    split = []
    for part, (weight, offset), scale, perm in zip(
        ("query", "key", "value"), weights.inputs, scales, ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]), strict=True
    ):
        projected = affine(graph, x, weight * scale, offset * scale, f"{name}_{part}")
        shape = graph.vector(0, 0, weights.heads, width)
        projected = graph.add("Reshape", projected, shape, name=f"{name}_{part}_apart")
        split.append(graph.add("Transpose", projected, name=f"{name}_{part}_heads", perm=perm))
    query, key, value = split
    energy = graph.add("MatMul", query, key, name=f"{name}_energy")
    energy = graph.add("Add", energy, bias, name=f"{name}_biased_energy")
    shares = graph.add("Softmax", energy, name=f"{name}_shares", axis=-1)
    mixed = graph.add("MatMul", shares, value, name=f"{name}_mixed")
    mixed = graph.add("Transpose", mixed, name=f"{name}_mixed_frames", perm=[0, 2, 1, 3])
    mixed = graph.add("Reshape", mixed, graph.vector(0, 0, -1), name=f"{name}_joined")
    return linear(graph, mixed, weights.output, f"{name}_output")
