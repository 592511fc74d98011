"""Memory that grows neither with the length of a recording nor with the number of files and rows."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mtqscore.report.summary import RunSummary
from mtqscore.report.table import MANY_ROWS, MANY_SHOWN, TableWriter
from mtqscore.results.run import Run
from mtqscore.scores import Assessment, Scores, Status
from tests.signals import RATE_HZ, speechlike, write

ROOT = Path(__file__).parents[2]
RUN = Run("1", "m@1", "ab" * 32, "CPUExecutionProvider", ("s_mos", "n_mos", "g_mos"), None)


def peak_mb(*arguments: str) -> float:
    """Largest resident memory of a run of `assess` that scores everything."""
    command = [sys.executable, "-m", "mtqscore", "assess", "--quiet", "--no-config", "--threads", "2", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    _, state, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(state)
    assert process.returncode == 0
    return usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


@pytest.mark.skipif(not hasattr(os, "wait4"), reason="the system does not tell how much memory a process took")
def test_memory_does_not_grow_with_length(tmp_path: Path, fake_model: str) -> None:
    minute = speechlike(60)
    peaks = []
    for name, minutes in (("short.wav", 15), ("long.wav", 45)):
        with soundfile.SoundFile(tmp_path / name, "w", RATE_HZ, 1) as sound:
            for _ in range(minutes):
                sound.write(minute)
        peaks.append(peak_mb("--model", fake_model, str(tmp_path / name)))
    assert peaks[1] < peaks[0] + 25, "as float32, 30 minutes more are 115 MB"


@pytest.mark.skipif(not hasattr(os, "wait4"), reason="the system does not tell how much memory a process took")
def test_memory_does_not_grow_with_the_number_of_files(tmp_path: Path, fake_model: str) -> None:
    first = write(tmp_path / "clip.wav", speechlike(1))
    peaks = []
    for count in (500, 3_000):
        folder = tmp_path / str(count)
        folder.mkdir()
        for number in range(count):
            os.link(first, folder / f"{number}.wav")
        peaks.append(peak_mb("--model", fake_model, str(folder)))
    assert peaks[1] < peaks[0] + 25, "as float32, 2,500 seconds more are 160 MB"


def scored(number: int, g_mos: float | None) -> Assessment:
    scores, status = (None, Status.SILENT) if g_mos is None else (Scores(3.0, 3.0, g_mos), Status.OK)
    path, reason = f"folder/recording-{number:06d}.wav", "" if scores else "no sound"
    return Assessment(path, "mean", 1.0, 16_000, status, reason, (), scores, None, "m@1", "", "CPU", None)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(stream: io.StringIO, count: int) -> tuple[list[str], float]:
    """Lines of a table of rows with falling scores, every 100th not scored, and the memory that it took, in MB."""
    table, summary = TableWriter(stream, RUN, legend=False), RunSummary()
    tracemalloc.start()
    table.begin()
    peak = 0
    for number in range(count):
        assessment = scored(number, None if number % 100 == 0 else 5 - 4 * number / count)
        table.write(assessment)
        summary.add(assessment)
        if number % 1_000 == 0:
            size = len(stream.getvalue()) if not stream.isatty() else 0
            peak = max(peak, tracemalloc.get_traced_memory()[0] - 4 * size)
    tracemalloc.stop()
    table.finish(summary)
    return stream.getvalue().splitlines(), peak / 1e6


def test_a_file_gets_every_row_without_keeping_them_in_memory() -> None:
    count = 20 * MANY_ROWS
    lines, peak = shown(io.StringIO(), count)
    assert [line.split()[0] for line in lines[1 : count + 1]] == [f"folder/recording-{n:06d}.wav" for n in range(count)]
    assert len({line.rstrip().rfind(".") for line in lines[2:90]}) == 1, "columns stay straight"
    assert lines[-1].startswith(f"{count} rows: {count - count // 100} scored, {count // 100} silent")
    assert peak < 3


def test_few_rows_wait_so_that_columns_fit_all() -> None:
    stream = io.StringIO()
    table = TableWriter(stream, RUN, legend=False)
    for number in range(MANY_ROWS):
        table.write(scored(number, 3.0))
    assert stream.getvalue() == ""
    table.finish(RunSummary(rows=MANY_ROWS))
    assert len(stream.getvalue().splitlines()) == MANY_ROWS + 3


def test_a_terminal_gets_of_many_rows_those_that_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    count = 10 * MANY_ROWS
    lines, peak = shown(Terminal(), count)
    numbers = [int(line.split("recording-")[1][:6]) for line in lines if "recording-" in line]
    assert numbers[:MANY_SHOWN] == [100 * number for number in range(MANY_SHOWN)], "the first without scores"
    worst = [number for number in range(count) if number % 100][-MANY_SHOWN:]
    assert numbers[MANY_SHOWN:] == worst, "then the lowest, the very lowest next to the summary"
    assert any(line.startswith(f"{2 * MANY_SHOWN} of {count} rows") and "--csv" in line for line in lines)
    assert peak < 3


def test_a_terminal_gets_every_row_of_few() -> None:
    lines, _ = shown(Terminal(), 300)
    assert sum("recording-" in line for line in lines) == 300
    assert not any(" of 300 rows" in line for line in lines)


def test_windows_of_one_recording_do_not_wait_without_end(tmp_path: Path, fake_model: str) -> None:
    from mtqscore.config import AssessConfig
    from mtqscore.scoring.assessor import Assessor

    path = write(tmp_path / "long.wav", np.tile(speechlike(30), (20, 1)))
    assessor = Assessor(AssessConfig(model=fake_model, threads=2, batch_s=20.0))
    tracemalloc.start()
    try:
        assert assessor.assess_file(path).ok
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # A pool of 4 batches a worker, as many under way, each copied once: 4 × 2 × 20 s × 2 × 2 × 64 kB.
    assert peak < 45e6
