"""Sizes and constants of every network; torch-free, so that settings can be read without it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mtqscore.errors import UsageError


@dataclass(frozen=True)
class CompactConfig:
    """Sizes and constants of the compact MTQ-Net.

    Args:
        kind: names this network.
        conv_channels: channels of the convolution blocks, first to last. One below a multiple of 16 is fastest: the
            exported graph adds one channel that marks padding.
        conv_widths: extent of each kernel along frequency, in bins of its input; along time it is 3 frames.
        conv_strides: step of each block along frequency; the first block also halves the frame rate.
        squeeze_units: size of a frame before the recurrent layer.
        lstm_units: units a direction.
        dense_units: size of a frame before the heads.
        dropout: share of those units dropped in training.
        floor_db: power a bin below which nothing is heard, relative to white noise at the active level.
        feature_mean_db: typical power a bin, subtracted.
        feature_spread_db: typical spread of the power a bin, divided by.
    """

    kind: Literal["compact"] = "compact"
    conv_channels: tuple[int, ...] = (15, 31, 47, 63)
    conv_widths: tuple[int, ...] = (5, 5, 3, 3)
    conv_strides: tuple[int, ...] = (2, 3, 3, 3)
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


@dataclass(frozen=True)
class SslConfig:
    """A self-supervised front end.

    Args:
        model: a name of ``training.ssl.FRONT_ENDS``, such as ``wavlm-large``, or ``custom`` for the sizes below.
        checkpoint: its weights as a local file; None fetches what torchaudio names.
        layers: ``weighted`` (a learned weighted sum of all hidden layers), ``last``, or the number of one hidden layer.
        tune: train the front end too, at its own learning rate, rather than keep it frozen.
        lr: that learning rate.
        custom_units: width of a ``custom`` front end.
        custom_layers: its transformer blocks.
        custom_heads: its attention heads.
        custom_conv_units: channels of its feature extractor.
    """

    model: str = "wavlm-large"
    checkpoint: Path | None = None
    layers: str = "weighted"
    tune: bool = False
    lr: float = 1e-5
    custom_units: int = 32
    custom_layers: int = 2
    custom_heads: int = 2
    custom_conv_units: int = 16


@dataclass(frozen=True)
class MosaNetConfig:
    """MOSA-Net, and MTQ-Net, which is the same body with six heads (arXiv 2111.02363, 2308.09262).

    Args:
        kind: names this network.
        spectrum: ``magnitude`` as published, or ``log`` for the level-free log power spectrum of the compact network.
        sinc: join the learnable SincConv filter bank.
        ssl: join a self-supervised front end; None for none.
        channels: channels of the convolution blocks of three layers each.
        ssl_units: units of the dense layer after the front end; also the width that the convolutions must give.
        lstm_units: units a direction.
        dense_units: size of a frame before the heads.
        dropout: share of those units dropped in training.
        activation: ``paper`` (PESQ and SDI linear, STOI a sigmoid; MOS linear) or ``bounded`` (every score through a
            sigmoid onto its scale).
        attention_penalty: weight of the regularisers of the attention.
    """

    kind: Literal["mosa-net"] = "mosa-net"
    spectrum: Literal["magnitude", "log"] = "magnitude"
    sinc: bool = True
    ssl: SslConfig | None = None
    channels: tuple[int, ...] = (16, 32, 64, 128)
    lstm_units: int = 128
    dense_units: int = 128
    dropout: float = 0.3
    activation: Literal["paper", "bounded"] = "paper"
    attention_penalty: float = 1e-4


@dataclass(frozen=True)
class MosSslConfig:
    """MOS-SSL (arXiv 2110.02635): a self-supervised front end, mean pooling and a linear layer.

    Args:
        kind: names this network.
        ssl: the front end, tuned as published.
    """

    kind: Literal["mos-ssl"] = "mos-ssl"
    ssl: SslConfig = field(default_factory=lambda: SslConfig(tune=True, layers="last"))


@dataclass(frozen=True)
class XlsRSqaConfig:
    """XLS-R-SQA (WASPAA 2023): one frozen hidden layer of XLS-R, a small transformer, attention pooling.

    Args:
        kind: names this network.
        ssl: the front end.
        units: width of the transformer.
        layers: its blocks.
        attention_heads: its attention heads.
        feedforward: units of its feed-forward layers.
        dropout: share of units dropped in training.
    """

    kind: Literal["xls-r-sqa"] = "xls-r-sqa"
    ssl: SslConfig = field(default_factory=lambda: SslConfig(model="xls-r-300m", layers="5"))
    units: int = 32
    layers: int = 4
    attention_heads: int = 4
    feedforward: int = 64
    dropout: float = 0.1


NetworkConfig = CompactConfig | MosaNetConfig | MosSslConfig | XlsRSqaConfig
"""What a run can train; ``kind`` tells them apart in files."""
