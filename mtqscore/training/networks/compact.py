"""MTQ-Net without a self-supervised branch, in a compact size: CNN, BLSTM, and one attentive head a task."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mtqscore.targets import BINS, TARGETS, Target
from mtqscore.training.network_config import CompactConfig
from mtqscore.training.networks.attention import TaskHead
from mtqscore.training.networks.base import Estimates, Network, pool
from mtqscore.training.networks.masking import MaskedBlstm, ValidFrames, frame_mask, masked_relu, valid_frames
from mtqscore.training.networks.spectrum import PowerSpectrum


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

    def forward(self, x: Tensor, counts: ValidFrames) -> Tensor:
        """Map (batch, inputs, frames, bins) to (batch, outputs, frames', bins'), of which counts are valid."""
        return masked_relu(self.norm(self.conv(x)), counts)


class CompactNet(Network):
    """Waveform in, scores of every task out.

    The data flow is that of MTQ-Net (arXiv 2308.09262) with the power spectrum as the only input: CNN, BLSTM,
    dense layer, then for each task attention, frame scores and global average pooling over the valid frames.

    Args:
        config: sizes and constants.
        targets: the tasks in the order of the output.
    """

    def __init__(self, config: CompactConfig, targets: tuple[Target, ...] = TARGETS) -> None:
        super().__init__(targets)
        self.config = config
        self.grid_hop_samples = config.frame_hop_samples
        self.spectrum = PowerSpectrum(config)
        blocks = []
        inputs, bins = 1, BINS
        sizes = zip(config.conv_channels, config.conv_widths, config.time_strides, config.conv_strides, strict=True)
        for outputs, width, time_stride, stride in sizes:
            blocks.append(ConvBlock(inputs, outputs, (3, width), (time_stride, stride)))
            inputs, bins = outputs, (bins - 1) // stride + 1
        self.blocks = nn.ModuleList(blocks)
        # Convolutions with few channels are twice as fast with the channels innermost.
        self.blocks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.squeeze = nn.Linear(inputs * bins, config.squeeze_units)
        self.recurrent = MaskedBlstm(config.squeeze_units, config.lstm_units)
        self.dense = nn.Linear(2 * config.lstm_units, config.dense_units)
        self.dropout = nn.Dropout(config.dropout)
        self.heads = nn.ModuleDict({target.name: TaskHead(target, config.dense_units) for target in targets})

    def forward(self, waveform: Tensor, lengths: Tensor, recolour: Tensor | None = None) -> Estimates:
        """Score a padded batch; of an item with n samples the first floor(n / hop) + 1 frames are its own."""
        with torch.no_grad(), torch.autocast(waveform.device.type, enabled=False):
            features, _ = self.spectrum(waveform, lengths, recolour)
        return self.score_features(features, lengths)

    def score_features(self, features: Tensor, lengths: Tensor) -> Estimates:
        """Score features (batch, frames, bins) from the front end; see `forward` for the rest."""
        x = features[:, None]
        hop: int = self.config.hop_samples
        for block, time_stride in zip(self.blocks, self.config.time_strides, strict=True):
            hop *= time_stride
            x = block(x, valid_frames(lengths // hop + 1))
        counts = lengths // hop + 1
        mask = frame_mask(counts, x.shape[2])
        x = x.permute(0, 2, 1, 3).flatten(2)
        x = torch.relu(self.squeeze(x))
        x = self.recurrent(x, counts)
        x = self.dropout(torch.relu(self.dense(x)))
        return pool([head(x, mask) for head in self.heads.values()], mask)

    def frame_positions(self, samples: int) -> Tensor:
        """Locate the frames of a padded batch: steps of 512 samples from 0 in the default size."""
        return torch.arange(samples // self.grid_hop_samples + 1) * self.grid_hop_samples
