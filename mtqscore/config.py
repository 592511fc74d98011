"""The options of an assessment, checked as they are made; they need no more than the standard library."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mtqscore.base.devices import check_precision, parse_device
from mtqscore.errors import UsageError

MAX_THREADS = 1024


@dataclass(frozen=True)
class AssessConfig:
    """How recordings are scored.

    Args:
        model: ``NAME`` or ``NAME@VERSION`` of a listed model, the path of an ONNX file, or a pinned model of the Hub,
            ``hf:owner/name@revision``; None is the default of the package.
        device: ``auto`` (CUDA where it works, else CPU), ``cpu``, or strictly one device: ``cuda``, ``cuda:1``,
            ``directml``, ``coreml``, ``migraphx``.
        channels: ``mean`` (one mixdown), ``each`` (one row a channel), or a channel number counted from 1.
        threads: threads for decoding and for the model; None is every core that this process may use.
        batch_s: seconds of audio, padding included, that the model gets at once.
        frames: also keep the scores of every frame.
        precision: ``fp32``, or ``tf32`` for products of shorter numbers on NVIDIA GPUs.

    Raises:
        UsageError: a value is outside what is allowed.

    Example:
        >>> AssessConfig(channels="each").device
        'auto'
    """

    model: str | None = None
    device: str = "auto"
    channels: str = "mean"
    threads: int | None = None
    batch_s: float = 20.0
    frames: bool = False
    precision: str = "fp32"

    def __post_init__(self) -> None:
        parse_device(self.device)
        check_precision(self.precision, self.device)
        if self.channels not in ("mean", "each") and self.channel_number is None:
            raise UsageError(f"channels {self.channels!r} is neither mean, each, nor a channel number from 1")
        if self.threads is not None and not 1 <= self.threads <= MAX_THREADS:
            raise UsageError(f"threads {self.threads} is outside 1 to {MAX_THREADS}")
        if not math.isfinite(self.batch_s) or not 1 <= self.batch_s <= 86_400:
            raise UsageError(f"batch seconds {self.batch_s:g} is outside 1 to 86400")

    @property
    def channel_number(self) -> int | None:
        """The one channel that is asked for, counted from 1; None for ``mean`` and ``each``."""
        if self.channels.isascii() and self.channels.isdigit() and len(self.channels) <= 4 and int(self.channels) > 0:
            return int(self.channels)
        return None
