"""Scoring with several processes on this machine, each with a session of its own."""

from __future__ import annotations

import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from mtqscore.audio.inputs import Input, is_remote
from mtqscore.base.machine import usable_cores, usable_memory_bytes
from mtqscore.errors import EnvironmentProblemError, MtqscoreError
from mtqscore.models import load_model
from mtqscore.scores import Assessment
from mtqscore.scoring import process_worker
from mtqscore.scoring.assessor import Assessor
from mtqscore.scoring.engine import as_inputs, by_recording, lost_row, one_by_one

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from mtqscore.config import AssessConfig
    from mtqscore.scoring.engine import LoadedModel
    from mtqscore.scoring.session import Scorer

RECORDINGS_A_PROCESS = 400
"""With fewer a further process does not make up for its start."""

MEMORY_A_PROCESS_BYTES = 2**29
"""More than a process takes, so that there is room beside them."""

PROCESSES_A_GPU = 4
"""Sessions that share a GPU unless more are asked for: each takes some hundred megabytes of its memory."""

RECORDINGS_A_CHUNK, LEAST_A_CHUNK = 64, 4
CHUNKS_LEFT = 6
"""Towards the end chunks become smaller: what is left is at least so many a process, so that all end together."""

CHUNK_BYTES = 2**25
"""Of files; long recordings come in smaller chunks, so that rows are written while the work goes on."""

BACKLOG = 2
"""Chunks that a process has at hand, so that it need not wait for the next one."""

BACKLOGS_AHEAD = 2
"""Rows that may wait for those of a long recording before them, as shares of what all have at hand."""


def worker_count(config: AssessConfig, inputs: Sequence[Input]) -> int:
    """Count the processes that score a list soonest; 1 where threads in this one do as well.

    Args:
        config: the options; ``threads`` bounds the cores that are used, and a process takes one or more.
        inputs: the list.
    """
    # A program that another embeds or has frozen may start something else than itself.
    can_start = bool(sys.executable) and not getattr(sys, "frozen", False)
    if not can_start or is_remote(inputs[0].path if inputs else ""):
        return 1  # a store is read by threads of one process
    most = min(config.threads or usable_cores(), usable_memory_bytes() // MEMORY_A_PROCESS_BYTES)
    if config.device not in ("auto", "cpu") or (config.device == "auto" and Path("/dev/nvidiactl").exists()):
        most = min(most, PROCESSES_A_GPU)
    return max(1, min(most, len(inputs) // RECORDINGS_A_PROCESS))


@dataclass
class _Chunk:
    """Recordings that a process gets at once.

    Args:
        start: position of the first in the run.
        inputs: the recordings, one after the other.
        suspect: whether a process ended that had it before; then it is a single one.
    """

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
    running: dict[Future[list[list[Assessment]]], tuple[_Worker, _Chunk]] = field(default_factory=dict)


class _Worker:
    """A process that scores, alone in its executor, so that its end breaks nobody else's work.

    Args:
        job: the order.

    Raises:
        OSError: the system has no room for another process.
    """

    def __init__(self, job: process_worker.Job) -> None:
        from concurrent.futures import ProcessPoolExecutor  # slow to load, and most runs start no process

        self._context = _context()
        self._lifeline, far = self._context.Pipe()
        self.executor = ProcessPoolExecutor(1, self._context, process_worker.begin, (far,))
        try:
            with _interrupts_held():
                self.load = self.executor.submit(process_worker.load, job)
        except BaseException:
            self.end()
            raise
        self._process: BaseProcess | None = None
        self.load.add_done_callback(self._find_process)

    def _find_process(self, load: Future[tuple[LoadedModel, int]]) -> None:
        if not load.cancelled() and load.exception() is None:
            number = load.result()[1]
            self._process = next((one for one in self._context.active_children() if one.pid == number), None)

    @property
    def has_loaded(self) -> bool:
        """Whether it has come so far that it can score."""
        return self.load.done() and self.load.exception() is None

    def end(self) -> None:
        """End the process at once, whatever it does."""
        self._lifeline.close()
        self.executor.shutdown(cancel_futures=True)

    @property
    def ending(self) -> str:
        """Cause of the end of a process that has ended."""
        code = self._process.exitcode if self._process is not None else None
        if code is None or code >= 0:
            return f"exit code {code}"
        with suppress(ValueError):
            return signal.Signals(-code).name
        return f"signal {-code}"


class ProcessEngine:
    """Scores as an `Assessor` does, in further processes.

    A process that ends, for whatever reason, costs at most the row of one recording: what it had is scored again by a
    new one, each recording for itself, and one that ends the second process as well is ``unreadable``. One list is
    scored at a time.

    Args:
        config: the options; its ``threads`` are shared out.
        processes: how many.
        notify: takes messages; None is silence.

    Raises:
        UsageError: the model is unknown or not a model of mtqscore.
        EnvironmentProblemError: the device does not work, or a bundled model is damaged.

    Example:
        if __name__ == "__main__":  # further processes begin by reading the program
            with ProcessEngine(AssessConfig(), 2) as engine:
                rows = list(engine.assess_files(find_inputs(["recordings/"])))
    """

    def __init__(self, config: AssessConfig, processes: int, notify: Callable[[str], None] | None = None) -> None:
        self.config = config
        self._notify = notify
        self._workers: list[_Worker] = []
        cores = config.threads or usable_cores()
        self._job = process_worker.Job(config, max(1, cores // processes))
        load_model(config.model, notify)  # a model of the Hub is fetched once, and what is none refused here
        try:
            for _ in range(processes):
                self._start()
            self._await_models()
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes, whatever they do."""
        for worker in self._workers:
            worker.end()
        self._workers.clear()

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
        yield from one_by_one(self._in_order(_Run(list(as_inputs(paths)))), progress)

    # --- a list -------------------------------------------------------------------------------------------------

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
        """Give every process enough to do, up to a position in the run; one without work gets a suspect, alone."""
        if not self._workers:
            self._score_here(run)
        for worker in list(self._workers):
            has = sum(other is worker for other, _ in run.running.values())
            if run.lost:
                if not has:
                    self._submit(run, worker, run.lost.popleft())
                continue
            while has < BACKLOG and run.start < min(end, len(run.inputs)):
                self._submit(run, worker, _cut_chunk(run, len(self._workers)))
                has += 1

    def _submit(self, run: _Run, worker: _Worker, chunk: _Chunk) -> None:
        try:
            future = worker.executor.submit(process_worker.score, self._job, chunk.inputs)
        except BrokenExecutor as error:  # it ended when it had nothing to do
            future = Future()
            future.set_exception(error)
        run.running[future] = worker, chunk

    def _collect(self, run: _Run, future: Future[list[list[Assessment]]]) -> None:
        """Take the rows of a chunk, or put it aside if its process has ended.

        Raises:
            MtqscoreError: a process cannot go on, and so none can.
        """
        worker, chunk = run.running.pop(future)
        try:
            run.ready.update(enumerate(future.result(), start=chunk.start))
        except BrokenExecutor:
            if worker in self._workers:
                self._replace(worker)
            if chunk.suspect:
                run.ready[chunk.start] = [lost_row(self, chunk.inputs[0])]
            else:
                singles = enumerate(chunk.inputs, start=chunk.start)
                run.lost += [_Chunk(position, [item], suspect=worker.has_loaded) for position, item in singles]

    def _score_here(self, run: _Run) -> None:
        """Score a chunk in this process, where no other can be started; never one that has ended a process."""
        chunk = run.lost.popleft() if run.lost else _cut_chunk(run, 1)
        if chunk.suspect:
            run.ready[chunk.start] = [lost_row(self, chunk.inputs[0])]
        else:
            found = by_recording(self._here.assess_files(as_inputs(chunk.inputs)))
            run.ready.update(enumerate(found, start=chunk.start))

    # --- processes ----------------------------------------------------------------------------------------------

    def _start(self) -> None:
        with suppress(OSError):  # without room for another one those that are there go on
            self._workers.append(_Worker(self._job))

    def _replace(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.end()
        if not worker.has_loaded:  # it is not the recordings, and another one would not come so far either
            return
        self._start()
        if self._notify is not None:
            self._notify(f"a process that scores has ended ({worker.ending}); what it had is scored again")

    def _await_models(self) -> None:
        """Wait until all have loaded the model, and keep those that agree.

        Raises:
            MtqscoreError: none can score.
            EnvironmentProblemError: the file of the model was exchanged meanwhile.
        """
        failure: MtqscoreError | None = None
        agreed: list[_Worker] = []
        for worker in list(self._workers):
            try:
                loaded, _ = worker.load.result()
            except BrokenExecutor:
                pass
            except MtqscoreError as error:  # such as a GPU without room for one more
                failure = failure or error
            else:
                if not agreed:
                    self.loaded = loaded
                if loaded.model_sha256 != self.loaded.model_sha256:
                    raise EnvironmentProblemError(
                        f"model {loaded.model} was exchanged while the run began (its sha256 was "
                        f"{self.loaded.model_sha256}, and is {loaded.model_sha256}): start again"
                    )
                if loaded.provider == self.loaded.provider:
                    agreed.append(worker)
                    continue
            self._workers.remove(worker)
            worker.end()
        if not agreed:
            if failure is not None:
                raise failure
            self.loaded = self._here.loaded


def _cut_chunk(run: _Run, workers: int) -> _Chunk:
    """Take the next recordings of a run."""
    share = (len(run.inputs) - run.start) // (CHUNKS_LEFT * workers)
    most = min(RECORDINGS_A_CHUNK, max(LEAST_A_CHUNK, share))
    chunk = _Chunk(run.start, [])
    size_bytes = 0
    for item in run.inputs[run.start : run.start + most]:
        size_bytes += _size_bytes(item)
        if chunk.inputs and size_bytes > CHUNK_BYTES:
            break
        chunk.inputs.append(item)
    run.start += len(chunk.inputs)
    return chunk


def _size_bytes(item: Input) -> int:
    if item.stamp is not None:
        return item.stamp.size_bytes or 0
    try:
        return os.stat(item.path).st_size  # noqa: PTH116 - a name with a zero byte must reach the handler
    except (OSError, ValueError):
        return 0


def _context() -> Any:
    """Start method: a clean server that forks, where there is one; never a fork of this process with its threads."""
    from multiprocessing import get_all_start_methods, get_context  # slow to load, and most runs start no process

    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload([process_worker.__name__, "soundfile", "soxr"])
    return context


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Let what is started here never get Ctrl-C: it would break off with a traceback while it loads."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # which changes the mask as well
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
