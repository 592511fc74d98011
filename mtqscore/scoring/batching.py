"""Windows of many recordings scored together: like lengths side by side, several batches at a time.

A GPU's libraries prepare themselves for every new shape of a batch. Where the scorer asks for it, windows are padded
to a few lengths and batches filled up to a few sizes; scores depend on neither. On the CPU a batch is no larger than it
must be.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import numpy as np

from mtqscore.audio.windows import valid_frames
from mtqscore.targets import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mtqscore.scoring.session import Scorer

BATCHES_POOLED = 4
"""Windows for so many batches a worker are collected and sorted by length, so that little of a batch is padding."""

Ticket = TypeVar("Ticket")
"""Mark by which a caller knows a window again."""


class ScoredWindow(NamedTuple, Generic[Ticket]):
    """Answer of the model to one window.

    Args:
        ticket: that of the window.
        scores: float32 (targets,).
        frames: float32 (frames, targets); a view of the whole batch's.
    """

    ticket: Ticket
    scores: NDArray[np.float32]
    frames: NDArray[np.float32]


class Batches(Generic[Ticket]):
    """Batches of one stream of windows.

    Args:
        scorer: the model; its session runs in several threads at once. Its ``padded_samples`` are the lengths to
            which windows are padded; if there are none, to the longest of the batch.
        batch_s: seconds of audio a batch, padding included; a longer window is a batch of its own.
        workers: batches that run at the same time. One thread a batch serves a recurrent network better than many
            threads on one batch, since its time steps must wait for one another.
        pool: its threads score.
    """

    def __init__(self, scorer: Scorer, batch_s: float, workers: int, pool: Executor) -> None:
        self._scorer = scorer
        self._padded_samples = scorer.padded_samples
        self._batch_samples = batch_s * SAMPLE_RATE_HZ
        self._most_running = BATCHES_POOLED * workers
        self._pool = pool

    def score(
        self, steps: Iterable[Sequence[tuple[Ticket, NDArray[np.float32]]]]
    ) -> Iterator[list[ScoredWindow[Ticket]]]:
        """Score a stream of windows.

        Args:
            steps: some windows (samples,) at a time, each with its ticket.

        Yields:
            After every step what is scored by then, of this step or earlier ones; often nothing. In the end all the
            rest. Waits only when so much is under way that memory would grow.

        Raises:
            EnvironmentProblemError: the model failed while it ran.
        """
        running: deque[Future[list[ScoredWindow[Ticket]]]] = deque()
        windows: list[tuple[Ticket, NDArray[np.float32]]] = []
        collected_samples = 0
        for step in steps:
            windows += step
            collected_samples += sum(len(samples) for _, samples in step)
            if collected_samples >= self._most_running * self._batch_samples:
                running += [self._pool.submit(self._score, batch) for batch in self._cut(windows)]
                windows, collected_samples = [], 0
            scored: list[ScoredWindow[Ticket]] = []
            # As much may be under way as is collected: workers go on while the next windows come.
            while running and (len(running) > self._most_running or running[0].done()):
                scored += running.popleft().result()
            yield scored
        running += [self._pool.submit(self._score, batch) for batch in self._cut(windows)]
        del windows
        while running:
            yield running.popleft().result()

    def _cut(
        self, windows: list[tuple[Ticket, NDArray[np.float32]]]
    ) -> Iterator[list[tuple[Ticket, NDArray[np.float32]]]]:
        """Yield batches of like lengths, the longest window of each first."""
        batch: list[tuple[Ticket, NDArray[np.float32]]] = []
        for entry in sorted(windows, key=lambda entry: -len(entry[1])):
            if batch and len(batch) >= self._fitting(len(batch[0][1])):
                yield batch
                batch = []
            batch.append(entry)
        if batch:
            yield batch

    def _padded(self, samples: int) -> int:
        """Length to which a batch is padded whose longest window is so long."""
        return next((length for length in self._padded_samples if length >= samples), samples)

    def _fitting(self, samples: int) -> int:
        """Count of windows in a full batch whose longest is so long."""
        return max(1, int(self._batch_samples // self._padded(samples)))

    def _score(self, batch: list[tuple[Ticket, NDArray[np.float32]]]) -> list[ScoredWindow[Ticket]]:
        longest = len(batch[0][1])
        count = len(batch)
        if self._padded_samples:  # on a GPU a power of two, or a full batch
            count = min(1 << (count - 1).bit_length(), self._fitting(longest))
        # What fills the batch up is its last window again, and nobody asks for its scores.
        windows = [samples for _, samples in batch] + [batch[-1][1]] * (count - len(batch))
        lengths = np.array([len(samples) for samples in windows], dtype=np.int64)
        waveform = np.empty((count, self._padded(longest)), dtype=np.float32)
        for line, samples in zip(waveform, windows, strict=True):
            line[: len(samples)] = samples
            line[len(samples) :] = 0
        scores, frames = self._scorer.score(waveform, lengths)
        hop = self._scorer.info.frame_hop_samples
        return [
            ScoredWindow(ticket, scores[index], frames[index, : valid_frames(len(samples), hop)])
            for index, (ticket, samples) in enumerate(batch)
        ]
