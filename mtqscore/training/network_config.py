"""Sizes and constants of every network; torch-free, so that settings can be read without it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mtqscore.errors import UsageError


@dataclass(frozen=True)
class CompactConfig:
    """Sizes and constants of the compact MTQ-Net.

    Args:
        conv_channels: channels of the convolution blocks, first to last. One below a multiple of 16 is fastest: the
            exported graph adds one channel that marks padding.
        conv_widths: extent of each kernel along frequency, in bins of its input; along time it is 3 frames.
        conv_strides: step of each block along frequency.
        hop_samples: step of the spectrum: 256, or 512 for half of its cost, where each sample is used once.
        time_stride: frames of the spectrum a step of the first block.
        second_time_stride: frames a step of the second block; 2 halves the cost of all that follows the first. Scores
            stand hop_samples times both apart.
        squeeze_units: size of a frame before the recurrent layer.
        lstm_units: units a direction.
        dense_units: size of a frame before the heads.
        dropout: share of those units dropped in training.
        floor_db: power a bin below which nothing counts, relative to white noise at the active level.
        feature_mean_db: typical power a bin, subtracted.
        feature_spread_db: typical spread of the power a bin, divided by.
    """

    kind: Literal["compact"] = "compact"
    conv_channels: tuple[int, ...] = (15, 31, 47, 63)
    conv_widths: tuple[int, ...] = (5, 5, 3, 3)
    conv_strides: tuple[int, ...] = (2, 3, 3, 3)
    hop_samples: Literal[256, 512] = 256
    time_stride: int = 2
    second_time_stride: int = 1
    squeeze_units: int = 96
    lstm_units: int = 64
    dense_units: int = 64
    dropout: float = 0.2
    floor_db: float = -80.0
    feature_mean_db: float = -35.0
    feature_spread_db: float = 22.0

    def __post_init__(self) -> None:
        if not len(self.conv_channels) == len(self.conv_widths) == len(self.conv_strides) > 0:
            raise UsageError("conv_channels, conv_widths and conv_strides must be of one length, and not empty")
        if self.conv_strides[0] != 2:
            raise UsageError("the first of conv_strides must be 2: even and odd bins are two channels of its input")
        if any(width % 2 == 0 for width in self.conv_widths):
            raise UsageError("conv_widths must be odd, so that a kernel has a middle")
        counts = (self.time_stride, self.second_time_stride, self.squeeze_units, self.lstm_units, self.dense_units)
        if min(*self.conv_channels, *self.conv_widths, *self.conv_strides, *counts) < 1:
            raise UsageError("channels, widths, strides and units of a compact network must be 1 or more")
        if self.second_time_stride > 1 and len(self.conv_channels) == 1:
            raise UsageError("second_time_stride is a step of the second convolution, and conv_channels names only one")
        _check_dropout(self.dropout)

    @property
    def time_strides(self) -> tuple[int, ...]:
        """Step of each block along time."""
        return (self.time_stride, self.second_time_stride, *(1 for _ in self.conv_channels))[: len(self.conv_channels)]

    @property
    def frame_stride(self) -> int:
        """Frames of the spectrum for each frame score."""
        return math.prod(self.time_strides)

    @property
    def frame_hop_samples(self) -> int:
        """Step between frame scores."""
        return self.hop_samples * self.frame_stride


def _check_dropout(dropout: float) -> None:
    if not 0.0 <= dropout < 1.0:
        raise UsageError(f"dropout {dropout:g} is outside 0 to 1")


SSL_BUNDLES = {
    "hubert-base": "HUBERT_BASE",
    "hubert-large": "HUBERT_LARGE",
    "wavlm-base-plus": "WAVLM_BASE_PLUS",
    "wavlm-large": "WAVLM_LARGE",
    "wav2vec2-base": "WAV2VEC2_BASE",
    "xls-r-300m": "WAV2VEC2_XLSR_300M",
}
"""Self-supervised models by the names of ``torchaudio.pipelines``, which hold their sizes and file names."""


@dataclass(frozen=True)
class SslConfig:
    """A self-supervised front end; see docs/training.md.

    Args:
        model: a name of ``SSL_BUNDLES``, or ``custom`` for the sizes below.
        checkpoint: its weights as a local file; None fetches what torchaudio names, or for ``custom`` starts at random.
        layers: ``weighted`` (a learned weighted sum of all hidden states), ``last``, or the number of one hidden state:
            0 is the input of the first transformer block, 1 the output of that block.
        normalize_layers: bring every hidden state to mean 0 and variance 1 a frame before the weighted sum.
        tune: train the front end too, at its own learning rate, rather than keep it frozen.
        lr: that learning rate.
        custom_like: the model whose form a ``custom`` one has: its normalisations and its kind of attention.
        custom_units: width of a ``custom`` front end.
        custom_layers: its transformer blocks.
        custom_heads: its attention heads.
        custom_conv_units: channels of its feature extractor.
    """

    model: str = "wavlm-large"
    checkpoint: Path | None = None
    layers: str = "weighted"
    normalize_layers: bool = False
    tune: bool = False
    lr: float = 1e-5
    custom_like: str = "wavlm-large"
    custom_units: int = 32
    custom_layers: int = 2
    custom_heads: int = 2
    custom_conv_units: int = 16

    def __post_init__(self) -> None:
        if self.model not in {*SSL_BUNDLES, "custom"}:
            raise UsageError(f"ssl model {self.model!r} is none of {', '.join(SSL_BUNDLES)}, custom")
        if self.custom_like not in SSL_BUNDLES:
            raise UsageError(f"ssl custom_like {self.custom_like!r} is none of {', '.join(SSL_BUNDLES)}")
        numbered = self.layers.isascii() and self.layers.isdigit() and len(self.layers) <= 3
        if self.layers not in {"weighted", "last"} and not numbered:
            raise UsageError(f"ssl layers {self.layers!r} is neither weighted, last, nor the number of a hidden state")
        if not math.isfinite(self.lr) or self.lr <= 0:
            raise UsageError(f"ssl lr {self.lr:g} must be above 0; to keep the front end as it is, set tune = false")
        if min(self.custom_units, self.custom_layers, self.custom_heads, self.custom_conv_units) < 1:
            raise UsageError("ssl custom_units, custom_layers, custom_heads and custom_conv_units must be 1 or more")
        if self.custom_units % self.custom_heads:
            raise UsageError(f"ssl custom_units {self.custom_units} must be a multiple of custom_heads")


@dataclass(frozen=True)
class MosaNetConfig:
    """MOSA-Net, and MTQ-Net, which is the same body with six heads (arXiv 2111.02363, 2308.09262).

    The defaults are the published sizes without a self-supervised front end.

    Args:
        spectrum: ``magnitude`` with the level by the peak, as published, or ``log`` for the level-free log power
            spectrum of the compact network, with the level by the power of the active frames and the filter bank
            compressed (asinh).
        sinc: join the learnable SincConv filter bank.
        ssl: join a self-supervised front end; None for none.
        channels: channels of the convolution blocks, first to last; each block keeps a third of the frequencies.
        convolutions: convolutions a block.
        time_stride: frames of spectrum and filter bank a step of the first convolution; 1 as published. 2 costs less
            than half, and less than a quarter in the attention.
        lstm_units: units a direction.
        dense_units: size of a frame before the heads.
        dropout: share of those units dropped in training.
        activation: ``paper`` (STOI through a sigmoid, all others linear) or ``bounded`` (every score through a
            sigmoid onto its scale).
        weight_penalty: weight of the squares of the attention's matrices, and of the size of its scalars, in the loss.
        attention_penalty: weight of ||A A^T - I||^2 of the attention in the loss; its cost grows with the cube of the
            length.
    """

    kind: Literal["mosa-net"] = "mosa-net"
    spectrum: Literal["magnitude", "log"] = "magnitude"
    sinc: bool = True
    ssl: SslConfig | None = None
    channels: tuple[int, ...] = (16, 32, 64, 128)
    convolutions: int = 3
    time_stride: int = 1
    lstm_units: int = 128
    dense_units: int = 128
    dropout: float = 0.3
    activation: Literal["paper", "bounded"] = "paper"
    weight_penalty: float = 1e-4
    attention_penalty: float = 1e-4

    def __post_init__(self) -> None:
        if not self.channels or min(self.channels) < 1:
            raise UsageError("channels must be a list of numbers from 1")
        for name in ("convolutions", "time_stride", "lstm_units", "dense_units"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} {getattr(self, name)} is below 1")
        _check_dropout(self.dropout)
        if not min(self.weight_penalty, self.attention_penalty) >= 0.0:
            raise UsageError("weight_penalty and attention_penalty must be 0 or more")


@dataclass(frozen=True)
class MosSslConfig:
    """MOS-SSL (arXiv 2110.02635): a self-supervised front end, mean pooling and one linear layer a target.

    Args:
        ssl: the front end; as published wav2vec 2.0 Base, all of it tuned.
    """

    kind: Literal["mos-ssl"] = "mos-ssl"
    ssl: SslConfig = field(default_factory=lambda: SslConfig(model="wav2vec2-base", layers="last", tune=True, lr=1e-4))


@dataclass(frozen=True)
class XlsRSqaConfig:
    """XLS-R-SQA (WASPAA 2023): one frozen hidden state of XLS-R, a small transformer, attention pooling.

    Args:
        ssl: the front end; the published models take hidden state 5 or 21.
        units: width of the transformer, even.
        layers: its blocks.
        attention_heads: its attention heads.
        feedforward: units of its feed-forward layers.
        dropout: share of units dropped in training; the published weights had none, which its authors regretted.
    """

    kind: Literal["xls-r-sqa"] = "xls-r-sqa"
    ssl: SslConfig = field(default_factory=lambda: SslConfig(model="xls-r-300m", layers="5"))
    units: int = 32
    layers: int = 4
    attention_heads: int = 4
    feedforward: int = 64
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if min(self.units, self.layers, self.attention_heads, self.feedforward) < 1 or self.units % 2:
            raise UsageError("layers, attention_heads and feedforward must be 1 or more, and units even")
        if self.units % self.attention_heads:
            raise UsageError(f"units {self.units} must be a multiple of attention_heads {self.attention_heads}")
        _check_dropout(self.dropout)


NetworkConfig = CompactConfig | MosaNetConfig | MosSslConfig | XlsRSqaConfig
"""Networks that a run can train, distinguished by ``kind`` in files."""

SIZES = {
    "tiny": CompactConfig(
        conv_channels=(7, 15, 15, 31), conv_widths=(5, 3, 3, 3), hop_samples=512,
        squeeze_units=32, lstm_units=32, dense_units=32,
    ),
    "small": CompactConfig(
        conv_channels=(15, 15, 31, 31), conv_widths=(5, 3, 3, 3), hop_samples=512,
        squeeze_units=64, lstm_units=48, dense_units=48,
    ),
    "fast": CompactConfig(conv_channels=(15, 31, 31, 47), conv_widths=(5, 3, 3, 3), hop_samples=512),
    "base": CompactConfig(),
    "large": CompactConfig(
        conv_channels=(31, 63, 95, 127), squeeze_units=192, lstm_units=160, dense_units=128,
    ),
    "huge": CompactConfig(
        conv_channels=(63, 127, 191, 255), squeeze_units=384, lstm_units=320, dense_units=256,
    ),
}  # fmt: skip
"""Named sizes of the compact network, smallest first; docs/distillation.md has the cost of each.

Up to ``fast`` they take a spectrum with half of the steps, and score every 64 ms instead of every 32 ms.
"""
