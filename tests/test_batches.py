"""Batches: all windows come back, like lengths together, memory bounded."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mtqscore.batches import BATCHES_POOLED, Batches
from mtqscore.errors import EnvironmentProblemError

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
    with Batches(scorer, 2.0, 3) as batches:  # type: ignore[arg-type]
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
    with Batches(scorer, 1.0, 1) as batches:  # type: ignore[arg-type]
        batches.add("a", np.ones(50_000, np.float32))
        assert [ticket for ticket, *_ in batches.drain()] == ["a"]
    assert scorer.shapes == [(1, 50_000)]


def test_a_gpu_sees_few_shapes_and_the_scores_stay() -> None:
    lengths = np.random.default_rng(1).integers(1_000, 17_000, 500)
    scorer = FakeScorer()
    scorer.padded_samples = (2_000, 4_000, 8_000, 16_000)
    with Batches(scorer, 4.0, 1) as batches:  # type: ignore[arg-type]
        for ticket, length in enumerate(lengths):
            batches.add(ticket, np.full(length, 1.0, np.float32))
        found = {ticket: (float(scores[0]), len(frames)) for ticket, scores, frames in batches.drain()}
    assert found == {ticket: (float(length), length // HOP + 1) for ticket, length in enumerate(lengths)}
    known = {shape for shape in scorer.shapes if shape[1] <= 16_000}
    assert {samples for _, samples in known} == set(scorer.padded_samples)
    assert {rows for rows, _ in known} <= {1, 2, 4, 8, 16, 32}
    assert max(rows * samples for rows, samples in known) <= 4.0 * 16_000


def test_a_failure_of_the_model_arrives_and_ends_the_threads() -> None:
    class Broken(FakeScorer):
        def score(self, waveform: Any, lengths: Any) -> tuple[Any, Any]:  # noqa: ARG002
            raise EnvironmentProblemError("no memory")

    with (
        pytest.raises(EnvironmentProblemError, match="no memory"),
        Batches(Broken(), 1.0, 2) as batches,  # type: ignore[arg-type]
    ):
        batches.add(0, np.ones(10, np.float32))
        list(batches.drain())
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("score")]
