"""The optimiser of a run and its learning rate along the way."""

from __future__ import annotations

import math
from typing import Any

import torch

from mtqscore.training.config import TrainConfig
from mtqscore.training.networks import Network


def learning_rate(config: TrainConfig, step: int, steps_per_epoch: int, peak: float | None = None) -> float:
    """Give the learning rate of a step: linear warm-up, then the schedule."""
    peak = config.lr if peak is None else peak
    warmup = config.warmup_epochs * steps_per_epoch
    if step < warmup:
        # A fractional warm-up ends within a step, which must not exceed the peak.
        return min(peak, peak * (step + 1) / warmup)
    if config.schedule == "constant":
        return peak
    progress = (step - warmup) / max(1.0, config.epochs * steps_per_epoch - warmup)
    return peak * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))


def make_optimizer(config: TrainConfig, network: Network) -> torch.optim.Optimizer:
    """Make the optimiser; every group of parameters names its highest learning rate under ``peak``.

    A tuned front end learns at a rate of its own; a frozen one is left out. Matrices and kernels decay; biases and
    normalisation do not.
    """
    front = network.front_end()
    tuned = set(front.pretrained_parameters()) if front is not None else set()
    groups: list[dict[str, Any]] = []
    for own in (False, True):
        peak = front.lr if own and front is not None else config.lr
        parameters = [p for p in network.parameters() if p.requires_grad and (p in tuned) is own]
        for decayed in (True, False):
            some = [p for p in parameters if (p.ndim > 1) is decayed]
            if some:
                decay = config.weight_decay if decayed else 0.0
                groups.append({"params": some, "weight_decay": decay, "peak": peak, "lr": peak})
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum)
    return (torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam)(groups, lr=config.lr)
