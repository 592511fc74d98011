"""Streams as callers leave them: full, closed, or of an encoding that lacks our signs; for every command alike."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.signals import speechlike, write

if TYPE_CHECKING:
    from tests.conftest import Run

FULL = Path("/dev/full")


@pytest.fixture
def calls(run: Run, tmp_path: Path, fake_model: str) -> list[list[str]]:
    """A call that works of each command."""
    write(tmp_path / "a.wav", speechlike())
    assert run("assess", "a.wav", "-q", "--jsonl", "r.jsonl").returncode == 0
    return [
        ["assess", "a.wav"],
        ["gate", "r.jsonl", "--fail-under", "g>=1"],
        ["compare", "r.jsonl", "r.jsonl"],
        ["explain", "a.wav", "--model", fake_model],
        ["gate", "--help"],
        ["--version"],
    ]


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
def test_a_full_stdout_is_4_in_one_line(run: Run, calls: list[list[str]]) -> None:
    for call in calls:
        with FULL.open("wb") as full:
            done = run(*call, capture_output=False, stdout=full, stderr=subprocess.PIPE)
        assert done.returncode == 4, call
        assert done.stderr.decode().splitlines()[-1].startswith("mtqscore: cannot write stdout: ")


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
def test_messages_that_find_no_room_are_no_failure(run: Run, calls: list[list[str]]) -> None:
    for call in calls:
        with FULL.open("wb") as full:
            done = run(*call, capture_output=False, stdout=subprocess.PIPE, stderr=full)
        assert done.returncode == 0, call
        assert done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_nothing_to_stumble_over(tmp_path: Path, fake_model: str, closed: str) -> None:
    write(tmp_path / "a.wav", speechlike())
    command = [sys.executable, "-m", "mtqscore", "assess", "a.wav", "--model", fake_model, "--csv", "s.csv"]
    script = ["sh", "-c", f'"$@" {closed}', "sh", *command]
    done = subprocess.run(script, cwd=tmp_path, capture_output=True, check=False, timeout=60)
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False)
    # Nothing that belongs on a stream has found its way into the file.
    assert (tmp_path / "s.csv").read_text().startswith("path,channel,")
    assert len((tmp_path / "s.csv").read_text().splitlines()) == 2


def test_our_signs_have_plain_ones_where_the_encoding_lacks_them(run: Run, tmp_path: Path) -> None:
    write(tmp_path / "a.wav", speechlike())
    done = run("assess", "a.wav", "no 日.wav", env={"PYTHONIOENCODING": "ascii"})
    table = done.stdout.decode("ascii").splitlines()
    assert table[2].split()[:4] == ["no", "\\u65e5.wav", "-", "-"]
    assert table[-1].startswith("2 rows: 1 scored, 1 not_found | mean ")
    assert " x real time" in done.stderr.decode("ascii")
