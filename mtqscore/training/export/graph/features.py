"""The front end of the exported graph: from the waveform to log power spectra, and the masks of padding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from mtqscore.targets import BINS, STFT_SAMPLES
from mtqscore.training.export.graph.builder import GraphBuilder
from mtqscore.training.network_config import CompactConfig
from mtqscore.training.networks.compact import CompactNet
from mtqscore.training.networks.spectrum import ACTIVE_SHARE, LEVEL_PASSES, TINY_POWER

SPECTRUM_ROWS = (BINS + 3) // 2
"""Rows of the features: even bins and a row of zeros, odd bins and two. The last row is the convolution's padding."""

HALF_SAMPLES = STFT_SAMPLES // 2
QUARTER_SAMPLES = STFT_SAMPLES // 4
EIGHTH_SAMPLES = STFT_SAMPLES // 8

VERY_END = 2**62
"""End of a slice that goes to the end."""


@dataclass(frozen=True)
class Masks:
    """Names of the masks that mark valid frames.

    Args:
        counts: valid score frames an item, int64 (batch,).
        valid: 1 for valid score frames, float32 (batch, frames).
        within: 1 for valid spectrum frames, float32 (batch, 1, spectrum frames).
    """

    counts: str
    valid: str
    within: str


def mask_audio(graph: GraphBuilder) -> tuple[str, str]:
    """Silence all samples beyond the lengths, whatever they hold.

    Up to the shortest length nothing changes, and in a batch of nearly equal lengths that is nearly all.

    Returns:
        What all items have and the rest: float32 (batch, samples), to be joined along time.
    """
    samples = graph.add("Shape", "waveform", name="samples", start=1, end=2)
    count = graph.add("Squeeze", samples, name="sample_count")
    common = graph.add("ReduceMin", "lengths", name="common_samples", keepdims=1)
    along = graph.vector(1)
    head = graph.add("Slice", "waveform", graph.vector(0), common, along, name="audio_head")
    tail = graph.add("Slice", "waveform", common, graph.vector(VERY_END), along, name="waveform_tail")
    start = graph.add("Squeeze", common, name="common_sample_count")
    index = graph.add("Range", start, count, graph.ints("one", 1), name="tail_index")
    ends = graph.add("Unsqueeze", "lengths", graph.ints("axis_1", [1]), name="ends")
    inside = graph.add("Less", index, ends, name="inside")
    return head, graph.add("Where", inside, tail, graph.floats("silence", 0.0), name="audio_tail")


def cut_blocks(graph: GraphBuilder, parts: Sequence[str], hop_samples: int) -> tuple[str, str]:
    """Put half a frame of silence in front of the sound, and cut into blocks of one hop.

    Returns:
        The blocks, float32 (batch, frames + 1, hop), and the number of frames, int64 (). Frame t starts with block t.
    """
    hop = graph.ints("hop", [hop_samples])
    whole = graph.add("Div", "samples", hop, name="whole_hops")
    frames = graph.add("Add", whole, graph.ints("one_1d", [1]), name="spectrum_frames")
    covered = graph.add("Mul", frames, hop, name="covered_samples")
    rest = graph.add("Sub", covered, "samples", name="samples_short")
    after = graph.add("Add", rest, graph.vector(hop_samples - HALF_SAMPLES), name="samples_after")
    batch = graph.add("Shape", "waveform", name="batch", start=0, end=1)
    silences = []
    for name, samples in (("before", graph.vector(HALF_SAMPLES)), ("after", after)):
        shape = graph.add("Concat", batch, samples, name=f"silence_{name}_shape", axis=0)
        silences.append(graph.add("ConstantOfShape", shape, name=f"silence_{name}"))
    padded = graph.add("Concat", silences[0], *parts, silences[1], name="padded", axis=1)
    blocks = graph.add("Reshape", padded, graph.vector(0, -1, hop_samples), name="blocks")
    return blocks, graph.add("Squeeze", frames, name="spectrum_frame_count")


def make_masks(graph: GraphBuilder, config: CompactConfig, spectrum_frames: str) -> Masks:
    """Mark valid frames, before and after the time steps of the convolutions."""
    index = graph.add("Range", graph.ints("zero", 0), spectrum_frames, "one", name="spectrum_index")
    last = graph.add("Div", "lengths", graph.ints("hop", [config.hop_samples]), name="last_spectrum_frame")
    last = graph.add("Unsqueeze", last, graph.ints("axes_1_2", [1, 2]), name="last_spectrum_frame_3d")
    within = graph.add("LessOrEqual", index, last, name="within")
    within = graph.add("Cast", within, name="within_float", to=TensorProto.FLOAT)
    up = graph.add("Add", spectrum_frames, graph.integer(config.frame_stride - 1), name="frame_count_up")
    frames = graph.add("Div", up, graph.integer(config.frame_stride), name="frame_count")
    frame_index = graph.add("Range", "zero", frames, "one", name="frame_index")
    whole = graph.add("Div", "lengths", graph.ints("frame_hop", [config.frame_hop_samples]), name="whole_frame_hops")
    counts = graph.add("Add", whole, "one_1d", name="counts")
    counts_2d = graph.add("Unsqueeze", counts, "axis_1", name="counts_2d")
    own = graph.add("Less", frame_index, counts_2d, name="own")
    return Masks(counts, graph.add("Cast", own, name="valid", to=TensorProto.FLOAT), within)


def active_level(graph: GraphBuilder, blocks: str) -> str:
    """Power of the active frames (see `mtqscore.training.networks.spectrum`), float32 (batch, 1)."""
    squares = graph.add("Mul", blocks, blocks, name="squares")
    halves = graph.add("Reshape", squares, graph.vector(0, -1, HALF_SAMPLES), name="half_squares")
    energy = graph.add("ReduceSum", halves, graph.vector(2), name="half_energy", keepdims=0)
    # The first half is the silence in front; level frames are pairs of the others.
    energy = graph.add("Slice", energy, graph.vector(1), graph.vector(VERY_END), "axis_1", name="own_energy")
    own = graph.add("Shape", energy, name="own_halves", start=1, end=2)
    odd = graph.add("Mod", own, graph.ints("two_1d", [2]), name="odd_halves")
    pads = graph.add("Concat", graph.ints("three_zeros", [0, 0, 0]), odd, name="energy_pads", axis=0)
    energy = graph.add("Pad", energy, pads, name="even_energy")
    energy = graph.add("Reshape", energy, graph.ints("pair_shape", [0, -1, 2]), name="energy_pairs")
    energy = graph.add("ReduceSum", energy, graph.vector(2), name="frame_energy", keepdims=0)
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


def log_power(graph: GraphBuilder, network: CompactNet, blocks: str, masks: Masks) -> str:
    """Logarithm of the normalised power, not yet scaled, even and odd bins apart, and the mark of padding.

    Time is the last axis from here to the recurrent layer: convolutions are faster along long rows, and to turn a
    sequence of samples around is to copy rows.

    Returns:
        float32 (batch, 3, `SPECTRUM_ROWS`, frames).
    """
    first, second, third, fourth = _quarters(graph, network, blocks)
    channels = []
    # Even bins see the same wave in both halves of a frame, odd bins the same with the opposite sign.
    for name, operator, odd in (("even", "Add", False), ("odd", "Sub", True)):
        early = graph.add(operator, first, third, name=f"{name}_early")
        late = graph.add(operator, second, fourth, name=f"{name}_late")
        channel = (_odd_spectrum if odd else _even_spectrum)(graph, network, early, late)
        channel = graph.add("Mul", channel, masks.within, name=f"{name}_features")
        channels.append(graph.add("Unsqueeze", channel, "axis_1", name=f"{name}_features_4d"))
    beyond = graph.add("Sub", graph.floats("one_float", 1.0), masks.within, name="beyond")
    beyond = graph.add("Unsqueeze", beyond, "axis_1", name="beyond_4d")
    shape = graph.add("Shape", channels[0], name="half_shape")
    marker = graph.add("Expand", beyond, shape, name="marker")
    return graph.add("Concat", *channels, marker, name="features", axis=1)


def _quarters(graph: GraphBuilder, network: CompactNet, blocks: str) -> list[str]:
    """Cut windowed frames of level 1 in four, the second and last quarter backwards: float32 (batch, 128, frames)."""
    hop_samples = network.config.hop_samples
    columns = graph.add("Transpose", blocks, name="columns", perm=[0, 2, 1])
    level = active_level(graph, blocks)
    gain = graph.add("Reciprocal", graph.add("Sqrt", level, name="level_root"), name="level_gain")
    gain = graph.add("Unsqueeze", gain, graph.vector(2), name="level_gain_3d")
    window = network.spectrum.window.numpy().reshape(4, QUARTER_SAMPLES, 1)
    found = []
    for number in range(4):
        block, row = divmod(number * QUARTER_SAMPLES, hop_samples)
        step = -1 if number % 2 else 1
        rows = (row, row + QUARTER_SAMPLES) if step > 0 else (row + QUARTER_SAMPLES - 1, row - 1)
        begin, end = zip(rows, (block, VERY_END if block else -1), strict=True)
        slicing = graph.vector(*begin), graph.vector(*end), graph.vector(1, 2), graph.vector(step, 1)
        label = f"quarter_{number + 1}"
        quarter = graph.add("Slice", columns, *slicing, name=label)
        shape = graph.floats(f"window_{number + 1}", window[number][::step])
        shape = graph.add("Mul", gain, shape, name=f"level_window_{number + 1}")
        found.append(graph.add("Mul", quarter, shape, name=f"windowed_{label}"))
    return found


def _odd_spectrum(graph: GraphBuilder, network: CompactNet, early: str, late: str) -> str:
    """Logarithm of the power at odd bins, with rows of zeros up to `SPECTRUM_ROWS`.

    With time counted from half a sample before the first, a wave of these bins is even or odd about the middle of a
    half frame. So one product takes the sum of its quarters and the other their difference, each half as long.

    Returns:
        float32 (batch, rows, frames).
    """
    cosine = graph.add("Sub", early, late, name="odd_cosine_samples")
    sine = graph.add("Add", early, late, name="odd_sine_samples")
    return _log_spectrum(graph, network, "odd", np.arange(1, BINS, 2), SPECTRUM_ROWS, cosine, sine)


def _even_spectrum(graph: GraphBuilder, network: CompactNet, early: str, late: str) -> str:
    """Logarithm of the power at even bins, with a row of zeros: as `_odd_spectrum`, but folded once more.

    What cosines and sines of even bins see is again even or odd about its middle, every other bin the one or the other.
    """
    halves = {}
    for wave, operator in (("cosine", "Add"), ("sine", "Sub")):
        whole = graph.add(operator, early, late, name=f"even_{wave}_samples")
        steps = graph.vector(1), graph.vector(1)
        first = graph.add("Slice", whole, graph.vector(0), graph.vector(EIGHTH_SAMPLES), *steps, name=f"{wave}_first")
        back = graph.vector(QUARTER_SAMPLES - 1), graph.vector(EIGHTH_SAMPLES - 1), graph.vector(1), graph.vector(-1)
        second = graph.add("Slice", whole, *back, name=f"{wave}_second")
        for sign in ("Add", "Sub"):
            halves[wave, sign] = graph.add(sign, first, second, name=f"{wave}_{sign.lower()}ed")
    parts = []
    for name, start, cosine, sine in (("fourth", 0, "Add", "Sub"), ("between", 2, "Sub", "Add")):
        bins, waves = np.arange(start, BINS, 4), (halves["cosine", cosine], halves["sine", sine])
        part = _log_spectrum(graph, network, name, bins, SPECTRUM_ROWS // 2, *waves)
        parts.append(graph.add("Unsqueeze", part, graph.vector(2), name=f"{name}_4d"))
    both = graph.add("Concat", *parts, name="even_pairs", axis=2)
    shape = graph.add("Shape", both, name="even_pairs_shape", start=3, end=4)
    shape = graph.add("Concat", graph.vector(0, SPECTRUM_ROWS), shape, name="even_shape", axis=0)
    return graph.add("Reshape", both, shape, name="even_log_power")


def _log_spectrum(
    graph: GraphBuilder, network: CompactNet, name: str, bins: NDArray[np.int64], rows: int, cosine: str, sine: str
) -> str:
    """Logarithm of the power at some bins from what their cosines and sines see, (batch, samples, frames) each."""
    samples = EIGHTH_SAMPLES if name != "odd" else QUARTER_SAMPLES
    angle = 2.0 * math.pi * bins[:, None] * (np.arange(samples)[None, :] + 0.5) / STFT_SAMPLES
    # The offset of the standardisation as a gain, so that the logarithm comes out centred.
    gain = 10.0 ** (-network.spectrum.offset / 2.0)
    absent = ((0, rows - len(bins)), (0, 0))
    parts = []
    for part, seen, wave in (("cosine", cosine, np.cos), ("sine", sine, np.sin)):
        label = f"{name}_{part}"
        kernel = graph.floats(f"dft_{label}", np.pad(gain * wave(angle), absent))
        product = graph.add("MatMul", kernel, seen, name=label)
        parts.append(graph.add("Mul", product, product, name=f"{label}_power"))
    power = graph.add("Add", *parts, name=f"{name}_power")
    floor = np.full((len(bins), 1), network.spectrum.floor * 10.0**-network.spectrum.offset)
    # Of a row that is no bin the logarithm is zero, like any padding.
    floor = np.pad(floor, absent, constant_values=1.0)
    audible = graph.add("Add", power, graph.floats(f"{name}_floor", floor), name=f"{name}_audible_power")
    return graph.add("Log", audible, name=f"{name}_log_power")
