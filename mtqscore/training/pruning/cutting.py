"""Structured pruning of the compact network: whole channels and units go, and the network is really smaller.

What each unit is worth is a number from `importance`. Units of all layers compete: those go first that are worth least
for what they cost, until the network is as small as is wanted. What is left is a plain `CompactNet` of smaller sizes
with the weights that it had.
"""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from mtqscore.errors import UsageError
from mtqscore.targets import BINS
from mtqscore.training.network_config import CompactConfig
from mtqscore.training.networks.compact import CompactNet

Part = Literal["channels", "recurrent", "dense"]
PARTS: tuple[Part, ...] = ("channels", "recurrent", "dense")

Budget = Literal["parameters", "time"]

LEAST_SHARE = 0.1
"""What is left of every layer at least, at each call: a layer of nothing ends the network."""

CHANNEL_BLOCK = 16
"""Vector registers hold so many channels: any other number takes the time of the next multiple. One of them marks
padding in the exported graph."""

Importance = Mapping[str, Tensor]
"""What each unit is worth, by the name of its layer: float64 (units,)."""


@dataclass(frozen=True)
class Place:
    """Where the units of a layer lie in a tensor.

    Args:
        tensor: its name in the network's state.
        axis: the axis that they lie along.
        index: of each unit all places on that axis, int64 (units, places).
    """

    tensor: str
    axis: int
    index: Tensor


@dataclass(frozen=True)
class Layer:
    """Units that can be taken away one by one.

    Args:
        name: of the layer.
        written: where the weights lie that make the units.
        read: where the weights lie that read them.
    """

    name: str
    written: tuple[Place, ...]
    read: tuple[Place, ...]

    @property
    def units(self) -> int:
        """How many there are."""
        return len(self.written[0].index)


@dataclass(frozen=True)
class Group:
    """Layers that must stay of one width: both directions of the recurrent layer; all others stand alone.

    Args:
        part: what they are part of.
        name: of the group; that of its layer where it has one.
        layers: of equal numbers of units.
    """

    part: Part
    name: str
    layers: tuple[Layer, ...]

    @property
    def units(self) -> int:
        """How many each layer has."""
        return self.layers[0].units


def groups_of(network: CompactNet) -> list[Group]:
    """List all that can be cut, from the input to the output."""
    config = network.config
    groups = []
    bins = BINS
    channels = config.conv_channels
    for block, (units, stride) in enumerate(zip(channels, config.conv_strides, strict=True)):
        bins = (bins - 1) // stride + 1
        one = torch.arange(units)[:, None]
        names = ["conv.weight", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"]
        written = [Place(f"blocks.{block}.{name}", 0, one) for name in names]
        # Frames are flattened with the bins of a channel next to each other.
        flat = Place("squeeze.weight", 1, one * bins + torch.arange(bins))
        following = Place(f"blocks.{block + 1}.conv.weight", 1, one)
        reader = following if block + 1 < len(channels) else flat
        name = f"channels {block + 1}"
        groups.append(Group("channels", name, (Layer(name, tuple(written), (reader,)),)))
    one = torch.arange(config.squeeze_units)[:, None]
    written = [Place("squeeze.weight", 0, one), Place("squeeze.bias", 0, one)]
    sides = ("forwards", "backwards")
    read = [Place(f"recurrent.{side}.weight_ih_l0", 1, one) for side in sides]
    groups.append(Group("dense", "squeeze", (Layer("squeeze", tuple(written), tuple(read)),)))
    both = tuple(_direction(side, config.lstm_units, number) for number, side in enumerate(sides))
    groups.append(Group("recurrent", "recurrent", both))
    one = torch.arange(config.dense_units)[:, None]
    written = [Place("dense.weight", 0, one), Place("dense.bias", 0, one)]
    heads = [f"heads.{target.name}" for target in network.targets]
    read = [Place(f"{head}.attention.weight", axis, one) for head in heads for axis in (0, 1)]
    read += [Place(f"{head}.score.weight", 1, one) for head in heads]
    groups.append(Group("dense", "dense", (Layer("dense", tuple(written), tuple(read)),)))
    return groups


def _direction(side: str, units: int, number: int) -> Layer:
    """One direction of the LSTM: a unit has a row in each of four gates, and is read by all gates and what follows."""
    one = torch.arange(units)[:, None]
    gates = one + units * torch.arange(4)
    names = ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]
    written = tuple(Place(f"recurrent.{side}.{name}", 0, gates) for name in names)
    read = (Place(f"recurrent.{side}.weight_hh_l0", 1, one), Place("dense.weight", 1, one + number * units))
    return Layer(f"recurrent {side}", written, read)


def cut(network: CompactNet, kept: Mapping[str, Tensor]) -> CompactNet:
    """Take units away.

    Args:
        network: stays as it is.
        kept: units that stay by layer, int64 (units,), ascending; layers that are not named keep all.

    Returns:
        A smaller network with the weights of the kept units, in evaluation mode.
    """
    groups = groups_of(network)
    state = network.state_dict()
    keep: dict[tuple[str, int], Tensor] = {}
    widths = {group.name: group.units for group in groups}
    for group in groups:
        for layer in group.layers:
            if layer.name not in kept:
                continue
            gone = torch.ones(layer.units, dtype=torch.bool)
            gone[kept[layer.name]] = False
            widths[group.name] = len(kept[layer.name])
            for place in (*layer.written, *layer.read):
                size = state[place.tensor].shape[place.axis]
                mask = keep.setdefault((place.tensor, place.axis), torch.ones(size, dtype=torch.bool))
                mask[place.index[gone]] = False
    for (name, axis), mask in keep.items():
        state[name] = state[name].index_select(axis, mask.nonzero()[:, 0])
    config = _with_widths(network.config, widths)
    # Heads divide by the root of their width, which must not change what they say.
    gain = (config.dense_units / network.config.dense_units) ** 0.5
    for name in state:
        if name.endswith("attention.weight"):
            state[name] = state[name] * gain
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
    parts: tuple[Part, ...],
    budget: Budget,
    share_of: Callable[[CompactConfig], float],
    keep: float,
) -> dict[str, Tensor]:
    """Choose the units that stay: as many as fit, and those that are worth most for what they cost.

    Args:
        network: that is to be cut.
        importance: what each unit is worth, by layer, comparable from layer to layer.
        parts: what may be cut.
        budget: what is to be saved. To save time, channels go in whole blocks.
        share_of: what share of the original network's parameters or time a network of these sizes has.
        keep: the share that is wanted.

    Returns:
        What `cut` takes.

    Raises:
        UsageError: even the smallest network does not fit.
    """
    groups = {group.name: group for group in groups_of(network)}
    whole = {name: group.units for name, group in groups.items()}
    free = [group for group in groups.values() if group.part in parts]
    steps: list[tuple[float, int, int, str]] = []
    for group in free:
        # The best unit of one direction is paired with the best of the other, and so on.
        worth = torch.stack([importance[layer.name].sort(descending=True).values for layer in group.layers]).sum(dim=0)
        cost = _cost(network, group, budget)
        for narrow, wide in pairwise(_widths(group, budget)):
            steps.append((float(worth[narrow:wide].mean()) / cost, -wide, narrow, group.name))
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


def _widths(group: Group, budget: Budget) -> list[int]:
    """Numbers of units that a layer may be left with, ascending, its own last."""
    least = max(1, math.ceil(LEAST_SHARE * group.units))
    if budget == "time" and group.part == "channels":
        blocks = range(CHANNEL_BLOCK - 1, group.units, CHANNEL_BLOCK)
        return [*(width for width in blocks if least <= width), group.units]
    return list(range(least, group.units + 1))


def _cost(network: CompactNet, group: Group, budget: Budget) -> float:
    """What a unit costs: its weights, or for time how often they are multiplied for a frame score."""
    state = network.state_dict()
    uses = {}
    bins, frames = BINS, network.config.frame_stride
    for block, (stride, time_stride) in enumerate(
        zip(network.config.conv_strides, network.config.time_strides, strict=True)
    ):
        bins, frames = (bins - 1) // stride + 1, frames // time_stride
        uses[f"blocks.{block}.conv.weight"] = bins * frames if budget == "time" else 1
    cost = 0.0
    for layer in group.layers:
        for place in (*layer.written, *layer.read):
            tensor = state[place.tensor]
            weights = place.index.shape[1] * tensor.numel() / tensor.shape[place.axis]
            cost += weights * uses.get(place.tensor, 1)
    return cost
