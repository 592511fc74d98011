"""What each unit of a network is worth: a number from data, or from the weights alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mtqscore.errors import MtqscoreError
from mtqscore.targets import SAMPLE_RATE_HZ
from mtqscore.training.config import TrainConfig
from mtqscore.training.data.dataset import Recordings, plain_batches
from mtqscore.training.losses import MplLoss
from mtqscore.training.networks.compact import CompactNet
from mtqscore.training.pruning.cutting import Layer, Place, groups_of

BATCH = 4
"""Recordings whose gradients are added up before they are squared."""


def by_taylor(
    network: CompactNet, data: Recordings, config: TrainConfig, advance: Callable[[int, int], None]
) -> dict[str, Tensor]:
    """Estimate from data by how much the loss changes without a unit, to the first order.

    A gate of 1 on a unit's output gets the gradient dL/dgate, which is the sum of weight times gradient over all
    weights that read the unit. Its square, added up over small batches, is the importance (Molchanov et al., Importance
    Estimation for Neural Network Pruning, 2019, section 3, with a gate for every unit). It can be compared from layer
    to layer.

    Args:
        network: in evaluation mode; its gradients are cleared.
        data: recordings with labels.
        config: the loss.
        advance: told of the recordings done, and how many there are.

    Returns:
        By layer float64 (units,).

    Raises:
        MtqscoreError: the loss or its gradient is not finite.
    """
    layers = [layer for group in groups_of(network) for layer in group.layers]
    parameters = dict(network.named_parameters())
    loss = MplLoss(config, network.targets)
    found = {layer.name: torch.zeros(layer.units, dtype=torch.float64) for layer in layers}
    done = 0
    for batch in plain_batches(data, BATCH, int(config.max_clip_s * SAMPLE_RATE_HZ)):
        network.zero_grad(set_to_none=True)
        loss(network(batch.waveform, batch.lengths), batch.labels).total.backward()  # type: ignore[no-untyped-call]
        for layer in layers:
            pulls = torch.stack([_pull(place, parameters) for place in layer.read])
            found[layer.name] += pulls.sum(dim=0).square()
        done += len(batch.lengths)
        advance(done, len(data))
    network.zero_grad(set_to_none=True)
    if not all(torch.isfinite(worth).all() for worth in found.values()):
        raise MtqscoreError("the gradient of the loss is not finite; is the network well trained, and are the labels?")
    return found


def by_magnitude(network: CompactNet) -> dict[str, Tensor]:
    """Rank the units of a layer by the sizes of the weights that make them: the baseline that needs no data.

    The sum of absolute weights of a filter is that of Li et al., Pruning Filters for Efficient ConvNets, 2017. Weights
    of different layers cannot be compared; so each is divided by the mean of its layer.

    Args:
        network: the network.

    Returns:
        By layer float64 (units,).
    """
    parameters = dict(network.named_parameters())
    layers = [layer for group in groups_of(network) for layer in group.layers]
    return {layer.name: _size(layer, parameters) for layer in layers}


def _pull(place: Place, parameters: dict[str, torch.nn.Parameter]) -> Tensor:
    """Sum weight times gradient over all weights that read a unit: float64 (units,)."""
    weight = parameters[place.tensor]
    if weight.grad is None:
        return torch.zeros(len(place.index), dtype=torch.float64)
    return _by_unit((weight.detach() * weight.grad).double(), place)


def _size(layer: Layer, parameters: dict[str, torch.nn.Parameter]) -> Tensor:
    weights = [place for place in layer.written if place.tensor in parameters and parameters[place.tensor].ndim > 1]
    sizes = torch.stack([_by_unit(parameters[place.tensor].detach().abs().double(), place) for place in weights])
    size = sizes.sum(dim=0)
    return size / size.mean().clamp(min=torch.finfo(size.dtype).tiny)


def _by_unit(values: Tensor, place: Place) -> Tensor:
    along = values.movedim(place.axis, 0).flatten(1).sum(dim=1)
    return along[place.index].sum(dim=1)
