"""The options of a training run: every object checks itself, and none needs more than the standard library."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from mtqscore.base.option import check_limits, option
from mtqscore.config import MAX_THREADS
from mtqscore.errors import UsageError
from mtqscore.targets import TARGETS
from mtqscore.training.network_config import CompactConfig, NetworkConfig

PerTarget = float | dict[str, float]
"""One number for every target, or numbers by target name with the others' under ``default``."""


# Panels of help pages.
RECIPE, LEARNING, MACHINE, SPEECH = "Recipe and network", "Learning", "Machine", "Speech and noise"


def names_of(text: str) -> list[str]:
    """Split names at commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def alpha_of(texts: Sequence[str]) -> PerTarget:
    """Read every ``NUMBER`` or ``TARGET=NUMBER`` of ``--alpha``; one number if it is for all targets."""
    values = _numbers("--alpha", texts)
    return values["default"] if [*values] == ["default"] else values


def teachers_of(texts: Sequence[str]) -> list[dict[str, object]]:
    """Read ``TEACHER`` or ``TEACHER=WEIGHT``; a name that is a file or folder as it stands has no weight.

    Example:
        >>> teachers_of(["runs/a=0.7", "b.onnx"])
        [{'source': 'runs/a', 'weight': 0.7}, {'source': 'b.onnx', 'weight': 1.0}]
    """
    return [_teacher(text) for text in texts]


def _teacher(text: str) -> dict[str, object]:
    source, equals, number = text.rpartition("=")
    if not equals or os.path.lexists(text):
        return {"source": text, "weight": 1.0}
    try:
        weight = float(number)
    except ValueError:
        weight = math.nan
    if not math.isfinite(weight) or weight < 0 or not source:
        raise UsageError(f"--teacher {text}: give TEACHER, or TEACHER=WEIGHT with a number from 0")
    return {"source": source, "weight": weight}


def _numbers(flag: str, texts: Sequence[str]) -> dict[str, float]:
    values = {"default": 1.0}
    for text in texts:
        name, equals, number = text.rpartition("=")
        try:
            values[name if equals else "default"] = float(number)
        except ValueError as error:
            raise UsageError(f"{flag} {text}: give a number, or TARGET=NUMBER") from error
    return values


@dataclass(frozen=True)
class TeacherChoice:
    """One of the teachers of a student.

    Args:
        source: a run folder, a checkpoint, an ONNX file or a model by name; a TOML file that describes any other ONNX
            file; or a table of scores.
        weight: how much it counts beside the other teachers; one number, or by target name with the others' under
            ``default``. 0 where it shall not count.

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
        """Weight for one target."""
        return _of(self.weight, target)


@dataclass(frozen=True)
class DistillConfig:
    """Options of a distillation: speech, its degradation, and teachers; every field says its meaning.

    Raises:
        UsageError: a value is outside what is allowed.
    """

    teachers: tuple[TeacherChoice, ...] = option(
        (),
        "Run folder, checkpoint, ONNX file, model by name, TOML file that describes any other ONNX file, or a table "
        "of scores.",
        "--teacher TEACHER[=WEIGHT]",
        parse=teachers_of,
        repeated=True,
    )
    clips: int = option(
        4000, "Clips an epoch; with a table of scores all its recordings.", "--clips N", SPEECH, within=(1, 100_000_000)
    )
    val_clips: int = option(400, "Clips of the validation.", "--val-clips N", SPEECH, within=(2, 1_000_000))
    val_share: float = option(
        0.1,
        "Share of the talkers (subfolders, or recordings where there are few of these) that only the validation uses.",
        within=(0.001, 0.9),
    )
    plain_share: float = option(
        0.2, "Share of the clips that are not degraded.", "--plain-share SHARE", SPEECH, within=(0, 1)
    )
    narrow_share: float = option(
        0.4, "Share of the others that are narrowband.", "--narrow-share SHARE", SPEECH, within=(0, 1)
    )
    voice_share: float = option(0.5, "Share of the degraded clips whose talker is made another one.", within=(0, 1))
    min_s: float = option(3.0, "Shortest stretch of a longer recording.", within=(0.5, 600))
    max_s: float = option(7.0, "Longest stretch; pauses come to that.", within=(0.5, 600))
    enhancers: tuple[str, ...] = option(
        (), "External enhancer, for example 'cmd {in} {out}'.", "--enhancer COMMAND", SPEECH, repeated=True
    )
    hold_out: tuple[str, ...] = option(
        (),
        "Enhancer, distortion or codec, such as klt or vorbis, that is not used.",
        "--hold-out NAME",
        SPEECH,
        repeated=True,
    )
    label_share: float = option(
        0.3,
        "Share of an epoch that the recordings of --labelled are.",
        "--label-share SHARE",
        SPEECH,
        within=(0.001, 0.999),
    )

    def __post_init__(self) -> None:
        check_limits(self)
        if self.min_s > self.max_s:
            raise UsageError(f"min_s {self.min_s:g} is above max_s {self.max_s:g}")


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides the result of a training run, besides the data; every field says its meaning.

    Raises:
        UsageError: a value is outside what is allowed.
    """

    epochs: int = option(40, "Passes over the training split.", "--epochs N", LEARNING, within=(1, 1_000_000))
    batch_size: int = option(
        32, "Recordings a step, over all processes.", "--batch-size N", LEARNING, within=(1, 1_000_000)
    )
    optimizer: Literal["adamw", "adam", "sgd"] = option("adamw", "Optimiser.")
    momentum: float = option(0.9, "Of sgd.", within=(0, 1))
    lr: float = option(2e-3, "Highest learning rate.", "--lr RATE", LEARNING, within=(0, math.inf))
    schedule: Literal["cosine", "constant"] = option("cosine", "After the warm-up: half a cosine to zero, or constant.")
    warmup_epochs: float = option(1.0, "Epochs of linear warm-up, fractions allowed.", within=(0, 1_000_000))
    weight_decay: float = option(1e-2, "For matrices and kernels only.", within=(0, math.inf))
    grad_clip: float = option(1.0, "Largest norm of the gradient; 0 for any.", within=(0, math.inf))
    ema: float = option(
        0.999, "Decay a step of the averaged weights, which are validated and kept; 0: none.", within=(0, 1)
    )
    patience: int = option(
        0, "Stop after so many epochs without progress; 0: never.", "--patience N", LEARNING, within=(0, 1_000_000)
    )
    seed: int = option(
        0, "Source of the initial weights, the order and the augmentation.", "--seed N", LEARNING, within=(0, 2**63 - 1)
    )
    loss: Literal["huber", "mse", "mae"] = option("huber", "Loss of an error.", "--loss", LEARNING)
    alpha: PerTarget = option(
        1.0,
        "Weight of the frame loss against the utterance loss.",
        "--alpha [TARGET=]NUMBER",
        LEARNING,
        within=(0, math.inf),
        parse=alpha_of,
        repeated=True,
    )
    delta: PerTarget = option(
        {"default": 1.0},
        "Error where the Huber loss turns from square to line, on a scale of 0 to 4.",
        "--delta [TARGET=]NUMBER",
        LEARNING,
        within=(1e-6, math.inf),
        parse=partial(_numbers, "--delta"),
        repeated=True,
        shown="1",
    )
    target_scale: Literal["span", "raw"] = option("span", "Scale of errors: of length 4 for every target, or its own.")
    task_weights: dict[str, float] = option(
        {}, "Weight of the loss by target name; 1 where absent.", within=(0, math.inf)
    )
    semi_weight: float = option(
        1.0, "Weight of PESQ, STOI and SDI against the supervised targets.", within=(0, math.inf)
    )
    monitor: tuple[str, ...] = option(
        ("s_mos", "n_mos", "g_mos"),
        "Targets that choose the best epoch: those of them that the network has, all of its own if it has none.",
    )
    monitor_metric: Literal["lcc", "srcc", "rmse", "loss"] = option("lcc", "What is averaged over them.")
    best_per_target: bool = option(False, "Also keep the best epoch of every target, as best_<target>.safetensors.")
    max_offset_samples: int = option(
        400, "Cut up to so many samples from the front, drawn anew each time.", within=(0, 160_000)
    )
    random_polarity: bool = option(True, "Turn the sign of half of the recordings.")
    silence_share: float = option(
        0.3, "Share of batches that get silence before, after or around their recordings.", within=(0, 1)
    )
    max_silence_s: float = option(3.0, "Longest such silence.", within=(0, 600))
    splice_share: float = option(
        0.5, "Share of the recordings that get a stretch of another one, with its label.", within=(0, 1)
    )
    recolour_db: float = option(
        4.0, "Largest gain of the random smooth equaliser; 0: none.", "--recolour-db DB", LEARNING, within=(0, 60)
    )
    max_clip_s: float = option(10.0, "Longer recordings are cut to a random stretch in training.", within=(0.1, 3600))
    precision: Literal["auto", "float32", "bfloat16", "float16"] = option(
        "auto", "Arithmetic; auto is bfloat16 where the device has it, float16 is for CUDA.", "--precision", MACHINE
    )
    bfloat16: bool | None = option(None, "Short for --precision.", "--bfloat16/--float32", MACHINE)
    device: str = option("auto", "auto takes CUDA where it works.", "--device auto|cpu|cuda[:N]", MACHINE)
    threads: int = option(0, "Processor threads; 0 for all.", "--threads N", MACHINE, within=(0, MAX_THREADS))
    memory_limit_gb: float = option(
        6.0, "Decode a split once when it needs no more than this, else at every use.", within=(0, math.inf)
    )
    checkpoint_minutes: float = option(10.0, "Also save within an epoch, so often; 0: never.", within=(0, math.inf))
    tensorboard: bool = option(False, "Also write the curves for TensorBoard.", "--tensorboard", MACHINE)
    recipe: Literal["mpl", "kt", "scratch"] = option(
        "mpl",
        "mpl learns pseudo-labels too, kt begins with a teacher's weights, scratch with none.",
        "--recipe",
        RECIPE,
    )
    teacher: str = option(
        "table",
        "For mpl: the values in the table, exact ones from clean references, or what a run folder, checkpoint "
        "or ONNX file estimates. For kt: the run folder or checkpoint.",
        "--teacher table|references|RUN|FILE",
        RECIPE,
        shown="table for mpl",
    )
    targets: tuple[str, ...] = option(
        tuple(target.name for target in TARGETS),
        "What the network estimates.",
        "--targets NAMES",
        RECIPE,
        parse=names_of,
        shown=",".join(target.name for target in TARGETS)
        + " for mpl, those of the teachers for distill, else the first three",
    )
    network: NetworkConfig = field(default_factory=CompactConfig)
    distillation: DistillConfig | None = None

    def __post_init__(self) -> None:
        check_limits(self)
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


def _of(values: PerTarget, target: str) -> float:
    return values.get(target, values.get("default", 1.0)) if isinstance(values, dict) else values
