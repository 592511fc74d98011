"""Wall time, processor time and memory of whole processes, and recordings for them to work on."""

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


def run(command: list[str]) -> Cost:
    """Run a command to its end.

    Raises:
        SystemExit: it failed.
    """
    start_s = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    over, sums_kb, times_s = threading.Event(), [0.0], {}

    def watch() -> None:
        while not over.wait(WATCH_S):
            family = _family(process.pid)
            sums_kb.append(sum(map(_resident_kb, family)))
            times_s.update({pid: time_s for pid in family if (time_s := _cpu_s(pid))})

    watcher = threading.Thread(target=watch)
    watcher.start()
    _, state, usage = os.wait4(process.pid, 0)
    over.set()
    watcher.join()
    process.returncode = os.waitstatus_to_exitcode(state)
    if process.returncode:
        raise SystemExit(f"exit code {process.returncode}: {' '.join(command)[:300]}")
    peak_kb = max(usage.ru_maxrss, *sums_kb)
    cpu_s = max(
        usage.ru_utime + usage.ru_stime, sum(times_s.values())
    )  # some children are not waited for by the command
    return Cost(time.perf_counter() - start_s, cpu_s, peak_kb * 1024 / 1e6)


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


def _cpu_s(pid: int) -> float:
    try:
        values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(values[11]) + int(values[12])) / os.sysconf("SC_CLK_TCK")


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
