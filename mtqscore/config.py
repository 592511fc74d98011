"""The options of assessments and evaluations, checked as they are made; they need only the standard library."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mtqscore.base.devices import DEVICE_KINDS, check_precision, parse_device
from mtqscore.base.option import check_limits, option
from mtqscore.errors import UsageError

MAX_THREADS = 1024

# Panels of help pages.
INPUT, SCORING, JUDGING, RESULTS = "What is scored", "How it is scored", "Judging", "Results"
STATISTICS = "Statistics"

DEVICE_CHOICES = "|".join(
    ["auto", *(f"{kind.name}[:N]" if kind.numbered else kind.name for kind in DEVICE_KINDS.values())]
)


@dataclass(frozen=True)
class AssessConfig:
    """Options of an assessment.

    Args:
        model: ``NAME`` or ``NAME@VERSION`` of a listed model, the path of an ONNX file, or a pinned model of the Hub,
            ``hf:owner/name@revision``; None is the default of the package.
        device: ``auto`` (CUDA where it works, else CPU), ``cpu``, or strictly one device: ``cuda``, ``cuda:1``,
            ``directml``, ``coreml``, ``migraphx``.
        channels: ``mean`` (one mixdown), ``each`` (one row a channel), or a channel number counted from 1.
        threads: threads for decoding and for the model; 0 or None is every core that this process may use.
        batch_s: seconds of audio, padding included, that the model gets at once.
        frames: also keep the scores of every frame.
        precision: ``float32``, which result files call ``fp32``, or ``tf32`` for products of shorter numbers on
            NVIDIA GPUs.

    Raises:
        UsageError: a value is outside what is allowed.

    Example:
        >>> AssessConfig(channels="each").device
        'auto'
    """

    model: str | None = option(
        None,
        "NAME or NAME@VERSION of `mtqscore models list`, FILE.onnx, or hf:OWNER/NAME@REVISION from the Hub.",
        "--model MODEL",
        SCORING,
    )
    device: str = option(
        "auto",
        "auto takes CUDA where it works, else the CPU; a device that is named must work.",
        f"--device {DEVICE_CHOICES}",
        SCORING,
    )
    channels: str = option(
        "mean", "The mixdown, a row for every channel, or channel N.", "--channels mean|each|N", INPUT
    )
    threads: int | None = option(None, "Threads; 0, the default, for all usable cores.", "--threads N", SCORING)
    batch_s: float = option(
        20.0, "Seconds of audio that the model gets at once: less takes less memory.", "--batch-seconds S", SCORING
    )
    frames: bool = option(
        False, "Write the scores along time too, into JSON, JSON Lines and Parquet.", "--frames", RESULTS
    )
    precision: str = option(
        "fp32",
        "tf32 is for CUDA only, and moves scores by about 0.02.",
        "--precision float32|tf32",
        SCORING,
        shown="float32",
    )

    def __post_init__(self) -> None:
        if self.threads == 0:
            object.__setattr__(self, "threads", None)
        if self.precision == "float32":
            object.__setattr__(self, "precision", "fp32")
        parse_device(self.device)
        check_precision(self.precision, self.device)
        if self.channels not in ("mean", "each") and self.channel_number is None:
            raise UsageError(f"channels {self.channels!r} is neither mean, each, nor a channel number from 1")
        if self.threads is not None and not 1 <= self.threads <= MAX_THREADS:
            raise UsageError(f"threads {self.threads} is outside 0 to {MAX_THREADS}")
        if not math.isfinite(self.batch_s) or not 1 <= self.batch_s <= 86_400:
            raise UsageError(f"batch seconds {self.batch_s:g} is outside 1 to 86400")

    @property
    def channel_number(self) -> int | None:
        """The one channel that is asked for, counted from 1; None for ``mean`` and ``each``."""
        if self.channels.isascii() and self.channels.isdigit() and len(self.channels) <= 4 and int(self.channels) > 0:
            return int(self.channels)
        return None


@dataclass(frozen=True)
class EvaluateConfig:
    """Options of a comparison with labels.

    Raises:
        UsageError: a value is outside what is allowed.
    """

    split: str | None = option(None, "Only recordings of this split; else all.", "--split train|val|test", INPUT)
    by: tuple[str, ...] = option(
        (),
        "Column of the label table to group by, else condition, system, kind.",
        "--by COLUMN",
        STATISTICS,
        repeated=True,
    )
    resamples: int = option(
        1000, "Bootstrap draws for the 95 % intervals.", "--resamples N", STATISTICS, within=(1, 10_000_000)
    )
    seed: int = option(0, "Seed of the draws.", "--seed N", STATISTICS, within=(0, 2**63 - 1))
    errors: int = option(
        3, "Largest errors of each score that are named.", "--errors N", RESULTS, within=(0, 1_000_000_000)
    )

    def __post_init__(self) -> None:
        check_limits(self)
