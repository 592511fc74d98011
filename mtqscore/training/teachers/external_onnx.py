"""External ONNX teachers: any ONNX file of a waveform, with a TOML file that describes its input and its outputs."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import soxr
from numpy.typing import NDArray

from mtqscore.base.machine import usable_cores
from mtqscore.base.schema import from_plain, read_settings
from mtqscore.errors import EnvironmentProblemError, InputError, UsageError
from mtqscore.scoring.session import open_any
from mtqscore.targets import SAMPLE_RATE_HZ, TARGETS
from mtqscore.training.teachers.teacher import Clip, ClipTeacher, TeacherEstimate, WindowScores, join_windows

LONGEST_S = 600.0
"""Longest window of a file that takes any length."""
BATCH_WINDOWS = 16
"""Windows of one recording that a file gets at once, where it takes several."""

_FLOAT = 1
_AXES = {"batch samples": 2, "batch 1 samples": 3, "samples": 1}


@dataclass(frozen=True)
class OutputConfig:
    """One target among the outputs of a file.

    Args:
        name: of the output.
        target: a name of ``TARGETS``.
        column: which number of the last axis, where there are several.
        map: polynomial from the output y of a window to the target: map[0] + map[1] y + map[2] y² …
        frame_hop_samples: step between frames, in samples of the file's rate; 0 for one number a window.
        frame_start_samples: middle of the first frame.
    """

    name: str
    target: str
    column: int = 0
    map: tuple[float, ...] = (0.0, 1.0)
    frame_hop_samples: int = 0
    frame_start_samples: int = 0


@dataclass(frozen=True)
class ExternalOnnxConfig:
    """Inputs and outputs of an ONNX file.

    Args:
        model: the file, relative to the description.
        outputs: one or more, for some or all targets; two for a target that is there both as one number and along time.
        input: name of the input of the waveform; None where it is the only one.
        layout: its axes.
        lengths: name of an input, int64 (batch,), that takes the samples of each recording; None without one.
        sample_rate_hz: of its input.
        normalise: applied to each window first: ``peak`` (largest sample 1), ``variance`` (mean 0, variance 1),
            ``level`` (root mean square at ``level_db``), ``none`` (recordings then have their largest sample at 1).
        level_db: in dB relative to full scale.
        window_samples: length that it takes, in samples of its rate; 0 for any.
        hop_samples: longest step between the windows of a longer recording; 0 for a whole window.
        padding: filling of a shorter recording at its end: ``zeros``, or ``repeat`` for the recording again.

    Raises:
        UsageError: a value is outside what is allowed, or a target is unknown.
    """

    model: str
    outputs: tuple[OutputConfig, ...]
    input: str | None = None
    layout: Literal["batch samples", "batch 1 samples", "samples"] = "batch samples"
    lengths: str | None = None
    sample_rate_hz: int = SAMPLE_RATE_HZ
    normalise: Literal["peak", "variance", "level", "none"] = "none"
    level_db: float = -26.0
    window_samples: int = 0
    hop_samples: int = 0
    padding: Literal["zeros", "repeat"] = "zeros"

    def __post_init__(self) -> None:
        known = [target.name for target in TARGETS]
        for output in self.outputs:
            if output.target not in known:
                raise UsageError(f"target {output.target}: choose one of {', '.join(known)}")
            if output.column < 0 or output.frame_hop_samples < 0 or not output.map:
                raise UsageError(f"output {output.name}: column and frame_hop_samples are 0 or more, map not empty")
        kinds = [(output.target, output.frame_hop_samples > 0) for output in self.outputs]
        if not kinds or len(set(kinds)) < len(kinds):
            raise UsageError("outputs: give one or more, and a target once as a number and once along time at most")
        if len({(one.frame_hop_samples, one.frame_start_samples) for one in self.outputs if one.frame_hop_samples}) > 1:
            raise UsageError("outputs along time need one frame_hop_samples and one frame_start_samples")
        if not 4_000 <= self.sample_rate_hz <= 192_000:
            raise UsageError(f"sample_rate_hz {self.sample_rate_hz} is outside 4000 to 192000")
        if min(self.window_samples, self.hop_samples) < 0 or self.hop_samples > self.window_samples:
            raise UsageError("window_samples and hop_samples are 0 or more, and the hop is no longer than the window")
        if not math.isfinite(self.level_db) or self.level_db > 0:
            raise UsageError(f"level_db {self.level_db:g} is above 0")


class ExternalOnnxTeacher(ClipTeacher):
    """Any ONNX file that takes a waveform; the mean of all windows counts, overlapping ones no rarer at the ends."""

    def __init__(self, path: Path) -> None:
        values = read_settings(path)
        try:
            self.config = config = from_plain(ExternalOnnxConfig, values, "description of a teacher")
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from error
        file = path.parent / config.model
        self.label = str(file)
        try:
            content = file.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: cannot read its model {file}: {error.strerror or error}") from error
        facts, self.session = open_any(content, self.label)
        self.input = config.input or (facts.inputs[0].name if facts.inputs else "")
        inputs = {value.name: value for value in facts.inputs}
        if inputs.keys() != {self.input, config.lengths or self.input}:
            raise UsageError(f"{path}: the inputs of {file} are {', '.join(inputs)}; name them as input and lengths")
        sizes = inputs[self.input].sizes or ()
        if inputs[self.input].element != _FLOAT or len(sizes) != _AXES[config.layout]:
            raise UsageError(f"{path}: the input {self.input} is not float32 with the axes {config.layout!r}")
        strangers = {output.name for output in config.outputs} - {value.name for value in facts.outputs}
        if strangers:
            has = ", ".join(value.name for value in facts.outputs)
            raise UsageError(f"{path}: {file} has no output {', '.join(sorted(strangers))}; it has {has}")
        self.at_once = 1 if config.layout == "samples" or sizes[0] is not None else BATCH_WINDOWS
        estimated = {output.target for output in config.outputs}
        targets = tuple(target.name for target in TARGETS if target.name in estimated)
        super().__init__(str(path), targets, hashlib.sha256(content + path.read_bytes()).hexdigest())

    def estimate_clips(self, clips: Sequence[Clip]) -> list[TeacherEstimate]:
        """Estimate all targets of some recordings, several at a time, each in windows of one length."""
        with ThreadPoolExecutor(usable_cores()) as pool:
            return list(pool.map(self._estimate, clips))

    def _estimate(self, clip: Clip) -> TeacherEstimate:
        starts, windows = self.windows(clip)
        batches = [slice(first, first + self.at_once) for first in range(0, len(starts), self.at_once)]
        scored = [scores for some in batches for scores in self._score(starts[some], windows[some])]
        return join_windows(scored, None, len(clip), self.targets)

    def windows(self, clip: Clip) -> tuple[NDArray[np.int64], Clip]:
        """Cut a recording into windows of the length that the file takes, equally spaced from its start to its end.

        Returns:
            First sample of each at the rate of the file, int64 (windows,), and the windows, float32 (windows, samples).
        """
        config = self.config
        if config.sample_rate_hz != SAMPLE_RATE_HZ:
            clip = np.asarray(soxr.resample(clip, SAMPLE_RATE_HZ, config.sample_rate_hz), dtype=np.float32)
        size = config.window_samples or min(len(clip), int(LONGEST_S * config.sample_rate_hz))
        if len(clip) < size:
            clip = np.resize(clip, size) if config.padding == "repeat" else np.pad(clip, (0, size - len(clip)))
        steps = -(-(len(clip) - size) // (config.hop_samples or size))
        starts = np.linspace(0, len(clip) - size, steps + 1).astype(np.int64)
        return starts, np.stack([self._normalised(clip[start : start + size]) for start in starts])

    def _normalised(self, window: Clip) -> Clip:
        if self.config.normalise == "variance":
            window = window - window.mean()
        gain = {
            "none": 1.0,
            "peak": 1.0 / (float(np.abs(window).max()) + 1e-8),
            "variance": 1.0 / (float(window.std()) + 1e-7),
            "level": 10 ** (self.config.level_db / 20) / (float(np.sqrt(np.mean(np.square(window)))) + 1e-8),
        }[self.config.normalise]
        return window * np.float32(gain)

    def _score(self, starts: NDArray[np.int64], windows: Clip) -> list[WindowScores]:
        """Score some windows of one recording at once."""
        config, count = self.config, len(windows)
        axes = {"batch samples": windows, "batch 1 samples": windows[:, None], "samples": windows[0]}
        feed: dict[str, Any] = {self.input: axes[config.layout]}
        if config.lengths:
            feed[config.lengths] = np.full(count, windows.shape[1])
        names = sorted({output.name for output in config.outputs})
        try:
            found = dict(zip(names, self.session.run(names, feed), strict=True))
        except Exception as error:  # onnxruntime's exceptions have no common base of their own
            reason = " ".join(str(error).split())[:300]
            raise EnvironmentProblemError(f"teacher {self.label} failed on {windows.shape}: {reason}") from error
        values = {output: self._values(output, np.asarray(found[output.name]), count) for output in config.outputs}
        along = {output: each for output, each in values.items() if output.frame_hop_samples}
        whole = {output.target: each.mean(axis=1) for output, each in along.items()}
        # A number takes the place of the mean of its frames; along time, a target without frames stays the same.
        whole |= {output.target: each for output, each in values.items() if not output.frame_hop_samples}
        scores = np.stack([whole[name] for name in self.targets], axis=1)
        frames = np.tile(scores[:, None], (1, min((each.shape[1] for each in along.values()), default=0), 1))
        positions = starts[:, None]
        for output, each in along.items():
            frames[:, :, self.targets.index(output.target)] = each[:, : frames.shape[1]]
            first, hop = output.frame_start_samples, output.frame_hop_samples
            positions = starts[:, None] + first + hop * np.arange(frames.shape[1])
        positions = np.rint(positions * (SAMPLE_RATE_HZ / config.sample_rate_hz)).astype(np.int64)
        return [
            WindowScores(scores[item], windows.shape[1], positions[item][: frames.shape[1]], frames[item])
            for item in range(count)
        ]

    def _values(self, output: OutputConfig, found: NDArray[Any], count: int) -> NDArray[np.float32]:
        """Target of an output: float32 (windows,), or (windows, frames) along time."""
        if self.config.layout == "samples" and not (found.ndim > 1 and len(found) == 1):
            found = found[None]
        axes = 3 if output.frame_hop_samples else 2
        if found.ndim == axes - 1:
            found = found[..., None]
        if found.ndim != axes or len(found) != count or output.column >= found.shape[-1] or not found.size:
            raise UsageError(f"{self.label}: output {output.name} of shape {found.shape} has no column {output.column}")
        values = np.polynomial.polynomial.polyval(found[..., output.column], output.map)
        return np.asarray(values, dtype=np.float32)
