"""Structured pruning of the compact network: whole channels and units go, and the network is really smaller.

`importance` gives each unit a number. Units of all layers compete: those of least importance for their cost go first,
until the network is as small as is wanted. What is left is a plain `CompactNet` of smaller sizes with its old weights.
"""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from mtqscore.errors import UsageError
from mtqscore.targets import BINS
from mtqscore.training.network_config import CompactConfig
from mtqscore.training.networks.compact import CompactNet
from mtqscore.training.pruning.config import Budget, Part

LEAST_SHARE = 0.1
"""Share of every layer that stays at least, at each call: a layer of nothing ends the network."""

CHANNEL_BLOCK = 16
"""Channels of a vector register: any other number takes the time of the next multiple. One of them marks padding in the
exported graph."""

Importance = Mapping[str, Tensor]
"""Importance of each unit, by the name of its layer: float64 (units,)."""


@dataclass(frozen=True)
class UnitWeights:
    """Weights of a layer's units in one named tensor: indices of each unit on an axis, int64 (units, indices)."""

    tensor: str
    axis: int
    index: Tensor


@dataclass(frozen=True)
class Layer:
    """Units that can be taken away one by one: the weights that make them, and those that read them."""

    name: str
    written: Sequence[UnitWeights]
    read: Sequence[UnitWeights]

    @property
    def units(self) -> int:
        """Number of units."""
        return len(self.written[0].index)

    @property
    def weights(self) -> tuple[UnitWeights, ...]:
        """All weights of its units."""
        return (*self.written, *self.read)


@dataclass(frozen=True)
class LayerGroup:
    """Layers that must stay of one width: both directions of the recurrent layer; all others stand alone."""

    part: Part
    name: str
    layers: Sequence[Layer]

    @property
    def units(self) -> int:
        """Number of units of each layer."""
        return self.layers[0].units


def prunable_groups(network: CompactNet) -> list[LayerGroup]:
    """List all that can be cut, from the input to the output."""
    config = network.config
    groups = []
    bins = BINS
    for block, (units, stride) in enumerate(zip(config.conv_channels, config.conv_strides, strict=True)):
        bins = (bins - 1) // stride + 1
        one = torch.arange(units)[:, None]
        names = ("conv.weight", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var")
        written = [f"blocks.{block}.{name}" for name in names]
        if block + 1 < len(config.conv_channels):
            reader = UnitWeights(f"blocks.{block + 1}.conv.weight", 1, one)
        else:  # frames are flattened with the bins of a channel next to each other
            reader = UnitWeights("squeeze.weight", 1, one * bins + torch.arange(bins))
        groups.append(_single("channels", f"channels {block + 1}", one, written, [reader]))
    sides = ("forwards", "backwards")
    one = torch.arange(config.squeeze_units)[:, None]
    read = [UnitWeights(f"recurrent.{side}.weight_ih_l0", 1, one) for side in sides]
    groups.append(_single("dense", "squeeze", one, ["squeeze.weight", "squeeze.bias"], read))
    both = [_direction(side, config.lstm_units, number) for number, side in enumerate(sides)]
    groups.append(LayerGroup("recurrent", "recurrent", both))
    one = torch.arange(config.dense_units)[:, None]
    heads = [f"heads.{target.name}" for target in network.targets]
    read = [UnitWeights(f"{head}.attention.weight", axis, one) for head in heads for axis in (0, 1)]
    read += [UnitWeights(f"{head}.score.weight", 1, one) for head in heads]
    groups.append(_single("dense", "dense", one, ["dense.weight", "dense.bias"], read))
    return groups


def _single(part: Part, name: str, index: Tensor, written: Sequence[str], read: Sequence[UnitWeights]) -> LayerGroup:
    return LayerGroup(part, name, [Layer(name, [UnitWeights(tensor, 0, index) for tensor in written], read)])


def _direction(side: str, units: int, number: int) -> Layer:
    """One direction of the LSTM: a unit has a row in each of four gates, and is read by all gates and what follows."""
    one = torch.arange(units)[:, None]
    gates = one + units * torch.arange(4)
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    written = [UnitWeights(f"recurrent.{side}.{name}", 0, gates) for name in names]
    own = UnitWeights(f"recurrent.{side}.weight_hh_l0", 1, one)
    return Layer(f"recurrent {side}", written, [own, UnitWeights("dense.weight", 1, one + number * units)])


def cut(network: CompactNet, kept: Mapping[str, Tensor]) -> CompactNet:
    """Take units away; gives a smaller network with the weights of those kept, in evaluation mode.

    Args:
        network: stays as it is.
        kept: units that stay by layer, int64 (units,), ascending; layers that are not named keep all.
    """
    state = network.state_dict()
    masks: dict[tuple[str, int], Tensor] = {}
    widths: dict[str, int] = {}
    for group in prunable_groups(network):
        widths[group.name] = group.units
        for layer in group.layers:
            if layer.name not in kept:
                continue
            widths[group.name] = len(kept[layer.name])
            gone = torch.ones(layer.units, dtype=torch.bool)
            gone[kept[layer.name]] = False
            for weights in layer.weights:
                size = state[weights.tensor].shape[weights.axis]
                mask = masks.setdefault((weights.tensor, weights.axis), torch.ones(size, dtype=torch.bool))
                mask[weights.index[gone]] = False
    for (name, axis), mask in masks.items():
        state[name] = state[name].index_select(axis, mask.nonzero()[:, 0])
    config = _with_widths(network.config, widths)
    # Heads divide by the root of their width, which must not change their scores.
    gain = (config.dense_units / network.config.dense_units) ** 0.5
    state = {name: tensor * gain if name.endswith("attention.weight") else tensor for name, tensor in state.items()}
    smaller = CompactNet(config, network.targets)
    smaller.load_state_dict(state)
    return smaller.eval()


def _with_widths(config: CompactConfig, widths: Mapping[str, int]) -> CompactConfig:
    return dataclasses.replace(
        config,
        conv_channels=tuple(widths[f"channels {block + 1}"] for block in range(len(config.conv_channels))),
        squeeze_units=widths["squeeze"],
        lstm_units=widths["recurrent"],
        dense_units=widths["dense"],
    )


def choose(
    network: CompactNet,
    importance: Importance,
    parts: Sequence[Part],
    budget: Budget,
    share_of: Callable[[CompactConfig], float],
    keep: float,
) -> dict[str, Tensor]:
    """Choose the units that stay: as many as fit, and those of the most importance for their cost.

    To save time, channels go in whole blocks. Importance is comparable from layer to layer; ``share_of`` gives the
    share of the original network's parameters or time that a network of these sizes has.

    Raises:
        UsageError: even the smallest network does not fit the share ``keep``.
    """
    groups = prunable_groups(network)
    whole = {group.name: group.units for group in groups}
    free = [group for group in groups if group.part in parts]
    steps: list[tuple[float, int, int, str]] = []
    for group in free:
        # The best unit of one direction is paired with the best of the other, and so on.
        ranked = torch.stack([importance[layer.name].sort(descending=True).values for layer in group.layers]).sum(dim=0)
        cost = _cost(network, group, budget)
        for narrow, wide in pairwise(_widths(group, budget)):
            steps.append((float(ranked[narrow:wide].mean()) / cost, -wide, narrow, group.name))
    # Since the units of a group are sorted, its wider steps come first.
    steps.sort()

    def widths(taken: int) -> dict[str, int]:
        return whole | {name: narrow for _, _, narrow, name in steps[:taken]}

    needed = bisect.bisect_left(
        range(len(steps) + 1), True, key=lambda taken: share_of(_with_widths(network.config, widths(taken))) <= keep
    )
    if needed > len(steps):
        raise UsageError(
            f"even with a tenth of {', '.join(group.name for group in free)} the network is not as small as that in "
            f"{budget}; keep more, cut more parts, or train a smaller --size"
        )
    found = widths(needed)
    return {
        layer.name: importance[layer.name].topk(found[group.name]).indices.sort().values
        for group in free
        for layer in group.layers
    }


def _widths(group: LayerGroup, budget: Budget) -> list[int]:
    """Numbers of units that a layer may be left with, ascending, its own last."""
    least = max(1, math.ceil(LEAST_SHARE * group.units))
    if budget == "time" and group.part == "channels":
        blocks = range(CHANNEL_BLOCK - 1, group.units, CHANNEL_BLOCK)
        return [*(width for width in blocks if least <= width), group.units]
    return list(range(least, group.units + 1))


def _cost(network: CompactNet, group: LayerGroup, budget: Budget) -> float:
    """Weights of a unit, or for time the multiplications with them for a frame score."""
    config, state = network.config, network.state_dict()
    uses: dict[str, int] = {}
    if budget == "time":
        bins, frames = BINS, config.frame_stride
        for block, (stride, time_stride) in enumerate(zip(config.conv_strides, config.time_strides, strict=True)):
            bins, frames = (bins - 1) // stride + 1, frames // time_stride
            uses[f"blocks.{block}.conv.weight"] = bins * frames
    cost = 0.0
    for weights in (weights for layer in group.layers for weights in layer.weights):
        tensor = state[weights.tensor]
        of_unit = weights.index.shape[1] * tensor.numel() / tensor.shape[weights.axis]
        cost += of_unit * uses.get(weights.tensor, 1)
    return cost
