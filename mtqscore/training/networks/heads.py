"""What turns frames into scores of one task."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mtqscore.targets import STOI, Target
from mtqscore.training.networks.attention import Attended, attend

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
    notice it. It stays a parameter, since checkpoints have it and it is regularised, but nothing adds it. Scores start
    from the middle of their scale, not from 0.

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
        nn.init.constant_(self.score.bias, 0.0 if self.squashed else (target.low + target.high) / 2)

    def forward(self, x: Tensor, counts: list[int], *, redundancy: bool) -> Attended:
        """Map (batch, frames, inputs), of which counts are valid, to frame scores.

        Args:
            x: frames, float32 or bfloat16.
            counts: valid frames an item.
            redundancy: measure that of the attention too.
        """
        numbers = (x * self.score.weight).sum(dim=2) + self.score.bias
        values, found = attend(self.attention(x), x, numbers, counts, redundancy=redundancy)
        if self.squashed:
            values = self.target.low + (self.target.high - self.target.low) * torch.sigmoid(values)
        return Attended(values, found)
