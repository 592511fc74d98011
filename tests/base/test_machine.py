"""Numbers of usable cores and of threads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mtqscore.base import machine as cores
from mtqscore.base.machine import usable_cores


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "10000 100000"}, 1),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu.cfs_quota_us": "400000", "cpu.cfs_period_us": "100000"}, 4),
        ({"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000"}, None),
        ({"cpu.max": "nonsense"}, None),
        ({}, None),
    ],
)
def test_the_limit_of_a_control_group_is_read(tmp_path: Path, files: dict[str, str], limit: int | None) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert cores._cgroup_limit(tmp_path) == limit


def test_the_least_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpu.max").write_text("100000 100000")
    monkeypatch.setattr(cores, "_cgroup_folders", lambda: [tmp_path])
    assert cores.usable_cores() == 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_affinity_counts() -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert cores.usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts threads in /proc")
@pytest.mark.skipif(usable_cores() < 2, reason="NumPy has no further threads on one core")
def test_numpy_has_no_threads_beside_those_that_score() -> None:
    code = (
        "import os, sys, time\nfrom mtqscore.cli import main\n"
        "sys.argv[1:] = ['assess', '--no-config', '--threads', '1', 'examples/clean.flac', '--csv', '-', '-q']\n"
        "try: main()\nexcept SystemExit: pass\n"
        "found = []\n"  # threads that scored may still be ending
        "while len(found) < 20: time.sleep(0.02); found.append(len(os.listdir('/proc/self/task')))\n"
        "print(min(found))"
    )

    def threads(**environment: str) -> int:
        known = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=Path(__file__).parents[2],
            env=known | environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return int(done.stdout.splitlines()[-1])

    assert threads() == threads(OPENBLAS_NUM_THREADS="1")
    assert threads() < threads(OPENBLAS_NUM_THREADS="2")  # what the user says holds
