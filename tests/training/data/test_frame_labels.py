"""Labels along time."""

from __future__ import annotations

import numpy as np

from mtqscore.training.data.augmentation import BatchDraft, Cut, Silence, Splice
from mtqscore.training.data.frame_labels import CURVE_HOP_SAMPLES as HOP
from mtqscore.training.data.frame_labels import labels_along, on_grid

RAMPS = [np.arange(100, dtype=np.float32)[:, None] * step for step in (1, -1)]
"""Curves whose value is the number of the step, and its negative."""
LABELS = np.float32([[500], [-500]])


def along(draft: BatchDraft, positions: list[int], curves: object = RAMPS) -> list[list[float]]:
    found = labels_along(draft, range(2), LABELS, curves, np.array(positions))  # type: ignore[arg-type]
    return found[:, :, 0].tolist()


def test_frames_learn_what_is_said_at_their_place_in_the_recording():
    """A cut moves places, silence around has the label of the recording, a stretch of another one has its curve."""
    rows = np.array([0, 1])
    cuts = [Cut(0, 50 * HOP), Cut(10 * HOP, 60 * HOP, turned=True)]
    assert along(BatchDraft(rows, cuts), [0, HOP, HOP * 3 // 2]) == [[0, 1, 1.5], [-10, -11, -11.5]]
    noise = np.zeros(60 * HOP, dtype=np.int16)
    silences = [Silence(2 * HOP, noise), Silence(0, noise)]
    assert along(BatchDraft(rows, cuts, silences), [HOP, 3 * HOP, 55 * HOP]) == [[500, 1, 500], [-11, -13, -500]]
    splices = [Splice(0, 1, 5 * HOP, 7 * HOP)]
    assert along(BatchDraft(rows, cuts, splices=splices), [4 * HOP, 5 * HOP, 7 * HOP]) == [[4, -15, 7], [-14, -15, -17]]
    assert along(BatchDraft(rows, cuts), [HOP], [RAMPS[0], None]) == [[1], [-500]], "without a curve the label counts"


def test_curve_is_the_mean_of_frames_at_a_place_and_bridges_gaps():
    positions = np.array([0, HOP, HOP + 10, 4 * HOP, 9 * HOP])
    values = np.float32([[1, 10], [2, 20], [4, 40], [5, 50], [99, 99]])
    curve = on_grid(positions, values, 4 * HOP + 100)
    np.testing.assert_allclose(curve, [[1, 10], [3, 30], [11 / 3, 110 / 3], [13 / 3, 130 / 3], [5, 50]], rtol=1e-6)
