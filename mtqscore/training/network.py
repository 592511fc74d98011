"""MTQ-Net without a self-supervised branch, in a compact size: CNN, BLSTM, and one attentive head a task."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from mtqscore.config import NetworkConfig
from mtqscore.spec import BINS, HOP_SAMPLES, SUPERVISED, TARGETS, Target
from mtqscore.training.features import PowerSpectrum, frame_mask

TIME_STRIDE = 2
FRAME_HOP_SAMPLES = TIME_STRIDE * HOP_SAMPLES
"""Step between frame scores: 32 ms."""

MASKED_SCORE = -1e9
"""What attention gives to frames beyond the end; the softmax makes an exact zero of it."""


class _MaskedRelu(torch.autograd.Function):
    """ReLU in place that also zeroes frames beyond the end: only these are touched, unlike by a product with a mask."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, counts: list[int]) -> Tensor:
        out = torch.relu_(x)
        for item, count in zip(out, counts, strict=True):
            if count < item.shape[1]:
                item[:, count:] = 0
        ctx.mark_dirty(x)
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (out,) = ctx.saved_tensors
        # Where the output is zero nothing flows back: what the ReLU cut off, and what lies beyond the end.
        return torch.ops.aten.threshold_backward(gradient, out, 0), None


class ConvBlock(nn.Module):
    """Convolution over (time, frequency), batch normalisation, ReLU; frames beyond the end come out as zeros.

    Args:
        inputs: channels in.
        outputs: channels out.
        kernel: (time, frequency).
        stride: (time, frequency).
    """

    def __init__(self, inputs: int, outputs: int, kernel: tuple[int, int], stride: tuple[int, int]) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2)
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor, counts: list[int]) -> Tensor:
        """Map (batch, inputs, frames, bins) to (batch, outputs, frames', bins'), of which counts are valid."""
        out: Tensor = _MaskedRelu.apply(self.norm(self.conv(x)), counts)  # type: ignore[no-untyped-call]
        return out


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


class MtqNet(nn.Module):
    """Waveform in, scores of every task out.

    The data flow is that of MTQ-Net (arXiv 2308.09262) with the power spectrum as the only input: CNN, BLSTM,
    dense layer, then for each task attention, frame scores and global average pooling over the valid frames.
    An item's result depends neither on the other items of the batch nor on its padding.

    Args:
        config: sizes and constants.
        targets: the tasks in the order of the output.
    """

    def __init__(self, config: NetworkConfig, targets: tuple[Target, ...] = TARGETS) -> None:
        super().__init__()
        self.config = config
        self.targets = targets
        self.spectrum = PowerSpectrum(config)
        blocks = []
        inputs, bins = 1, BINS
        for layer, (outputs, width, stride) in enumerate(
            zip(config.conv_channels, config.conv_widths, config.conv_strides, strict=True)
        ):
            steps = (TIME_STRIDE if layer == 0 else 1, stride)
            blocks.append(ConvBlock(inputs, outputs, (3, width), steps))
            inputs, bins = outputs, (bins - 1) // stride + 1
        self.blocks = nn.ModuleList(blocks)
        self.squeeze = nn.Linear(inputs * bins, config.squeeze_units)
        self.recurrent = MaskedBlstm(config.squeeze_units, config.lstm_units)
        self.dense = nn.Linear(2 * config.lstm_units, config.dense_units)
        self.dropout = nn.Dropout(config.dropout)
        self.heads = nn.ModuleDict({target.name: TaskHead(target, config.dense_units) for target in targets})

    def forward(self, waveform: Tensor, lengths: Tensor, recolour: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Score a padded batch.

        Args:
            waveform: float32 (batch, samples) at 16 kHz.
            lengths: valid samples an item, int64 (batch,).
            recolour: power gain a bin, float32 (batch, bins), for augmentation only.

        Returns:
            Utterance scores float32 (batch, targets) and frame scores float32 (batch, frames, targets) with
            frames = floor(samples / 512) + 1; an item's first floor(length / 512) + 1 frames are its own.
        """
        with torch.no_grad(), torch.autocast(waveform.device.type, enabled=False):
            features, _ = self.spectrum(waveform, lengths, recolour)
        return self.score_features(features, lengths)

    def score_features(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Score features (batch, frames, bins) from the front end; see `forward` for the rest."""
        counts = lengths // FRAME_HOP_SAMPLES + 1
        x = features[:, None]
        mask = frame_mask(counts, (x.shape[2] - 1) // TIME_STRIDE + 1)
        valid = counts.tolist()
        for block in self.blocks:
            x = block(x, valid)
        x = x.permute(0, 2, 1, 3).flatten(2)
        x = torch.relu(self.squeeze(x))
        x = self.recurrent(x, counts)
        x = self.dropout(torch.relu(self.dense(x)))
        # Each task is pooled by itself: sums over a stack would round differently with the number of tasks.
        frame_scores = [head(x, mask) for head in self.heads.values()]
        share = mask.float() / counts[:, None].float()
        scores = [(frames * share).sum(dim=1) for frames in frame_scores]
        return torch.stack(scores, dim=1), torch.stack(frame_scores, dim=2)

    def without_pseudo_heads(self) -> MtqNet:
        """Copy the network with the heads of S-MOS, N-MOS and G-MOS only; their scores stay the same to the bit."""
        slim = copy.deepcopy(self)
        slim.targets = tuple(target for target in self.targets if target in SUPERVISED)
        slim.heads = nn.ModuleDict({target.name: slim.heads[target.name] for target in slim.targets})
        return slim
