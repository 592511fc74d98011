"""The multi-task pseudo-label (MPL) objective of MTQ-Net: Huber at utterance and frame level, a term a task."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from mtqscore.config import TrainConfig
from mtqscore.errors import UsageError
from mtqscore.spec import PSEUDO, TARGETS, Target
from mtqscore.training.networks.base import Estimates

COMMON_SPAN = 4.0
"""Every target is brought to a scale of this length, that of a MOS from 1 to 5, so that tasks weigh alike."""


@dataclass(frozen=True)
class LossParts:
    """The loss of one batch.

    Args:
        total: what is minimised, float32 ().
        utterance: unweighted utterance loss a task, float32 (targets,); NaN for a task without labels here.
        frame: unweighted frame loss a task, float32 (targets,); NaN as above.
    """

    total: Tensor
    utterance: Tensor
    frame: Tensor


class MplLoss:
    """Equations 1 to 3 of arXiv 2308.09262.

    O = sum over tasks of w_task (L_utt + alpha L_frame), where L_utt is the mean over utterances of Huber(S - Ŝ),
    and L_frame the mean over utterances of the mean over their valid frames of Huber(S - ŝ_f): the frame target is
    the utterance label, or where recordings were spliced that of the frame's own part. A missing label (NaN) drops its
    utterance from that task's means.

    Args:
        config: alpha, delta and weights.
        targets: the tasks in the order of the network's output.

    Raises:
        UsageError: delta or a weight is named after no target.
    """

    def __init__(self, config: TrainConfig, targets: tuple[Target, ...] = TARGETS) -> None:
        names = {target.name for target in targets}
        strangers = (set(config.delta) - names - {"default"}) | (set(config.task_weights) - names)
        if strangers:
            wrong, right = ", ".join(sorted(strangers)), ", ".join(target.name for target in targets)
            raise UsageError(f"no target is called {wrong}; targets are {right}")
        default = config.delta.get("default", 1.0)
        self.alpha = config.alpha
        self.low = torch.tensor([target.low for target in targets])
        self.gain = torch.tensor([COMMON_SPAN / (target.high - target.low) for target in targets])
        self.delta = [config.delta.get(target.name, default) for target in targets]
        self.weight = torch.tensor(
            [
                config.task_weights.get(target.name, 1.0) * (config.semi_weight if target in PSEUDO else 1.0)
                for target in targets
            ]
        )

    def __call__(
        self,
        estimates: Estimates,
        labels: Tensor,
        frame_labels: Tensor | None = None,
    ) -> LossParts:
        """Compute the loss of a batch.

        Args:
            estimates: what the network said, each target in its own unit.
            labels: float32 (batch, targets); NaN where missing.
            frame_labels: float32 (batch, frames, targets) where frames have labels of their own; missing where
                ``labels`` are missing.

        Returns:
            The total and its parts.
        """
        scores, frame_scores, valid = estimates
        known = ~labels.isnan()
        truth = self._scaled(torch.where(known, labels, self.low)).to(scores.dtype)
        utterance = self._huber(self._scaled(scores), truth)
        frame_truth = truth[:, None]
        if frame_labels is not None:
            frame_truth = self._scaled(torch.where(known[:, None], frame_labels, self.low)).to(scores.dtype)
        frames = self._huber(self._scaled(frame_scores), frame_truth.expand_as(frame_scores))
        mask = valid[:, :, None].to(frames.dtype)
        frame = (frames * mask).sum(dim=1) / valid.sum(dim=1)[:, None]
        share = known.to(scores.dtype)
        present = share.sum(dim=0)
        divisor = present.clamp(min=1.0)
        utterance_loss = (utterance * share).sum(dim=0) / divisor
        frame_loss = (frame * share).sum(dim=0) / divisor
        total = (self.weight * (utterance_loss + self.alpha * frame_loss)).sum()
        absent = present == 0
        return LossParts(
            total,
            utterance_loss.detach().masked_fill(absent, torch.nan),
            frame_loss.detach().masked_fill(absent, torch.nan),
        )

    def _scaled(self, values: Tensor) -> Tensor:
        return (values - self.low) * self.gain

    def _huber(self, estimate: Tensor, truth: Tensor) -> Tensor:
        parts = [
            functional.huber_loss(estimate[..., task], truth[..., task], reduction="none", delta=delta)
            for task, delta in enumerate(self.delta)
        ]
        return torch.stack(parts, dim=-1)
