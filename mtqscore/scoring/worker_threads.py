"""Threads that read recordings and score batches, whichever is due, so that no core waits while there is work."""

from __future__ import annotations

import queue
import threading
from collections import deque
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")

WAKE_S = 0.2
"""Who waits looks up so often by himself."""


def _look() -> None:
    """A job that only wakes a thread, so that it sees what else is due."""


class Crew(Executor):
    """Threads that do what was submitted first of all, and otherwise read.

    Reading and scoring by threads of their own would be more threads than cores, and they would take the cores from
    one another in the midst of their work. A reader that has to wait, since its windows are not taken yet, scores
    meanwhile; so readers of long recordings never hold up the scoring that would free them.

    Args:
        threads: how many there are at most; each starts when there is work for it.
    """

    def __init__(self, threads: int) -> None:
        self._most = threads
        self._threads: list[threading.Thread] = []
        self._reading: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._due: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._change = threading.Condition()
        self._waiting = 0

    def read(self, job: Callable[[], None]) -> None:
        """Do a job that raises nothing, after those that were given before."""
        self._reading.put(job)
        self._start()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Do a job before any reading that has not begun."""
        future: Future[T] = Future()
        self._due.append((future, lambda: fn(*args, **kwargs)))
        self._reading.put(_look)
        self.nudge()
        self._start()
        return future

    def wait_until(self, done: Callable[[], bool]) -> None:
        """Wait within a reading job, and do what is due meanwhile; `nudge` tells that something may have changed."""
        while not done():
            if self._do_one():
                continue
            with self._change:
                self._waiting += 1  # before the last look, so that a nudge after it is not lost
                if not self._due and not done():
                    self._change.wait(WAKE_S)
                self._waiting -= 1

    def nudge(self) -> None:
        """Have those who wait look again."""
        if self._waiting:
            with self._change:
                self._change.notify_all()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the threads; reading jobs that were given are still done, and should be short by then."""
        while cancel_futures and self._due:
            self._due.popleft()[0].cancel()
        for _ in self._threads:
            self._reading.put(None)
        self.nudge()
        for thread in self._threads if wait else ():
            thread.join()

    def _start(self) -> None:
        if len(self._threads) < self._most:
            # Daemons, so that a program that breaks off does not wait for a file that does not answer.
            self._threads.append(threading.Thread(target=self._work, name="crew", daemon=True))
            self._threads[-1].start()

    def _work(self) -> None:
        while True:
            if self._do_one():
                continue
            if (job := self._reading.get()) is None:
                return
            job()

    def _do_one(self) -> bool:
        """Do one thing that is due; say whether there was any."""
        try:
            future, job = self._due.popleft()
        except IndexError:
            return False
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(job())
            except BaseException as error:  # it is for who asked
                future.set_exception(error)
        return True
