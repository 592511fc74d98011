"""A learnable bank of band-pass filters on the waveform: SincNet (arXiv 1808.00158) as MOSA-Net uses it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtqscore.targets import BINS, HOP_SAMPLES, SAMPLE_RATE_HZ
from mtqscore.training.networks.masking import frame_mask

TAPS = 251
"""Length of every filter: 15.7 ms, shorter than the step of 256 samples, so that windows never overlap."""

HALF_TAPS = TAPS // 2

LEAST_LOW_HZ = 50.0
LEAST_BAND_HZ = 50.0
"""Added to what is learnt, so that no filter reaches down to 0 Hz or closes."""

FIRST_MEL = 80.0
FIRST_LOW_HZ = 30.0
LAST_MARGIN_HZ = 100.0
"""Start of the bank on the mel scale, lower edge of its first filter, and distance of the last one from 8 kHz."""


class SincConv(nn.Module):
    """The learnable filter bank (LFB) of MOSA-Net (arXiv 2111.02363, section III): 257 filters of two parameters each.

    Filter i passes f1 = abs(low_i) + 50 Hz to f2 = f1 + abs(band_i) + 50 Hz. Its kernel at sample k from the middle is
    the difference of two ideal low passes, divided by its largest value 2 (f2 - f1), times a Hamming window h:

        (sin(2 pi f2 k) - sin(2 pi f1 k)) / (2 pi k (f2 - f1)) h(k) = cos(pi (f1 + f2) k) sinc((f2 - f1) k) h(k)

    with frequencies in units of the sample rate. Filters run from high to low frequency, as the bins of the spectrum
    do in MOSA-Net here.

    Padding is TensorFlow's "SAME", which depends on the length: an item of n samples gives ceil(n / 256) frames, and of
    the samples that these lack half are put before the first one. It follows each item's own length, so that neither
    padding nor batch change a frame.

    Args:
        compressed: give asinh of what is filtered, linear below 1 and logarithmic above: it then has the range of a
            log spectrum. Not so published.
    """

    window: Tensor

    def __init__(self, compressed: bool = False) -> None:
        super().__init__()
        self.compressed = compressed
        highest_mel = _hz_to_mel(torch.tensor(SAMPLE_RATE_HZ / 2, dtype=torch.float64))
        middle_hz = _mel_to_hz(torch.linspace(FIRST_MEL, float(highest_mel), BINS, dtype=torch.float64))
        low_hz, high_hz = middle_hz.roll(1), middle_hz.roll(-1)
        low_hz[0] = FIRST_LOW_HZ
        high_hz[-1] = SAMPLE_RATE_HZ / 2 - LAST_MARGIN_HZ
        self.low = nn.Parameter((low_hz / SAMPLE_RATE_HZ).float().flip(0))
        self.band = nn.Parameter(((high_hz - low_hz) / SAMPLE_RATE_HZ).float().flip(0))
        window = torch.hamming_window(TAPS, periodic=False, dtype=torch.float64)[HALF_TAPS:]
        self.register_buffer("window", window.float(), persistent=False)

    def kernels(self) -> Tensor:
        """Compute the filters, float32 (taps, filters); they are symmetric in time."""
        low = self.low.abs() + LEAST_LOW_HZ / SAMPLE_RATE_HZ
        band = self.band.abs() + LEAST_BAND_HZ / SAMPLE_RATE_HZ
        sample = torch.arange(HALF_TAPS + 1, device=low.device)[:, None]
        half = torch.cos(torch.pi * (2 * low + band) * sample) * torch.sinc(band * sample) * self.window[:, None]
        return torch.cat((half[1:].flip(0), half))

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        """Filter a padded batch.

        Args:
            waveform: float32 (batch, samples) at 16 kHz, zero beyond each length.
            lengths: valid samples an item, int64 (batch,).

        Returns:
            float32 (batch, ceil(samples / 256), 257), zero beyond the ceil(length / 256) frames of an item.
        """
        frames = (waveform.shape[1] + HOP_SAMPLES - 1) // HOP_SAMPLES
        padded = functional.pad(waveform, (HALF_TAPS, HOP_SAMPLES))
        lacking = (TAPS - 1 - (lengths - 1) % HOP_SAMPLES).clamp(min=0) // 2
        place = torch.arange(frames * HOP_SAMPLES, device=waveform.device) + (HALF_TAPS - lacking)[:, None]
        windows = padded.gather(1, place).reshape(waveform.shape[0], frames, HOP_SAMPLES)[:, :, :TAPS]
        mask = frame_mask((lengths + HOP_SAMPLES - 1) // HOP_SAMPLES, frames)
        filtered: Tensor = (windows @ self.kernels()) * mask[:, :, None].to(windows.dtype)
        return torch.asinh(filtered) if self.compressed else filtered

    @staticmethod
    def frame_positions(samples: int) -> Tensor:
        """Give the sample in the middle of each frame, int64 (frames,).

        The middle of frame t lies at 256 t plus 0 to 125 samples, by the item's own length; this gives the mean.
        """
        return torch.arange((samples + HOP_SAMPLES - 1) // HOP_SAMPLES) * HOP_SAMPLES + HALF_TAPS // 2


def _hz_to_mel(frequency_hz: Tensor) -> Tensor:
    return 2595.0 * torch.log10(1.0 + frequency_hz / 700.0)


def _mel_to_hz(mel: Tensor) -> Tensor:
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
