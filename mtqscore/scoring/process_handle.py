"""Processes on this machine, seen from the one that starts them: begun, given chunks, ended."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

from mtqscore.scoring.process_worker import run_process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

    from mtqscore.audio.inputs import Input

END_S = 2.0
"""So long a process, or a thread in the midst of a long recording, may take to end."""


@dataclass(eq=False)
class Worker:
    """Who scores chunks.

    Args:
        connection: takes chunks and brings answers.
        process: None is a thread of this process.
        scoring: brings batches that are to be scored here; None where somebody takes them, or none will come.
        thread: that scores here.
        pending: what it has not answered yet, with the position in the run.
        chunks: how many it has not answered to the end.
        loaded: whether it has come so far that it can score.
    """

    connection: Connection
    process: BaseProcess | None = None
    scoring: Connection | None = None
    thread: threading.Thread | None = None
    pending: deque[tuple[int, Input]] = field(default_factory=deque)
    chunks: int = 0
    loaded: bool = False

    def give(self, chunk: list[tuple[int, Input]]) -> None:
        """Send a chunk; one who has ended is noticed when the answer fails to come."""
        self.pending += chunk
        self.chunks += 1
        with suppress(OSError):
            self.connection.send([item for _, item in chunk])

    def end(self) -> None:
        """End a process at once, or a thread after the recording that it is at."""
        self.connection.close()
        if self.process is not None:
            self.process.kill()
            self.process.join(END_S)
        if self.scoring is not None:
            self.scoring.close()
        if self.thread is not None:
            self.thread.join(END_S)

    @property
    def ending(self) -> str:
        """How a process has ended."""
        code = self.process.exitcode if self.process is not None else None
        if code is None or code >= 0:
            return f"exit code {code}"
        with suppress(ValueError):
            return signal.Signals(-code).name
        return f"signal {-code}"


def start_process() -> Worker | None:
    """Start a process; None where the system has no room for it."""
    forks = _can_fork()
    context: Any = get_context("fork" if forks else "spawn")
    near, far = context.Pipe()
    scoring_near, scoring_far = context.Pipe()
    other_ends = (near, scoring_near) if forks else ()
    arguments = (far, scoring_far, other_ends)
    process = context.Process(target=run_process, args=arguments, name="mtqscore", daemon=True)
    try:
        with _interrupts_held():
            process.start()
    except OSError:
        near.close()
        scoring_near.close()
        return None
    finally:
        far.close()  # so that it is the only one who holds these ends, and its end is noticed
        scoring_far.close()
    return Worker(near, process, scoring_near)


def _can_fork() -> bool:
    """Whether this process can be doubled: it has a single thread, so that none can hold a lock that nobody frees."""
    try:
        return sys.platform == "linux" and len(os.listdir("/proc/self/task")) == 1  # noqa: PTH208 - counted alone
    except OSError:
        return False


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Let what is started here never hear of Ctrl-C: it would break off with a traceback while it loads."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
