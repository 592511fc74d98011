"""The multi-task pseudo-label (MPL) objective of MTQ-Net: an utterance and a frame term for every task."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from mtqscore.targets import PSEUDO, TARGETS, Target
from mtqscore.training.config import TrainConfig
from mtqscore.training.networks.base import Estimates

COMMON_SPAN = 4.0
"""Every target is brought to a scale of this length, that of a MOS from 1 to 5, so that tasks weigh alike."""

CPU = torch.device("cpu")


@dataclass(frozen=True)
class LossParts:
    """The total loss of one batch, float32 (), and its unweighted parts, float32 (targets,).

    A part is NaN for a task without labels here.
    """

    total: Tensor
    utterance: Tensor
    frame: Tensor


class MplLoss:
    """Equations 1 to 3 of arXiv 2308.09262.

    O = sum over tasks of w_task (L_utt + alpha L_frame), where L_utt is the mean over utterances of l(S - Ŝ),
    and L_frame the mean over utterances of the mean over their valid frames of l(S - ŝ_f): the frame target is
    the utterance label, or where recordings were spliced that of the frame's own part. A missing label (NaN) drops its
    utterance from that task's means.

    l is Huber's loss, e²/2 up to delta and delta (|e| - delta/2) beyond, or e² (``mse``: twice the Huber loss of a
    small error), or |e| (``mae``).

    Args:
        config: kind of loss, alpha, delta, scale and weights.
        targets: the tasks in the order of the network's output.
        device: where the estimates lie.
    """

    def __init__(self, config: TrainConfig, targets: tuple[Target, ...] = TARGETS, device: torch.device = CPU) -> None:
        self.kind = config.loss
        span = [COMMON_SPAN / (target.high - target.low) for target in targets]
        self.low = torch.tensor([target.low for target in targets], device=device)
        self.gain = torch.tensor(span if config.target_scale == "span" else [1.0] * len(targets), device=device)
        self.delta = [config.delta_of(target.name) for target in targets]
        self.alpha = torch.tensor([config.alpha_of(target.name) for target in targets], device=device)
        self.weight = torch.tensor(
            [
                config.task_weights.get(target.name, 1.0) * (config.semi_weight if target in PSEUDO else 1.0)
                for target in targets
            ],
            device=device,
        )

    def __call__(
        self,
        estimates: Estimates,
        labels: Tensor,
        frame_labels: Tensor | None = None,
        present: Tensor | None = None,
    ) -> LossParts:
        """Compute the loss of a batch, or a share of it.

        Args:
            estimates: output of the network, each target in its own unit.
            labels: float32 (batch, targets); NaN where missing.
            frame_labels: float32 (batch, frames, targets) where frames have labels of their own.
            present: labelled utterances a task, (targets,), in the whole batch of which this is a share: the losses of
                all shares add up to that of the whole. None where this is the whole.
        """
        scores, frame_scores, valid = estimates
        known = ~labels.isnan()
        truth = self._scaled(torch.where(known, labels, self.low)).to(scores.dtype)
        utterance = self._errors(self._scaled(scores), truth)
        frame_truth = truth[:, None]
        if frame_labels is not None:
            frame_truth = self._scaled(torch.where(known[:, None], frame_labels, self.low)).to(scores.dtype)
        frames = self._errors(self._scaled(frame_scores), frame_truth.expand_as(frame_scores))
        mask = valid[:, :, None].to(frames.dtype)
        frame = (frames * mask).sum(dim=1) / valid.sum(dim=1)[:, None]
        share = known.to(scores.dtype)
        present = share.sum(dim=0) if present is None else present.to(scores)
        divisor = present.clamp(min=1.0)
        utterance_loss = (utterance * share).sum(dim=0) / divisor
        frame_loss = (frame * share).sum(dim=0) / divisor
        absent = present == 0
        return LossParts(
            self.total(utterance_loss, frame_loss),
            utterance_loss.detach().masked_fill(absent, torch.nan),
            frame_loss.detach().masked_fill(absent, torch.nan),
        )

    def total(self, utterance: Tensor, frame: Tensor) -> Tensor:
        """Weigh and add up the losses of all tasks, (targets,) each (equation 1)."""
        return (self.weight * (utterance + self.alpha * frame)).sum()

    def _scaled(self, values: Tensor) -> Tensor:
        return (values - self.low) * self.gain

    def _errors(self, estimate: Tensor, truth: Tensor) -> Tensor:
        if self.kind == "mse":
            return functional.mse_loss(estimate, truth, reduction="none")
        if self.kind == "mae":
            return functional.l1_loss(estimate, truth, reduction="none")
        parts = [
            functional.huber_loss(estimate[..., task], truth[..., task], reduction="none", delta=delta)
            for task, delta in enumerate(self.delta)
        ]
        return torch.stack(parts, dim=-1)
