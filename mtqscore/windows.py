"""Long audio as windows that a model can hear at once, and their scores as one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray


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


FULL_WEIGHT_DB, NO_WEIGHT_DB = 12.0, 24.0
"""Distances below the loudest window up to which a window counts fully, and from which on it does not."""


def level_weights(levels_db: Sequence[float]) -> NDArray[np.float64]:
    """Weigh windows by how loud they are beside the loudest one.

    A model hears every window at an even level, so that a pause with faint noise would be judged as nothing but
    noise. What is far quieter than the rest of a recording is left out.

    Args:
        levels_db: level of each window; minus infinity for silence.

    Returns:
        Weights from 0 to 1, float64 (windows,).

    Example:
        >>> level_weights([-20.0, -38.0, -60.0])
        array([1. , 0.5, 0. ])
    """
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
        samples: length of each window; all but the last are multiples of the hop.
        hop_samples: step between frames.
        targets: number of columns.

    Returns:
        float32 (frames, targets), NaN where a window was not scored.
    """
    joined = []
    for index, (values, length) in enumerate(zip(frames, samples, strict=True)):
        # The last frame of a window stands where the first of the next one does.
        count = valid_frames(length, hop_samples) - (index < len(samples) - 1)
        joined.append(np.full((count, targets), np.nan, np.float32) if values is None else values[:count])
    return np.concatenate(joined) if joined else np.empty((0, targets), np.float32)
