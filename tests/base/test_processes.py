"""Pools of worker processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mtqscore.base.machine import usable_cores
from mtqscore.base.processes import WorkerPool, uninterrupted

ROOT = Path(__file__).parents[2]


def threads_of_numpy() -> int:
    import numpy as np

    np.ones((64, 64)) @ np.ones((64, 64))
    return len(list(Path("/proc/self/task").iterdir()))


def process_number() -> int:
    return os.getpid()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts threads in /proc")
@pytest.mark.skipif(usable_cores() < 2, reason="NumPy has no further threads on one core")
def test_each_process_has_one_numerical_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    with WorkerPool(1) as pool:
        limited = pool.submit(threads_of_numpy).result()
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    with WorkerPool(1) as pool:
        assert pool.submit(threads_of_numpy).result() == limited + 1, "a number that the user sets holds"
    assert "OMP_NUM_THREADS" not in os.environ


@pytest.mark.skipif(os.name != "posix", reason="looks for a process by its number")
def test_processes_end_with_a_killed_parent() -> None:
    code = (
        "from mtqscore.base.processes import WorkerPool\nfrom tests.base.test_processes import process_number\n"
        "if __name__ == '__main__':\n"
        "    pool = WorkerPool(1); print(pool.submit(process_number).result(), flush=True); input()"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{worker}/cmdline").exists() and Path(f"/proc/{worker}/cmdline").read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_until_a_process_is_started(number: signal.Signals) -> None:
    before = signal.signal(number, signal.default_int_handler)
    started = False
    try:
        with pytest.raises(KeyboardInterrupt), uninterrupted():
            signal.raise_signal(number)
            started = True
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)
    assert started
