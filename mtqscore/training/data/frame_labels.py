"""Labels along time: curves on one grid of steps, and what of them every frame of a batch learns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from mtqscore.targets import HOP_SAMPLES
from mtqscore.training.data.augmentation import BatchDraft

CURVE_HOP_SAMPLES = 2 * HOP_SAMPLES
"""Step of a curve: 32 ms at 16 kHz. Networks take in tens of times as much around each frame."""

Curve = NDArray[np.float32]
"""Labels of a recording along time, float32 (frames, targets); frame k stands at sample k × CURVE_HOP_SAMPLES."""


def on_grid(positions: NDArray[np.int64], values: NDArray[np.float32], samples: int) -> Curve:
    """Bring frame scores to the steps of a curve.

    Where several frames are nearest to a step (of joined streams, of windows that overlap, of a finer step) their mean
    counts; where none is, the steps beside it.

    Args:
        positions: the sample at the middle of each frame, int64 (frames,), in any order, one or more.
        values: float32 (frames, targets).
        samples: length of the recording.
    """
    steps = samples // CURVE_HOP_SAMPLES + 1
    own = positions <= max(samples, int(positions.min()))  # what lies beyond is of padding
    positions, values = positions[own], values[own]
    nearest = np.clip(np.rint(positions / CURVE_HOP_SAMPLES).astype(np.int64), 0, steps - 1)
    counts = np.bincount(nearest, minlength=steps)
    filled = np.flatnonzero(counts)
    curve = np.empty((steps, values.shape[1]), dtype=np.float32)
    for target, column in enumerate(values.T):
        means = np.bincount(nearest, column, steps)[filled] / counts[filled]
        curve[:, target] = np.interp(np.arange(steps), filled, means)
    return curve


def labels_along(
    draft: BatchDraft,
    items: Iterable[int],
    labels: NDArray[np.float32],
    curves: Sequence[Curve | None],
    positions: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Label every frame of some items of a batch by the curve of the recording there.

    In silence around a recording, and along a recording without a curve, frames have the label of the recording.

    Args:
        draft: how the batch was made: what was cut, put around it and spliced in.
        items: positions in the batch.
        labels: of the recordings of the whole batch, float32 (whole, targets), as their curves.
        positions: the sample at the middle of each frame, int64 (frames,).

    Returns:
        float32 (items, frames, targets); NaN where a label is missing.
    """
    made = []
    for item in items:
        before = draft.silences[item].before if draft.silences else 0
        made.append(_labels_at(draft, item, labels, curves, positions - before))
        for splice in draft.splices:
            if splice.item == item:
                inside = (positions >= splice.start) & (positions < splice.stop)
                made[-1][inside] = _labels_at(draft, splice.other, labels, curves, positions[inside])
    return np.stack(made)


def _labels_at(
    draft: BatchDraft,
    item: int,
    labels: NDArray[np.float32],
    curves: Sequence[Curve | None],
    places: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Labels at some places of one item, counted from the start of its cut."""
    found = np.tile(labels[item], (len(places), 1))
    curve, cut = curves[item], draft.cuts[item]
    if curve is not None:
        inside = (places >= 0) & (places < len(cut))
        step = np.clip((places[inside] + cut.start) / CURVE_HOP_SAMPLES, 0, len(curve) - 1)
        low = step.astype(np.int64)
        share = (step - low).astype(np.float32)[:, None]
        found[inside] = curve[low] + share * (curve[np.minimum(low + 1, len(curve) - 1)] - curve[low])
    return found
