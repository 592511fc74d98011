"""Scoring with several processes on this machine, each with a session of its own."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtqscore.audio.inputs import Input, is_remote
from mtqscore.base.machine import usable_cores, usable_memory_bytes
from mtqscore.errors import EnvironmentProblemError, MtqscoreError
from mtqscore.models import load_model
from mtqscore.scores import Assessment
from mtqscore.scoring import process_worker
from mtqscore.scoring.pooled import PooledEngine, Worker

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from mtqscore.config import AssessConfig
    from mtqscore.scoring.engine import LoadedModel

RECORDINGS_A_PROCESS = 400
"""With fewer a further process does not make up for its start."""

MEMORY_A_PROCESS_BYTES = 2**29
"""More than a process takes, so that there is room beside them."""

PROCESSES_A_GPU = 4
"""Sessions that share a GPU unless more are asked for: each takes some hundred megabytes of its memory."""


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


class _Process(Worker):
    """A process that scores, alone in its executor, so that its end breaks nobody else's work."""

    def __init__(self, job: process_worker.Job) -> None:
        from concurrent.futures import ProcessPoolExecutor  # slow to load, and most runs start no process

        self._context = _context()
        self._lifeline, far = self._context.Pipe()
        self.executor = ProcessPoolExecutor(1, self._context, process_worker.begin, (far,))
        self._job = job
        self._process: BaseProcess | None = None
        self.load: Future[LoadedModel] = Future()
        try:
            with _interrupts_held():
                self.executor.submit(process_worker.load, job).add_done_callback(self._note_load)
        except BaseException:
            self.end()
            raise

    def _note_load(self, load: Future[tuple[LoadedModel, int]]) -> None:
        try:
            loaded, number = load.result()
        except BaseException as error:  # it is for who waits for the model
            self.load.set_exception(error)
            return
        self._process = next((one for one in self._context.active_children() if one.pid == number), None)
        self.load.set_result(loaded)

    def score(self, inputs: list[Input]) -> Future[list[list[Assessment]]]:
        """Begin to score; the rows of each recording."""
        return self.executor.submit(process_worker.score, self._job, inputs)

    def end(self) -> None:
        """End the process at once, whatever it does."""
        self._lifeline.close()
        self.executor.shutdown(cancel_futures=True)

    @property
    def ending(self) -> str:
        """Cause of the end of a process that has ended."""
        code = self._process.exitcode if self._process is not None else None
        if code is None or code >= 0:
            return f" (exit code {code})"
        with suppress(ValueError):
            return f" ({signal.Signals(-code).name})"
        return f" (signal {-code})"


class ProcessEngine(PooledEngine):
    """Scores as an `Assessor` does, in further processes.

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

    lost_errors = (BrokenExecutor,)

    def __init__(self, config: AssessConfig, processes: int, notify: Callable[[str], None] | None = None) -> None:
        super().__init__(config, notify)
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

    def _start(self) -> None:
        with suppress(OSError):  # without room for another one those that are there go on
            self._workers.append(_Process(self._job))

    def _await_models(self) -> None:
        """Wait until all have loaded the model, and keep those that agree."""
        failure: MtqscoreError | None = None
        agreed: list[Worker] = []
        for worker in list(self._workers):
            try:
                loaded = worker.load.result()
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
