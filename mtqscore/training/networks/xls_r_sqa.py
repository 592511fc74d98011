"""XLS-R-SQA (Tamm et al., WASPAA 2023): one frozen hidden state, a small transformer, attention pooling."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtqscore.targets import TARGETS, Target
from mtqscore.training.network_config import XlsRSqaConfig
from mtqscore.training.networks.base import Estimates, SslNetwork
from mtqscore.training.networks.masking import frame_mask

POSITION_BASE = 768.0
"""Longest wavelength of the position encoding over 2 pi, in frames: twice the 384 frames of the published model."""


class FrameNorm(nn.BatchNorm1d):
    """Batch normalisation of (frames, units); a single frame, which has no spread, is taken as in evaluation."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise frames."""
        if self.training and len(input) == 1:
            return functional.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(input)


class MaskedBatchNorm(nn.Module):
    """Batch normalisation over the valid frames alone; the others come out as zeros."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.norm = FrameNorm(units)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map (batch, frames, units) with bool (batch, frames) to the same size."""
        if not self.training:
            return self.norm(x.transpose(1, 2)).transpose(1, 2) * mask[:, :, None]  # type: ignore[no-any-return]
        normal: Tensor = self.norm(x[mask])
        return normal.new_zeros(x.shape).masked_scatter(mask[:, :, None], normal)


class AttentionPool(nn.Module):
    """Attention pooling with a feed-forward network, as in NISQA (arXiv 2104.09494), onto the target's scale.

    The weight of frame t is a_t = softmax(w_2^T relu(W_1 x_t)), the score sigmoid(w_3^T sum_t a_t x_t) on the scale
    from low to high (for a MOS 1 + 4 sigmoid). A frame's own score is sigmoid(w_3^T x_t) on that scale.
    """

    def __init__(self, target: Target, units: int, dropout: float) -> None:
        super().__init__()
        self.low = target.low
        self.span = target.high - target.low
        self.attention = nn.Sequential(
            nn.Linear(units, 2 * units), nn.ReLU(), nn.Dropout(dropout), nn.Linear(2 * units, 1)
        )
        self.score = nn.Linear(units, 1)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Map (batch, frames, units) and bool (batch, frames) to scores (batch,) and frame scores (batch, frames)."""
        energy = self.attention(x).squeeze(2).float().masked_fill(~mask, -torch.inf)
        values = self.score(x).squeeze(2).float()
        # The weights sum to one, so that the layer may come before the sum.
        pooled = (torch.softmax(energy, 1) * values).sum(1)
        return self.low + self.span * pooled.sigmoid(), self.low + self.span * values.sigmoid()


class XlsRSqaNet(SslNetwork):
    """Waveform in, scores through a transformer over one hidden state of the front end.

    Differences from the published model: masks instead of a crop to 384 frames (7.68 s) filled up with zeros; batch
    normalisation over valid frames; one batch normalisation of the input, where two follow each other there; one
    attention pooling a target.

    Args:
        config: the front end and the sizes.
        targets: the tasks in the order of the output.
    """

    def __init__(self, config: XlsRSqaConfig, targets: tuple[Target, ...] = TARGETS) -> None:
        super().__init__(config.ssl, targets)
        self.config = config
        self.input_norm = MaskedBatchNorm(self.ssl.width)
        self.project = nn.Linear(self.ssl.width, config.units)
        self.dropout = nn.Dropout(config.dropout)
        block = nn.TransformerEncoderLayer(
            config.units, config.attention_heads, config.feedforward, config.dropout, batch_first=True
        )
        self.transformer = nn.TransformerEncoder(block, config.layers, enable_nested_tensor=False)
        self.output_norm = MaskedBatchNorm(config.units)
        self.heads = nn.ModuleDict(
            {target.name: AttentionPool(target, config.units, config.dropout) for target in targets}
        )

    def forward(self, waveform: Tensor, lengths: Tensor, recolour: Tensor | None = None) -> Estimates:  # noqa: ARG002
        """Score a padded batch; of an item with n samples the first floor((n - 400) / 320) + 1 frames are its own."""
        x, counts = self.ssl(waveform, lengths)
        mask = frame_mask(counts, x.shape[1])
        x = self.dropout(self.project(self.input_norm(x, mask)))
        x = x + _positions(x.shape[1], x.shape[2]).to(x)
        x = self.dropout(self.transformer(x, src_key_padding_mask=~mask))
        x = self.output_norm(x, mask)
        scores, frame_scores = zip(*(head(x, mask) for head in self.heads.values()), strict=True)
        return Estimates(torch.stack(scores, dim=1), torch.stack(frame_scores, dim=2), mask)


def _positions(frames: int, units: int) -> Tensor:
    """Sines and cosines of the frame number, float32 (frames, units): wavelengths from 2 pi to 768 * 2 pi frames."""
    rates = torch.exp(torch.arange(0, units, 2) * (-math.log(POSITION_BASE) / units))
    angles = torch.arange(frames)[:, None] * rates
    return torch.stack((angles.sin(), angles.cos()), dim=2).flatten(1)
