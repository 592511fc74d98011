"""What MOSA-Net does to a recording before its network: level by the peak, and the magnitude spectrum."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mtqscore.targets import HOP_SAMPLES, STFT_SAMPLES
from mtqscore.training.networks.features import frame_mask

TINY_PEAK = 1e-20
"""Keeps digital silence from dividing by zero."""


def peak_normalised(waveform: Tensor) -> Tensor:
    """Divide every item by its largest absolute value; digital silence stays what it is.

    Args:
        waveform: float32 (batch, samples), zero beyond each length.
    """
    return waveform / waveform.abs().amax(dim=1, keepdim=True).clamp(min=TINY_PEAK)


def recoloured(waveform: Tensor, lengths: Tensor, recolour: Tensor) -> Tensor:
    """Filter every item by its own equaliser without delay, so that every stream of a network hears the same.

    Args:
        waveform: float32 (batch, samples), zero beyond each length.
        lengths: valid samples an item, int64 (batch,).
        recolour: power gain a bin, float32 (batch, 257).

    Returns:
        float32 (batch, samples), zero beyond each length.
    """
    samples = waveform.shape[1]
    # The response of a real and even spectrum is even: its second half belongs before the first sample.
    response = torch.fft.irfft(recolour.sqrt(), n=STFT_SAMPLES).roll(STFT_SAMPLES // 2, dims=1)
    size = samples + STFT_SAMPLES
    product = torch.fft.rfft(waveform, n=size) * torch.fft.rfft(response, n=size)
    filtered: Tensor = torch.fft.irfft(product, n=size)[:, STFT_SAMPLES // 2 :][:, :samples]
    return filtered.mul_(frame_mask(lengths, samples))


class MagnitudeSpectrum(nn.Module):
    """The spectrum branch (PS) of MOSA-Net (arXiv 2111.02363, section III): the magnitude of a centred STFT.

    Windows of 512 samples every 256, a symmetric Hamming window, the signal mirrored at both of its ends. The paper
    speaks of power; its public program takes the magnitude, and so does this.
    """

    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hamming_window(STFT_SAMPLES, periodic=False), persistent=False)

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        """Compute the spectrum of a padded batch.

        Args:
            waveform: float32 (batch, samples) at 16 kHz, zero beyond each length.
            lengths: valid samples an item, int64 (batch,).

        Returns:
            float32 (batch, floor(samples / 256) + 1, 257), zero beyond the floor(length / 256) + 1 frames of an item.
        """
        frames = waveform.shape[1] // HOP_SAMPLES + 1
        size = (frames - 1) * HOP_SAMPLES + STFT_SAMPLES
        place = (torch.arange(size, device=waveform.device) - HOP_SAMPLES).abs()
        last = lengths[:, None] - 1
        place = torch.where(place > last, 2 * last - place, place).clamp(min=0)
        windows = waveform.gather(1, place).unfold(1, STFT_SAMPLES, HOP_SAMPLES) * self.window
        magnitude: Tensor = torch.fft.rfft(windows).abs()
        return magnitude.mul_(frame_mask(lengths // HOP_SAMPLES + 1, frames)[:, :, None])
