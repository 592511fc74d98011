"""From the waveform to spectra that do not depend on its level, and random equalisers for augmentation."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtqscore.targets import BINS, HOP_SAMPLES, STFT_SAMPLES
from mtqscore.training.network_config import CompactConfig
from mtqscore.training.networks.masking import frame_mask

ACTIVE_SHARE = 0.1
"""A level frame counts as active when its power exceeds this share of the mean power of the active ones (-10 dB)."""

LEVEL_PASSES = 4
"""Passes that find the active frames."""

TINY_POWER = 1e-20
"""Keeps digital silence from dividing by zero; 55 dB below the square of the smallest 24-bit step."""

TINY_PEAK = 1e-20
"""As above, for the largest absolute value."""


def active_power(waveform: Tensor, lengths: Tensor) -> Tensor:
    """Measure the mean power of the frames that carry sound, so that pauses and padding do not count.

    Args:
        waveform: float32 (batch, samples), zero beyond each length.
        lengths: valid samples an item, int64 (batch,).

    Returns:
        Power in squared sample units, float32 (batch, 1); it scales with the square of the gain.
    """
    padding = -waveform.shape[1] % STFT_SAMPLES
    blocks = functional.pad(waveform, (0, padding)).reshape(waveform.shape[0], -1, STFT_SAMPLES)
    power = blocks.square().mean(dim=2)
    level: Tensor = power.sum(dim=1, keepdim=True) * STFT_SAMPLES / lengths[:, None]
    # Long pauses pull the first mean down; the mean of the frames near it forgets them, as in ITU-T P.56.
    for _ in range(LEVEL_PASSES):
        active = (power > ACTIVE_SHARE * level).to(power.dtype)
        level = (power * active).sum(dim=1, keepdim=True) / active.sum(dim=1, keepdim=True).clamp(min=1.0)
    return level


def peak_normalised(waveform: Tensor) -> Tensor:
    """Divide every item by its largest absolute value; digital silence stays as it is.

    Args:
        waveform: float32 (batch, samples), zero beyond each length.
    """
    return waveform / waveform.abs().amax(dim=1, keepdim=True).clamp(min=TINY_PEAK)


class PowerSpectrum(nn.Module):
    """The power spectrum (PS) branch: STFT, level normalisation, logarithm with a floor, fixed standardisation.

    The result does not change with the gain of the recording, nor with what follows it in a padded batch: the
    signal is padded with zeros, 256 samples on each side, as the batch is.

    Args:
        config: sizes and constants of the network.
    """

    window: Tensor

    def __init__(self, config: CompactConfig) -> None:
        super().__init__()
        window = torch.hamming_window(STFT_SAMPLES, periodic=True, dtype=torch.float64)
        # White noise at the active level has power 1 in every bin.
        window = window / window.square().sum().sqrt()
        self.register_buffer("window", window.to(torch.float32), persistent=False)
        self.hop_samples = config.hop_samples
        self.floor = 10.0 ** (config.floor_db / 10.0)
        self.offset = config.feature_mean_db / 10.0
        self.scale = 10.0 / config.feature_spread_db

    def forward(self, waveform: Tensor, lengths: Tensor, recolour: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Compute the features of a padded batch.

        Args:
            waveform: float32 (batch, samples) at 16 kHz; what lies beyond a length is ignored.
            lengths: valid samples an item, int64 (batch,).
            recolour: power gain a bin, float32 (batch, bins), for augmentation; the level is kept.

        Returns:
            Features float32 (batch, frames, bins), zero beyond the valid frames, where frames is
            floor(samples / hop) + 1, and the mask of the valid frames, bool (batch, frames).
        """
        frames = waveform.shape[1] // self.hop_samples + 1
        waveform = waveform * frame_mask(lengths, waveform.shape[1]).to(waveform.dtype)
        level = active_power(waveform, lengths) + TINY_POWER
        padded = functional.pad(waveform, (STFT_SAMPLES // 2, STFT_SAMPLES))
        spectrum = torch.fft.rfft(padded.unfold(1, STFT_SAMPLES, self.hop_samples)[:, :frames] * self.window)
        power = spectrum.real.square() + spectrum.imag.square()
        gain = level.reciprocal()
        if recolour is not None:
            mean = power.sum(dim=1)
            gain = gain * recolour * (mean.sum(1, keepdim=True) / ((mean * recolour).sum(1, keepdim=True) + TINY_POWER))
        features = ((power * gain[:, None, :] + self.floor).log10() - self.offset) * self.scale
        mask = frame_mask(lengths // self.hop_samples + 1, frames)
        return features * mask[:, :, None].to(features.dtype), mask


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


def recoloured(waveform: Tensor, lengths: Tensor, recolour: Tensor) -> Tensor:
    """Filter every item by its own equaliser without delay, so that every stream of a network gets the same.

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


def random_recolour(generator: torch.Generator, batch: int, limit_db: float) -> Tensor:
    """Draw one smooth equaliser curve an item, as another microphone or room would change the timbre.

    Args:
        generator: source of randomness.
        batch: number of items.
        limit_db: largest gain or loss of any bin in dB.

    Returns:
        Power gains float32 (batch, bins).
    """
    # A cosine series on an axis that gives an octave the same room everywhere above 300 Hz: tilt first, then bends.
    axis = torch.log1p(torch.arange(BINS) / (300.0 / 31.25))
    axis = axis / axis[-1] * math.pi
    orders = torch.arange(1, 5)
    weights = torch.randn(batch, len(orders), generator=generator) / orders
    curve = weights @ torch.cos(orders[:, None] * axis[None, :])
    size = torch.rand(batch, 1, generator=generator) * limit_db
    curve = curve / curve.abs().amax(dim=1, keepdim=True).clamp(min=1e-6) * size
    return torch.pow(10.0, curve / 10.0)
