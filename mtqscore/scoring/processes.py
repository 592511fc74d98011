"""Scoring with several processes on this machine: no lock of Python's holds up one core for another."""

from __future__ import annotations

import os
import threading
from collections import Counter, deque
from contextlib import suppress
from dataclasses import replace
from multiprocessing import Pipe
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

from mtqscore.audio.inputs import Input
from mtqscore.base.libraries import load_library
from mtqscore.base.machine import usable_cores
from mtqscore.scoring.engine import LOSSES, Engine
from mtqscore.scoring.process_handle import Worker, start_process
from mtqscore.scoring.process_worker import Job, serve
from mtqscore.scoring.remote_session import ScorerFacts, answer_batches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mtqscore.config import AssessConfig
    from mtqscore.scores import Assessment
    from mtqscore.scoring.process_worker import Answer

RECORDINGS_A_CHUNK, LEAST_A_CHUNK = 64, 4
CHUNKS_LEFT = 6
"""Towards the end chunks become smaller: what is left is at least so many a process, so that all end together."""

CHUNK_BYTES = 2**25
"""Of files; long recordings come in smaller chunks, so that rows are written while the work goes on."""

BACKLOG = 2
"""Chunks that a process has at hand, so that it need not wait for the next one."""

BACKLOGS_AHEAD = 2
"""Rows that may wait for those of a long recording before them, as shares of what all have at hand."""


class ProcessEngine(Engine):
    """Scores as an `Assessor` does, in this process and further ones.

    On the processor each has a session of its own. On any other device they read and judge, and this process, which
    holds the one session, scores their batches.

    A process that ends, for whatever reason, costs no row: what it had is scored again by a new one, each recording
    for itself, and one that ends two processes is ``unreadable``. One list is scored at a time.

    Args:
        config: the options; its ``threads`` are shared out.
        processes: how many, with this one.
        tell: takes messages; None is silence.

    Raises:
        UsageError: the model is unknown or not a model of mtqscore.
        EnvironmentProblemError: the device does not work, or a bundled model is damaged.

    Example:
        if __name__ == "__main__":  # further processes begin by reading the program
            with ProcessEngine(AssessConfig(), 2) as engine:
                rows = list(engine.assess_files(find_inputs(["recordings/"])))
    """

    def __init__(self, config: AssessConfig, processes: int, tell: Callable[[str], None] | None = None) -> None:
        self._workers: list[Worker] = []
        self._tell = tell
        try:
            from mtqscore.scoring.assessor import Assessor

            for library in ("soundfile", "soxr"):
                load_library(library)  # a forked process has them from the start
            # They load onnxruntime while this one does.
            for _ in range(processes - 1):
                if (worker := start_process()) is None:
                    break
                self._workers.append(worker)
            super().__init__(config, Assessor(config, tell))
            # Several sessions would not fit into the memory of a GPU, nor keep it busier.
            self._far = None if self.scorer.on_cpu else ScorerFacts.of(self.scorer)
            self._turn = threading.Lock()
            cores = config.threads or usable_cores()
            threads = max(1, cores // (processes if self._far is None else max(1, len(self._workers))))
            self._local = self._local.with_threads(threads if self._far is None else cores)
            own = replace(config, threads=threads, device="cpu" if self._far is None else config.device)
            self._job = Job(own, config, self.model_sha256, self._far)
            for worker in self._workers:
                self._employ(worker)
        except BaseException:
            self._end_processes()
            raise

    def __exit__(self, *_: object) -> None:
        """End the processes, whatever they do."""
        self._end_processes()

    def assess_files(
        self, paths: Iterable[str | os.PathLike[str] | Input], progress: Callable[[float], None] | None = None
    ) -> Iterator[Assessment]:
        """Score many files, as `Engine.assess_files` does."""
        inputs = [item if isinstance(item, Input) else Input(os.fspath(item)) for item in paths]
        for worker in [worker for worker in self._workers if worker.chunks]:  # of a list that was left before its end
            self._replace(worker)
        here = self._start_here()
        try:
            for rows in self._in_order(inputs):
                for row in rows:
                    if progress is not None and row.ok:
                        progress(row.duration_s or 0.0)
                    yield row
        finally:
            if here in self._workers:  # or the engine was left before its rows were
                self._workers.remove(here)
                here.end()

    def _in_order(self, inputs: list[Input]) -> Iterator[list[Assessment]]:
        """The rows of every recording."""
        chunks = _Chunks(inputs, len(self._workers))
        ahead = BACKLOGS_AHEAD * BACKLOG * RECORDINGS_A_CHUNK * len(self._workers)
        suspects = _Suspects()
        ready: dict[int, list[Assessment]] = {}
        for wanted in range(len(inputs)):
            while wanted not in ready:
                self._share_out(chunks, suspects, wanted + ahead)
                for position, rows in self._collect(suspects):
                    ready[position] = rows
            yield ready.pop(wanted)

    def _share_out(self, chunks: _Chunks, suspects: _Suspects, end: int) -> None:
        """Give everyone enough to do, up to a position in the run; a process without work gets a suspect."""
        for worker in self._workers:
            if self._far is not None and worker.process is None and len(self._workers) > 1:
                continue  # who scores for the others has enough to do
            if suspects.waiting and worker.process is not None:
                if not worker.chunks:
                    worker.give([suspects.waiting.popleft()])
                continue
            while worker.chunks < BACKLOG and chunks.position < end and (chunk := chunks.take()):
                worker.give(chunk)
        if suspects.waiting and not any(worker.process for worker in self._workers):  # no process can be started
            self._workers[-1].give([suspects.waiting.popleft()])

    def _collect(self, suspects: _Suspects) -> Iterator[tuple[int, list[Assessment]]]:
        """Wait for answers: positions in the run and their rows.

        Raises:
            MtqscoreError: a process cannot go on, and so none can.
        """
        for connection in wait([worker.connection for worker in self._workers]):
            worker = next(worker for worker in self._workers if worker.connection is connection)
            try:
                answer: Answer | Exception = worker.connection.recv()
            except (EOFError, OSError):
                yield from self._lose(worker, suspects)
                continue
            if isinstance(answer, Exception):
                raise answer
            found, last = answer
            worker.loaded = True
            worker.chunks -= last
            for rows in found:
                yield worker.pending.popleft()[0], rows

    def _lose(self, worker: Worker, suspects: _Suspects) -> Iterator[tuple[int, list[Assessment]]]:
        """Put aside what a process had that has ended, and start another one in its place."""
        if not worker.loaded:  # it is not the recordings, and another one would not come so far either
            self._workers.remove(worker)
            worker.end()
            self._workers[-1].give(list(worker.pending))
            return
        self._replace(worker)
        if self._tell is not None:
            self._tell(f"a process that scores has ended ({worker.ending}); what it had is scored again")
        if suspects.add(worker.pending):
            position, item = worker.pending[0]
            yield position, [self._lost(item)]

    def _replace(self, worker: Worker) -> None:
        """End a process, and start another one in its place if there is room for it."""
        self._workers.remove(worker)
        worker.end()
        if (new := start_process()) is not None:
            self._employ(new)
            self._workers.insert(0, new)

    def _employ(self, worker: Worker) -> None:
        """Tell a new process what to do, and score for it if that is done here."""
        with suppress(OSError):
            worker.connection.send(self._job)
        if self._far is not None and worker.scoring is not None:
            arguments = (worker.scoring, self.scorer, self._turn)
            worker.scoring = None  # it is the thread's now, which closes it once the process has ended
            threading.Thread(target=answer_batches, args=arguments, name="score for others", daemon=True).start()

    def _start_here(self) -> Worker:
        """Let a thread of this process do its share."""
        near, far = Pipe()
        thread = threading.Thread(
            target=serve, args=(far, lambda: self._local, self.config, lambda: None), name="score here", daemon=True
        )
        worker = Worker(near, thread=thread)
        self._workers.append(worker)
        thread.start()
        return worker

    def _end_processes(self) -> None:
        for worker in self._workers:
            worker.end()
        self._workers.clear()


class _Suspects:
    """Recordings that a process had when it ended, with their positions in the run."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[int, Input]] = deque()
        self._losses: Counter[int] = Counter()

    def add(self, recordings: deque[tuple[int, Input]]) -> bool:
        """Take what one process had; say whether it was a single one that has ended enough of them to be left alone."""
        if len(recordings) == 1:
            position = recordings[0][0]
            self._losses[position] += 1
            if self._losses[position] == LOSSES:
                return True
        self.waiting += recordings
        return False


class _Chunks:
    """A list of recordings, cut into chunks as they are asked for.

    Args:
        inputs: the list.
        workers: who share it.
    """

    def __init__(self, inputs: list[Input], workers: int) -> None:
        self._inputs = inputs
        self._workers = workers
        self.position = 0

    def take(self) -> list[tuple[int, Input]]:
        """The next recordings with their positions; none at the end."""
        share = (len(self._inputs) - self.position) // (CHUNKS_LEFT * self._workers)
        most = min(RECORDINGS_A_CHUNK, max(LEAST_A_CHUNK, share))
        chunk: list[tuple[int, Input]] = []
        size_bytes = 0
        for item in self._inputs[self.position : self.position + most]:
            size_bytes += _size_bytes(item)
            if chunk and size_bytes > CHUNK_BYTES:
                break
            chunk.append((self.position + len(chunk), item))
        self.position += len(chunk)
        return chunk


def _size_bytes(item: Input) -> int:
    if item.stamp is not None:
        return item.stamp[0]
    try:
        return os.stat(item.path).st_size  # noqa: PTH116 - a name with a zero byte must reach the handler
    except (OSError, ValueError):
        return 0
