"""Named sizes of the compact network, smallest first; what each costs is in docs/pruning.md. Loads no torch."""

from __future__ import annotations

from mtqscore.errors import UsageError
from mtqscore.training.network_config import CompactConfig

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
"""Up to ``fast`` they hear a spectrum with half of the steps, and score every 64 ms instead of every 32 ms."""


def network_of_size(name: str) -> CompactConfig:
    """Look a size up."""
    if name not in SIZES:
        raise UsageError(f"size {name}: choose one of {', '.join(SIZES)}")
    return SIZES[name]
