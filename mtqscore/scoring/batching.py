"""Windows of many recordings scored together: like lengths side by side, several batches at a time.

A GPU's libraries prepare themselves for every new shape of a batch. Where the scorer says so, windows are padded to a
few lengths and batches filled up to a few sizes; scores depend on neither. On the CPU a batch is no larger than it
must be.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from mtqscore.audio.windows import valid_frames
from mtqscore.targets import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Executor, Future

    from numpy.typing import NDArray

    from mtqscore.scoring.session import Scorer

BATCHES_POOLED = 4
"""Windows for so many batches a worker are collected and sorted by length, so that little of a batch is padding."""

Ticket = TypeVar("Ticket")


class Batches(Generic[Ticket]):
    """Takes windows, each with a ticket, and gives back their scores, in whatever order they are ready.

    Args:
        scorer: the model; its session runs in several threads at once. Its ``padded_samples`` are the lengths to
            which windows are padded; if there are none, to the longest of the batch.
        batch_s: seconds of audio a batch, padding included; a longer window is a batch of its own.
        workers: batches that run at the same time. One thread a batch serves a recurrent network better than many
            threads on one batch, since its time steps must wait for one another.
        executor: whose threads score.
    """

    def __init__(self, scorer: Scorer, batch_s: float, workers: int, executor: Executor) -> None:
        self._scorer = scorer
        self._padded_samples = scorer.padded_samples
        self._batch_samples = batch_s * SAMPLE_RATE_HZ
        self._workers = workers
        self._executor = executor
        self._pool: list[tuple[Ticket, NDArray[np.float32]]] = []
        self._pooled_samples = 0
        self._running: deque[Future[list[tuple[Ticket, NDArray[np.float32], NDArray[np.float32]]]]] = deque()

    def add(self, ticket: Ticket, samples: NDArray[np.float32]) -> None:
        """Take one window (samples,)."""
        self._pool.append((ticket, samples))
        self._pooled_samples += len(samples)
        if self._pooled_samples >= BATCHES_POOLED * self._workers * self._batch_samples:
            self._submit()

    def ready(self) -> Iterator[tuple[Ticket, NDArray[np.float32], NDArray[np.float32]]]:
        """Yield ticket, scores (targets,) and frame scores (frames, targets) of what is done.

        Waits only when so much is under way that memory would grow.

        Raises:
            EnvironmentProblemError: the model failed while it ran.
        """
        # As much may be under way as is pooled: workers go on while the next pool fills.
        most = BATCHES_POOLED * self._workers
        while self._running and (len(self._running) > most or self._running[0].done()):
            yield from self._running.popleft().result()

    def drain(self) -> Iterator[tuple[Ticket, NDArray[np.float32], NDArray[np.float32]]]:
        """Yield all that is left, as ``ready`` does."""
        self._submit()
        while self._running:
            yield from self._running.popleft().result()

    def _submit(self) -> None:
        """Cut the pool into batches of like lengths and send them off."""
        batch: list[tuple[Ticket, NDArray[np.float32]]] = []
        for entry in sorted(self._pool, key=lambda entry: -len(entry[1])):
            if batch and len(batch) >= self._fitting(len(batch[0][1])):
                self._running.append(self._executor.submit(self._score, batch))
                batch = []
            batch.append(entry)
        if batch:
            self._running.append(self._executor.submit(self._score, batch))
        self._pool, self._pooled_samples = [], 0

    def _padded(self, samples: int) -> int:
        """Length to which a batch is padded whose longest window is so long."""
        return next((length for length in self._padded_samples if length >= samples), samples)

    def _fitting(self, samples: int) -> int:
        """Number of windows in a full batch whose longest is so long."""
        return max(1, int(self._batch_samples // self._padded(samples)))

    def _rows(self, count: int, samples: int) -> int:
        """Rows of a batch of so many windows: on a GPU a power of two, or a full batch."""
        return min(1 << (count - 1).bit_length(), self._fitting(samples)) if self._padded_samples else count

    def _score(
        self, batch: list[tuple[Ticket, NDArray[np.float32]]]
    ) -> list[tuple[Ticket, NDArray[np.float32], NDArray[np.float32]]]:
        longest = len(batch[0][1])
        rows = self._rows(len(batch), longest)
        # What fills the batch up is its last window again, and nobody asks for its scores.
        windows = [samples for _, samples in batch] + [batch[-1][1]] * (rows - len(batch))
        lengths = np.array([len(samples) for samples in windows], dtype=np.int64)
        waveform = np.empty((rows, self._padded(longest)), dtype=np.float32)
        for line, samples in zip(waveform, windows, strict=True):
            line[: len(samples)] = samples
            line[len(samples) :] = 0
        scores, frames = self._scorer.score(waveform, lengths)
        hop = self._scorer.info.frame_hop_samples
        return [
            (ticket, scores[index], frames[index, : valid_frames(len(samples), hop)])
            for index, (ticket, samples) in enumerate(batch)
        ]
