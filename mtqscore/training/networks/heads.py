"""What turns frames into scores of one task."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mtqscore.spec import STOI, Target

MASKED_SCORE = -1e9
"""What attention gives to frames beyond the end; the softmax makes an exact zero of it."""


class TaskHead(nn.Module):
    """Multiplicative self-attention without a value projection, then one number a frame, as in MOSA-Net.

    The attention of frame t gives v_t = sum_t' a_tt' x_t' with a = softmax(x_t^T W x_t' / sqrt(d)); the frame score
    is a sigmoid of w^T v_t + b, scaled to the target's limits. Since w^T v_t = sum_t' a_tt' w^T x_t', each frame is
    first reduced to one number, and the attention averages numbers instead of vectors.

    Args:
        target: the quantity and its limits.
        inputs: size of a frame.
    """

    def __init__(self, target: Target, inputs: int) -> None:
        super().__init__()
        self.low = target.low
        self.span = target.high - target.low
        self.attention = nn.Linear(inputs, inputs, bias=False)
        self.score = nn.Linear(inputs, 1)
        self.scale = inputs**-0.5
        nn.init.xavier_normal_(self.attention.weight)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map (batch, frames, inputs) and bool (batch, frames) to frame scores (batch, frames)."""
        query = self.attention(x) * self.scale
        absent = torch.where(mask, 0.0, MASKED_SCORE)[:, None].to(query.dtype)
        energy = torch.baddbmm(absent, query, x.transpose(1, 2).to(query.dtype))
        weights = torch.softmax(energy.float(), dim=2)
        value = (weights @ (x @ self.score.weight.t()).float()).squeeze(2) + self.score.bias.float()
        return self.low + self.span * torch.sigmoid(value)


class SelfAttentionHead(nn.Module):
    """The head of MOSA-Net and MTQ-Net as published: multiplicative self-attention, then one number a frame.

    The attention of frame t gives v_t = sum_t' a_tt' x_t' with a = softmax(x_t^T W x_t' + b), neither scaled nor
    projected; the frame score is w^T v_t + c, through a sigmoid where the target asks for one. As in `TaskHead`,
    each frame is first reduced to one number, which changes no result. Nor does the scalar b: the softmax does not
    notice it. It stays a parameter, since checkpoints have it and it is regularised, but nothing adds it.

    Args:
        target: the quantity and its limits.
        inputs: size of a frame.
        bounded: put every score through a sigmoid onto its scale, instead of STOI alone.
    """

    def __init__(self, target: Target, inputs: int, bounded: bool) -> None:
        super().__init__()
        self.target = target
        self.squashed = bounded or target.name == STOI.name
        self.attention = nn.Linear(inputs, inputs, bias=False)
        self.attention_bias = nn.Parameter(torch.zeros(()))
        self.score = nn.Linear(inputs, 1)
        nn.init.xavier_normal_(self.attention.weight)
        nn.init.xavier_uniform_(self.score.weight)
        nn.init.zeros_(self.score.bias)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Map (batch, frames, inputs) and bool (batch, frames) to frame scores and attention.

        Returns:
            Frame scores float32 (batch, frames), and how much each frame (second axis) attends to each other one,
            float32 (batch, frames, frames).
        """
        query = self.attention(x)
        absent = torch.where(mask, 0.0, MASKED_SCORE)[:, None].to(query.dtype)
        energy = torch.baddbmm(absent, query, x.transpose(1, 2).to(query.dtype))
        weights = torch.softmax(energy.float(), dim=2)
        value = (weights @ (x @ self.score.weight.t()).float()).squeeze(2) + self.score.bias.float()
        if self.squashed:
            value = self.target.low + (self.target.high - self.target.low) * torch.sigmoid(value)
        return value, weights


def redundancy(weights: Tensor, mask: Tensor) -> Tensor:
    """Measure how far the frames of an item attend to the same: ||A A^T - I||_F^2 (arXiv 1703.03130, equation 8).

    Args:
        weights: attention A, float32 (batch, frames, frames).
        mask: valid frames, bool (batch, frames).

    Returns:
        The mean over the items, float32 (); frames beyond an item's end do not count.
    """
    own = weights * mask[:, :, None].to(weights.dtype)
    overlap = own @ own.transpose(1, 2)
    # The diagonal of I is written out, so that frames beyond the end add nothing.
    squares = overlap.square().sum(dim=(1, 2)) - 2.0 * own.square().sum(dim=(1, 2)) + mask.sum(dim=1)
    return squares.mean()
