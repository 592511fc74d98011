"""A list on its way through a pool of workers that may end: chunks handed out, rows in order, lost chunks once more."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Self

from mtqscore.scores import Assessment
from mtqscore.scoring.assessor import Assessor
from mtqscore.scoring.engine import LoadedModel, as_inputs, by_recording, lost_row

if TYPE_CHECKING:
    from mtqscore.audio.inputs import Input
    from mtqscore.config import AssessConfig
    from mtqscore.scoring.session import Scorer

RECORDINGS_A_CHUNK, LEAST_A_CHUNK = 64, 4
CHUNKS_LEFT = 6
"""Towards the end chunks become smaller: what is left is at least so many a worker, so that all end together."""

CHUNK_BYTES = 2**25
"""Of files; long recordings come in smaller chunks, so that rows are written while the work goes on."""

BACKLOG = 2
"""Chunks that a worker has at hand, so that it need not wait for the next one."""

BACKLOGS_AHEAD = 2
"""Rows that may wait for those of a long recording before them, as shares of what all have at hand."""


class Worker(ABC):
    """Something that scores elsewhere; it may end at any time."""

    load: Future[LoadedModel]
    """Done when it has loaded the model."""

    @abstractmethod
    def score(self, inputs: list[Input]) -> Future[list[list[Assessment]]]:
        """Begin to score; the rows of each recording."""

    @abstractmethod
    def end(self) -> None:
        """End it at once, whatever it does."""

    @property
    def ending(self) -> str:
        """Cause of its end, for a message."""
        return ""

    @property
    def has_loaded(self) -> bool:
        """True once it can score."""
        return self.load.done() and self.load.exception() is None


@dataclass
class _Chunk:
    """Recordings that a worker gets at once."""

    start: int
    inputs: list[Input]
    suspect: bool = False


@dataclass
class _Run:
    """State of a list that is being scored."""

    inputs: list[Input]
    start: int = 0
    """Position of the first recording that nobody has got yet."""
    ready: dict[int, list[Assessment]] = field(default_factory=dict)
    lost: deque[_Chunk] = field(default_factory=deque)
    running: dict[Future[list[list[Assessment]]], tuple[Worker, _Chunk]] = field(default_factory=dict)

    def cut_chunk(self, workers: int) -> _Chunk:
        """Take the next recordings."""
        share = (len(self.inputs) - self.start) // (CHUNKS_LEFT * max(1, workers))
        most = min(RECORDINGS_A_CHUNK, max(LEAST_A_CHUNK, share))
        chunk = _Chunk(self.start, [])
        size_bytes = 0
        for item in self.inputs[self.start : self.start + most]:
            size_bytes += _size_bytes(item)
            if chunk.inputs and size_bytes > CHUNK_BYTES:
                break
            chunk.inputs.append(item)
        self.start += len(chunk.inputs)
        return chunk


class PooledEngine(ABC):
    """Scores as an `Assessor` does, in workers of any kind; a context that ends them.

    A worker that ends, for whatever reason, costs at most the row of one recording: what it had is scored again by
    another one, each recording for itself, and one that ends the second worker as well is ``unreadable``. One list is
    scored at a time.
    """

    lost_errors: tuple[type[Exception], ...]
    """Exceptions of a future whose worker has ended."""

    config: AssessConfig
    loaded: LoadedModel

    def __init__(self, config: AssessConfig, notify: Callable[[str], None] | None) -> None:
        self.config = config
        self._notify = notify
        self._workers: list[Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the workers, whatever they do."""
        for worker in self._workers:
            worker.end()
        self._workers.clear()

    @abstractmethod
    def _start(self) -> None:
        """Add a worker, if there is room for one."""

    @cached_property
    def _here(self) -> Assessor:
        """The model in this process."""
        return Assessor(self.config)

    @property
    def scorer(self) -> Scorer:
        """The model in this process, loaded when a report asks for it."""
        return self._here.scorer

    def assess_files(
        self, paths: Iterable[str | os.PathLike[str] | Input], progress: Callable[[float], None] | None = None
    ) -> Iterator[Assessment]:
        """Score many files, as `Engine.assess_files` does."""
        for rows in self._in_order(_Run(list(as_inputs(paths)))):
            for row in rows:
                if progress is not None and row.ok:
                    progress(row.duration_s or 0.0)
                yield row

    def _in_order(self, run: _Run) -> Iterator[list[Assessment]]:
        """Yield the rows of every recording."""
        ahead = BACKLOGS_AHEAD * BACKLOG * RECORDINGS_A_CHUNK * max(1, len(self._workers))
        try:
            for wanted in range(len(run.inputs)):
                while wanted not in run.ready:
                    self._hand_out(run, wanted + ahead)
                    for future in wait(run.running, return_when=FIRST_COMPLETED).done:
                        self._collect(run, future)
                yield run.ready.pop(wanted)
        finally:
            for future in run.running:
                future.cancel()

    def _hand_out(self, run: _Run, end: int) -> None:
        """Give every worker enough to do, up to a position in the run; one without work gets a suspect, alone."""
        if not self._workers:
            self._score_here(run)
        for worker in list(self._workers):
            has = sum(other is worker for other, _ in run.running.values())
            if run.lost:
                if not has:
                    self._submit(run, worker, run.lost.popleft())
                continue
            while has < BACKLOG and run.start < min(end, len(run.inputs)):
                self._submit(run, worker, run.cut_chunk(len(self._workers)))
                has += 1

    def _submit(self, run: _Run, worker: Worker, chunk: _Chunk) -> None:
        try:
            future = worker.score(chunk.inputs)
        except self.lost_errors as error:  # it ended when it had nothing to do
            future = Future()
            future.set_exception(error)
        run.running[future] = worker, chunk

    def _collect(self, run: _Run, future: Future[list[list[Assessment]]]) -> None:
        """Take the rows of a chunk, or put it aside if its worker has ended."""
        worker, chunk = run.running.pop(future)
        try:
            run.ready.update(enumerate(future.result(), start=chunk.start))
        except self.lost_errors:
            if worker in self._workers:
                self._replace(worker)
            if chunk.suspect:
                run.ready[chunk.start] = [lost_row(self, chunk.inputs[0])]
            else:
                singles = enumerate(chunk.inputs, start=chunk.start)
                run.lost += [_Chunk(position, [item], suspect=worker.has_loaded) for position, item in singles]

    def _replace(self, worker: Worker) -> None:
        self._workers.remove(worker)
        worker.end()
        if not worker.has_loaded:  # it is not the recordings, and another one would not come so far either
            return
        self._start()
        if self._notify is not None:
            self._notify(f"a process that scores has ended{worker.ending}; what it had is scored again")

    def _score_here(self, run: _Run) -> None:
        """Score a chunk in this process, where no worker can be started; never one that has ended a worker."""
        chunk = run.lost.popleft() if run.lost else run.cut_chunk(1)
        if chunk.suspect:
            run.ready[chunk.start] = [lost_row(self, chunk.inputs[0])]
        else:
            found = by_recording(self._here.assess_files(as_inputs(chunk.inputs)))
            run.ready.update(enumerate(found, start=chunk.start))


def _size_bytes(item: Input) -> int:
    if item.stamp is not None:
        return item.stamp.size_bytes or 0
    try:
        return os.stat(item.path).st_size  # noqa: PTH116 - a name with a zero byte must reach the handler
    except (OSError, ValueError):
        return 0
