"""Agreement of a network with the labels of a split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mtqscore.analysis import statistics as stats
from mtqscore.targets import SAMPLE_RATE_HZ, Target
from mtqscore.training.compute.distributed import ALONE, ProcessGroup
from mtqscore.training.config import TrainConfig
from mtqscore.training.data.dataset import Dataset, plain_batches
from mtqscore.training.losses import MplLoss
from mtqscore.training.networks import Network

MEASURES = ("lcc", "srcc", "rmse")
"""Measures of every epoch."""

AGREEMENT = ("lcc", "srcc", "ktau", "mse", "rmse")
"""Measures of the best epoch."""

VALIDATION_BATCH = 32


@dataclass(frozen=True)
class Evaluation:
    """Estimates for a whole split, and its loss, weighted and added up over the tasks.

    Args:
        losses: of each task, utterance plus alpha times frame, unweighted; NaN without labels.
        scores: estimates float32 (recordings, targets), in the order of the split.
        labels: labels float32 (recordings, targets); NaN where missing.
    """

    targets: tuple[Target, ...]
    loss: float
    losses: tuple[float, ...]
    scores: NDArray[np.float32]
    labels: NDArray[np.float32]

    def agreement(self, measures: Sequence[str] = MEASURES) -> dict[str, dict[str, float]]:
        """Compute measures of `stats.METRICS` a target; NaN where there are no labels."""
        return {
            target.name: {name: stats.METRICS[name](self.labels[:, task], self.scores[:, task]) for name in measures}
            for task, target in enumerate(self.targets)
        }


def evaluate_split(network: Network, data: Dataset, config: TrainConfig, group: ProcessGroup = ALONE) -> Evaluation:
    """Score a split in float32, without augmentation; every process gets the whole result."""
    network.eval()
    device = next(network.parameters()).device
    targets = network.targets
    columns = [data.targets.index(target) for target in targets]
    loss = MplLoss(config, targets, device)
    scores = torch.zeros(len(data), len(targets))
    # Of each task the sum of the utterance losses, that of the frame losses, and how many there were.
    sums = torch.zeros(3, len(targets), dtype=torch.float64)
    longest = int(config.max_clip_s * SAMPLE_RATE_HZ)
    with torch.inference_mode():
        for batch in plain_batches(data, VALIDATION_BATCH, longest, group):
            here = batch.on(device)
            estimates = network(here.waveform, here.lengths)
            frame_labels = batch.frame_labels(network.frame_positions(batch.waveform.shape[1]))
            if frame_labels is not None:
                frame_labels = frame_labels[:, :, columns].to(device)
            parts = loss(estimates, here.labels[:, columns], frame_labels)
            present = batch.present[columns].double()
            means = torch.stack((parts.utterance, parts.frame)).cpu().double()
            # Tasks without labels count nothing; any other loss that is not a number must stay one to be noticed.
            sums += torch.cat((torch.where(present > 0, means * present, 0.0), present[None]))
            scores[batch.rows] = estimates.scores.cpu().float()
    group.total(sums)
    group.total(scores)
    means = sums[:2] / sums[2].clamp(min=1.0)
    weighted = loss.total(*means.float().to(device))
    alpha = torch.tensor([config.alpha_of(target.name) for target in targets], dtype=torch.float64)
    losses = (means[0] + alpha * means[1]).masked_fill(sums[2] == 0, torch.nan)
    return Evaluation(targets, float(weighted), tuple(losses.tolist()), scores.numpy(), data.labels[:, columns])
