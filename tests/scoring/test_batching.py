"""Batches: all windows come back, like lengths together, memory bounded."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mtqscore.errors import EnvironmentProblemError
from mtqscore.scoring.batching import BATCHES_POOLED, Batches

HOP = 500


class FakeScorer:
    """Answers with the sum of the samples, and remembers the shapes it saw."""

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


def test_every_window_comes_back_with_its_own_scores() -> None:
    generator = np.random.default_rng(0)
    lengths = generator.integers(1_000, 16_000, 300)
    scorer = FakeScorer()
    found = {}
    with ThreadPoolExecutor(3) as executor:
        batches = Batches(scorer, 2.0, 3, executor)  # type: ignore[arg-type,var-annotated]
        for ticket, length in enumerate(lengths):
            batches.add(ticket, np.full(length, 1.0, np.float32))
            assert len(batches._running) <= BATCHES_POOLED * 3 * 4
            found |= {ticket: (float(scores[0]), len(frames)) for ticket, scores, frames in batches.ready()}
        found |= {ticket: (float(scores[0]), len(frames)) for ticket, scores, frames in batches.drain()}
    assert found == {ticket: (float(length), length // HOP + 1) for ticket, length in enumerate(lengths)}
    assert max(rows * samples for rows, samples in scorer.shapes) <= 2.0 * 16_000
    assert scorer.padding < 0.15 * lengths.sum(), "like lengths belong together"


def test_a_window_longer_than_a_batch_is_a_batch() -> None:
    scorer = FakeScorer()
    with ThreadPoolExecutor(1) as executor:
        batches = Batches(scorer, 1.0, 1, executor)  # type: ignore[arg-type,var-annotated]
        batches.add("a", np.ones(50_000, np.float32))
        assert [ticket for ticket, *_ in batches.drain()] == ["a"]
    assert scorer.shapes == [(1, 50_000)]


def test_a_gpu_sees_few_shapes_and_the_scores_stay() -> None:
    lengths = np.random.default_rng(1).integers(1_000, 17_000, 500)
    scorer = FakeScorer()
    scorer.padded_samples = (2_000, 4_000, 8_000, 16_000)
    with ThreadPoolExecutor(1) as executor:
        batches = Batches(scorer, 4.0, 1, executor)  # type: ignore[arg-type,var-annotated]
        for ticket, length in enumerate(lengths):
            batches.add(ticket, np.full(length, 1.0, np.float32))
        found = {ticket: (float(scores[0]), len(frames)) for ticket, scores, frames in batches.drain()}
    assert found == {ticket: (float(length), length // HOP + 1) for ticket, length in enumerate(lengths)}
    known = {shape for shape in scorer.shapes if shape[1] <= 16_000}
    assert {samples for _, samples in known} == set(scorer.padded_samples)
    assert {rows for rows, _ in known} <= {1, 2, 4, 8, 16, 32}
    assert max(rows * samples for rows, samples in known) <= 4.0 * 16_000


def test_a_failure_of_the_model_arrives() -> None:
    class Broken(FakeScorer):
        def score(self, waveform: Any, lengths: Any) -> tuple[Any, Any]:  # noqa: ARG002
            raise EnvironmentProblemError("no memory")

    with ThreadPoolExecutor(2) as executor:
        batches = Batches(Broken(), 1.0, 2, executor)  # type: ignore[arg-type,var-annotated]
        batches.add(0, np.ones(10, np.float32))
        with pytest.raises(EnvironmentProblemError, match="no memory"):
            list(batches.drain())
