"""Frozen option objects: every one checks itself, and none needs more than the standard library."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from mtqscore.devices import check_precision, parse_device
from mtqscore.errors import UsageError
from mtqscore.network_config import CompactConfig, NetworkConfig
from mtqscore.spec import TARGETS

MAX_THREADS = 1024


# --- assess -------------------------------------------------------------------------------------------------


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
    batch_s: float = 40.0
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


# --- train ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides the result of a training run, besides the data.

    Args:
        epochs: passes over the training split.
        batch_size: recordings a step.
        lr: highest learning rate; it warms up to this and falls to zero along a half cosine.
        warmup_epochs: epochs of linear warm-up, fractions allowed.
        weight_decay: AdamW's decoupled weight decay, for matrices and kernels only.
        grad_clip: largest norm of the gradient.
        ema: decay a step of the averaged weights, which are validated and kept; 0 for none.
        patience: stop after so many epochs without a better validation; 0 for never.
        seed: source of the initial weights, the order and the augmentation.
        alpha: weight of the frame loss against the utterance loss.
        delta: error, on a scale of 0 to 4, where the Huber loss turns from square to line; by target name, or for
            all other targets under ``default``.
        task_weights: weight by target name; 1 where absent.
        semi_weight: weight of the pseudo-label tasks (PESQ, STOI, SDI) against the supervised ones.
        monitor: targets whose mean validation LCC chooses the best epoch.
        max_offset_samples: up to so many samples are cut from the front, drawn anew each time.
        random_polarity: turn the sign of half of the recordings.
        silence_share: share of batches whose recordings get silence before, after or around them.
        max_silence_s: longest such silence.
        splice_share: share of the recordings that get a stretch of another one, with its label for those frames.
        recolour_db: largest gain of the random smooth equaliser on the spectrum; 0 for none.
        max_clip_s: longer recordings are cut to a random stretch of this length in training.
        bfloat16: compute convolutions and matrix products in bfloat16; None: where the processor has it.
        threads: processor threads; 0 for all.
        memory_limit_gb: decode a split once into memory when it needs no more than this; else at every use.
        recipe: an arm of the paper: ``scratch`` (fresh weights), ``kt`` (initial weights of a teacher) or ``mpl``
            (pseudo-labels of a teacher as further tasks).
        teacher: what gives the pseudo-labels or the weights: ``table`` (the exact values of the label table),
            ``references``, a run folder, a checkpoint or an ONNX file; ``none`` for ``scratch``.
        targets: what the network estimates, by name.
        network: which network, its sizes and constants.
    """

    epochs: int = 40
    batch_size: int = 32
    lr: float = 2e-3
    warmup_epochs: float = 1.0
    weight_decay: float = 1e-2
    grad_clip: float = 1.0
    ema: float = 0.999
    patience: int = 0
    seed: int = 0
    alpha: float = 1.0
    delta: dict[str, float] = field(default_factory=lambda: {"default": 1.0})
    task_weights: dict[str, float] = field(default_factory=dict)
    semi_weight: float = 1.0
    monitor: tuple[str, ...] = ("s_mos", "n_mos", "g_mos")
    max_offset_samples: int = 400
    random_polarity: bool = True
    silence_share: float = 0.3
    max_silence_s: float = 3.0
    splice_share: float = 0.5
    recolour_db: float = 4.0
    max_clip_s: float = 10.0
    bfloat16: bool | None = None
    threads: int = 0
    memory_limit_gb: float = 6.0
    recipe: Literal["scratch", "kt", "mpl"] = "mpl"
    teacher: str = "table"
    targets: tuple[str, ...] = tuple(target.name for target in TARGETS)
    network: NetworkConfig = field(default_factory=CompactConfig)
