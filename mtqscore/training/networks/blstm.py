"""A bidirectional LSTM that padding never enters."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MaskedBlstm(nn.Module):
    """Two LSTMs, one of which hears each item from its own last valid frame backwards; padding never enters.

    Args:
        inputs: size of a frame.
        hidden: units a direction.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.forwards = nn.LSTM(inputs, hidden, batch_first=True)
        self.backwards = nn.LSTM(inputs, hidden, batch_first=True)

    def forward(self, x: Tensor, counts: Tensor) -> Tensor:
        """Map (batch, frames, inputs) with valid frames int64 (batch,) to (batch, frames, 2 * hidden)."""
        index = torch.arange(x.shape[1], device=x.device)[None, :]
        mirror = torch.where(index < counts[:, None], counts[:, None] - 1 - index, index)[:, :, None]
        ahead = self.forwards(x)[0]
        behind = self.backwards(x.gather(1, mirror.expand(-1, -1, x.shape[2])))[0]
        behind = behind.gather(1, mirror.expand(-1, -1, behind.shape[2]))
        return torch.cat((ahead, behind), dim=2)
