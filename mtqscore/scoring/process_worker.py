"""A process that scores chunks of recordings for `ProcessEngine`: the functions that its executor calls there."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from mtqscore.config import AssessConfig
from mtqscore.errors import EnvironmentProblemError, MtqscoreError, UsageError
from mtqscore.scoring.assessor import Assessor
from mtqscore.scoring.engine import LoadedModel, as_inputs, by_recording

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from mtqscore.audio.inputs import Input
    from mtqscore.scores import Assessment

M_ARENA_MAX = -8
"""Of glibc's mallopt."""


class Job(NamedTuple):
    """Order to all processes of an engine.

    Args:
        config: the options, as they stand in the rows.
        threads: of each process.
    """

    config: AssessConfig
    threads: int


def begin(lifeline: Connection) -> None:
    """Prepare a process: it ends when the other end of its lifeline is closed, whatever ends the one who holds that."""

    def watch() -> None:
        with suppress(EOFError, OSError):
            lifeline.recv_bytes()
        os._exit(0)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started it
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)  # libsndfile prints on some damaged files, and rows go another way
    os.close(null)
    with suppress(OSError, TypeError, AttributeError):  # not glibc
        # Each of several arenas keeps what it once took; the few threads here do not wait for one another.
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)
    gc.freeze()  # to go through what a fork shares would copy it


def load(job: Job) -> tuple[LoadedModel, int]:
    """Load the model; returns it as results name it, and the number of this process."""
    with _plain_errors():
        return _loaded(job).loaded, os.getpid()


def score(job: Job, inputs: list[Input]) -> list[list[Assessment]]:
    """Return the rows of each recording."""
    with _plain_errors():
        return list(by_recording(_loaded(job).assess_files(as_inputs(inputs))))


@cache
def _loaded(job: Job) -> Assessor:
    return Assessor(job.config).with_threads(job.threads)


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Raise errors of a kind that any process can read."""
    try:
        yield
    except MtqscoreError as error:
        kind = UsageError if isinstance(error, UsageError) else EnvironmentProblemError
        raise kind(str(error)) from None
