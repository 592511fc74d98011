"""The network as an ONNX graph, node by node, so that it holds no more than inference needs.

The graph computes what `MtqNet` computes in evaluation mode, with these exact rewritings:

* The DFT of a windowed frame is two matrix products: the sum of its halves gives the even bins, the difference the
  odd ones. They stay apart, since a first convolution with a step of two bins takes them as two channels.
* Standardisation is folded into the DFT, the floor and the first convolution; batch normalisation into its convolution.
* Frames beyond the end are silenced inside the convolutions. A further channel is 1 there and 0 elsewhere; a large
  negative weight from it to every other channel makes the ReLU give zero, as multiplying by the mask would.
* Both directions of the BLSTM are one LSTM operator with sequence lengths.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from mtqscore.spec import BINS, HOP_SAMPLES, MOS_HIGH, MOS_LOW, STFT_SAMPLES
from mtqscore.training.calibration import Calibration
from mtqscore.training.features import ACTIVE_SHARE, TINY_POWER
from mtqscore.training.network import FRAME_HOP_SAMPLES, MASKED_SCORE, TIME_STRIDE, ConvBlock, MtqNet, TaskHead

HALF_BINS = (BINS + 1) // 2
"""Even bins of the power spectrum, and odd ones with one column of padding."""

OPSET = 20
IR_VERSION = 10
SILENCER = -1e6
"""Weight that drives any activation below zero; far above what a convolution can sum to, far below overflow."""

Array = NDArray[np.float32] | NDArray[np.int64]


class GraphBuilder:
    """Collects nodes and constants under readable names."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def add(self, operator: str, *inputs: str, name: str, **attributes: object) -> str:
        """Append a node with one output, and give the output's name."""
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def floats(self, name: str, value: object) -> str:
        """Store a float32 constant, and give its name."""
        return self._store(name, np.asarray(value, dtype=np.float32))

    def ints(self, name: str, value: int | Sequence[int]) -> str:
        """Store an int64 constant, and give its name."""
        return self._store(name, np.asarray(value, dtype=np.int64))

    def _store(self, name: str, value: Array) -> str:
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name


@dataclass(frozen=True)
class Masks:
    """Names of what tells valid frames from padding.

    Args:
        counts: valid score frames an item, int64 (batch,).
        valid: 1 for valid score frames, float32 (batch, frames).
        beyond: 1 for spectrum frames beyond the end, float32 (batch, 1, spectrum frames, 1).
        within: the contrary as bool (batch, spectrum frames, 1).
    """

    counts: str
    valid: str
    beyond: str
    within: str


def build_graph(network: MtqNet, calibration: Calibration, name: str) -> onnx.ModelProto:
    """Write a network and its calibration as an ONNX model.

    Args:
        network: in evaluation mode, with the heads to export only.
        calibration: monotone map a target, applied to utterance and frame scores.
        name: name of the graph.

    Returns:
        A checked model: ``waveform`` float32 (batch, samples) and ``lengths`` int64 (batch,) to ``scores`` float32
        (batch, targets) and ``frame_scores`` float32 (batch, frames, targets), zero beyond an item's frames.
    """
    graph = GraphBuilder()
    blocks, spectrum_frames = _blocks(graph)
    masks = _masks(graph, spectrum_frames)
    features = _features(graph, network, blocks, masks)
    frames = _convolutions(graph, network, features)
    frames = _recurrent(graph, network, frames, masks)
    raw = _heads(graph, network, frames, masks)
    _scores(graph, raw, masks, calibration.ordered(network.targets))
    targets = len(network.targets)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            name,
            [
                helper.make_tensor_value_info("waveform", TensorProto.FLOAT, ["batch", "samples"]),
                helper.make_tensor_value_info("lengths", TensorProto.INT64, ["batch"]),
            ],
            [
                helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", targets]),
                helper.make_tensor_value_info("frame_scores", TensorProto.FLOAT, ["batch", "frames", targets]),
            ],
            list(graph.constants.values()),
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _blocks(graph: GraphBuilder) -> tuple[str, str]:
    """Silence what lies beyond the lengths, pad, and cut into blocks of one hop: (batch, frames + 1, hop)."""
    samples = graph.add("Shape", "waveform", name="samples", start=1, end=2)
    count = graph.add("Squeeze", samples, name="sample_count")
    zero, one = graph.ints("zero", 0), graph.ints("one", 1)
    hop = graph.ints("hop", [HOP_SAMPLES])
    index = graph.add("Range", zero, count, one, name="sample_index")
    ends = graph.add("Unsqueeze", "lengths", graph.ints("axis_1", [1]), name="ends")
    inside = graph.add("Less", index, ends, name="inside")
    audio = graph.add("Where", inside, "waveform", graph.floats("silence", 0.0), name="audio")
    whole = graph.add("Div", samples, hop, name="whole_hops")
    frames = graph.add("Add", whole, graph.ints("one_1d", [1]), name="spectrum_frames")
    covered = graph.add("Mul", frames, hop, name="covered_samples")
    after = graph.add("Sub", covered, samples, name="samples_after")
    zero_1d = graph.ints("zero_1d", [0])
    pads = graph.add("Concat", zero_1d, hop, zero_1d, after, name="pads", axis=0)
    padded = graph.add("Pad", audio, pads, name="padded")
    blocks = graph.add("Reshape", padded, graph.ints("block_shape", [0, -1, HOP_SAMPLES]), name="blocks")
    return blocks, graph.add("Squeeze", frames, name="spectrum_frame_count")


def _masks(graph: GraphBuilder, spectrum_frames: str) -> Masks:
    index = graph.add("Range", "zero", spectrum_frames, "one", name="spectrum_index")
    last = graph.add("Div", "lengths", "hop", name="last_spectrum_frame")
    last = graph.add("Unsqueeze", last, "axis_1", name="last_spectrum_frame_2d")
    within = graph.add("LessOrEqual", index, last, name="within")
    within = graph.add("Unsqueeze", within, graph.ints("axis_2", [2]), name="within_3d")
    outside = graph.add("Not", within, name="outside")
    outside = graph.add("Cast", outside, name="outside_float", to=TensorProto.FLOAT)
    beyond = graph.add("Unsqueeze", outside, "axis_1", name="beyond")
    # ceil(spectrum frames / 2) score frames; an item owns floor(length / 512) + 1 of them.
    sooner = graph.add("Add", spectrum_frames, "one", name="spectrum_frames_up")
    frames = graph.add("Div", sooner, graph.ints("two", TIME_STRIDE), name="frame_count")
    frame_index = graph.add("Range", "zero", frames, "one", name="frame_index")
    whole = graph.add("Div", "lengths", graph.ints("frame_hop", [FRAME_HOP_SAMPLES]), name="whole_frame_hops")
    counts = graph.add("Add", whole, "one_1d", name="counts")
    counts_2d = graph.add("Unsqueeze", counts, "axis_1", name="counts_2d")
    own = graph.add("Less", frame_index, counts_2d, name="own")
    return Masks(counts, graph.add("Cast", own, name="valid", to=TensorProto.FLOAT), beyond, within)


def _level(graph: GraphBuilder, blocks: str) -> str:
    """Power of the active frames (see `features.active_power`), float32 (batch, 1)."""
    energy = graph.add("ReduceSumSquare", blocks, "axis_2", name="block_energy", keepdims=0)
    # The first block is the padding in front; two blocks are a level frame.
    begin, end = graph.ints("one_1d", [1]), graph.ints("very_end", [2**62])
    energy = graph.add("Slice", energy, begin, end, "axis_1", name="own_block_energy")
    blocks_own = graph.add("Shape", energy, name="own_blocks", start=1, end=2)
    odd = graph.add("Mod", blocks_own, graph.ints("two_1d", [2]), name="odd_blocks")
    pads = graph.add("Concat", graph.ints("three_zeros", [0, 0, 0]), odd, name="block_pads", axis=0)
    energy = graph.add("Pad", energy, pads, name="even_block_energy")
    energy = graph.add("Reshape", energy, graph.ints("pair_shape", [0, -1, 2]), name="block_pairs")
    energy = graph.add("ReduceSum", energy, "axis_2", name="frame_energy", keepdims=0)
    total = graph.add("ReduceSum", energy, "axis_1", name="total_energy", keepdims=1)
    samples = graph.add("Cast", "ends", name="valid_samples", to=TensorProto.FLOAT)
    samples = graph.add("Max", samples, graph.floats("one_float", 1.0), name="valid_samples_positive")
    mean = graph.add("Div", total, samples, name="mean_power")
    limit = graph.add("Mul", mean, graph.floats("active_limit", ACTIVE_SHARE * STFT_SAMPLES), name="least_energy")
    active = graph.add("Greater", energy, limit, name="active")
    active = graph.add("Cast", active, name="active_float", to=TensorProto.FLOAT)
    kept = graph.add("Mul", energy, active, name="active_energy")
    kept = graph.add("ReduceSum", kept, "axis_1", name="active_energy_sum", keepdims=1)
    number = graph.add("ReduceSum", active, "axis_1", name="active_count", keepdims=1)
    number = graph.add("Max", number, "one_float", name="active_count_positive")
    energy = graph.add("Div", kept, number, name="active_frame_energy")
    power = graph.add("Mul", energy, graph.floats("per_sample", 1.0 / STFT_SAMPLES), name="active_power")
    return graph.add("Add", power, graph.floats("tiny_power", TINY_POWER), name="level")


def _dft(network: MtqNet, odd: bool) -> NDArray[np.float64]:
    """DFT at the even or the odd bins from one hop of samples, cosines then sines: (hop, 2 * half bins).

    For even bins the two halves of a frame see the same waves, for odd bins the same with the opposite sign; so a
    frame enters as the sum or the difference of its halves. The odd bins get one more column of zeros, to be as many.
    """
    bins = np.arange(odd, BINS + odd, 2)
    angle = 2.0 * math.pi * np.arange(HOP_SAMPLES)[:, None] * bins[None, :] / STFT_SAMPLES
    # The offset of the standardisation as a gain, so that the logarithm comes out centred.
    gain = 10.0 ** (-network.spectrum.offset / 2.0) * (bins < BINS)
    return np.concatenate((gain * np.cos(angle), gain * np.sin(angle)), axis=1)


def _half_spectrum(graph: GraphBuilder, network: MtqNet, samples: str, odd: bool) -> str:
    """Logarithm of the power at every other bin, float32 (batch, frames, half bins)."""
    name = "odd" if odd else "even"
    both = graph.add("MatMul", samples, graph.floats(f"dft_{name}", _dft(network, odd)), name=f"{name}_spectrum")
    squares = graph.add("Mul", both, both, name=f"{name}_squares")
    sizes = graph.ints("half_bins", [HALF_BINS, HALF_BINS])
    parts = [f"{name}_real_power", f"{name}_imaginary_power"]
    graph.nodes.append(helper.make_node("Split", [squares, sizes], parts, name=f"{name}_parts", axis=2))
    power = graph.add("Add", *parts, name=f"{name}_power")
    floor = np.full(HALF_BINS, network.spectrum.floor * 10.0**-network.spectrum.offset)
    if odd:
        floor[-1] = 1.0  # the column that is no bin: its logarithm is zero, like any padding
    audible = graph.add("Add", power, graph.floats(f"{name}_floor", floor), name=f"{name}_audible_power")
    return graph.add("Log", audible, name=f"{name}_log_power")


def _features(graph: GraphBuilder, network: MtqNet, blocks: str, masks: Masks) -> str:
    """Logarithm of the normalised power, not yet scaled, even and odd bins apart, and the mark of padding.

    Gives float32 (batch, 3, frames, half bins).
    """
    level = _level(graph, blocks)
    gain = graph.add("Reciprocal", graph.add("Sqrt", level, name="level_root"), name="level_gain")
    gain = graph.add("Unsqueeze", gain, "axis_2", name="level_gain_3d")
    blocks = graph.add("Mul", blocks, gain, name="level_blocks")
    window = network.spectrum.window.numpy().reshape(2, HOP_SAMPLES)
    minus_one = graph.ints("minus_one", [-1])
    first = graph.add("Slice", blocks, "zero_1d", minus_one, "axis_1", name="first_half")
    first = graph.add("Mul", first, graph.floats("window_rise", window[0]), name="windowed_first_half")
    second = graph.add("Slice", blocks, "one_1d", "very_end", "axis_1", name="second_half")
    second = graph.add("Mul", second, graph.floats("window_fall", window[1]), name="windowed_second_half")
    halves = []
    for operator, name, odd in (("Add", "even", False), ("Sub", "odd", True)):
        samples = graph.add(operator, first, second, name=f"{name}_samples")
        half = _half_spectrum(graph, network, samples, odd)
        half = graph.add("Where", masks.within, half, "silence", name=f"{name}_features")
        halves.append(graph.add("Unsqueeze", half, "axis_1", name=f"{name}_features_4d"))
    shape = graph.add("Shape", halves[0], name="half_shape")
    marker = graph.add("Expand", masks.beyond, shape, name="marker")
    return graph.add("Concat", *halves, marker, name="features", axis=1)


def _polyphase(kernel: Tensor) -> Tensor:
    """Turn a kernel with a step of two over all bins into one with a step of one over even and odd bins.

    Args:
        kernel: (outputs, 1, time, width) with zero padding of width // 2.

    Returns:
        (outputs, 2, time, width') with zero padding of width' // 2; even bins first.
    """
    outputs, _, time, width = kernel.shape
    middle = width // 2
    reach = (middle + 1) // 2
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


def _convolutions(graph: GraphBuilder, network: MtqNet, features: str) -> str:
    """Convolution blocks, then frames flattened in the order that the LSTM wants: (frames, batch, channels * bins)."""
    x = features
    for index, block in enumerate(network.blocks):
        assert isinstance(block, ConvBlock)
        kernel, bias = folded(block)
        if index == 0:
            kernel = _polyphase(kernel * (network.spectrum.scale / math.log(10.0)))
        kernel, bias = _with_silencer(kernel, bias, last=index == len(network.blocks) - 1)
        label = f"conv_{index + 1}"
        weights = graph.floats(f"{label}_kernel", kernel.numpy()), graph.floats(f"{label}_bias", bias.numpy())
        time, bins = kernel.shape[2] // 2, kernel.shape[3] // 2
        strides = [block.conv.stride[0], 1 if index == 0 else block.conv.stride[1]]
        x = graph.add("Conv", x, *weights, name=label, strides=strides, pads=[time, bins, time, bins])
        x = graph.add("Relu", x, name=f"{label}_relu")
    x = graph.add("Transpose", x, name="conv_frames", perm=[2, 0, 1, 3])
    return graph.add("Reshape", x, graph.ints("flat_shape", [0, 0, -1]), name="conv_frames_flat")


def _linear(graph: GraphBuilder, x: str, layer: nn.Linear, name: str) -> str:
    weight = graph.floats(f"{name}_weight", layer.weight.detach().t().numpy())
    product = graph.add("MatMul", x, weight, name=f"{name}_product")
    return graph.add("Add", product, graph.floats(f"{name}_bias", layer.bias.detach().numpy()), name=name)


def _gates(tensor: Tensor) -> NDArray[np.float32]:
    """Reorder gates from torch's input, forget, cell, output to ONNX's input, output, forget, cell."""
    inputs, forget, cell, output = tensor.detach().chunk(4)
    return np.asarray(torch.cat((inputs, output, forget, cell)).numpy(), dtype=np.float32)


def _recurrent(graph: GraphBuilder, network: MtqNet, frames: str, masks: Masks) -> str:
    """Squeeze, BLSTM and dense layer: (frames, batch, inputs) to (batch, frames, units)."""
    x = graph.add("Relu", _linear(graph, frames, network.squeeze, "squeeze"), name="squeeze_relu")
    both = (network.recurrent.forwards, network.recurrent.backwards)
    weights = (
        graph.floats("lstm_weight", np.stack([_gates(lstm.weight_ih_l0) for lstm in both])),
        graph.floats("lstm_recurrence", np.stack([_gates(lstm.weight_hh_l0) for lstm in both])),
        graph.floats(
            "lstm_bias",
            np.stack([np.concatenate((_gates(lstm.bias_ih_l0), _gates(lstm.bias_hh_l0))) for lstm in both]),
        ),
    )
    lengths = graph.add("Cast", masks.counts, name="counts_int32", to=TensorProto.INT32)
    x = graph.add(
        "LSTM", x, *weights, lengths, name="lstm", direction="bidirectional", hidden_size=network.config.lstm_units
    )
    x = graph.add("Transpose", x, name="lstm_frames", perm=[2, 0, 1, 3])
    x = graph.add("Reshape", x, graph.ints("flat_shape", [0, 0, -1]), name="lstm_frames_flat")
    return graph.add("Relu", _linear(graph, x, network.dense, "dense"), name="dense_relu")


def _heads(graph: GraphBuilder, network: MtqNet, x: str, masks: Masks) -> str:
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


def _scores(graph: GraphBuilder, raw: str, masks: Masks, calibration: Calibration) -> None:
    """Global average pooling, calibration, and the two outputs."""
    raw = graph.add("Squeeze", raw, graph.ints("axis_3", [3]), name="raw_scores_3d")
    column = graph.add("Unsqueeze", masks.valid, "axis_2", name="valid_column")
    total = graph.add("MatMul", raw, column, name="score_sums")
    total = graph.add("Squeeze", total, "axis_2", name="score_sums_2d")
    number = graph.add("Cast", "counts_2d", name="counts_float", to=TensorProto.FLOAT)
    pooled = graph.add("Div", total, number, name="pooled_scores")
    graph.add("Identity", _calibrated(graph, pooled, calibration, "utterance"), name="scores")
    frames = graph.add("Transpose", raw, name="raw_frame_scores", perm=[0, 2, 1])
    frames = _calibrated(graph, frames, calibration, "frame")
    graph.add("Mul", frames, column, name="frame_scores")


def _calibrated(graph: GraphBuilder, x: str, calibration: Calibration, name: str) -> str:
    """Apply base + sum_i slope_i * max(0, x - knot_i) to the last axis, then the limits of the scale."""
    knots = graph.floats("calibration_knots", calibration.knots)
    slopes = graph.floats("calibration_slopes", calibration.slopes)
    base = graph.floats("calibration_base", calibration.base)
    last = graph.ints("axis_last", [-1])
    x = graph.add("Unsqueeze", x, last, name=f"{name}_column")
    x = graph.add("Relu", graph.add("Sub", x, knots, name=f"{name}_excess"), name=f"{name}_ramps")
    x = graph.add("ReduceSum", graph.add("Mul", x, slopes, name=f"{name}_rises"), last, name=f"{name}_rise", keepdims=0)
    x = graph.add("Add", x, base, name=f"{name}_calibrated")
    limits = graph.floats("score_low", MOS_LOW), graph.floats("score_high", MOS_HIGH)
    return graph.add("Clip", x, *limits, name=f"{name}_limited")
