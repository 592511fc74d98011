"""The options of a training run: every object checks itself, and none needs more than the standard library."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Literal

from mtqscore.config import MAX_THREADS
from mtqscore.errors import UsageError
from mtqscore.targets import TARGETS
from mtqscore.training.network_config import CompactConfig, NetworkConfig

PerTarget = float | dict[str, float]
"""One number for every target, or numbers by target name with the others' under ``default``."""


@dataclass(frozen=True)
class TeacherChoice:
    """One of the teachers of a student.

    Args:
        source: a run folder, a checkpoint, an ONNX file or a model by name; a TOML file that describes any other ONNX
            file; or a table of scores.
        weight: how much it counts beside the other teachers; one number, or by target name with the others' under
            ``default``. 0 where it shall not be heard.

    Raises:
        UsageError: a weight is negative, or of no known target.
    """

    source: str
    weight: PerTarget = 1.0

    def __post_init__(self) -> None:
        weights = self.weight if isinstance(self.weight, dict) else {"default": self.weight}
        known = ["default", *(target.name for target in TARGETS)]
        for name, number in weights.items():
            if name not in known:
                raise UsageError(f"weight: no target is called {name}; targets are {', '.join(known[1:])}")
            if not 0 <= number < math.inf:
                raise UsageError(f"weight {number:g} of teacher {self.source} is below 0, or no number")

    def weight_of(self, target: str) -> float:
        """How much it counts for one target."""
        return _of(self.weight, target)


@dataclass(frozen=True)
class DistillConfig:
    """What a student hears, and whose judgement it learns.

    Args:
        teachers: one or more.
        clips: an epoch; with a table of scores an epoch is all its recordings.
        val_clips: clips of the validation.
        val_share: share of the talkers (subfolders, or recordings where there are few of these) that the validation
            alone hears.
        plain_share: share of the clips that are used as they are; all others are degraded.
        narrow_share: share of the degraded clips that are narrowband.
        voice_share: share of the degraded clips whose talker is made another one.
        min_s: shortest stretch of a longer recording.
        max_s: longest stretch; pauses come to that.
        enhancers: external enhancement commands with ``{in}`` and ``{out}``.
        hold_out: enhancers, distortions and codecs, by name, that are not used.
        label_share: share of recordings with labels in an epoch, where there are any.

    Raises:
        UsageError: a value is outside what is allowed.
    """

    teachers: tuple[TeacherChoice, ...] = ()
    clips: int = 4000
    val_clips: int = 400
    val_share: float = 0.1
    plain_share: float = 0.2
    narrow_share: float = 0.4
    voice_share: float = 0.5
    min_s: float = 3.0
    max_s: float = 7.0
    enhancers: tuple[str, ...] = ()
    hold_out: tuple[str, ...] = ()
    label_share: float = 0.3

    def __post_init__(self) -> None:
        limits = {
            "clips": (1, 100_000_000), "val_clips": (2, 1_000_000), "val_share": (0.001, 0.9), "plain_share": (0, 1),
            "narrow_share": (0, 1), "voice_share": (0, 1), "min_s": (0.5, 600), "max_s": (0.5, 600),
            "label_share": (0.001, 0.999),
        }  # fmt: skip
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise UsageError(f"{name} {getattr(self, name):g} is outside {low:g} to {high:g}")
        if self.min_s > self.max_s:
            raise UsageError(f"min_s {self.min_s:g} is above max_s {self.max_s:g}")


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides the result of a training run, besides the data.

    Args:
        epochs: passes over the training split.
        batch_size: recordings a step, over all processes.
        optimizer: ``adamw``, ``adam`` or ``sgd``.
        momentum: of ``sgd``.
        lr: highest learning rate; it warms up to this.
        schedule: what follows the warm-up: ``cosine``, half a cosine down to zero, or ``constant``.
        warmup_epochs: epochs of linear warm-up, fractions allowed.
        weight_decay: the optimiser's weight decay, for matrices and kernels only.
        grad_clip: largest norm of the gradient; 0 for any.
        ema: decay a step of the averaged weights, which are validated and kept; 0 for none.
        patience: stop after so many epochs without a better validation; 0 for never.
        seed: source of the initial weights, the order and the augmentation.
        loss: of an error e: ``huber`` (e²/2 up to delta, then a line), ``mse`` (e²) or ``mae`` (absolute).
        alpha: weight of the frame loss against the utterance loss; one number, or by target name with the others' under
            ``default``.
        delta: error where the Huber loss turns from square to line, on the scale that ``target_scale`` names; numbers
            as for ``alpha``.
        target_scale: ``span`` brings every target to a scale of length 4 before the loss, ``raw`` takes errors in the
            targets' own units, as published.
        task_weights: weight by target name; 1 where absent.
        semi_weight: weight of the pseudo-label tasks (PESQ, STOI, SDI) against the supervised ones.
        monitor: targets that choose the best epoch: those of them that the network has, all of its own if it has none.
        monitor_metric: what is averaged over them: validation ``lcc``, ``srcc``, ``rmse`` or ``loss``.
        best_per_target: also keep the best epoch of every target by itself, as ``best_<target>.safetensors``.
        max_offset_samples: up to so many samples are cut from the front, drawn anew each time.
        random_polarity: turn the sign of half of the recordings.
        silence_share: share of batches whose recordings get silence before, after or around them.
        max_silence_s: longest such silence.
        splice_share: share of the recordings that get a stretch of another one, with its label for those frames.
        recolour_db: largest gain of the random smooth equaliser on the spectrum; 0 for none.
        max_clip_s: longer recordings are cut to a random stretch of this length in training.
        precision: of convolutions and matrix products: ``float32``, ``bfloat16``, ``float16`` (CUDA, with a scaled
            loss), or ``auto``: bfloat16 where the device computes in it.
        bfloat16: earlier name of ``precision``; becomes it.
        device: ``cpu``, ``cuda``, ``cuda:1`` …, or ``auto``: CUDA where it works.
        threads: processor threads; 0 for all.
        memory_limit_gb: decode a split once into memory when it needs no more than this; else at every use.
        checkpoint_minutes: also save within an epoch, so often; 0 for never.
        tensorboard: also write the curves for TensorBoard.
        recipe: an arm of the paper: ``scratch`` (fresh weights), ``kt`` (initial weights of a teacher) or ``mpl``
            (pseudo-labels of a teacher as further tasks).
        teacher: what gives the pseudo-labels or the weights: ``table`` (the exact values of the label table),
            ``references``, a run folder, a checkpoint or an ONNX file; ``none`` for ``scratch``.
        targets: what the network estimates, by name.
        network: which network, its sizes and constants.
        distillation: of ``mtqscore distill``, what is heard and whose judgement is learned; None for all other runs.

    Raises:
        UsageError: a value is outside what is allowed.
    """

    epochs: int = 40
    batch_size: int = 32
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    momentum: float = 0.9
    lr: float = 2e-3
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_epochs: float = 1.0
    weight_decay: float = 1e-2
    grad_clip: float = 1.0
    ema: float = 0.999
    patience: int = 0
    seed: int = 0
    loss: Literal["huber", "mse", "mae"] = "huber"
    alpha: PerTarget = 1.0
    delta: PerTarget = field(default_factory=lambda: {"default": 1.0})
    target_scale: Literal["span", "raw"] = "span"
    task_weights: dict[str, float] = field(default_factory=dict)
    semi_weight: float = 1.0
    monitor: tuple[str, ...] = ("s_mos", "n_mos", "g_mos")
    monitor_metric: Literal["lcc", "srcc", "rmse", "loss"] = "lcc"
    best_per_target: bool = False
    max_offset_samples: int = 400
    random_polarity: bool = True
    silence_share: float = 0.3
    max_silence_s: float = 3.0
    splice_share: float = 0.5
    recolour_db: float = 4.0
    max_clip_s: float = 10.0
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    bfloat16: bool | None = None
    device: str = "auto"
    threads: int = 0
    memory_limit_gb: float = 6.0
    checkpoint_minutes: float = 10.0
    tensorboard: bool = False
    recipe: Literal["scratch", "kt", "mpl"] = "mpl"
    teacher: str = "table"
    targets: tuple[str, ...] = tuple(target.name for target in TARGETS)
    network: NetworkConfig = field(default_factory=CompactConfig)
    distillation: DistillConfig | None = None

    def __post_init__(self) -> None:
        for name, low, high in _TRAIN_LIMITS:
            numbers = getattr(self, name)
            for number in numbers.values() if isinstance(numbers, dict) else (numbers,):
                if not low <= number <= high:
                    raise UsageError(f"{name} {number:g} is outside {low:g} to {high:g}")
        known = [target.name for target in TARGETS]
        for name in ("alpha", "delta", "task_weights", "monitor"):
            named = getattr(self, name)
            allowed = [*known, "default"] if name in ("alpha", "delta") else known
            strangers = [] if isinstance(named, float | int) else [one for one in named if one not in allowed]
            if strangers:
                raise UsageError(f"{name}: no target is called {', '.join(strangers)}; targets are {', '.join(known)}")
        if re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", self.device) is None:
            raise UsageError(f"device {self.device!r}: a network trains on auto, cpu, cuda, or cuda:1 and so on")
        if self.bfloat16 is not None:
            meant: Literal["bfloat16", "float32"] = "bfloat16" if self.bfloat16 else "float32"
            if self.precision not in ("auto", meant):
                raise UsageError(f"bfloat16 = {self.bfloat16} contradicts precision = {self.precision}; leave it out")
            object.__setattr__(self, "precision", meant)
            object.__setattr__(self, "bfloat16", None)

    def alpha_of(self, target: str) -> float:
        """Weight of the frame loss of one target."""
        return _of(self.alpha, target)

    def delta_of(self, target: str) -> float:
        """Huber threshold of one target."""
        return _of(self.delta, target)


_TRAIN_LIMITS: tuple[tuple[str, float, float], ...] = (
    ("epochs", 1, 1_000_000),
    ("batch_size", 1, 1_000_000),
    ("momentum", 0, 1),
    ("lr", 0, math.inf),
    ("warmup_epochs", 0, 1_000_000),
    ("weight_decay", 0, math.inf),
    ("grad_clip", 0, math.inf),
    ("ema", 0, 1),
    ("patience", 0, 1_000_000),
    ("seed", 0, 2**63 - 1),
    ("alpha", 0, math.inf),
    ("delta", 1e-6, math.inf),
    ("task_weights", 0, math.inf),
    ("semi_weight", 0, math.inf),
    ("max_offset_samples", 0, 160_000),
    ("silence_share", 0, 1),
    ("max_silence_s", 0, 600),
    ("splice_share", 0, 1),
    ("recolour_db", 0, 60),
    ("max_clip_s", 0.1, 3600),
    ("threads", 0, MAX_THREADS),
    ("memory_limit_gb", 0, math.inf),
    ("checkpoint_minutes", 0, math.inf),
)
"""Smallest and largest value of each setting."""


def _of(values: PerTarget, target: str) -> float:
    return values.get(target, values.get("default", 1.0)) if isinstance(values, dict) else values
