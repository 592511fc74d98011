"""The interface of teachers: estimates of targets that a network can learn from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mtqscore.labels.table import LabelledRecording
from mtqscore.scores import FrameScores
from mtqscore.targets import SAMPLE_RATE_HZ, TARGETS
from mtqscore.training.data.augmentation import Samples
from mtqscore.training.data.dataset import FULL_SCALE, decode
from mtqscore.training.data.frame_labels import Curve, on_grid

Clip = NDArray[np.float32]
"""A recording at 16 kHz, float32 (samples,), full scale ±1."""


class Teacher(Protocol):
    """A source of pseudo-labels, by its name in messages and files, and its targets in the order of its columns.

    The fingerprint is a hexadecimal digest of everything that decides its estimates besides the recordings.
    """

    name: str
    targets: tuple[str, ...]
    fingerprint: str

    def estimate(self, rows: Sequence[LabelledRecording]) -> NDArray[np.float32]:
        """Estimate all its targets: float32 (recordings, targets), each in its own unit; NaN where it has none."""
        ...


@dataclass(frozen=True)
class TeacherEstimate:
    """A teacher's estimate of one recording.

    Args:
        scores: float32 (targets,), each in its target's own unit; NaN where there is none.
        curve: the same along time, see `Curve`; None where a teacher scores whole recordings only.
    """

    scores: NDArray[np.float32]
    curve: Curve | None

    @classmethod
    def from_scores(
        cls, scores: Mapping[str, float], frames: FrameScores | None, targets: Sequence[str], samples: int
    ) -> TeacherEstimate:
        """Make an estimate of the scores of an assessment, by target name, and of those along time.

        A target without frame scores stays the same along time; ``samples`` are those of the recording at 16 kHz.
        """
        values = np.array([scores.get(name, np.nan) for name in targets], dtype=np.float32)
        if frames is None or not len(frames.values):
            return cls(values, None)
        along = np.tile(values, (len(frames.values), 1))
        for column, name in enumerate(targets):
            if name in frames.targets:
                along[:, column] = frames.values[:, frames.targets.index(name)]
        positions = np.rint(np.arange(len(along)) * frames.hop_s * SAMPLE_RATE_HZ).astype(np.int64)
        return cls(values, on_grid(positions, along, samples))


@dataclass(frozen=True)
class WindowScores:
    """Scores of one window of a recording, float32 (targets,), its length, and perhaps frame scores.

    ``positions`` holds of each frame the sample at its middle, from the start of the recording at 16 kHz, int64
    (frames,), and ``frames`` its scores, float32 (frames, targets).
    """

    scores: NDArray[np.float32]
    samples: int
    positions: NDArray[np.int64]
    frames: NDArray[np.float32]


def join_windows(
    windows: Sequence[WindowScores], weights: NDArray[np.float64] | None, samples: int, targets: Sequence[str]
) -> TeacherEstimate:
    """Join the windows of a recording; estimates beyond the scale of a target are set to its end.

    Args:
        windows: one or more, in any order; they may overlap.
        weights: of the windows in the mean, float64 (windows,); None for equal ones.
        samples: length of the recording at 16 kHz.
        targets: of the scores.
    """
    scores = np.average([window.scores for window in windows], axis=0, weights=weights)
    positions = np.concatenate([window.positions for window in windows])
    curve = None
    if len(positions):
        frames = np.concatenate([window.frames for window in windows])
        curve = _within_scales(on_grid(positions, frames, samples), targets)
    return TeacherEstimate(_within_scales(scores, targets), curve)


def _within_scales(values: NDArray[np.floating], targets: Sequence[str]) -> NDArray[np.float32]:
    """Clip the last axis to the scales of its targets; infinity becomes NaN."""
    scales = {target.name: (target.low, target.high) for target in TARGETS}
    low, high = np.array([scales.get(name, (-np.inf, np.inf)) for name in targets], dtype=np.float32).T
    return np.where(np.isfinite(values), np.clip(values, low, high), np.nan).astype(np.float32)


class ClipTeacher(ABC):
    """A teacher that needs the recording alone: no reference, no table."""

    def __init__(self, name: str, targets: tuple[str, ...], fingerprint: str) -> None:
        self.name, self.targets, self.fingerprint = name, targets, fingerprint

    @abstractmethod
    def estimate_clips(self, clips: Sequence[Clip]) -> list[TeacherEstimate]:
        """Estimate all targets of some recordings, of the whole and along time."""

    def estimate(self, rows: Sequence[LabelledRecording]) -> NDArray[np.float32]:
        """Estimate all targets of some recordings; see `Teacher`."""
        found = self.estimate_clips([full_scale(decode(row.path)) for row in rows])
        return np.array([one.scores for one in found], dtype=np.float32).reshape(-1, len(self.targets))


def full_scale(samples: Samples) -> Clip:
    """Scale 16-bit samples to ±1."""
    return samples.astype(np.float32) / np.float32(FULL_SCALE + 1)
