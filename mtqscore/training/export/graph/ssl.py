"""Self-supervised front ends (HuBERT, WavLM, wav2vec 2.0) as ONNX nodes, for any length and any padding.

The nodes compute what `SslFrontEnd` computes in evaluation mode. Relative positions, which WavLM sorts into buckets
that do not change beyond some distance, are a table.
"""

from __future__ import annotations

from typing import Any

import torch
from onnx import TensorProto
from torch import nn

from mtqscore.training.export.graph.builder import GraphBuilder
from mtqscore.training.export.graph.layers import (
    AttentionWeights,
    Frames,
    absent_energy,
    affine,
    frame_mask,
    layer_norm,
    linear,
    masked,
    multi_head_attention,
)
from mtqscore.training.networks.ssl.front_end import FIELD_SAMPLES, HOP_SAMPLES, NORM_EPSILON, SslFrontEnd


def embed(graph: GraphBuilder, front_end: SslFrontEnd, audio: str) -> Frames:
    """Embed recordings of 400 samples or more.

    Args:
        graph: where to add.
        front_end: in evaluation mode.
        audio: from `join_audio`.

    Returns:
        Embeddings, zero beyond each end.
    """
    model: Any = front_end._model()
    transformer = model.encoder.transformer
    if front_end._normalizes_waveform:
        audio = _standardised(graph, audio)
    x = _extracted(graph, model.feature_extractor.conv_layers, audio)
    projection = model.encoder.feature_projection
    x = layer_norm(graph, x, projection.layer_norm, "projection_norm")
    x = linear(graph, x, projection.projection, "projection")
    size = graph.size(x, 1, "ssl_size")
    counts = _frame_counts(graph, FIELD_SAMPLES, HOP_SAMPLES, "lengths", "ssl_counts")
    x = masked(graph, Frames(x, counts, size), "projection").x
    x = graph.add("Add", x, _positions(graph, transformer.pos_conv_embed, x), name="with_positions")
    if transformer.layer_norm_first:
        x = layer_norm(graph, x, transformer.layer_norm, "ssl_first_norm")
    absent = absent_energy(graph, frame_mask(graph, counts, size, "ssl"), "ssl")
    absent = graph.add("Unsqueeze", absent, graph.vector(1), name="ssl_absent_4d")
    distances = front_end._relative_positions and len(transformer.layers) > 0
    relative = _relative_bias(graph, transformer.layers, size) if distances else None
    states = [x]
    for number, block in enumerate(transformer.layers, start=1):
        x = _block(graph, x, block, (absent, relative), f"ssl_block_{number}")
        states.append(x)
    if front_end._final_norm:
        states[-1] = layer_norm(graph, x, transformer.layer_norm, "ssl_last_norm")
    return masked(graph, Frames(_chosen(graph, front_end, states), counts, size), "embedding")


def _frame_counts(graph: GraphBuilder, kernel: int, stride: int, lengths: str, name: str) -> str:
    """Count what a convolution makes of lengths, int64 (batch,)."""
    reach = graph.add("Sub", lengths, graph.integer(kernel), name=f"{name}_reach")
    steps = graph.add("Div", reach, graph.integer(stride), name=f"{name}_steps")
    return graph.add("Add", steps, graph.integer(1), name=name)


def _standardised(graph: GraphBuilder, audio: str) -> str:
    """Give each item's own samples mean 0 and variance 1."""
    index = graph.add("Range", graph.integer(0), "sample_count", graph.integer(1), name="standard_index")
    ends = graph.add("Unsqueeze", "lengths", graph.vector(1), name="standard_ends")
    own = graph.add("Less", index, ends, name="standard_own")
    mask = graph.add("Cast", own, name="standard_mask", to=TensorProto.FLOAT)
    count = graph.add("Cast", ends, name="standard_count", to=TensorProto.FLOAT)
    return _own_standard(graph, audio, mask, count, NORM_EPSILON, "standard")


def _own_standard(graph: GraphBuilder, x: str, mask: str, count: str, epsilon: float, name: str) -> str:
    """Normalise the last axis over what is marked, and zero the rest."""
    axes = graph.vector(-1)
    x = graph.add("Mul", x, mask, name=f"{name}_marked")
    # Twice: the sum of many like numbers is rounded, and a small variance makes that large.
    for turn in (1, 2):
        total = graph.add("ReduceSum", x, axes, name=f"{name}_sum_{turn}")
        mean = graph.add("Div", total, count, name=f"{name}_mean_{turn}")
        x = graph.add("Sub", x, mean, name=f"{name}_moved_{turn}")
        x = graph.add("Mul", x, mask, name=f"{name}_centred_{turn}")
    power = graph.add(
        "Div", graph.add("ReduceSumSquare", x, axes, name=f"{name}_power"), count, name=f"{name}_variance"
    )
    root = graph.add("Add", power, graph.number(epsilon), name=f"{name}_variance_up")
    return graph.add("Div", x, graph.add("Sqrt", root, name=f"{name}_spread"), name=f"{name}_normal")


def _extracted(graph: GraphBuilder, layers: nn.ModuleList, audio: str) -> str:
    """Run the feature extractor: (batch, samples) to (batch, frames, channels)."""
    x = graph.add("Unsqueeze", audio, graph.vector(1), name="extractor_input")
    counts = "lengths"
    for number, layer in enumerate(layers, start=1):
        name = f"extractor_{number}"
        convolution: Any = layer.conv
        norm: Any = layer.layer_norm
        x = _conv1d(graph, x, convolution, name)
        counts = _frame_counts(graph, layer.kernel_size, layer.stride, counts, f"{name}_counts")  # type: ignore[arg-type]
        if isinstance(norm, nn.GroupNorm):
            mask = frame_mask(graph, counts, graph.size(x, 2, f"{name}_size"), name)
            mask = graph.add("Transpose", mask, name=f"{name}_mask_row", perm=[0, 2, 1])
            count = graph.add("Cast", counts, name=f"{name}_count", to=TensorProto.FLOAT)
            count = graph.add("Unsqueeze", count, graph.vector(1, 2), name=f"{name}_count_3d")
            x = _own_standard(graph, x, mask, count, norm.eps, name)
            gain = graph.floats(f"{name}_gain", norm.weight.detach()[:, None])
            x = graph.add("Mul", x, gain, name=f"{name}_gained")
            x = graph.add("Add", x, graph.floats(f"{name}_offset", norm.bias.detach()[:, None]), name=f"{name}_shifted")
        elif norm is not None:
            x = graph.add("Transpose", x, name=f"{name}_frames", perm=[0, 2, 1])
            x = layer_norm(graph, x, norm, f"{name}_norm")
            x = graph.add("Transpose", x, name=f"{name}_channels", perm=[0, 2, 1])
        x = graph.add("Gelu", x, name=f"{name}_gelu")
    return graph.add("Transpose", x, name="extractor_frames", perm=[0, 2, 1])


def _conv1d(graph: GraphBuilder, x: str, layer: nn.Conv1d, name: str) -> str:
    weights = [graph.floats(f"{name}_kernel", layer.weight.detach().numpy())]
    if layer.bias is not None:
        weights.append(graph.floats(f"{name}_bias", layer.bias.detach().numpy()))
    padding = int(layer.padding[0])
    return graph.add(
        "Conv",
        x,
        *weights,
        name=f"{name}_conv",
        strides=list(layer.stride),
        pads=[padding, padding],
        group=layer.groups,
    )


def _positions(graph: GraphBuilder, layer: Any, x: str) -> str:
    """Apply the convolution that says where frames are."""
    x = graph.add("Transpose", x, name="positions_input", perm=[0, 2, 1])
    x = _conv1d(graph, x, layer.conv, "positions")
    if layer.num_remove:
        x = graph.add(
            "Slice", x, graph.vector(0), graph.vector(-layer.num_remove), graph.vector(2), name="positions_cut"
        )
    x = graph.add("Gelu", x, name="positions_gelu")
    return graph.add("Transpose", x, name="positions_frames", perm=[0, 2, 1])


def _relative_bias(graph: GraphBuilder, layers: nn.ModuleList, size: str) -> str:
    """Give what the first block learnt of the distance between frames: float32 (1, heads, frames, frames)."""
    attention: Any = layers[0].attention
    farthest = attention.max_distance
    buckets = attention._relative_positions_bucket(torch.arange(-farthest, farthest + 1))
    table = graph.floats("relative_table", attention.rel_attn_embed(buckets).detach().numpy())
    index = graph.add("Range", graph.integer(0), size, graph.integer(1), name="relative_index")
    column = graph.add("Unsqueeze", index, graph.vector(1), name="relative_queries")
    distance = graph.add("Sub", index, column, name="relative_distance")
    limits = graph.integer(-farthest), graph.integer(farthest)
    place = graph.add("Clip", distance, *limits, name="relative_limited")
    place = graph.add("Add", place, graph.integer(farthest), name="relative_places")
    bias = graph.add("Gather", table, place, name="relative_values", axis=0)
    bias = graph.add("Transpose", bias, name="relative_heads", perm=[2, 0, 1])
    return graph.add("Unsqueeze", bias, graph.vector(0), name="relative_bias")


def _block(graph: GraphBuilder, x: str, block: Any, biases: tuple[str, str | None], name: str) -> str:
    """Write one transformer block, normalised before or after its parts.

    Args:
        graph: where to add.
        x: float32 (batch, frames, width).
        block: torchaudio's ``EncoderLayer``.
        biases: what is added to the energies for padding, and for the distance between frames.
        name: begins all names.
    """
    first: bool = block.layer_norm_first
    heard = layer_norm(graph, x, block.layer_norm, f"{name}_norm") if first else x
    absent, relative = biases
    if relative is not None:
        gated = graph.add("Mul", _gate(graph, heard, block.attention, name), relative, name=f"{name}_relative")
        absent = graph.add("Add", gated, absent, name=f"{name}_bias")
    x = graph.add("Add", x, multi_head_attention(graph, heard, _weights(block.attention), absent, name),
                  name=f"{name}_attended")  # fmt: skip
    if first:
        heard = layer_norm(graph, x, block.final_layer_norm, f"{name}_final_norm")
        return graph.add("Add", x, _feed_forward(graph, heard, block, name), name=f"{name}_out")
    x = layer_norm(graph, x, block.layer_norm, f"{name}_norm")
    x = graph.add("Add", x, _feed_forward(graph, x, block, name), name=f"{name}_fed")
    return layer_norm(graph, x, block.final_layer_norm, f"{name}_final_norm")


def _feed_forward(graph: GraphBuilder, x: str, block: Any, name: str) -> str:
    x = linear(graph, x, block.feed_forward.intermediate_dense, f"{name}_wide")
    x = graph.add("Gelu", x, name=f"{name}_gelu")
    return linear(graph, x, block.feed_forward.output_dense, f"{name}_narrow")


def _weights(attention: Any) -> AttentionWeights:
    """Find the weights of attention, which WavLM holds in one matrix and others in three."""
    if hasattr(attention, "q_proj"):
        parts = (attention.q_proj, attention.k_proj, attention.v_proj)
        return AttentionWeights([(part.weight, part.bias) for part in parts], attention.out_proj, attention.num_heads)
    return joined_weights(attention.attention)


def joined_weights(attention: nn.MultiheadAttention) -> AttentionWeights:
    """Divide the joined matrix of torch's own attention."""
    weights = attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3)
    return AttentionWeights(list(zip(*weights, strict=True)), attention.out_proj, attention.num_heads)


def _gate(graph: GraphBuilder, x: str, attention: Any, name: str) -> str:
    """Compute how much distance matters to each frame and head: float32 (batch, heads, frames, 1)."""
    layer = attention.gru_rel_pos_linear
    shape = graph.vector(0, 0, attention.num_heads, attention.head_dim)
    apart = graph.add("Reshape", x, shape, name=f"{name}_gate_apart")
    apart = graph.add("Transpose", apart, name=f"{name}_gate_heads", perm=[0, 2, 1, 3])
    # The network sums groups of four outputs, which is one output of the summed weights.
    weight, bias = layer.weight.view(2, 4, -1).sum(1), layer.bias.view(2, 4).sum(1)
    gates = [
        graph.add(
            "Sigmoid",
            affine(graph, apart, weight[part : part + 1], bias[part : part + 1], f"{name}_gate_{part}"),
            name=f"{name}_gate_{part}_open",
        )
        for part in range(2)
    ]
    constant = graph.floats(f"{name}_gate_constant", attention.gru_rel_pos_const.detach().numpy())
    inner = graph.add("Mul", gates[1], constant, name=f"{name}_gate_scaled")
    inner = graph.add("Sub", inner, graph.number(1.0), name=f"{name}_gate_less")
    inner = graph.add("Mul", gates[0], inner, name=f"{name}_gate_product")
    return graph.add("Add", inner, graph.number(2.0), name=f"{name}_gate")


def _chosen(graph: GraphBuilder, front_end: SslFrontEnd, states: list[str]) -> str:
    """Take the hidden state that is asked for, or the weighted sum of all."""
    if front_end.layer_weights is None:
        return states[-1]
    shares = torch.softmax(front_end.layer_weights.detach(), 0).tolist()
    parts = []
    for number, (state, share) in enumerate(zip(states, shares, strict=True)):
        if front_end.config.normalize_layers:
            plain = nn.LayerNorm(front_end.width)
            state = layer_norm(graph, state, plain, f"state_{number}")  # noqa: PLW2901 - the same thing, normalised
        parts.append(graph.add("Mul", state, graph.number(share), name=f"state_{number}_share"))
    return graph.add("Sum", *parts, name="states_sum")
