"""MOSA-Net and MTQ-Net as published, for any batch size."""

from __future__ import annotations

import itertools
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtqscore.targets import BINS, HOP_SAMPLES, TARGETS, Target
from mtqscore.training.network_config import CompactConfig, MosaNetConfig
from mtqscore.training.networks.attention import SelfAttentionHead
from mtqscore.training.networks.base import Estimates, Network, pool
from mtqscore.training.networks.masking import MaskedBlstm, ValidFrames, frame_mask, masked_relu, valid_frames
from mtqscore.training.networks.sinc import SincConv
from mtqscore.training.networks.spectrum import (
    TINY_POWER,
    MagnitudeSpectrum,
    PowerSpectrum,
    active_power,
    peak_normalised,
    recoloured,
)
from mtqscore.training.networks.ssl.front_end import SslFrontEnd

FREQUENCY_STRIDE = 3


class ConvBlock(nn.Module):
    """Convolutions of 3 x 3 with a ReLU after each; the last one keeps every third frequency.

    Args:
        inputs: channels in.
        outputs: channels out.
        convolutions: how many.
        time_stride: frames a step of the first one; 1 as published.
    """

    def __init__(self, inputs: int, outputs: int, convolutions: int, time_stride: int) -> None:
        super().__init__()
        self.time_stride = time_stride
        self.convolutions = nn.ModuleList()
        for layer in range(convolutions):
            along_time = time_stride if layer == 0 else 1
            along_frequency = FREQUENCY_STRIDE if layer == convolutions - 1 else 1
            convolution = nn.Conv2d(inputs, outputs, 3, (along_time, along_frequency), padding=1)
            self.convolutions.append(convolution)
            inputs = outputs

    def forward(self, x: Tensor, counts: ValidFrames) -> Tensor:
        """Map (batch, inputs, frames, bins) to (batch, outputs, frames / time_stride, ceil(bins / 3)).

        Args:
            x: zero beyond the valid frames.
            counts: valid frames an item of what comes out.
        """
        for convolution in self.convolutions:
            x = masked_relu(convolution(x), counts)
        return x


class MosaNet(Network):
    """MOSA-Net (arXiv 2111.02363, section III), or MTQ-Net (arXiv 2308.09262, section II) with its six heads.

    Three streams are joined along time: the spectrum (PS) and the filter bank (LFB) go through the convolutions as one
    sequence, and the embedding of a self-supervised model, through a dense layer, follows them. BLSTM, dense layer and
    one attentive head a target get the joined sequence.

    The originals were trained on one recording at a time. Here the valid frames of each item's streams are put next to
    each other before the padding, so that a kernel at the border of two streams sees what it sees with one recording,
    whatever the rest of the batch is. Masks over padded streams could not give that: the next stream would start after
    the padding.

    The bins run from high to low frequency. Keras pads the strided convolutions on the side of the high frequencies
    (at 257, 86 and 29 bins), and torch on the other one: turned round, both see the same windows without a copy.
    Weights are drawn as Keras draws them: with torch's own start, six times less power would come out of each of the
    twelve convolutions. What all tasks share is drawn first, so that it does not depend on which tasks there are.

    Args:
        config: sizes and constants.
        targets: the tasks in the order of the output.
    """

    def __init__(self, config: MosaNetConfig, targets: tuple[Target, ...] = TARGETS) -> None:
        super().__init__(targets)
        self.config = config
        self.grid_hop_samples = HOP_SAMPLES * config.time_stride
        self.spectrum = MagnitudeSpectrum() if config.spectrum == "magnitude" else PowerSpectrum(CompactConfig())
        self.sinc = SincConv(compressed=config.spectrum == "log") if config.sinc else None
        channels = (1, *config.channels)
        self.blocks = nn.ModuleList(
            ConvBlock(inputs, outputs, config.convolutions, 1 if block else config.time_stride)
            for block, (inputs, outputs) in enumerate(itertools.pairwise(channels))
        )
        # Convolutions with few channels are twice as fast with the channels innermost.
        self.blocks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        bins = BINS
        for _ in config.channels:
            bins = -(-bins // FREQUENCY_STRIDE)
        width = bins * channels[-1]
        self.recurrent = MaskedBlstm(width, config.lstm_units)
        self.dense = nn.Linear(2 * config.lstm_units, config.dense_units)
        self.dropout = nn.Dropout(config.dropout)
        self.ssl, self.bottleneck = None, None
        if config.ssl is not None:
            self.ssl = SslFrontEnd(config.ssl)
            self.bottleneck = nn.Linear(self.ssl.width, width)
        for module in (self.blocks, self.recurrent, self.dense, self.bottleneck):
            if module is not None:
                module.apply(start_as_keras)
        bounded = config.activation == "bounded"
        self.heads = nn.ModuleDict(
            {target.name: SelfAttentionHead(target, config.dense_units, bounded) for target in targets}
        )
        self._redundancy: Tensor | None = None

    def forward(self, waveform: Tensor, lengths: Tensor, recolour: Tensor | None = None) -> Estimates:
        """Score a padded batch.

        An item of n samples has floor(n / 256) + 1 frames of the spectrum and ceil(n / 256) of the filter bank, of
        both only every time_stride-th, and those of the front end; each stream is padded by itself, in this order.
        """
        with torch.no_grad(), torch.autocast(waveform.device.type, enabled=False):
            waveform = waveform * frame_mask(lengths, waveform.shape[1]).to(waveform.dtype)
            if recolour is not None:
                waveform = recoloured(waveform, lengths, recolour)
        with torch.autocast(waveform.device.type, enabled=False):
            streams, counts = self._spectral(waveform, lengths)
        step = self.config.time_stride
        x, joined = join(streams, [count * step for count in counts])
        sizes = [stream.shape[1] // step for stream in streams]
        joined = joined // step
        x = self._convolved(x[:, None], joined)
        if self.ssl is not None and self.bottleneck is not None:
            embedding, embedded = self.ssl(waveform, lengths)
            x, joined = join([x, torch.relu(self.bottleneck(embedding))], [joined, embedded])
            sizes, counts = [*sizes, embedding.shape[1]], [*counts, embedded]
        x = self.recurrent(x, joined)
        x = self.dropout(torch.relu(self.dense(x)))
        estimates = self._estimate(x, joined)
        mask = stream_mask(counts, sizes)
        place = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, :, None].expand(-1, -1, len(self.targets))
        return Estimates(estimates.scores, estimates.frame_scores.gather(1, place), mask)

    def frame_positions(self, samples: int) -> Tensor:
        """Locate the frames of a padded batch, stream after stream."""
        step = self.config.time_stride
        positions = [torch.arange(samples // HOP_SAMPLES + 1)[::step] * HOP_SAMPLES]
        if self.sinc is not None:
            positions.append(self.sinc.frame_positions(samples)[::step])
        if self.ssl is not None:
            positions.append(self.ssl.frame_positions(samples))
        return torch.cat(positions)

    def penalty(self) -> Tensor | None:
        """Regularise the attention as published: L2 of its matrices, L1 of its scalars, and its redundancy.

        The redundancy is that of the last forward pass in training; it is given once.
        """
        total = torch.zeros((), device=self.dense.weight.device)
        for head in self._heads():
            size = head.attention.weight.square().sum() + head.attention_bias.abs()
            total = total + self.config.weight_penalty * size
        if self._redundancy is not None:
            total = total + self.config.attention_penalty * self._redundancy
            self._redundancy = None
        return total

    def front_end(self) -> SslFrontEnd | None:
        """The self-supervised model, if there is one."""
        return self.ssl

    def _spectral(self, waveform: Tensor, lengths: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Compute the spectral streams.

        Returns:
            Streams float32 (batch, frames, bins), from high to low frequency, each filled with zero frames to a
            multiple of the time stride; and the valid steps of each, int64 (batch,).
        """
        if self.config.spectrum == "magnitude":
            waveform = peak_normalised(waveform)
            spectrum = self.spectrum(waveform, lengths)
        else:
            with torch.no_grad():
                spectrum, _ = self.spectrum(waveform, lengths)
            waveform = waveform / (active_power(waveform, lengths) + TINY_POWER).sqrt()
        streams, counts = [spectrum.flip(2)], [lengths // HOP_SAMPLES + 1]
        if self.sinc is not None:
            streams.append(self.sinc(waveform, lengths))
            counts.append((lengths + HOP_SAMPLES - 1) // HOP_SAMPLES)
        step = self.config.time_stride
        filled = [functional.pad(stream, (0, 0, 0, -stream.shape[1] % step)) for stream in streams]
        return filled, [(count + step - 1) // step for count in counts]

    def _convolved(self, x: Tensor, counts: Tensor) -> Tensor:
        """Map (batch, 1, frames, bins) to (batch, steps, width) with the valid steps int64 (batch,)."""
        valid = valid_frames(counts)
        for block in self.blocks:
            x = block(x, valid)
        # Channels are innermost already: frequency-major order, as published, costs nothing.
        return x.permute(0, 2, 3, 1).flatten(2)

    def _estimate(self, x: Tensor, counts: Tensor) -> Estimates:
        wanted = self.training and self.config.attention_penalty > 0.0
        valid = valid_frames(counts)
        attended = [head(x, valid, redundancy=wanted) for head in self._heads()]
        self._redundancy = torch.stack([found.mean() for _, found in attended]).sum() if wanted else None
        return pool([values for values, _ in attended], frame_mask(counts, x.shape[1]))

    def _heads(self) -> list[SelfAttentionHead]:
        return cast("list[SelfAttentionHead]", list(self.heads.values()))

    def __getstate__(self) -> dict[str, object]:
        """Leave the last pass behind when copied."""
        return {**self.__dict__, "_redundancy": None}


def join(streams: list[Tensor], counts: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Put the valid frames of each item's streams next to each other, the first stream's first.

    Args:
        streams: float32 (batch, frames, width) each, with frames of their own and one width.
        counts: valid frames of each, int64 (batch,).

    Returns:
        The joined streams, float32 (batch, sum of the streams' frames, width), zero beyond an item's end, and the
        frames an item, int64 (batch,).
    """
    x = torch.cat([stream.to(streams[0].dtype) for stream in streams], dim=1)
    total = torch.stack(counts).sum(dim=0)
    index = torch.arange(x.shape[1], device=x.device)[None, :]
    place = index.expand(x.shape[0], -1)
    size, start = 0, torch.zeros_like(total)
    for stream, count in zip(streams[:-1], counts[:-1], strict=True):
        size, start = size + stream.shape[1], start + count
        # The frame at `size` in the padded streams comes at `start`.
        place = torch.where(index >= start[:, None], index + (size - start)[:, None], place)
    place = place.clamp(max=x.shape[1] - 1)
    x = x.gather(1, place[:, :, None].expand(-1, -1, x.shape[2]))
    return x * frame_mask(total, x.shape[1])[:, :, None].to(x.dtype), total


def stream_mask(counts: list[Tensor], sizes: list[int]) -> Tensor:
    """Mark the frames that belong to each item in streams that are padded one by one.

    Returns:
        bool (batch, sum of sizes).
    """
    return torch.cat([frame_mask(count, size) for count, size in zip(counts, sizes, strict=True)], dim=1)


def start_as_keras(module: nn.Module) -> None:
    """Draw the weights of a layer as Keras does: Glorot, orthogonal between steps, and forget gates that start open."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
    for name, parameter in module.named_parameters(recurse=False):
        if name.startswith("weight_ih"):
            nn.init.xavier_uniform_(parameter)
        elif name.startswith("weight_hh"):
            nn.init.orthogonal_(parameter)
        elif name.startswith("bias"):
            nn.init.zeros_(parameter)
            if name.startswith("bias_ih"):
                nn.init.ones_(parameter.detach().chunk(4)[1])
