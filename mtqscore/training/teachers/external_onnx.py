"""Teachers that come as any ONNX file: a few lines of TOML say what goes in and what comes out."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
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
from mtqscore.training.teachers.teacher import Along, Clip, ListeningTeacher, Window

LONGEST_S = 600.0
_FLOAT = 1
_AXES = {"batch samples": 2, "batch 1 samples": 3, "samples": 1}


@dataclass(frozen=True)
class OutputDescription:
    """One target among the outputs of a file.

    Args:
        name: of the output.
        target: what it estimates: a name of ``spec.TARGETS``.
        column: which number of the last axis, where there are several.
        map: what makes the target of the output y: offset, factor, and so on: map[0] + map[1] y + map[2] y² …
        frame_hop_samples: step between frames, in samples of the file's rate; 0 for one number a recording.
        frame_start_samples: middle of the first frame.
    """

    name: str
    target: str
    column: int = 0
    map: tuple[float, ...] = (0.0, 1.0)
    frame_hop_samples: int = 0
    frame_start_samples: int = 0


@dataclass(frozen=True)
class OnnxDescription:
    """What goes into an ONNX file and what comes out.

    Args:
        model: the file, relative to the description.
        outputs: one or more; two for a target that is there both as one number and along time.
        input: name of the input of the waveform; None where it is the only one.
        layout: its axes.
        lengths: name of an input, int64 (batch,), that takes the samples of each recording; None without one.
        sample_rate_hz: at which it listens.
        normalise: what happens to each window first: ``peak`` (largest sample 1), ``variance`` (mean 0, variance 1),
            ``level`` (root mean square at ``level_db``), ``none`` (recordings then have their largest sample at 1).
        level_db: in dB relative to full scale.
        window_samples: length that it takes, in samples of its rate; 0 for any.
        hop_samples: longest step between the windows of a longer recording; 0 for a whole window.
        padding: what fills up a shorter recording at its end: ``zeros``, or ``repeat`` for the recording again.

    Raises:
        UsageError: a value is outside what is allowed, or a target is unknown.
    """

    model: str
    outputs: tuple[OutputDescription, ...]
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
        places = [(output.target, output.frame_hop_samples > 0) for output in self.outputs]
        if not places or len(set(places)) < len(places):
            raise UsageError("outputs: give one or more, and a target once as a number and once along time at most")
        if len({(one.frame_hop_samples, one.frame_start_samples) for one in self.outputs if one.frame_hop_samples}) > 1:
            raise UsageError("outputs along time need one frame_hop_samples and one frame_start_samples")
        if not 4_000 <= self.sample_rate_hz <= 192_000:
            raise UsageError(f"sample_rate_hz {self.sample_rate_hz} is outside 4000 to 192000")
        if min(self.window_samples, self.hop_samples) < 0 or self.hop_samples > self.window_samples:
            raise UsageError("window_samples and hop_samples are 0 or more, and the hop is no longer than the window")
        if not math.isfinite(self.level_db) or self.level_db > 0:
            raise UsageError(f"level_db {self.level_db:g} is above 0")


def read_description(path: Path) -> OnnxDescription:
    """Read the TOML file.

    Raises:
        UsageError: it cannot be read, or describes nothing that can be used.
    """
    values = read_settings(path)
    missing = [name for name in ("model", "outputs") if name not in values]
    if missing:
        raise UsageError(f"{path}: describes no teacher; it lacks {' and '.join(missing)}")
    try:
        return from_plain(OnnxDescription, values, str(path))
    except TypeError as error:  # an output without a name or a target
        raise UsageError(f"{path}: every one of outputs needs name and target") from error
    except UsageError as error:
        raise error if str(error).startswith(str(path)) else UsageError(f"{path}: {error}") from error


class DescribedTeacher(ListeningTeacher):
    """Any ONNX file that takes a waveform. The mean of all windows counts; overlapping ones are no rarer at the ends.

    Args:
        path: the description.

    Raises:
        UsageError: the description is faulty, or does not fit the file.
        InputError: there is no such ONNX file.
    """

    def __init__(self, path: Path) -> None:
        self.description = described = read_description(path)
        file = path.parent / described.model
        try:
            content = file.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: cannot read its model {file}: {error.strerror or error}") from error
        self.label = str(file)
        facts, self.session = open_any(content, self.label)
        inputs = {value.name: value for value in facts.inputs}
        wanted = {described.input or (facts.inputs[0].name if facts.inputs else ""), *filter(None, [described.lengths])}
        if inputs.keys() != wanted:
            raise UsageError(f"{path}: the inputs of {file} are {', '.join(inputs)}; name them as input and lengths")
        self.input = described.input or facts.inputs[0].name
        sizes = inputs[self.input].sizes
        if inputs[self.input].element != _FLOAT or len(sizes or ()) != _AXES[described.layout]:
            raise UsageError(f"{path}: the input {self.input} is not float32 with the axes {described.layout!r}")
        strangers = {output.name for output in described.outputs} - {value.name for value in facts.outputs}
        if strangers:
            has = ", ".join(value.name for value in facts.outputs)
            raise UsageError(f"{path}: {file} has no output {', '.join(sorted(strangers))}; it has {has}")
        # Without a fixed length, and without being told the lengths, it hears one recording at a time.
        fixed_batch = described.layout == "samples" or (sizes is not None and sizes[0] is not None)
        self.one_by_one = fixed_batch or not (described.window_samples or described.lengths)
        self.ratio = described.sample_rate_hz / SAMPLE_RATE_HZ
        targets = tuple(target.name for target in TARGETS if target.name in {one.target for one in described.outputs})
        digest = hashlib.sha256(content + path.read_bytes()).hexdigest()
        longest = described.window_samples or int(LONGEST_S * described.sample_rate_hz)
        super().__init__(str(path), targets, digest, longest, threads=usable_cores())

    def windows(self, clip: Clip) -> list[Window]:
        """Cut a recording into windows of the length that the file takes, equally spaced from its start to its end."""
        described = self.description
        if self.ratio != 1:
            clip = np.asarray(soxr.resample(clip, SAMPLE_RATE_HZ, described.sample_rate_hz), dtype=np.float32)
        size = described.window_samples or min(len(clip), self.window_samples)
        if len(clip) < size:
            clip = np.resize(clip, size) if described.padding == "repeat" else np.pad(clip, (0, size - len(clip)))
        steps = -(-(len(clip) - size) // (described.hop_samples or size))
        starts = np.linspace(0, len(clip) - size, steps + 1).astype(int)
        return [Window(round(start / self.ratio), self._normalised(clip[start : start + size])) for start in starts]

    def weights(self, windows: Sequence[Window]) -> NDArray[np.float64]:
        """Let all windows count alike."""
        return np.ones(len(windows))

    def score(self, waveform: Clip, lengths: NDArray[np.int64]) -> tuple[NDArray[np.float32], list[Along | None]]:
        """Score a batch of windows."""
        if not self.one_by_one:
            return self._scored_at_once(waveform, lengths)
        singles = [
            self._scored_at_once(waveform[[item], :length], lengths[[item]]) for item, length in enumerate(lengths)
        ]
        return np.concatenate([scores for scores, _ in singles]), [along[0] for _, along in singles]

    def _normalised(self, window: Clip) -> Clip:
        described = self.description
        if described.normalise == "variance":
            window = window - window.mean()
        gain = {
            "none": 1.0,
            "peak": 1.0 / (float(np.abs(window).max()) + 1e-8),
            "variance": 1.0 / (float(window.std()) + 1e-7),
            "level": 10 ** (described.level_db / 20) / (float(np.sqrt(np.mean(np.square(window)))) + 1e-8),
        }[described.normalise]
        return window * np.float32(gain)

    def _scored_at_once(
        self, waveform: Clip, lengths: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], list[Along | None]]:
        described, count = self.description, len(lengths)
        axes = {"batch samples": waveform, "batch 1 samples": waveform[:, None], "samples": waveform[0]}
        feed: dict[str, Any] = {self.input: axes[described.layout]}
        if described.lengths:
            feed[described.lengths] = lengths
        names = sorted({output.name for output in described.outputs})
        try:
            found = dict(zip(names, self.session.run(names, feed), strict=True))
        except Exception as error:  # onnxruntime's exceptions have no common base of their own
            reason = " ".join(str(error).split())[:300]
            raise EnvironmentProblemError(f"teacher {self.label} failed on {waveform.shape}: {reason}") from error
        scores = np.full((count, len(self.targets)), np.nan, dtype=np.float32)
        frames: dict[int, NDArray[np.float32]] = {}
        for output in sorted(described.outputs, key=lambda output: -output.frame_hop_samples):
            values, target = (
                self._values(output, np.asarray(found[output.name]), count),
                self.targets.index(output.target),
            )
            if output.frame_hop_samples:
                frames[target] = values
                values = values.mean(axis=1)  # unless the file also gives a number, which then takes its place
            scores[:, target] = values
        return scores, [self._along(item, scores[item], frames) if frames else None for item in range(count)]

    def _values(self, output: OutputDescription, found: NDArray[Any], count: int) -> NDArray[np.float32]:
        """The target that an output holds: float32 (batch,), or (batch, frames) along time."""
        if self.description.layout == "samples" and not (found.ndim > 1 and len(found) == 1):
            found = found[None]
        axes = (2, 3) if output.frame_hop_samples else (1, 2)
        columns = found.shape[-1] if found.ndim == axes[1] else 1
        if found.ndim not in axes or len(found) != count or output.column >= columns or not found.size:
            raise UsageError(f"{self.label}: output {output.name} of shape {found.shape} has no column {output.column}")
        column = found[..., output.column] if found.ndim == axes[1] else found
        values: NDArray[np.float32] = np.polynomial.polynomial.polyval(column, output.map).astype(np.float32)
        return values

    def _along(self, item: int, scores: NDArray[np.float32], frames: Mapping[int, NDArray[np.float32]]) -> Along:
        """Scores along one window; those of targets without frames stay the same."""
        (output, *_) = (one for one in self.description.outputs if one.frame_hop_samples)
        count = min(values.shape[1] for values in frames.values())
        values = np.tile(scores, (count, 1))
        for target, found in frames.items():
            values[:, target] = found[item, :count]
        places = (output.frame_start_samples + output.frame_hop_samples * np.arange(count)) / self.ratio
        return Along(np.rint(places).astype(np.int64), values)
