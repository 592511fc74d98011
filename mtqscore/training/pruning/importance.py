"""Importance of each unit of a network: from data, or from the weights alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mtqscore.errors import MtqscoreError
from mtqscore.targets import SAMPLE_RATE_HZ
from mtqscore.training.config import TrainConfig
from mtqscore.training.data.dataset import Dataset, plain_batches
from mtqscore.training.losses import MplLoss
from mtqscore.training.networks.compact import CompactNet
from mtqscore.training.pruning.cutting import Layer, UnitWeights, prunable_groups

BATCH = 4
"""Recordings whose gradients are added up before they are squared."""


def by_taylor(
    network: CompactNet, data: Dataset, config: TrainConfig, advance: Callable[[int, int, str], None]
) -> dict[str, Tensor]:
    """Estimate from data by how much the loss changes without a unit, to the first order.

    A gate of 1 on a unit's output gets the gradient dL/dgate, which is the sum of weight times gradient over all
    weights that read the unit. Its square, added up over small batches, is the importance (Molchanov et al., Importance
    Estimation for Neural Network Pruning, 2019, section 3, with a gate for every unit). It can be compared from layer
    to layer. The network is in evaluation mode; its gradients are cleared.

    Returns:
        By layer float64 (units,).
    """
    layers = _layers(network)
    parameters = dict(network.named_parameters())
    loss = MplLoss(config, network.targets)
    found = {layer.name: torch.zeros(layer.units, dtype=torch.float64) for layer in layers}
    done = 0
    for batch in plain_batches(data, BATCH, int(config.max_clip_s * SAMPLE_RATE_HZ)):
        network.zero_grad(set_to_none=True)
        loss(network(batch.waveform, batch.lengths), batch.labels).total.backward()  # type: ignore[no-untyped-call]
        for layer in layers:
            read = [(weights, parameters[weights.tensor]) for weights in layer.read]
            gates = [(weights, each.detach() * each.grad) for weights, each in read if each.grad is not None]
            found[layer.name] += _sum(gates).square()
        done += len(batch.lengths)
        advance(done, len(data), "train")
    network.zero_grad(set_to_none=True)
    if not all(torch.isfinite(importance).all() for importance in found.values()):
        raise MtqscoreError("the gradient of the loss is not finite; is the network well trained, and are the labels?")
    return found


def by_magnitude(network: CompactNet) -> dict[str, Tensor]:
    """Rank the units of a layer by the sizes of the weights that make them: the baseline that needs no data.

    The sum of absolute weights of a filter is that of Li et al., Pruning Filters for Efficient ConvNets, 2017. Weights
    of different layers cannot be compared; so each is divided by the mean of its layer.

    Returns:
        By layer float64 (units,).
    """
    parameters = dict(network.named_parameters())
    found = {}
    for layer in _layers(network):
        matrices = [one for one in layer.written if one.tensor in parameters and parameters[one.tensor].ndim > 1]
        size = _sum([(one, parameters[one.tensor].detach().abs()) for one in matrices])
        found[layer.name] = size / size.mean().clamp(min=torch.finfo(size.dtype).tiny)
    return found


def _layers(network: CompactNet) -> list[Layer]:
    return [layer for group in prunable_groups(network) for layer in group.layers]


def _sum(values: Sequence[tuple[UnitWeights, Tensor]]) -> Tensor:
    """Sum values of weights, each of the shape of its tensor, by unit: float64 (units,)."""
    sums = [
        each.double().movedim(weights.axis, 0).flatten(1).sum(dim=1)[weights.index].sum(dim=1)
        for weights, each in values
    ]
    return torch.stack(sums).sum(dim=0)
