"""Whole processes and what they took: wall time, processor time, memory; and recordings for them to work on."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

WATCH_S = 0.1
"""Time between two looks at memory; each takes a tenth of a millisecond."""

EXAMPLES = Path(__file__).parent.parent / "examples"
ASSESS = [sys.executable, "-m", "mtqscore", "assess", "--quiet", "--no-config", "--csv", "-"]


@dataclass(frozen=True)
class Cost:
    """Wall time, processor time and memory of a command.

    Args:
        wall_s: from start to end.
        cpu_s: of all its threads and processes, in user and system mode.
        peak_mb: resident memory, in 10^6 bytes: the largest of one process, or the largest sum over all of a command,
            as far as Linux tells, where what they share counts for each.
    """

    wall_s: float
    cpu_s: float
    peak_mb: float


def run(*commands: list[str]) -> Cost:
    """Run commands at the same time to their ends.

    Raises:
        SystemExit: one of them failed.
    """
    start_s = time.perf_counter()
    running = [
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for command in commands
    ]
    cpu_s = peak_kb = 0.0
    for process in running:
        watch = _Watch(process.pid)
        _, state, usage = os.wait4(process.pid, 0)
        peak_kb = max(peak_kb, watch.finish())
        process.returncode = os.waitstatus_to_exitcode(state)
        if process.returncode:
            raise SystemExit(f"exit code {process.returncode}: {' '.join(map(str, process.args))[:300]}")  # type: ignore[arg-type]
        cpu_s += usage.ru_utime + usage.ru_stime
        peak_kb = max(peak_kb, usage.ru_maxrss)
    return Cost(time.perf_counter() - start_s, cpu_s, peak_kb * 1024 / 1e6)


class _Watch:
    """Looks from time to time how much memory a process and those that it started take together."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._peak_kb = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def finish(self) -> float:
        """The largest sum, in KiB."""
        self._over.set()
        self._thread.join()
        return self._peak_kb

    def _look(self) -> None:
        while not self._over.wait(WATCH_S):
            self._peak_kb = max(self._peak_kb, sum(map(_resident_kb, _family(self._pid))))


def _family(pid: int) -> list[int]:
    """A process and those that it started."""
    found = [pid]
    for name in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += [one for child in name.read_text().split() for one in _family(int(child))]
    return found


def _resident_kb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(float(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def bundled_speech() -> NDArray[np.float32]:
    """The bundled recordings at 16 kHz in FLAC, end to end: float32 (samples,)."""
    parts = []
    for path in sorted(EXAMPLES.glob("*.flac")):
        audio, rate_hz = soundfile.read(path, dtype="float32")
        parts.append(soxr.resample(audio, rate_hz, 16_000))
    return np.concatenate(parts)


def rolled(audio: NDArray[np.float32], seconds: float, number: int) -> NDArray[np.float32]:
    """Cut a stretch of audio at 16 kHz, another one for each number; it goes round at the end."""
    return np.take(audio, np.arange(round(seconds * 16_000)) + number * 7_919, mode="wrap")
