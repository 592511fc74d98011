"""Batches: all windows come back, like lengths together, memory bounded."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mtqscore.errors import EnvironmentProblemError
from mtqscore.scoring.batching import BATCHES_POOLED, Batches

HOP = 500


class FakeScorer:
    """A model that sums the samples, and remembers the shapes of its batches."""

    info = SimpleNamespace(frame_hop_samples=HOP)
    padded_samples: tuple[int, ...] = ()

    def __init__(self) -> None:
        self.shapes: list[tuple[int, int]] = []
        self.padding = 0

    def score(self, waveform: Any, lengths: Any) -> tuple[Any, Any]:
        self.shapes.append(waveform.shape)
        self.padding += waveform.size - int(lengths.sum())
        frames = np.zeros((len(lengths), waveform.shape[1] // HOP + 1, 1), np.float32)
        return waveform.sum(axis=1, keepdims=True), frames


def score(scorer: FakeScorer, lengths: Any, batch_s: float, workers: int) -> Iterator[tuple[int, float, int]]:
    """Yield number, score and frame count of windows of ones, as they are ready; three windows a step."""
    windows = [(number, np.full(length, 1.0, np.float32)) for number, length in enumerate(lengths)]
    with ThreadPoolExecutor(workers) as pool:
        batches: Batches[int] = Batches(scorer, batch_s, workers, pool)  # type: ignore[arg-type]
        for scored in batches.score(windows[start : start + 3] for start in range(0, len(windows), 3)):
            yield from ((ticket, float(scores[0]), len(frames)) for ticket, scores, frames in scored)


def expected(lengths: Any) -> list[tuple[int, float, int]]:
    return [(number, float(length), length // HOP + 1) for number, length in enumerate(lengths)]


def test_every_window_comes_back_with_its_own_scores() -> None:
    lengths = np.random.default_rng(0).integers(1_000, 16_000, 300)
    scorer = FakeScorer()
    assert sorted(score(scorer, lengths, 2.0, 3)) == expected(lengths)
    assert max(rows * samples for rows, samples in scorer.shapes) <= 2.0 * 16_000
    assert scorer.padding < 0.15 * lengths.sum(), "like lengths belong together"


def test_no_more_windows_wait_than_batches_are_under_way() -> None:
    taken = 0

    def windows() -> Iterator[list[tuple[int, Any]]]:
        nonlocal taken
        for taken in range(1_000):
            yield [(taken, np.ones(16_000, np.float32))]

    with ThreadPoolExecutor(1) as pool:
        batches: Batches[int] = Batches(FakeScorer(), 1.0, 1, pool)  # type: ignore[arg-type]
        for done, _ in enumerate(item for scored in batches.score(windows()) for item in scored):
            assert taken - done <= 2 * BATCHES_POOLED


def test_a_window_longer_than_a_batch_is_a_batch() -> None:
    scorer = FakeScorer()
    assert list(score(scorer, [50_000], 1.0, 1)) == expected([50_000])
    assert scorer.shapes == [(1, 50_000)]


def test_a_gpu_sees_few_shapes_and_the_scores_stay() -> None:
    lengths = np.random.default_rng(1).integers(1_000, 17_000, 500)
    scorer = FakeScorer()
    scorer.padded_samples = (2_000, 4_000, 8_000, 16_000)
    assert sorted(score(scorer, lengths, 4.0, 1)) == expected(lengths)
    known = {shape for shape in scorer.shapes if shape[1] <= 16_000}
    assert {samples for _, samples in known} == set(scorer.padded_samples)
    assert {rows for rows, _ in known} <= {1, 2, 4, 8, 16, 32}
    assert max(rows * samples for rows, samples in known) <= 4.0 * 16_000


def test_a_failure_of_the_model_arrives() -> None:
    class Broken(FakeScorer):
        def score(self, waveform: Any, lengths: Any) -> tuple[Any, Any]:  # noqa: ARG002
            raise EnvironmentProblemError("no memory")

    with pytest.raises(EnvironmentProblemError, match="no memory"):
        list(score(Broken(), [10], 1.0, 2))
