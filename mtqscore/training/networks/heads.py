"""What turns frames into scores of one task."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mtqscore.spec import Target

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
