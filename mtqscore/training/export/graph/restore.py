"""A compact network from its ONNX file, so that whoever has a released model can train it on, or prune it.

The file holds less than the run that made it: no heads of PESQ, STOI and SDI, and every batch normalisation is folded
into its convolution. Normalisation comes back with statistics of a few recordings: in evaluation the network is that of
the file, up to calibration, and in training it stays near it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor

from mtqscore.targets import STFT_SAMPLES, TARGETS, Target
from mtqscore.training.network_config import CompactConfig
from mtqscore.training.networks.compact import CompactNet, ConvBlock
from mtqscore.training.networks.heads import TaskHead

Weights = Mapping[str, NDArray[np.float32]]


class NotCompactError(Exception):
    """The graph is no exported compact network."""


def restore_compact(model: onnx.ModelProto, clips: list[NDArray[np.float32]]) -> CompactNet:
    """Build the network whose graph `compact_scores` wrote; raw scores are equal up to rounding.

    Args:
        model: an exported compact network in float32; its calibration is left out.
        clips: recordings at 16 kHz, float32 (samples,), whose statistics batch normalisation gets.

    Raises:
        NotCompactError: it is something else.
    """
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    metadata = {item.key: item.value for item in model.metadata_props}
    strides = {
        node.name: tuple(next(one.ints for one in node.attribute if one.name == "strides"))
        for node in model.graph.node
        if node.op_type == "Conv" and any(one.name == "strides" for one in node.attribute)
    }
    try:
        config = _config(weights, strides)
        names = metadata["targets"].split(",")
        targets = tuple(next(one for one in TARGETS if one.name == name) for name in names)
        network = CompactNet(config, targets)
        with torch.no_grad():
            _fill(network, weights, targets)
    except (KeyError, ValueError, IndexError, StopIteration, RuntimeError) as error:
        raise NotCompactError(str(error) or type(error).__name__) from error
    network.eval()
    _normalise(network, clips)
    return network


def _config(weights: Weights, strides: Mapping[str, tuple[int, ...]]) -> CompactConfig:
    """Read the sizes off the shapes."""
    labels = [f"conv_{number}" for number in range(1, len(strides) + 1) if f"conv_{number}" in strides]
    kernels = [weights[f"{label}_kernel"] for label in labels]
    # All but the last pass the mark of padding on, as one more channel.
    channels = [kernel.shape[0] - (kernel is not kernels[-1]) for kernel in kernels]
    # The first kernel is that of even and odd bins, wider than it must be.
    first = _one_phase(kernels[0][:, :2])
    widths = [first.shape[-1], *(kernel.shape[2] for kernel in kernels[1:])]
    steps = [strides[label] for label in labels]
    bins = [2, *(step[0] for step in steps[1:])]
    # The names of version 5 and before, and those of today.
    loudest = weights["dft_even_cosine" if "dft_even_cosine" in weights else "dft_fourth_cosine"][0, 0]
    floor = weights["even_floor" if "even_floor" in weights else "fourth_floor"][0, 0]
    offset = -2.0 * math.log10(float(loudest))
    floor = float(floor) * 10.0**offset
    return CompactConfig(
        conv_channels=tuple(channels),
        conv_widths=tuple(widths),
        conv_strides=tuple(bins),
        hop_samples=256 if int(weights["hop"].reshape(-1)[0]) == STFT_SAMPLES // 2 else 512,
        time_stride=steps[0][1],
        second_time_stride=steps[1][1] if len(steps) > 1 else 1,
        squeeze_units=weights["squeeze_kernel"].shape[0],
        lstm_units=weights["lstm_recurrence"].shape[2],
        dense_units=weights["dense_weight"].shape[1],
        floor_db=round(10.0 * math.log10(floor), 3),
        feature_mean_db=round(10.0 * offset, 3),
    )


def _one_phase(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """Undo `compact._polyphase`: (outputs, 2, width', time) to (outputs, 1, time, width)."""
    reach = kernel.shape[2] // 2
    # Tap 2 * shift + odd from the middle, in the order of bins.
    taps = [(2 * shift + odd, kernel[:, odd, reach + shift]) for shift in range(-reach, reach + 1) for odd in (0, 1)]
    used = [abs(place) for place, values in taps if np.any(values)]
    middle = max(used, default=0)
    kept = [values for place, values in sorted(taps, key=lambda tap: tap[0]) if abs(place) <= middle]
    if len(kept) != 2 * middle + 1:
        raise ValueError("the first kernel has no middle")
    return np.stack(kept, axis=-1)[:, None]


def _fill(network: CompactNet, weights: Weights, targets: tuple[Target, ...]) -> None:
    """Copy the weights, with normalisations that do nothing."""
    last = len(network.blocks) - 1
    for index, block in enumerate(network.blocks):
        assert isinstance(block, ConvBlock)
        kernel, bias = weights[f"conv_{index + 1}_kernel"], weights[f"conv_{index + 1}_bias"]
        outputs, inputs = block.conv.weight.shape[:2]
        if kernel.shape[0] != outputs + (index < last):
            raise ValueError(f"conv_{index + 1} has {kernel.shape[0]} channels")
        if index == 0:
            kernel = _one_phase(kernel[:, :2]) * (math.log(10.0) / network.spectrum.scale)
        else:
            kernel = kernel.transpose(0, 1, 3, 2)
        _copy(block.conv.weight, kernel[:outputs, :inputs])
        _copy(block.norm.bias, bias[:outputs])
        assert block.norm.running_var is not None
        block.norm.running_var.fill_(1.0 - block.norm.eps)
    _copy(network.squeeze.weight, weights["squeeze_kernel"].reshape(network.squeeze.weight.shape))
    _copy(network.squeeze.bias, weights["squeeze_bias"])
    for direction, lstm in enumerate((network.recurrent.forwards, network.recurrent.backwards)):
        bias = weights["lstm_bias"][direction]
        half = len(bias) // 2
        parameters = dict(lstm.named_parameters())
        _copy(parameters["weight_ih_l0"], _torch_gates(weights["lstm_weight"][direction]))
        _copy(parameters["weight_hh_l0"], _torch_gates(weights["lstm_recurrence"][direction]))
        _copy(parameters["bias_ih_l0"], _torch_gates(bias[:half]))
        _copy(parameters["bias_hh_l0"], _torch_gates(bias[half:]))
    _copy(network.dense.weight, weights["dense_weight"].T)
    _copy(network.dense.bias, weights["dense_bias"])
    for number, target in enumerate(targets):
        head = network.heads[target.name]
        assert isinstance(head, TaskHead)
        _copy(head.attention.weight, weights["head_queries"][number].T / head.scale)
        _copy(head.score.weight, weights["head_values"][number].T)
        _copy(head.score.bias, weights["head_bias"][number].reshape(-1))


def _copy(parameter: Tensor, values: NDArray[np.float32]) -> None:
    parameter.copy_(torch.from_numpy(np.array(values, dtype=np.float32)).reshape(values.shape).view(parameter.shape))


def _torch_gates(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Reorder gates from ONNX's input, output, forget, cell to torch's input, forget, cell, output."""
    inputs, output, forget, cell = np.split(values, 4)
    return np.concatenate((inputs, forget, cell, output))


@torch.no_grad()
def _normalise(network: CompactNet, clips: list[NDArray[np.float32]]) -> None:
    """Give every normalisation the statistics of what it hears, without changing what comes out."""
    x = [network.spectrum(torch.from_numpy(clip)[None], torch.tensor([len(clip)]))[0][:, None] for clip in clips]
    for block in network.blocks:
        assert isinstance(block, ConvBlock)
        values = torch.cat([block.conv(one).transpose(0, 1).flatten(1) for one in x], dim=1)
        mean, variance = values.mean(dim=1), values.var(dim=1).clamp_min(block.norm.eps)
        spread = torch.sqrt(variance + block.norm.eps)
        # Weights of a common size, as in training: a step of the optimiser means the same to each channel.
        block.conv.weight.div_(spread[:, None, None, None])
        assert block.norm.running_mean is not None and block.norm.running_var is not None
        block.norm.running_mean.copy_(mean / spread)
        block.norm.running_var.fill_(1.0 - block.norm.eps)
        block.norm.weight.copy_(spread)
        block.norm.bias.add_(mean)
        x = [torch.relu(block.norm(block.conv(one))) for one in x]
