"""Pools of worker processes that use one core each."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

Result = TypeVar("Result")

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables that numerical libraries read once, as they are loaded."""


class WorkerPool(ProcessPoolExecutor):
    """Pool of fresh processes, each limited to one numerical thread, that leave Ctrl-C to this process and end with it.

    Processes are spawned, not forked: a copy of a process that has loaded torch may lock up, and a copy of one that has
    loaded NumPy keeps NumPy's number of threads.

    Args:
        workers: number of processes.
        initializer: called once in each process.
        arguments: of the initializer.
    """

    def __init__(self, workers: int, initializer: Callable[..., object] | None = None, *arguments: object) -> None:
        context = multiprocessing.get_context("spawn")
        super().__init__(workers, context, _start_worker, (initializer, arguments))

    def submit(self, task: Callable[..., Result], /, *arguments: Any, **options: Any) -> Future[Result]:
        """Schedule a call; processes are started here, as they are needed."""
        with uninterrupted(), _one_thread_each():
            return super().submit(task, *arguments, **options)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold back Ctrl-C and SIGTERM until the end of the block, for a process that is being started.

    A fresh process reads its task from its parent. A parent that is interrupted halfway through leaves one that ends
    with a traceback.
    """
    if threading.current_thread() is not threading.main_thread():  # signals interrupt no other
        yield
        return
    caught: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda which, _frame: caught.append(which)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if caught:
            signal.raise_signal(caught[0])


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Set the thread variables for processes that are started in the block; values of the user's own hold."""
    added = {name: "1" for name in THREAD_VARIABLES if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def _start_worker(initializer: Callable[..., object] | None, arguments: tuple[object, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if initializer is not None:
        initializer(*arguments)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
