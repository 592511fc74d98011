"""What every network is to the loop, the loss and the export: waveform in, scores of its targets out."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple, Self

import torch
from torch import Tensor, nn

from mtqscore.errors import UsageError
from mtqscore.targets import Target

if TYPE_CHECKING:
    from mtqscore.training.networks.ssl.front_end import SslFrontEnd


class Estimates(NamedTuple):
    """What a network says of a batch.

    Args:
        scores: of utterances, float32 (batch, targets), each in its target's own unit.
        frame_scores: float32 (batch, frames, targets); those beyond an item's end mean nothing.
        mask: which frames are an item's own, bool (batch, frames).
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
    """What belongs to one target alone, by the target's name."""

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
        """Say where the frames of a padded batch lie, so that stretches can have labels of their own.

        Args:
            samples: length of the padded batch.

        Returns:
            The sample at the middle of each frame, int64 (frames,), in the order of ``frame_scores``; joined streams
            start anew.
        """
        raise NotImplementedError

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
