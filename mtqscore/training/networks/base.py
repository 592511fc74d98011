"""The interface of every network to the loop, the loss and the export: waveform in, scores of its targets out."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from mtqscore.errors import UsageError
from mtqscore.targets import Target
from mtqscore.training.network_config import SslConfig
from mtqscore.training.networks.ssl.front_end import HOP_SAMPLES, SslFrontEnd


class Estimates(NamedTuple):
    """Estimates of a network for a batch.

    Args:
        scores: of utterances, float32 (batch, targets), each in its target's own unit.
        frame_scores: float32 (batch, frames, targets); those beyond an item's end mean nothing.
        mask: True for an item's own frames, bool (batch, frames).
    """

    scores: Tensor
    frame_scores: Tensor
    mask: Tensor


class Network(nn.Module):
    """Base of the networks; ``networks.build`` makes one from its configuration.

    An item's estimates, and their gradients, depend neither on the other items of a batch nor on its padding.

    Args:
        targets: the tasks in the order of the output.
    """

    heads: nn.ModuleDict
    """Modules that belong to one target alone, by the target's name."""

    grid_hop_samples: int
    """Step of the frame scores that an exported file gives, from sample 0 on."""

    def __init__(self, targets: tuple[Target, ...]) -> None:
        super().__init__()
        self.targets = targets

    def forward(self, waveform: Tensor, lengths: Tensor, recolour: Tensor | None = None) -> Estimates:
        """Score a padded batch.

        Args:
            waveform: float32 (batch, samples) at 16 kHz; what lies beyond a length is ignored.
            lengths: valid samples an item, int64 (batch,).
            recolour: power gain a bin of the spectrum, float32 (batch, 257), for augmentation only; a network that
                cannot apply it ignores it.
        """
        raise NotImplementedError

    def frame_positions(self, samples: int) -> Tensor:
        """Locate the frames of a padded batch, so that stretches can have labels of their own.

        Args:
            samples: length of the padded batch.

        Returns:
            The sample at the middle of each frame, int64 (frames,), in the order of ``frame_scores``; joined streams
            start anew.
        """
        raise NotImplementedError

    def on_grid(self, estimates: Estimates, frames: int) -> Tensor:
        """Give the frame scores every ``grid_hop_samples``, from the nearest frame of each item.

        Args:
            estimates: from `forward`.
            frames: how many, floor(samples / grid_hop_samples) + 1.

        Returns:
            float32 (batch, frames, targets); those beyond an item's end mean nothing.
        """
        return estimates.frame_scores[:, :frames]

    def penalty(self) -> Tensor | None:
        """Regularisation of the last forward pass, float32 (), which the loop adds to the loss; None for none."""
        return None

    def front_end(self) -> SslFrontEnd | None:
        """The part with pretrained weights, which learn at a rate of their own or not at all; None for none."""
        return None

    def with_targets(self, names: Iterable[str]) -> Self:
        """Copy the network with some of its heads only; their scores stay the same to the bit.

        Args:
            names: targets to keep; they keep their order.

        Raises:
            UsageError: the network has no such target.
        """
        wanted = set(names)
        if strangers := wanted - {target.name for target in self.targets}:
            has = ", ".join(target.name for target in self.targets)
            raise UsageError(f"the network has no target {', '.join(sorted(strangers))}; it has {has}")
        slim = copy.deepcopy(self)
        slim.targets = tuple(target for target in self.targets if target.name in wanted)
        slim.heads = nn.ModuleDict({target.name: slim.heads[target.name] for target in slim.targets})
        return slim


class SslNetwork(Network):
    """Base of the networks on a self-supervised front end, whose frames stand 320 samples apart from 200 on.

    Args:
        ssl: the front end.
        targets: the tasks in the order of the output.
    """

    grid_hop_samples = HOP_SAMPLES

    def __init__(self, ssl: SslConfig, targets: tuple[Target, ...]) -> None:
        super().__init__(targets)
        self.ssl = SslFrontEnd(ssl)

    def frame_positions(self, samples: int) -> Tensor:
        """Locate the frames of a padded batch: a step of 320 samples from 200."""
        return self.ssl.frame_positions(samples)

    def on_grid(self, estimates: Estimates, frames: int) -> Tensor:
        """Give the frame scores every 320 samples from 0, from the nearest frame that an item has."""
        last = estimates.mask.sum(dim=1, keepdim=True) - 1
        place = torch.minimum((torch.arange(frames, device=last.device) - 1).clamp(min=0)[None, :], last)
        return estimates.frame_scores.gather(1, place[:, :, None].expand(-1, -1, len(self.targets)))

    def front_end(self) -> SslFrontEnd:
        """The self-supervised model."""
        return self.ssl


def pool(frame_scores: list[Tensor], mask: Tensor) -> Estimates:
    """Average the frame scores of each task over the valid frames (global average pooling).

    Each task is pooled by itself: sums over a stack would round differently with the number of tasks.

    Args:
        frame_scores: float32 (batch, frames) a task.
        mask: bool (batch, frames).
    """
    share = mask.float() / mask.sum(dim=1, keepdim=True).float()
    scores = [(frames * share).sum(dim=1) for frames in frame_scores]
    return Estimates(torch.stack(scores, dim=1), torch.stack(frame_scores, dim=2), mask)
