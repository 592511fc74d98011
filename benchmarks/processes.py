"""Whole processes and what they took: wall time, processor time, memory; and recordings for them to work on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

EXAMPLES = Path(__file__).parent.parent / "examples"
ASSESS = [sys.executable, "-m", "mtqscore", "assess", "--quiet", "--no-config", "--csv", "-"]


@dataclass(frozen=True)
class Cost:
    """What a command took.

    Args:
        wall_s: from start to end.
        cpu_s: of all its threads and processes, in user and system mode.
        peak_mb: largest resident memory of one process, in 10^6 bytes.
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
        _, state, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(state)
        if process.returncode:
            raise SystemExit(f"exit code {process.returncode}: {' '.join(map(str, process.args))[:300]}")  # type: ignore[arg-type]
        cpu_s += usage.ru_utime + usage.ru_stime
        peak_kb = max(peak_kb, usage.ru_maxrss)
    return Cost(time.perf_counter() - start_s, cpu_s, peak_kb * 1024 / 1e6)


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
