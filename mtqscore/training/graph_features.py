"""The front end of the exported graph: from the waveform to log power spectra, and what marks padding."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from mtqscore.network_config import CompactConfig
from mtqscore.spec import BINS, HOP_SAMPLES, STFT_SAMPLES
from mtqscore.training.features import ACTIVE_SHARE, LEVEL_PASSES, TINY_POWER
from mtqscore.training.graph_builder import GraphBuilder
from mtqscore.training.networks.compact import CompactNet

HALF_BINS = (BINS + 1) // 2
"""Even bins of the power spectrum, and odd ones with one column of padding."""


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


def mask_audio(graph: GraphBuilder) -> str:
    """Silence what lies beyond the lengths, whatever it is: float32 (batch, samples)."""
    samples = graph.add("Shape", "waveform", name="samples", start=1, end=2)
    count = graph.add("Squeeze", samples, name="sample_count")
    zero, one = graph.ints("zero", 0), graph.ints("one", 1)
    index = graph.add("Range", zero, count, one, name="sample_index")
    ends = graph.add("Unsqueeze", "lengths", graph.ints("axis_1", [1]), name="ends")
    inside = graph.add("Less", index, ends, name="inside")
    return graph.add("Where", inside, "waveform", graph.floats("silence", 0.0), name="audio")


def cut_blocks(graph: GraphBuilder, audio: str) -> tuple[str, str]:
    """Put one hop of silence in front, and cut into blocks of one hop.

    Args:
        graph: where to add.
        audio: from `mask_audio`.

    Returns:
        The blocks, float32 (batch, frames + 1, hop), and the number of frames of two blocks, int64 ().
    """
    samples, hop = "samples", graph.ints("hop", [HOP_SAMPLES])
    whole = graph.add("Div", samples, hop, name="whole_hops")
    frames = graph.add("Add", whole, graph.ints("one_1d", [1]), name="spectrum_frames")
    covered = graph.add("Mul", frames, hop, name="covered_samples")
    after = graph.add("Sub", covered, samples, name="samples_after")
    zero_1d = graph.ints("zero_1d", [0])
    pads = graph.add("Concat", zero_1d, hop, zero_1d, after, name="pads", axis=0)
    padded = graph.add("Pad", audio, pads, name="padded")
    blocks = graph.add("Reshape", padded, graph.ints("block_shape", [0, -1, HOP_SAMPLES]), name="blocks")
    return blocks, graph.add("Squeeze", frames, name="spectrum_frame_count")


def make_masks(graph: GraphBuilder, config: CompactConfig, hops: str) -> Masks:
    """Tell valid frames from padding, before and after the time step of the first convolution.

    Args:
        graph: where to add.
        config: steps of the network.
        hops: frames of a spectrum with a step of one hop, int64 ().
    """
    skip = config.hop_samples // HOP_SAMPLES
    spectrum_frames = _every(graph, hops, skip, "stepped_spectrum_frames")
    index = graph.add("Range", "zero", spectrum_frames, "one", name="spectrum_index")
    last = graph.add("Div", "lengths", graph.vector(config.hop_samples), name="last_spectrum_frame")
    last = graph.add("Unsqueeze", last, "axis_1", name="last_spectrum_frame_2d")
    within = graph.add("LessOrEqual", index, last, name="within")
    within = graph.add("Unsqueeze", within, graph.ints("axis_2", [2]), name="within_3d")
    outside = graph.add("Not", within, name="outside")
    outside = graph.add("Cast", outside, name="outside_float", to=TensorProto.FLOAT)
    beyond = graph.add("Unsqueeze", outside, "axis_1", name="beyond")
    frames = _every(graph, spectrum_frames, config.time_stride, "frame_count")
    frame_index = graph.add("Range", "zero", frames, "one", name="frame_index")
    whole = graph.add("Div", "lengths", graph.ints("frame_hop", [config.frame_hop_samples]), name="whole_frame_hops")
    counts = graph.add("Add", whole, "one_1d", name="counts")
    counts_2d = graph.add("Unsqueeze", counts, "axis_1", name="counts_2d")
    own = graph.add("Less", frame_index, counts_2d, name="own")
    return Masks(counts, graph.add("Cast", own, name="valid", to=TensorProto.FLOAT), beyond, within)


def _every(graph: GraphBuilder, count: str, step: int, name: str) -> str:
    """How many of so many frames are taken in steps from the first one: ceil(count / step), int64 ()."""
    up = graph.add("Add", count, graph.integer(step - 1), name=f"{name}_up")
    return graph.add("Div", up, graph.integer(step), name=name)


def active_level(graph: GraphBuilder, blocks: str) -> str:
    """Power of the active frames (see `features.active_power`), float32 (batch, 1)."""
    energy = graph.add("ReduceSumSquare", blocks, graph.ints("axis_2", [2]), name="block_energy", keepdims=0)
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
    power = graph.add("Mul", energy, graph.floats("per_sample", 1.0 / STFT_SAMPLES), name="frame_power")
    level = mean
    for step in range(1, LEVEL_PASSES + 1):
        limit = graph.add("Mul", level, graph.floats("active_share", ACTIVE_SHARE), name=f"least_power_{step}")
        active = graph.add("Greater", power, limit, name=f"active_{step}")
        active = graph.add("Cast", active, name=f"active_float_{step}", to=TensorProto.FLOAT)
        kept = graph.add("Mul", power, active, name=f"active_power_{step}")
        kept = graph.add("ReduceSum", kept, "axis_1", name=f"active_power_sum_{step}", keepdims=1)
        number = graph.add("ReduceSum", active, "axis_1", name=f"active_count_{step}", keepdims=1)
        number = graph.add("Max", number, "one_float", name=f"active_count_positive_{step}")
        level = graph.add("Div", kept, number, name=f"level_{step}")
    return graph.add("Add", level, graph.floats("tiny_power", TINY_POWER), name="level")


def _dft(network: CompactNet, odd: bool) -> NDArray[np.float64]:
    """DFT at the even or the odd bins from one hop of samples, cosines then sines: (hop, 2 * half bins).

    For even bins the two halves of a frame see the same waves, for odd bins the same with the opposite sign; so a
    frame enters as the sum or the difference of its halves. The odd bins get one more column of zeros, to be as many.
    """
    bins = np.arange(odd, BINS + odd, 2)
    angle = 2.0 * math.pi * np.arange(HOP_SAMPLES)[:, None] * bins[None, :] / STFT_SAMPLES
    # The offset of the standardisation as a gain, so that the logarithm comes out centred.
    gain = 10.0 ** (-network.spectrum.offset / 2.0) * (bins < BINS)
    return np.concatenate((gain * np.cos(angle), gain * np.sin(angle)), axis=1)


def _half_spectrum(graph: GraphBuilder, network: CompactNet, samples: str, odd: bool) -> str:
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


def log_power(graph: GraphBuilder, network: CompactNet, blocks: str, masks: Masks) -> str:
    """Logarithm of the normalised power, not yet scaled, even and odd bins apart, and the mark of padding.

    Gives float32 (batch, 3, frames, half bins).
    """
    level = active_level(graph, blocks)
    gain = graph.add("Reciprocal", graph.add("Sqrt", level, name="level_root"), name="level_gain")
    gain = graph.add("Unsqueeze", gain, "axis_2", name="level_gain_3d")
    blocks = graph.add("Mul", blocks, gain, name="level_blocks")
    window = network.spectrum.window.numpy().reshape(2, HOP_SAMPLES)
    # A frame is two blocks, and with a step of two hops every block is in one frame only.
    step = graph.vector(network.config.hop_samples // HOP_SAMPLES)
    minus_one = graph.ints("minus_one", [-1])
    first = graph.add("Slice", blocks, "zero_1d", minus_one, "axis_1", step, name="first_half")
    first = graph.add("Mul", first, graph.floats("window_rise", window[0]), name="windowed_first_half")
    second = graph.add("Slice", blocks, "one_1d", "very_end", "axis_1", step, name="second_half")
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
