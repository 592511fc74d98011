"""What scores chunks of recordings for `ProcessEngine`: a process of its own, or a thread of this one."""

from __future__ import annotations

import os
import queue
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mtqscore.errors import EnvironmentProblemError, MtqscoreError
from mtqscore.scoring.engine import by_recording

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection

    from mtqscore.audio.inputs import Input
    from mtqscore.config import AssessConfig
    from mtqscore.scores import Assessment
    from mtqscore.scoring.assessor import Assessor
    from mtqscore.scoring.remote_session import ScorerFacts

SEND_S = 0.5
"""So long rows wait for those that come after them; with fewer messages the cores are interrupted less."""

M_ARENA_MAX = -8
"""Of glibc's mallopt."""

Answer = tuple[list[list["Assessment"]], bool]
"""The rows of some recordings, and whether they are the last of a chunk."""


@dataclass(frozen=True)
class Job:
    """What every process is told.

    Args:
        config: how it scores.
        options: that stand in its rows: those of the whole run.
        model_sha256: checksum that the model must have here too.
        far: of the scorer of who started this process, where that one scores for all; None is to load the model here.
    """

    config: AssessConfig
    options: AssessConfig
    model_sha256: str
    far: ScorerFacts | None = None

    def load(self, scoring: Connection) -> Assessor:
        """Load the model, or rely on that of who started this process.

        Args:
            scoring: takes batches there.

        Raises:
            EnvironmentProblemError: its file is another one by now, or it does not load.
        """
        from mtqscore.scoring.assessor import Assessor

        if self.far is not None:
            from mtqscore.scoring.remote_session import FarScorer

            return Assessor.over(FarScorer(scoring, self.far), self.config)
        assessor = Assessor(self.config)
        if assessor.model_sha256 != self.model_sha256:
            raise EnvironmentProblemError(
                f"model {assessor.model} was exchanged while the run began (its sha256 was {self.model_sha256}, and is "
                f"{assessor.model_sha256}): start again"
            )
        return assessor


def keep_one_arena() -> None:
    """Have all threads of this process take memory from one place: each of several keeps what it once took.

    Where a core belongs to each process, its threads work in turn and do not wait for one another there.
    """
    import ctypes

    with suppress(OSError, TypeError, AttributeError):  # not glibc
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def run_process(connection: Connection, scoring: Connection, other_ends: Sequence[Connection]) -> None:
    """Score in a process of its own, that ends when nobody wants its rows any more.

    Args:
        connection: see `serve`.
        scoring: takes batches, where who started this process scores for all.
        other_ends: of both, where this process has a copy of them; while they are open, no end is seen.
    """
    import gc
    import signal

    import mtqscore.scoring.assessor  # noqa: F401 - what takes long is loaded while the one who asks prepares the job

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started it
    for other_end in other_ends:
        other_end.close()
    keep_one_arena()
    gc.freeze()  # to go through what a fork shares would copy it
    with suppress(EOFError, OSError):
        job: Job = connection.recv()
        serve(connection, lambda: job.load(scoring), job.options, lambda: os._exit(0))


class _NobodyListensError(Exception):
    """There is no one any more to send to."""


def serve(
    connection: Connection, load: Callable[[], Assessor], options: AssessConfig, leave: Callable[[], object]
) -> None:
    """Score chunks in the order in which they come, until nobody sends any more.

    Args:
        connection: brings chunks, lists of recordings, and takes an `Answer` or an exception; the first answer is
            empty, and says that the model is loaded.
        load: makes what scores.
        options: that stand in the rows.
        leave: called by another thread once nobody sends any more, maybe in the midst of a chunk.
    """
    chunks: queue.SimpleQueue[list[Input] | None] = queue.SimpleQueue()
    left = threading.Event()

    def receive() -> None:
        # In a thread of its own, so that neither side ever waits for the other to take what it sends.
        with suppress(EOFError, OSError):
            while True:
                chunks.put(connection.recv())
        left.set()
        leave()
        chunks.put(None)

    def send(answer: Answer | Exception) -> None:
        if left.is_set():
            raise _NobodyListensError
        try:
            connection.send(answer)
        except OSError as error:
            raise _NobodyListensError from error

    threading.Thread(target=receive, name="receive chunks", daemon=True).start()
    with suppress(_NobodyListensError):
        try:
            assessor = load()
            send(([], False))
            while (chunk := chunks.get()) is not None:
                _score(assessor, chunk, options, send)
        except _NobodyListensError:
            raise
        except MtqscoreError as error:
            send(error)
        except BaseException:  # told where the one who started the run sees it
            send(RuntimeError(f"a process that scores failed:\n{traceback.format_exc()}"))


def _score(
    assessor: Assessor, chunk: list[Input], options: AssessConfig, send: Callable[[Answer | Exception], None]
) -> None:
    """Score one chunk and send its rows."""
    found: list[list[Assessment]] = []
    sent_s = time.monotonic()
    for rows in by_recording(assessor.assess_files(chunk)):
        found.append([replace(row, options=options) for row in rows])
        if time.monotonic() - sent_s > SEND_S:
            send((found, False))
            found, sent_s = [], time.monotonic()
    send((found, True))
