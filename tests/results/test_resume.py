"""Interrupted runs: whatever ends them, the next one goes on, and the result is that of a run without interruption."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mtqscore.audio.inputs import Input
from mtqscore.errors import UsageError
from mtqscore.results.resume import ResumedFile
from tests.fake_model import METADATA, write_fake_model
from tests.report.kit import RUN
from tests.signals import speechlike, write

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Run

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals, limits and names")

SLOW = """
import sys, time
from mtqscore.cli import main
from mtqscore.results.json import JsonLinesWriter
fast = JsonLinesWriter.write
def write(self, assessment):
    time.sleep({delay_s})
    fast(self, assessment)
JsonLinesWriter.write = write
main()
"""
"""The command as it is, but for a disk that is slow: so that a run can be ended in its middle."""

UGLY = ["new\nline.wav", "q\"uo'te.wav", "-dash.wav", "=1+1.wav", "\udcff.wav", "é日.wav", "<script>.wav", " .wav"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Recordings with any names, one that is broken, one that is silent; all of one length, so that no batch is padded.

    Padding moves scores by less than 1e-4, which is nothing to a user, but something to a test of bytes.
    """
    (tmp_path / "rec").mkdir()
    for number, name in enumerate([*UGLY, *(f"{number:03}.wav" for number in range(72))]):
        write(tmp_path / "made.wav", speechlike(0.3, seed=number)).rename(tmp_path / "rec" / name)
    (tmp_path / "rec" / "000.wav").write_bytes(b"no audio")
    write(tmp_path / "rec" / "040.wav", speechlike(1) * 0)
    return tmp_path


def start(folder: Path, model: str, *arguments: str, delay_s: float = 0.004) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", SLOW.format(delay_s=delay_s), "assess", "--model", model, "-q", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def end_after(process: subprocess.Popen[bytes], path: Path, size_bytes: int, how: signal.Signals) -> bytes:
    """End a run once its file is so large, or let it end itself before."""
    deadline = time.monotonic() + 30
    while process.poll() is None and not (path.exists() and path.stat().st_size >= size_bytes):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(how)
    return process.communicate(timeout=30)[1]


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def scored_lines(path: Path) -> set[bytes]:
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return {line for line in lines if json.loads(line)["status"] == "ok"}


def clean(run: Run, folder: Path, *arguments: str) -> bytes:
    assert run("assess", *(arguments or ("rec",)), "--jsonl", "clean.jsonl", "--csv", "clean.csv").returncode in (0, 3)
    return (folder / "clean.jsonl").read_bytes()


@pytest.mark.parametrize("seed", range(3))
def test_killed_again_and_again(run: Run, folder: Path, fake_model: str, seed: int) -> None:
    whole = clean(run, folder)
    draw, journal = random.Random(seed), folder / "o.jsonl"
    if seed:  # what is there is not the beginning of the result: all must be put in order in the end
        lines = whole.splitlines(keepends=True)
        journal.write_bytes(b"".join(draw.sample(lines, 5)) + lines[7][:40])
    for _ in range(4):
        before = scored_lines(journal)
        size = journal.stat().st_size if journal.exists() else 0
        process = start(folder, fake_model, "rec", "--jsonl", "o.jsonl", "--resume", "--csv", "o.csv")
        end_after(process, journal, size + draw.randrange(1, len(whole) // 6), signal.SIGKILL)
        assert scored_lines(journal) >= before, "no row that was there is lost"
    assert len(scored_lines(journal)) < len(whole.splitlines())
    done = run("assess", "rec", "--jsonl", "o.jsonl", "--resume", "--csv", "o.csv")
    assert done.returncode == 3
    assert journal.read_bytes() == whole
    assert (folder / "o.csv").read_bytes() == (folder / "clean.csv").read_bytes()
    assert b"80 rows: 78 scored" in done.stdout


def test_ctrl_c(run: Run, folder: Path, fake_model: str) -> None:
    whole = clean(run, folder)
    process = start(folder, fake_model, "rec", "--jsonl", "o.jsonl")
    errors = end_after(process, folder / "o.jsonl", len(whole) // 3, signal.SIGINT)
    assert (process.returncode, errors) == (130, b"mtqscore: interrupted\n")
    assert (folder / "o.jsonl").read_bytes() == whole[: (folder / "o.jsonl").stat().st_size]
    assert (folder / "o.jsonl").read_bytes().endswith(b"\n")
    done = run("assess", "rec", "--jsonl", "o.jsonl", "--resume")
    assert (folder / "o.jsonl").read_bytes() == whole
    assert b"of 80 recordings are done" in done.stderr
    assert not list(folder.glob("*.partial"))


@pytest.mark.parametrize("in_order", [True, False])
def test_a_full_disk(run: Run, folder: Path, in_order: bool) -> None:
    import resource

    whole = clean(run, folder)
    journal = folder / "o.jsonl"
    journal.write_bytes(b"" if in_order else whole.splitlines(keepends=True)[9])

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_001, 10_001))

    done = run("assess", "rec", "--jsonl", "o.jsonl", "--resume", preexec_fn=limit)
    assert done.returncode == 4
    assert done.stderr.splitlines()[-1].startswith(b"mtqscore: cannot write 'o.jsonl': ")
    kept = journal.read_bytes()
    assert kept.endswith(b"}\n")
    assert len(kept) > 9_000, "what had room is there"
    assert not list(folder.glob("*.partial"))
    assert run("assess", "rec", "--jsonl", "o.jsonl", "--resume").returncode == 3
    assert journal.read_bytes() == whole


def test_files_that_change_while_the_run_goes_on(run: Run, folder: Path, fake_model: str) -> None:
    process = start(folder, fake_model, "rec", "--jsonl", "o.jsonl", "--batch-seconds", "1", delay_s=0.02)
    journal = folder / "o.jsonl"
    deadline = time.monotonic() + 30
    while not (journal.exists() and journal.stat().st_size):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    vanished, replaced, grown = (folder / "rec" / name for name in ("070.wav", "068.wav", "069.wav"))
    kept = vanished.read_bytes()
    vanished.unlink()
    write(replaced, speechlike(0.3, seed=500))
    grown.write_bytes(grown.read_bytes() + b"\0" * 100)
    assert process.communicate(timeout=30) == (None, b"")
    assert process.returncode == 3
    found = {row["path"]: row for row in rows(journal)}
    assert found["rec/070.wav"]["status"] == "not_found"
    assert found["rec/068.wav"]["modified_ns"] == replaced.stat().st_mtime_ns
    assert found["rec/069.wav"]["size_bytes"] == grown.stat().st_size

    # It is back, another one changes in its size alone, one in its time alone, and one stays but for its name.
    vanished.write_bytes(kept)
    times = (folder / "rec/030.wav").stat()
    (folder / "rec/030.wav").write_bytes((folder / "rec/030.wav").read_bytes() + b"\0" * 100)
    os.utime(folder / "rec/030.wav", ns=(times.st_atime_ns, times.st_mtime_ns))
    os.utime(folder / "rec/031.wav", ns=(0, 1))
    (folder / "rec/032.wav").rename(folder / "rec/0320.wav")
    done = run("assess", "rec", "--jsonl", "o.jsonl", "--resume")
    assert b"going on: 74 of 80 recordings are done" in done.stderr
    assert b"left out in the end: 1 of the file" in done.stderr
    assert journal.read_bytes() == clean(run, folder)


def changed_row(**changes: object) -> Callable[[bytes], bytes]:
    def change(line: bytes) -> bytes:
        return json.dumps(json.loads(line) | changes).encode() + b"\n"

    return change


CHANGES: list[Callable[[bytes], bytes]] = [
    changed_row(precision="tf32"),
    changed_row(precision=None),
    changed_row(model_sha256="ab" * 32),
    changed_row(channel="1"),
    changed_row(size_bytes=5),
    changed_row(modified_ns=None),
    changed_row(frames={"hop_s": 0.032, "s_mos": [1], "n_mos": [1], "g_mos": [1]}),
    changed_row(g_mos=7),
    changed_row(path=None),
    lambda _line: b"\0" * 300 + b"\n",
    lambda line: line[:100] + b"\n",
    lambda _line: b"",
    lambda line: line + line,
]


def test_what_does_not_hold_is_scored_again(run: Run, folder: Path) -> None:
    names = [f"rec/{number:03}.wav" for number in range(1, 2 + len(CHANGES))]
    whole = clean(run, folder, *names)
    first, *lines = whole.splitlines(keepends=True)
    changed = [change(line) for change, line in zip(CHANGES, lines, strict=True)]
    (folder / "o.jsonl").write_bytes(first + b"".join(changed))
    done = run("assess", *names, "--jsonl", "o.jsonl", "--resume")
    assert b"going on: 2 of 14 recordings are done" in done.stderr
    assert (folder / "o.jsonl").read_bytes() == whole


def test_rows_of_a_shard_become_rows_of_the_whole(run: Run, folder: Path) -> None:
    assert run("assess", "rec", "--jsonl", "o.jsonl", "--shard", "1/1").returncode == 3
    done = run("assess", "rec", "--jsonl", "o.jsonl", "--resume")
    assert b"going on: 78 of 80 recordings are done" in done.stderr
    assert (folder / "o.jsonl").read_bytes() == clean(run, folder)


def test_another_model_scores_all_again(run: Run, folder: Path) -> None:
    clean(run, folder)
    other = write_fake_model(folder / "other.onnx", metadata=METADATA | {"version": "2"})
    (folder / "o.jsonl").write_bytes((folder / "clean.jsonl").read_bytes())
    done = run("assess", "rec", "--jsonl", "o.jsonl", "--resume", model=str(other))
    assert b"going on: 0 of 80" in done.stderr
    assert {row["model"] for row in rows(folder / "o.jsonl")} == {"fake@2"}


@pytest.mark.parametrize("channels", ["each", "1", "2"])
def test_a_recording_is_done_with_all_its_channels(run: Run, tmp_path: Path, channels: str) -> None:
    names = [f"{number}.wav" for number in range(6)]
    for number, name in enumerate(names):
        write(tmp_path / name, speechlike(0.3, seed=number, channels=1 + number % 3))
    options = [*names, "missing.wav", "--channels", channels]
    whole = clean(run, tmp_path, *options)
    lines = whole.splitlines(keepends=True)
    for count in (2, 4, 5, len(lines)) if channels == "each" else (2,):
        # A recording that the last run broke off, and after it others: as two interruptions leave it.
        (tmp_path / "o.jsonl").write_bytes(b"".join([*lines[:count], *lines[-2:]]))
        run("assess", *options, "--jsonl", "o.jsonl", "--resume")
        assert (tmp_path / "o.jsonl").read_bytes() == whole
    run("assess", *names, "--jsonl", "o.jsonl")  # the mixdown says nothing of a channel
    run("assess", *options, "--jsonl", "o.jsonl", "--resume")
    assert (tmp_path / "o.jsonl").read_bytes() == whole


def test_curves_and_every_report_cover_all_rows(run: Run, folder: Path) -> None:
    names = [f"rec/{number:03}.wav" for number in range(12)]
    kinds = ["json", "csv", "parquet", "md", "junit"]
    options = [*names, "rec/003.wav", "--frames", "--fail-under", "g>=4"]
    whole = [word for kind in kinds for word in (f"--{kind}", f"clean.{kind}")]
    expected = run("assess", *options, "--jsonl", "clean.jsonl", *whole)
    lines = (folder / "clean.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "o.jsonl").write_bytes(b"".join(lines[4:9]))
    resumed = [word for kind in kinds for word in (f"--{kind}", f"o.{kind}")]
    done = run("assess", *options, "--jsonl", "o.jsonl", "--resume", *resumed)
    assert (done.returncode, expected.returncode) == (3, 3)
    for kind in ("jsonl", *kinds):
        assert (folder / f"o.{kind}").read_bytes() == (folder / f"clean.{kind}").read_bytes(), kind
    assert done.stderr.splitlines()[-2:-1] == expected.stderr.splitlines()[-2:-1], "the gates say the same"


@pytest.mark.parametrize(
    "content",
    [
        b"path,status\n",
        b"RIFF\x24\x08",
        b'{"path": "rec/001.wav", "label": 4}\n',
        b'{"schema": "mtqscore.assess/1"}\n',
        b"\n",
        b'{"other": 1',
    ],
)
def test_a_file_that_is_something_else_is_not_touched(tmp_path: Path, content: bytes) -> None:
    place = tmp_path / "o.jsonl"
    place.write_bytes(content)
    with (
        pytest.raises(UsageError, match=r"o.jsonl' is no result as JSON Lines"),
        ResumedFile(str(place), RUN) as journal,
    ):
        journal.plan([Input("rec/001.wav")])
    assert place.read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"{", b'{"pa', b'{"path": "rec/001.w'])
def test_the_beginning_of_a_first_row_is_one_of_a_result(tmp_path: Path, content: bytes) -> None:
    place = tmp_path / "o.jsonl"
    place.write_bytes(content)
    with ResumedFile(str(place), RUN) as journal:
        assert journal.plan([Input("rec/001.wav")]) == [Input("rec/001.wav")]
    assert place.read_bytes() == b""


def test_a_result_of_other_recordings_is_not_touched(run: Run, folder: Path) -> None:
    whole = clean(run, folder)
    done = run("assess", "./rec/001.wav", "--jsonl", "clean.jsonl", "--resume")
    assert done.returncode == 2
    assert b"has rows of other recordings only" in done.stderr
    assert (folder / "clean.jsonl").read_bytes() == whole


@pytest.mark.parametrize("where", [[], ["--jsonl", "-"], ["--jsonl", "/dev/null"], ["--csv", "o.csv"]])
def test_there_must_be_a_file_to_go_on_with(run: Run, folder: Path, where: list[str]) -> None:
    before = sorted(folder.iterdir())
    done = run("assess", "rec", "--resume", *where)
    assert (done.returncode, done.stdout) == (2, b"")
    assert len(done.stderr.splitlines()) == 1
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_two_runs_do_not_write_one_file(run: Run, folder: Path, resume: list[str]) -> None:
    import fcntl

    whole = clean(run, folder)
    with (folder / "clean.jsonl").open("rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        done = run("assess", "rec", "--jsonl", "clean.jsonl", *resume)
        assert (done.returncode, done.stdout) == (2, b"")
        assert b"another run is writing" in done.stderr
        assert (folder / "clean.jsonl").read_bytes() == whole
    assert run("assess", "rec", "--jsonl", "clean.jsonl", *resume).returncode == 3


def test_a_wrong_place_for_one_result_empties_no_other(run: Run, folder: Path) -> None:
    whole = clean(run, folder)
    assert run("assess", "rec", "--jsonl", "clean.jsonl", "--html", "no/such/folder.html").returncode == 2
    assert (folder / "clean.jsonl").read_bytes() == whole


def test_ten_thousand_rows_are_read_in_a_moment(run: Run, folder: Path) -> None:
    names = ["rec/001.wav", "rec/002.wav"]
    first, last = clean(run, folder, *names).splitlines()
    (folder / "many").mkdir()
    lines, row = [], json.loads(first)
    for number in range(10_000):
        path = folder / f"many/{number}.wav"
        path.touch()
        row |= {"path": f"many/{number}.wav", "size_bytes": 0, "modified_ns": path.stat().st_mtime_ns}
        lines.append(json.dumps(row, ensure_ascii=False))
    names = [json.loads(line)["path"] for line in lines] + ["rec/002.wav"]
    (folder / "list").write_text("\n".join(names))
    (folder / "o.jsonl").write_text("\n".join(lines) + "\n")
    started_s = time.monotonic()
    done = run("assess", "--from-list", "list", "--jsonl", "o.jsonl", "--resume", "--csv", "o.csv")
    assert time.monotonic() - started_s < 10
    assert b"going on: 10,000 of 10,001" in done.stderr
    assert (folder / "o.jsonl").read_bytes().splitlines() == [*(line.encode() for line in lines), last]
    assert (folder / "o.csv").read_bytes().count(b"\n") == 10_002
