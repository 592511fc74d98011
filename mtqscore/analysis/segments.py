"""Scores along time: every second of a recording scored on its own, in bounded memory.

The model's own frame scores come from the whole recording, and with models that were trained on whole recordings only
they barely move where one second is bad. A second that the model gets alone shows it with any model:
``benchmarks/studies/worst_second.py`` measures both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtqscore.audio.checks import sound_level_db
from mtqscore.audio.windows import level_weights
from mtqscore.scoring.session import Scorer
from mtqscore.targets import SAMPLE_RATE_HZ

SEGMENT_SAMPLES = SAMPLE_RATE_HZ
"""Longer pieces dilute what is wrong in them, shorter ones hold too little speech."""

STEP_SAMPLES = SAMPLE_RATE_HZ // 2

PIECES_AT_ONCE = 32
"""Pieces that the model gets in one batch: 2 MB."""

PAUSE_DB = 12.0
"""A second this far below the upper quartile of all is a pause; alone it would be scored as nothing but noise."""


@dataclass(frozen=True, eq=False)
class Segments:
    """Scores of overlapping pieces of about a second, each scored alone.

    Alone, a second gets a somewhat lower score than the recording that it belongs to: compare seconds with each other.

    Args:
        starts_s: where each piece begins, float64 (pieces,).
        length_s: length of a piece; shorter only if the recording is.
        targets: names of the columns.
        scores: float32 (pieces, targets); NaN for pauses, silence and what is far quieter than the rest.
    """

    starts_s: NDArray[np.float64]
    length_s: float
    targets: tuple[str, ...]
    scores: NDArray[np.float32]

    def of(self, target: str) -> NDArray[np.float32]:
        """Scores of one target, (pieces,)."""
        return self.scores[:, self.targets.index(target)]


class SegmentScorer:
    """Cuts a stream into overlapping pieces and scores them as they come.

    Args:
        scorer: the loaded model.
        piece_samples: length of a piece; a model that needs more gets what it needs.
    """

    def __init__(self, scorer: Scorer, piece_samples: int = SEGMENT_SAMPLES) -> None:
        self._scorer = scorer
        self._piece_samples = max(piece_samples, scorer.info.min_samples)
        self._held: NDArray[np.float32] = np.empty(0, np.float32)
        self._held_from = 0
        self._next = 0
        self._waiting: list[NDArray[np.float32]] = []
        self._starts: list[int] = []
        self._levels_db: list[float] = []
        self._scores: list[NDArray[np.float32]] = []

    def push(self, samples: NDArray[np.float32]) -> None:
        """Take more samples (samples,) at the model's rate."""
        self._held = np.concatenate([self._held, samples])
        while self._next + self._piece_samples <= self._held_from + len(self._held):
            self._take(self._next, self._piece_samples)
            self._next += STEP_SAMPLES
        # What the last piece began with may be wanted once more, when the recording ends between two steps.
        keep_from = max(self._held_from, self._next - STEP_SAMPLES)
        self._held = self._held[keep_from - self._held_from :].copy()
        self._held_from = keep_from

    def finish(self) -> Segments:
        """Score what is left and return all."""
        total = self._held_from + len(self._held)
        if not self._starts:
            self._take(0, total)
        elif self._starts[-1] + self._piece_samples < total:
            self._take(total - self._piece_samples, self._piece_samples)
        self._score()
        scores = np.concatenate(self._scores) if self._scores else np.empty((0, len(self._scorer.info.targets)))
        scores[_pauses(np.asarray(self._levels_db))] = np.nan
        return Segments(
            starts_s=np.asarray(self._starts) / SAMPLE_RATE_HZ,
            length_s=min(self._piece_samples, total) / SAMPLE_RATE_HZ,
            targets=self._scorer.info.targets,
            scores=scores.astype(np.float32),
        )

    def _take(self, start: int, length: int) -> None:
        piece = self._held[start - self._held_from :][:length]
        self._starts.append(start)
        self._levels_db.append(sound_level_db(piece))
        self._waiting.append(piece)
        if len(self._waiting) == PIECES_AT_ONCE:
            self._score()

    def _score(self) -> None:
        if self._waiting:
            lengths = np.array([len(piece) for piece in self._waiting], np.int64)
            self._scores.append(self._scorer.score(np.stack(self._waiting), lengths)[0])
            self._waiting = []


def _pauses(levels_db: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Pieces that are too quiet beside the others to be scored alone."""
    near = level_weights(list(levels_db)) > 0
    if not near.any():
        return ~near
    # The quartile, not the loudest: one bang must not make a pause of all the rest.
    usual_db = float(np.quantile(levels_db[near], 0.75))
    return np.asarray(levels_db < usual_db - PAUSE_DB)
