"""Long audio as windows that a model can get at once, and their scores as one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Window:
    """A stretch of one channel that a model gets at once.

    Args:
        stream: index of its channel stream, in the order of the result.
        samples: float32 (samples,) at the model's rate.
        level_db: level of what sounds in it, in dBFS; minus infinity when nothing does.
    """

    stream: int
    samples: NDArray[np.float32]
    level_db: float

    @property
    def has_sound(self) -> bool:
        """True where there is anything to score."""
        return math.isfinite(self.level_db)


class Windower:
    """Cuts a stream of samples into windows: all of full length, but the last two share what is left equally.

    A recording of up to one window stays whole. No window is much shorter than half a full one, unless the
    recording is. Two windows are held at most. Where the cuts fall depends on the number of samples alone.

    Args:
        window_samples: longest window.
        hop_samples: step between the model's frames; cuts fall on multiples of it, so that frames line up.

    Example:
        >>> windower = Windower(window_samples=8, hop_samples=2)
        >>> [len(w) for w in windower.push(np.zeros(21, np.float32))]
        [8]
        >>> [len(w) for w in windower.finish()]
        [8, 5]
    """

    def __init__(self, window_samples: int, hop_samples: int) -> None:
        self._longest_samples = window_samples
        self._window_samples = max(1, window_samples // hop_samples) * hop_samples
        self._hop_samples = hop_samples
        self._parts: list[NDArray[np.float32]] = []
        self._held = 0
        self.total_samples = 0

    def push(self, samples: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        """Take more samples (samples,) and yield the windows that are then certain."""
        if not len(samples):
            return
        self._parts.append(samples)
        self._held += len(samples)
        self.total_samples += len(samples)
        if self._held < 2 * self._window_samples:
            return
        held = self._take()
        start = 0
        while len(held) - start >= 2 * self._window_samples:
            yield held[start : start + self._window_samples]
            start += self._window_samples
        rest = held[start:].copy()  # a view would keep all that was held in memory
        self._parts, self._held = [rest], len(rest)

    def finish(self) -> Iterator[NDArray[np.float32]]:
        """Yield the one or two windows that are left."""
        held = self._take()
        if len(held) <= self._longest_samples:
            if len(held):
                yield held
            return
        cut = -(-len(held) // (2 * self._hop_samples)) * self._hop_samples
        yield held[:cut]
        yield held[cut:]

    def _take(self) -> NDArray[np.float32]:
        held = self._parts[0] if len(self._parts) == 1 else np.concatenate(self._parts or [np.empty(0, np.float32)])
        self._parts, self._held = [], 0
        return held


DIGITAL_SILENCE = 1e-5
"""-100 dBFS, a third of the smallest step of 16 bit: no microphone is this quiet."""


class SoundWindower:
    """A `Windower` for recordings that begin or end in digital silence: that silence becomes windows of its own.

    Silence that was put around a recording is no part of its speech and noise, yet a model that gets it takes the
    background for a quieter one. Silence between sounds stays where it is.

    Args:
        window_samples: longest window.
        hop_samples: step between the model's frames; cuts fall on multiples of it from the first sound on, so that a
            model gets the same frames whatever silence there is ahead.
        min_samples: shortest window that the model scores; shorter sound keeps some of the silence beside it.

    Example:
        >>> windower = SoundWindower(window_samples=8, hop_samples=2, min_samples=4)
        >>> [len(w) for w in windower.push(np.array([0, 0, 0, 1, 1, 1, 0, 0, 0], np.float32))]
        []
        >>> [w.tolist() for w in windower.finish()]
        [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0], [0.0, 0.0]]
    """

    def __init__(self, window_samples: int, hop_samples: int, min_samples: int) -> None:
        self._windower = Windower(window_samples, hop_samples)
        self._window_samples = window_samples
        self._min_samples = min(min_samples, window_samples - hop_samples)
        self._before = 0  # silence ahead of the first window
        self._silence = 0  # silence since the last sound
        self.total_samples = 0

    def push(self, samples: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        """Take more samples (samples,) and yield the windows that are then certain."""
        self.total_samples += len(samples)
        begin, end = _sound(samples)
        if begin == end:
            self._silence += len(samples)
            return
        if self._windower.total_samples:
            begin = 0
        else:
            self._before, self._silence = self._silence + begin, 0
        for piece in (*self._silent(self._silence), samples[begin:end]):
            for window in self._windower.push(piece):
                yield from self._silent(self._before)
                self._before = 0
                yield window
        self._silence = len(samples) - end

    def finish(self) -> Iterator[NDArray[np.float32]]:
        """Yield the windows that are left."""
        missing = self._min_samples - self._windower.total_samples if self._windower.total_samples else 0
        after = min(max(missing, 0), self._silence)
        before = min(max(missing - after, 0), self._before)
        yield from self._silent(self._before - before)
        for window in self._windower.finish():
            # Where something is missing there is a single window.
            yield np.pad(window, (before, after)) if before + after else window
        yield from self._silent(self._silence - after)

    def _silent(self, samples: int) -> Iterator[NDArray[np.float32]]:
        """Silence of any length, in windows that share their memory."""
        if not samples:
            return
        nothing = np.zeros(min(samples, self._window_samples), np.float32)
        for start in range(0, samples, len(nothing)):
            yield nothing[: samples - start]


def _sound(samples: NDArray[np.float32]) -> tuple[int, int]:
    """Begin of the first sound and end of the last one; without any twice 0."""
    if len(samples) and min(abs(samples[0]), abs(samples[-1])) > DIGITAL_SILENCE:  # nearly always, and much cheaper
        return 0, len(samples)
    sounding = np.flatnonzero(np.abs(samples) > DIGITAL_SILENCE)
    return (int(sounding[0]), int(sounding[-1]) + 1) if len(sounding) else (0, 0)


FULL_WEIGHT_DB, NO_WEIGHT_DB = 12.0, 24.0
"""Distances below the loudest window up to which a window counts fully, and from which on it does not."""


def level_weights(levels_db: Sequence[float]) -> NDArray[np.float64]:
    """Weigh windows by how loud they are beside the loudest one.

    A model gets every window at an even level, so that a pause with faint noise would be scored as nothing but
    noise. What is far quieter than the rest of a recording is left out.

    Args:
        levels_db: level of each window; minus infinity for silence.

    Returns:
        Weights from 0 to 1, float64 (windows,).

    Example:
        >>> level_weights([-20.0, -38.0, -60.0])
        array([1. , 0.5, 0. ])
    """
    if len(levels_db) == 1:
        return np.ones(1)
    levels = np.asarray(levels_db, dtype=np.float64)
    below_db = levels.max(initial=-np.inf) - np.where(np.isfinite(levels), levels, -1e3)
    return np.asarray(np.clip((NO_WEIGHT_DB - below_db) / (NO_WEIGHT_DB - FULL_WEIGHT_DB), 0.0, 1.0))


def pool_scores(scores: Sequence[NDArray[np.float32]], weights: Sequence[float]) -> NDArray[np.float64]:
    """Weighted mean of window scores.

    Args:
        scores: one (targets,) a window.
        weights: of each window; not all zero.

    Returns:
        float64 (targets,).
    """
    if len(scores) == 1:
        return scores[0].astype(np.float64)
    return np.average(np.asarray(scores, dtype=np.float64), axis=0, weights=np.asarray(weights, dtype=np.float64))


def valid_frames(samples: int, hop_samples: int) -> int:
    """Count the frames of a window of this many samples; a model's further frames are padding."""
    return samples // hop_samples + 1


def join_frames(
    frames: Sequence[NDArray[np.float32] | None], samples: Sequence[int], hop_samples: int, targets: int
) -> NDArray[np.float32]:
    """Frame scores of windows as those of the recording.

    Args:
        frames: one (frames, targets) a window, None for a window that was not scored.
        samples: length of each window.
        hop_samples: step between frames.
        targets: number of columns.

    Returns:
        float32 (frames, targets), NaN where a window was not scored. Frames stand at multiples of the hop, those of a
        window that begins between two at the nearest.
    """
    joined = np.full((valid_frames(sum(samples), hop_samples) if samples else 0, targets), np.nan, np.float32)
    start = 0
    for values, length in zip(frames, samples, strict=True):
        if values is not None:
            # The last frame of a window stands where the first of the next one does, which goes before.
            place = joined[(start + hop_samples // 2) // hop_samples :][: valid_frames(length, hop_samples)]
            place[:] = values[: len(place)]
        start += length
    return joined
