"""The compact network as an ONNX graph, node by node, so that it holds no more than inference needs.

The graph computes what `CompactNet` computes in evaluation mode, with these exact rewritings:

* The DFT of a windowed frame is a few short matrix products: the sum of its halves gives the even bins, the difference
  the odd ones, each is folded into what cosines and what sines see, and that of the even bins once more. Even and odd
  bins stay apart, since a first convolution with a step of two bins takes them as two channels.
* Standardisation is folded into the DFT, the floor and the first convolution; batch normalisation into its convolution.
* Frames beyond the end are silenced inside the convolutions. A further channel is 1 there and 0 elsewhere; a large
  negative weight from it to every other channel makes the ReLU give zero, as multiplying by the mask would.
* Both directions of the BLSTM are one LSTM operator with sequence lengths.
"""

from __future__ import annotations

import math

import numpy as np
import onnx
import torch
from onnx import TensorProto
from torch import Tensor

from mtqscore.training.export.calibration import Calibration
from mtqscore.training.export.graph.builder import GraphBuilder
from mtqscore.training.export.graph.features import Masks, cut_blocks, log_power, make_masks, mask_audio
from mtqscore.training.networks.attention import MASKED_SCORE, TaskHead
from mtqscore.training.networks.compact import CompactNet, ConvBlock

SILENCER = -1e6
"""Weight that drives any activation below zero; far above what a convolution can sum to, far below overflow."""


def compact_model(network: CompactNet, calibration: Calibration) -> onnx.ModelProto:
    """Write the network and its calibration; its frames are those of the contract."""
    graph = GraphBuilder()
    blocks, spectrum_frames = cut_blocks(graph, mask_audio(graph), network.config.hop_samples)
    masks = make_masks(graph, network.config, spectrum_frames)
    features = log_power(graph, network, blocks, masks)
    frames = _convolutions(graph, network, features)
    frames = _recurrent(graph, network, frames, masks)
    raw = _heads(graph, network, frames, masks)
    _outputs(graph, raw, masks, calibration.ordered(network.targets))
    return graph.model()


def _polyphase(kernel: Tensor) -> Tensor:
    """Turn a kernel with a step of two over all bins into one with a step of one over even and odd bins.

    Returns:
        (outputs, 2, time, width') with zero padding of width' // 2; even bins first.
    """
    outputs, _, time, width = kernel.shape
    middle = width // 2
    reach = max(1, (middle + 1) // 2)  # one row at least, since the features end in one of padding
    phases = kernel.new_zeros(outputs, 2, time, 2 * reach + 1)
    for tap in range(width):
        shift, odd = divmod(tap - middle, 2)
        phases[:, odd, :, reach + shift] = kernel[:, 0, :, tap]
    return phases


def folded(block: ConvBlock) -> tuple[Tensor, Tensor]:
    """Fold batch normalisation into the convolution: kernel float64 (outputs, inputs, time, bins) and bias."""
    norm = block.norm
    mean, variance, weight, bias = norm.running_mean, norm.running_var, norm.weight, norm.bias
    if mean is None or variance is None:
        raise ValueError("the normalisation has no statistics")
    gain = weight.double() / torch.sqrt(variance.double() + norm.eps)
    kernel = block.conv.weight.double() * gain[:, None, None, None]
    return kernel.detach(), (bias.double() - mean.double() * gain).detach()


def _with_silencer(kernel: Tensor, bias: Tensor, last: bool) -> tuple[Tensor, Tensor]:
    """Add the channel that marks padding: it silences every other channel, and passes itself on unless last."""
    outputs, inputs, time, width = kernel.shape
    wide = torch.zeros(outputs + (not last), inputs + 1, time, width, dtype=kernel.dtype)
    wide[:outputs, :inputs] = kernel
    wide[:outputs, inputs, time // 2, width // 2] = SILENCER
    if last:
        return wide, bias
    wide[outputs, inputs, time // 2, width // 2] = 1.0
    return wide, torch.cat((bias, bias.new_zeros(1)))


def _convolutions(graph: GraphBuilder, network: CompactNet, x: str) -> str:
    """Convolution blocks over (batch, channels, bins, frames), then the squeeze: (batch, units, 1, frames)."""
    for index, block in enumerate(network.blocks):
        assert isinstance(block, ConvBlock)
        kernel, bias = folded(block)
        if index == 0:
            kernel = _polyphase(kernel * (network.spectrum.scale / math.log(10.0)))
        kernel, bias = _with_silencer(kernel, bias, last=index == len(network.blocks) - 1)
        label = f"conv_{index + 1}"
        weights = graph.floats(f"{label}_kernel", kernel.transpose(2, 3)), graph.floats(f"{label}_bias", bias)
        time, bins = kernel.shape[2] // 2, kernel.shape[3] // 2
        strides = [1 if index == 0 else block.conv.stride[1], block.conv.stride[0]]
        # The features end in a row of padding.
        pads = [bins, time, bins - (index == 0), time]
        x = graph.add("Conv", x, *weights, name=label, strides=strides, pads=pads)
        x = graph.add("Relu", x, name=f"{label}_relu")
    # One more kernel over all bins of a frame: a matrix product would want the frames in another order first.
    units, channels = network.config.squeeze_units, network.config.conv_channels[-1]
    kernel = network.squeeze.weight.detach().reshape(units, channels, -1, 1)
    weights = graph.floats("squeeze_kernel", kernel), graph.floats("squeeze_bias", network.squeeze.bias.detach())
    return graph.add("Relu", graph.add("Conv", x, *weights, name="squeeze"), name="squeeze_relu")


def _recurrent(graph: GraphBuilder, network: CompactNet, x: str, masks: Masks) -> str:
    """BLSTM and dense layer: (batch, inputs, 1, frames) to (batch, frames, units)."""
    x = graph.add("Squeeze", x, graph.vector(2), name="frames_last")
    x = graph.add("Transpose", x, name="frames_first", perm=[2, 0, 1])
    weights = [
        graph.floats(f"lstm_{name}", tensor.detach().numpy())
        for name, tensor in zip(("weight", "recurrence", "bias"), network.recurrent.onnx_weights(), strict=True)
    ]
    lengths = graph.add("Cast", masks.counts, name="lstm_counts", to=TensorProto.INT32)
    hidden = network.config.lstm_units
    x = graph.add("LSTM", x, *weights, lengths, name="lstm", direction="bidirectional", hidden_size=hidden)
    x = graph.add("Transpose", x, name="lstm_frames", perm=[2, 0, 1, 3])
    x = graph.add("Reshape", x, graph.ints("flat_shape", [0, 0, -1]), name="lstm_frames_flat")
    weight, bias = network.dense.weight.detach().t().numpy(), network.dense.bias.detach().numpy()
    x = graph.add("MatMul", x, graph.floats("dense_weight", weight), name="dense_product")
    x = graph.add("Add", x, graph.floats("dense_bias", bias), name="dense")
    return graph.add("Relu", x, name="dense_relu")


def _heads(graph: GraphBuilder, network: CompactNet, x: str, masks: Masks) -> str:
    """All heads at once, as further batch axes: frame scores float32 (batch, targets, frames, 1)."""
    heads = [head for head in network.heads.values() if isinstance(head, TaskHead)]
    queries = np.stack([head.attention.weight.detach().t().numpy() * head.scale for head in heads])
    values = np.stack([head.score.weight.detach().t().numpy() for head in heads])
    bias = np.stack([head.score.bias.detach().numpy() for head in heads])[:, None, :]
    low = np.array([head.low for head in heads])[:, None, None]
    span = np.array([head.span for head in heads])[:, None, None]
    wide = graph.add("Unsqueeze", x, "axis_1", name="frames_4d")
    keys = graph.add("Transpose", wide, name="keys", perm=[0, 1, 3, 2])
    query = graph.add("MatMul", wide, graph.floats("head_queries", queries), name="queries")
    energy = graph.add("MatMul", query, keys, name="energy")
    absent = graph.add("Sub", "one_float", masks.valid, name="absent")
    absent = graph.add("Mul", absent, graph.floats("masked_score", MASKED_SCORE), name="absent_energy")
    absent = graph.add("Unsqueeze", absent, graph.ints("axes_1_2", [1, 2]), name="absent_energy_4d")
    energy = graph.add("Add", energy, absent, name="masked_energy")
    attention = graph.add("Softmax", energy, name="attention", axis=-1)
    value = graph.add("MatMul", wide, graph.floats("head_values", values), name="values")
    mixed = graph.add("MatMul", attention, value, name="mixed_values")
    mixed = graph.add("Add", mixed, graph.floats("head_bias", bias), name="logits")
    share = graph.add("Sigmoid", mixed, name="shares")
    scaled = graph.add("Mul", share, graph.floats("spans", span), name="spanned")
    return graph.add("Add", scaled, graph.floats("lows", low), name="raw_scores")


def _outputs(graph: GraphBuilder, raw: str, masks: Masks, calibration: Calibration) -> None:
    """Global average pooling, and the calibration of utterance and frame scores."""
    raw = graph.add("Squeeze", raw, graph.ints("axis_3", [3]), name="raw_scores_3d")
    column = graph.add("Unsqueeze", masks.valid, graph.vector(2), name="valid_column")
    total = graph.add("MatMul", raw, column, name="score_sums")
    total = graph.add("Squeeze", total, graph.vector(2), name="score_sums_2d")
    number = graph.add("Cast", "counts_2d", name="counts_float", to=TensorProto.FLOAT)
    pooled = graph.add("Div", total, number, name="pooled_scores")
    frames = graph.add("Transpose", raw, name="raw_frame_scores", perm=[0, 2, 1])
    graph.add("Identity", _calibrated(graph, pooled, calibration, "utterance"), name="scores")
    graph.add("Mul", _calibrated(graph, frames, calibration, "frame"), column, name="frame_scores")


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
