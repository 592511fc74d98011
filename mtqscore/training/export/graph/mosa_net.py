"""MOSA-Net and MTQ-Net as an ONNX graph: exact before fast.

The graph computes what `MosaNet` computes in evaluation mode. The filters of SincConv are constants, and so is the DFT,
its bins in the order of the network. The frame scores of the contract are those of the spectrum's stream; the utterance
score is the mean over all streams.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from mtqscore.targets import BINS, HOP_SAMPLES, STFT_SAMPLES
from mtqscore.training.export.graph.builder import GraphBuilder, RawScores
from mtqscore.training.export.graph.features import active_level, cut_blocks, join_audio, mask_audio
from mtqscore.training.export.graph.layers import (
    Frames,
    absent_energy,
    blstm,
    frame_mask,
    join,
    linear,
    masked,
    mean_over_frames,
)
from mtqscore.training.export.graph.ssl import embed
from mtqscore.training.networks.features import PowerSpectrum
from mtqscore.training.networks.heads import SelfAttentionHead
from mtqscore.training.networks.magnitude import TINY_PEAK, MagnitudeSpectrum
from mtqscore.training.networks.mosa_net import ConvBlock, MosaNet
from mtqscore.training.networks.sinc import HALF_TAPS, TAPS, SincConv


def mosa_net_scores(graph: GraphBuilder, network: MosaNet) -> RawScores:
    """Write the network; its frames are those of the spectrum's stream."""
    audio = join_audio(graph, mask_audio(graph))
    hops = graph.add("Div", "lengths", graph.integer(HOP_SAMPLES), name="whole_hops_own")
    counts = graph.add("Add", hops, graph.integer(1), name="spectrum_counts")
    blocks, size = cut_blocks(graph, [audio], HOP_SAMPLES)
    if isinstance(network.spectrum, PowerSpectrum):
        root = graph.add("Sqrt", active_level(graph, blocks), name="level_root")
        audio_normal = graph.add("Div", audio, root, name="audio_normal")
        blocks = graph.add("Div", blocks, graph.add("Unsqueeze", root, graph.vector(2), name="level_root_3d"),
                           name="blocks_normal")  # fmt: skip
    else:
        peak = graph.add("ReduceMax", graph.add("Abs", audio, name="sizes"), graph.vector(1), name="peak")
        peak = graph.add("Max", peak, graph.number(TINY_PEAK), name="peak_positive")
        audio_normal = graph.add("Div", audio, peak, name="audio_normal")
        blocks = _mirrored_blocks(graph, audio_normal, size)
    streams = [masked(graph, Frames(_spectrum(graph, network.spectrum, blocks), counts, size), "spectrum")]
    if network.sinc is not None:
        streams.append(_filter_bank(graph, network.sinc, audio_normal))
    step = network.config.time_stride
    streams = [_filled(graph, stream, step, f"stream_{number}") for number, stream in enumerate(streams, start=1)]
    own = _in_steps(graph, streams[0], step, "spectrum")
    x = _convolved(graph, network, _in_steps(graph, join(graph, streams, "joined"), step, "joined"))
    if network.ssl is not None and network.bottleneck is not None:
        embedding = embed(graph, network.ssl, audio)
        narrow = graph.add("Relu", linear(graph, embedding.x, network.bottleneck, "bottleneck"), name="bottleneck_relu")
        x = join(graph, [x, Frames(narrow, embedding.counts, embedding.size)], "all_joined")
    return _scores(graph, network, x, own)


def _mirrored_blocks(graph: GraphBuilder, audio: str, size: str) -> str:
    """Cut into blocks of one hop, each item mirrored at its own ends: float32 (batch, size + 1, hop)."""
    hops = graph.add("Add", size, graph.integer(1), name="mirror_hops")
    count = graph.add("Mul", hops, graph.integer(HOP_SAMPLES), name="mirror_samples")
    index = graph.add("Range", graph.integer(0), count, graph.integer(1), name="mirror_index")
    place = graph.add("Abs", graph.add("Sub", index, graph.integer(HOP_SAMPLES), name="mirror_shifted"),
                      name="mirror_front")  # fmt: skip
    ends = graph.add("Unsqueeze", "lengths", graph.vector(1), name="mirror_ends")
    last = graph.add("Sub", ends, graph.integer(1), name="mirror_last")
    twice = graph.add("Mul", last, graph.integer(2), name="mirror_twice_last")
    back = graph.add("Sub", twice, place, name="mirror_back")
    beyond = graph.add("Greater", place, last, name="mirror_beyond")
    place = graph.add("Where", beyond, back, place, name="mirror_unlimited")
    place = graph.add("Max", place, graph.integer(0), name="mirror_places")
    taken = graph.add("GatherElements", audio, place, name="mirrored", axis=1)
    return graph.add("Reshape", taken, graph.vector(0, -1, HOP_SAMPLES), name="mirrored_blocks")


def _spectrum(graph: GraphBuilder, spectrum: nn.Module, blocks: str) -> str:
    """Compute magnitudes or standardised logarithms of the power of every frame, high frequencies first."""
    first = graph.add("Slice", blocks, graph.vector(0), graph.vector(-1), graph.vector(1), name="first_halves")
    second = graph.add("Slice", blocks, graph.vector(1), graph.vector(2**62), graph.vector(1), name="second_halves")
    windows = graph.add("Concat", first, second, name="windows", axis=2)
    assert isinstance(spectrum, PowerSpectrum | MagnitudeSpectrum)
    parts = []
    for name, wave in (("real", np.cos), ("imaginary", np.sin)):
        part = graph.add("MatMul", windows, graph.floats(f"dft_{name}", _dft(spectrum.window, wave)), name=name)
        parts.append(graph.add("Mul", part, part, name=f"{name}_power"))
    power = graph.add("Add", *parts, name="power")
    if isinstance(spectrum, MagnitudeSpectrum):
        return graph.add("Sqrt", power, name="magnitude")
    audible = graph.add("Add", power, graph.number(spectrum.floor), name="audible_power")
    level = graph.add("Log", audible, name="log_power")
    level = graph.add("Mul", level, graph.number(spectrum.scale / math.log(10.0)), name="log_power_scaled")
    return graph.add("Sub", level, graph.number(spectrum.offset * spectrum.scale), name="log_power_standard")


def _dft(window: Tensor, wave: np.ufunc) -> NDArray[np.float64]:
    """Windowed DFT of one part, bins from high to low: float64 (samples, bins)."""
    angle = 2.0 * math.pi * np.arange(STFT_SAMPLES)[:, None] * np.arange(BINS)[None, ::-1] / STFT_SAMPLES
    found: NDArray[np.float64] = wave(angle) * window.double().numpy()[:, None]
    return found


def _filter_bank(graph: GraphBuilder, sinc: SincConv, audio: str) -> Frames:
    """Filter with SincConv, whose windows start where each item's own length puts them."""
    hop = graph.integer(HOP_SAMPLES)
    ends = {}
    for name, samples in (("size", "sample_count"), ("counts", "lengths")):
        up = graph.add("Add", samples, graph.integer(HOP_SAMPLES - 1), name=f"sinc_{name}_up")
        ends[name] = graph.add("Div", up, hop, name=f"sinc_{name}")
    count = graph.add("Mul", ends["size"], hop, name="sinc_samples")
    index = graph.add("Range", graph.integer(0), count, graph.integer(1), name="sinc_sample_index")
    ends_2d = graph.add("Unsqueeze", "lengths", graph.vector(1), name="sinc_ends")
    final = graph.add("Sub", ends_2d, graph.integer(1), name="sinc_last")
    final = graph.add("Mod", final, hop, name="sinc_final")
    lacking = graph.add("Sub", graph.integer(TAPS - 1), final, name="sinc_lacking")
    lacking = graph.add("Max", lacking, graph.integer(0), name="sinc_lacking_positive")
    before = graph.add("Div", lacking, graph.integer(2), name="sinc_before")
    start = graph.add("Sub", graph.integer(HALF_TAPS), before, name="sinc_start")
    place = graph.add("Add", index, start, name="sinc_places")
    padded = graph.add("Pad", audio, graph.vector(0, HALF_TAPS, 0, HOP_SAMPLES), name="sinc_padded")
    taken = graph.add("GatherElements", padded, place, name="sinc_taken", axis=1)
    windows = graph.add("Reshape", taken, graph.vector(0, -1, HOP_SAMPLES), name="sinc_windows")
    kernels = np.zeros((HOP_SAMPLES, BINS))
    kernels[:TAPS] = sinc.kernels().detach().numpy()
    x = graph.add("MatMul", windows, graph.floats("sinc_kernels", kernels), name="sinc_filtered")
    if sinc.compressed:
        x = graph.add("Asinh", x, name="sinc_compressed")
    return masked(graph, Frames(x, ends["counts"], ends["size"]), "sinc")


def _filled(graph: GraphBuilder, stream: Frames, step: int, name: str) -> Frames:
    """Fill a stream, and each item's part of it, with zero frames to a multiple of the time stride."""
    if step == 1:
        return stream
    whole = {}
    for part, number in (("size", stream.size), ("counts", stream.counts)):
        up = graph.add("Add", number, graph.integer(step - 1), name=f"{name}_{part}_up")
        steps = graph.add("Div", up, graph.integer(step), name=f"{name}_{part}_steps")
        whole[part] = graph.add("Mul", steps, graph.integer(step), name=f"{name}_{part}_whole")
    lack = graph.add("Sub", whole["size"], stream.size, name=f"{name}_lack")
    lack = graph.add("Reshape", lack, graph.vector(1), name=f"{name}_lack_1d")
    pads = graph.add("Concat", graph.vector(0, 0, 0, 0), lack, graph.vector(0), name=f"{name}_pads", axis=0)
    x = graph.add("Pad", stream.x, pads, name=f"{name}_filled")
    return Frames(x, whole["counts"], whole["size"])


def _in_steps(graph: GraphBuilder, frames: Frames, step: int, name: str) -> Frames:
    """Count the steps of a convolution with the time stride over frames; these stay as they are."""
    if step == 1:
        return frames
    size = graph.add("Div", frames.size, graph.integer(step), name=f"{name}_steps")
    counts = graph.add("Div", frames.counts, graph.integer(step), name=f"{name}_step_counts")
    return Frames(frames.x, counts, size)


def _convolved(graph: GraphBuilder, network: MosaNet, frames: Frames) -> Frames:
    """Apply the convolution blocks, with zeros beyond each item's end before every one."""
    x = graph.add("Unsqueeze", frames.x, graph.vector(1), name="conv_input")
    mask = frame_mask(graph, frames.counts, frames.size, "conv")
    mask = graph.add("Unsqueeze", mask, graph.vector(1), name="conv_mask_4d")
    for number, block in enumerate(network.blocks, start=1):
        assert isinstance(block, ConvBlock)
        for layer, convolution in enumerate(block.convolutions, start=1):
            assert isinstance(convolution, nn.Conv2d)
            name = f"conv_{number}_{layer}"
            weights = [graph.floats(f"{name}_kernel", convolution.weight.detach().numpy())]
            if convolution.bias is not None:
                weights.append(graph.floats(f"{name}_bias", convolution.bias.detach().numpy()))
            x = graph.add("Conv", x, *weights, name=name, strides=list(convolution.stride), pads=[1, 1, 1, 1])
            x = graph.add("Mul", graph.add("Relu", x, name=f"{name}_relu"), mask, name=f"{name}_masked")
    x = graph.add("Transpose", x, name="conv_frames", perm=[0, 2, 3, 1])
    x = graph.add("Reshape", x, graph.vector(0, 0, -1), name="conv_frames_flat")
    return Frames(x, frames.counts, frames.size)


def _scores(graph: GraphBuilder, network: MosaNet, frames: Frames, own: Frames) -> RawScores:
    """BLSTM, dense layer and heads, one after the other so that one attention matrix at a time is in memory."""
    x = graph.add("Transpose", frames.x, name="steps_first", perm=[1, 0, 2])
    x = blstm(graph, x, frames.counts, network.recurrent)
    x = graph.add("Relu", linear(graph, x, network.dense, "dense"), name="dense_relu")
    keys = graph.add("Transpose", x, name="keys", perm=[0, 2, 1])
    mask = frame_mask(graph, frames.counts, frames.size, "head")
    absent = absent_energy(graph, mask, "head")
    columns = []
    for name, head in network.heads.items():
        assert isinstance(head, SelfAttentionHead)
        query = linear(graph, x, head.attention, f"{name}_query")
        energy = graph.add("MatMul", query, keys, name=f"{name}_energy")
        energy = graph.add("Add", energy, absent, name=f"{name}_masked_energy")
        attention = graph.add("Softmax", energy, name=f"{name}_attention", axis=-1)
        values = graph.add("MatMul", attention, linear(graph, x, head.score, f"{name}_numbers"), name=f"{name}_values")
        if head.squashed:
            low, span = graph.number(head.target.low), graph.number(head.target.high - head.target.low)
            values = graph.add("Mul", graph.add("Sigmoid", values, name=f"{name}_shares"), span, name=f"{name}_spanned")
            values = graph.add("Add", values, low, name=f"{name}_on_scale")
        columns.append(values)
    raw = graph.add("Concat", *columns, name="raw_all_frame_scores", axis=2)
    scores = mean_over_frames(graph, Frames(raw, frames.counts, frames.size), mask, "raw_scores")
    size = graph.add("Reshape", own.size, graph.vector(1), name="own_size")
    first = graph.add("Slice", raw, graph.vector(0), size, graph.vector(1), name="raw_frame_scores")
    return RawScores(scores, first, frame_mask(graph, own.counts, own.size, "own"))
