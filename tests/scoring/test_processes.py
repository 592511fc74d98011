"""Several processes on this machine: the rows of one, whatever becomes of the others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from multiprocessing import Pipe
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import soundfile

from mtqscore import Assessment, Assessor, Status
from mtqscore.audio.inputs import Input
from mtqscore.config import AssessConfig
from mtqscore.errors import EnvironmentProblemError
from mtqscore.scoring import process_handle, processes
from mtqscore.scoring import worker_count as worth
from mtqscore.scoring.process_worker import Job, serve
from mtqscore.scoring.processes import ProcessEngine
from mtqscore.scoring.worker_count import RECORDINGS_A_PROCESS, worth_processes
from tests.signals import RATE_HZ, speechlike, write

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Run

ROOT = Path(__file__).parents[2]
linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Recordings of several lengths, rates and channels, and what is none."""
    (tmp_path / "rec").mkdir()
    for number in range(40):
        rate_hz, channels = (RATE_HZ, 48_000)[number % 2], 1 + number % 3
        samples = speechlike(0.4 + 0.1 * (number % 7), rate_hz, seed=number, channels=channels)
        write(tmp_path / "rec" / f"{number:02}.{('wav', 'flac')[number % 2]}", samples, rate_hz)
    (tmp_path / "rec" / "07b.wav").write_bytes(b"no audio")
    write(tmp_path / "rec" / "33b.wav", speechlike(1) * 0)
    return tmp_path


def rows_of(text: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.decode().splitlines()]


def same(rows: list[dict[str, Any]], others: list[dict[str, Any]]) -> None:
    """Rows differ by what a batch of another make-up may change, and by nothing else."""
    assert [row.keys() for row in rows] == [other.keys() for other in others]
    for row, other in zip(rows, others, strict=True):
        for name, value in row.items():
            if isinstance(value, float):
                assert value == pytest.approx(other[name], abs=2e-4), (row["path"], name)
            elif name != "frames":
                assert value == other[name], (row["path"], name)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("options", [[], ["--channels", "each"], ["--channels", "2"], ["--frames"]])
def test_rows_are_those_of_one_process(run: Run, options: list[str]) -> None:
    arguments = ("assess", "rec", "--jsonl", "-", *options)
    one, three = (run(*arguments, "--workers", count, model=None) for count in ("1", "3"))  # with the model of users
    assert (one.returncode, three.returncode) == (3, 3), three.stderr
    same(rows_of(one.stdout), rows_of(three.stdout))
    for row, other in zip(rows_of(one.stdout), rows_of(three.stdout), strict=True):
        frames, others = row.get("frames"), other.get("frames")
        assert (frames is None) == (others is None)
        if frames:
            assert frames.keys() == others.keys()
            for name in frames.keys() & {"s_mos", "n_mos", "g_mos"}:
                assert others[name] == pytest.approx(frames[name], abs=2e-4)


def test_resume_with_processes(run: Run, folder: Path) -> None:
    arguments = ("assess", "rec", "--jsonl", "out.jsonl", "--workers", "2")
    whole = run(*arguments)
    lines = (folder / "out.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) == 42
    (folder / "out.jsonl").write_bytes(b"".join(lines[:9]) + lines[9][:40])
    resumed = run(*arguments, "--resume")
    assert (whole.returncode, resumed.returncode) == (3, 3)
    same(rows_of((folder / "out.jsonl").read_bytes()), rows_of(b"".join(lines)))


def names(count: int) -> list[Input]:
    return [Input(f"{number}.wav") for number in range(count)]


def test_processes_are_for_many_recordings_on_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    few, many = names(2 * RECORDINGS_A_PROCESS - 1), names(4 * RECORDINGS_A_PROCESS)
    monkeypatch.setattr(worth, "usable_cores", lambda: 8)
    assert worth_processes(AssessConfig(), few) == 1
    assert worth_processes(AssessConfig(), []) == 1
    assert worth_processes(AssessConfig(), many) == 4
    assert worth_processes(AssessConfig(threads=3), many) == 3
    assert worth_processes(AssessConfig(threads=1), many) == 1
    assert worth_processes(AssessConfig(device="cuda"), many) == worth_processes(AssessConfig(), many)
    assert worth_processes(AssessConfig(), [Input("s3://bucket/a.wav"), *many]) == 1
    monkeypatch.setattr(worth, "usable_memory_bytes", lambda: 2**30)
    assert worth_processes(AssessConfig(), many) == 2
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert worth_processes(AssessConfig(), many) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--workers", "0"], "--workers 0 is outside 1 to 1024"),
        (["--workers", "2", "--model", "no-such"], "no-such"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_refusals(run: Run, options: list[str], said: str) -> None:
    result = run("assess", "rec", *options)
    assert result.returncode == 2
    assert result.stderr.count(b"\n") == 1
    assert said in result.stderr.decode()


# --- endings ---------------------------------------------------------------------------------------------------------


def children(pid: int) -> list[int]:
    """Processes that were started by one, and score."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
            command = (status.parent / "cmdline").read_text()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z" and "resource_tracker" not in command:
            found.append(int(status.parent.name))
    return found


def gone(pids: list[int]) -> bool:
    """Whether processes end within some seconds."""
    for _ in range(100):
        if not any(Path(f"/proc/{pid}").exists() and "\tZ" not in _state(pid) for pid in pids):
            return True
        time.sleep(0.1)
    return False


def _state(pid: int) -> str:
    try:
        return next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("State"))
    except OSError:
        return "\tZ"


@pytest.fixture
def long_run(fake_model: str, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A run of the command over 20,000 rows with the processes that it chooses by itself."""
    write(tmp_path / "a.wav", speechlike(1))
    (tmp_path / "list").write_text("a.wav\n" * 20_000)
    command = [sys.executable, "-m", "mtqscore", "assess", "--no-config", "--threads", "2", "--model", fake_model]
    process = subprocess.Popen(
        [*command, "--from-list", "list", "--jsonl", "out.jsonl"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    yield process
    process.kill()
    process.communicate()


def under_way(process: subprocess.Popen[bytes], folder: Path) -> list[int]:
    """Wait for the first rows; the processes that help."""
    for _ in range(600):
        if (folder / "out.jsonl").exists() and (folder / "out.jsonl").stat().st_size > 20_000:
            return children(process.pid)
        time.sleep(0.05)
    raise AssertionError("no rows came")


@linux_only
def test_a_process_that_is_killed_costs_no_row(long_run: subprocess.Popen[bytes], tmp_path: Path) -> None:
    helpers = under_way(long_run, tmp_path)
    assert len(helpers) == 1
    os.kill(helpers[0], signal.SIGKILL)
    time.sleep(1)
    replaced = children(long_run.pid)
    assert long_run.wait(120) == 0
    assert len(replaced) == 1
    assert replaced != helpers
    rows = rows_of((tmp_path / "out.jsonl").read_bytes())
    assert len(rows) == 20_000
    assert {row["status"] for row in rows} == {"ok"}
    assert gone(helpers + replaced)
    assert long_run.stderr is not None
    assert b"a process that scores has ended (SIGKILL); what it had is scored again\n" in long_run.stderr.read()


@linux_only
def test_ctrl_c_ends_them_all_in_one_line(long_run: subprocess.Popen[bytes], tmp_path: Path) -> None:
    helpers = under_way(long_run, tmp_path)
    for pid in (long_run.pid, *helpers):  # as a terminal does
        os.kill(pid, signal.SIGINT)
    _, errors = long_run.communicate(timeout=20)
    assert (long_run.returncode, errors) == (130, b"mtqscore: interrupted\n")
    assert gone(helpers)
    assert rows_of((tmp_path / "out.jsonl").read_bytes())


@linux_only
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_none_outlives_the_one_who_started_it(
    long_run: subprocess.Popen[bytes], tmp_path: Path, number: signal.Signals
) -> None:
    helpers = under_way(long_run, tmp_path)
    assert helpers
    os.kill(long_run.pid, number)
    assert long_run.wait(20) == -number
    assert gone(helpers)


def kill_readers_of(path: Path, until: threading.Event) -> None:
    """Kill every process but this one that has a file open."""
    while not until.wait(0.002):
        for link in Path("/proc").glob("[0-9]*/fd/*"):
            try:
                pid = int(link.parts[2])
                if pid != os.getpid() and link.readlink() == path:
                    os.kill(pid, signal.SIGKILL)
            except OSError:
                continue


@linux_only
def test_a_recording_that_ends_its_processes_is_a_row(fake_model: str, folder: Path) -> None:
    deadly = (folder / "rec" / "deadly.wav").resolve()
    with soundfile.SoundFile(deadly, "w", RATE_HZ, 1) as sound:  # one that takes a while
        sound.seek(2 * 3600 * RATE_HZ)
        sound.write(speechlike(1))
    paths = [str(deadly), *map(str, sorted((folder / "rec").glob("[0-9]*")))]
    config = AssessConfig(model=fake_model)
    over = threading.Event()
    killer = threading.Thread(target=kill_readers_of, args=(deadly, over))
    killer.start()
    try:
        with ProcessEngine(config, 2) as engine:
            rows = list(engine.assess_files(paths))
    finally:
        over.set()
        killer.join()
    assert [row.path for row in rows] == paths
    assert (rows[0].status, rows[0].reason) == (Status.UNREADABLE, "2 processes ended while they read it")
    alone = list(Assessor(config).assess_files(paths[1:]))
    assert [row.status for row in rows[1:]] == [row.status for row in alone]
    assert all(row.options == config for row in rows)


def scored(fake_model: str, folder: Path, count: int) -> list[Assessment]:
    with ProcessEngine(AssessConfig(model=fake_model), count) as engine:
        return list(engine.assess_files(sorted((folder / "rec").iterdir())))


def test_where_no_process_can_be_started(fake_model: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "start_process", lambda: None)
    assert sum(row.ok for row in scored(fake_model, folder, 3)) == 40


def test_processes_that_end_before_they_can_score(
    fake_model: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_handle, "run_process", os.getppid)  # takes no connection, and so fails at once
    assert sum(row.ok for row in scored(fake_model, folder, 3)) == 40


def test_rows_that_nobody_takes_end_the_work(fake_model: str, folder: Path) -> None:
    paths = sorted((folder / "rec").iterdir())
    with ProcessEngine(AssessConfig(model=fake_model), 2) as engine:
        rows = engine.assess_files(paths * 20)
        assert next(rows).ok
        rows.close()
        assert [row.path for row in engine.assess_files(paths)] == list(map(str, paths))
        rows = engine.assess_files(paths * 20)
        assert next(rows).ok
    rows.close()
    assert not engine._workers


# --- the worker ------------------------------------------------------------------------------------------------------


class Broken(Assessor):
    """An assessor that fails in the midst of its work."""

    failure: Exception = ValueError("no such thing")

    def assess_files(self, *_: Any) -> Iterator[Assessment]:  # type: ignore[override]
        raise self.failure


def answers(assessor: Assessor, chunk: list[Input]) -> Iterator[Any]:
    near, far = Pipe()
    left = threading.Event()
    thread = threading.Thread(target=serve, args=(far, lambda: assessor, assessor.config, left.set))
    thread.start()
    assert near.recv() == ([], False)
    near.send(chunk)
    yield near.recv()
    near.close()
    thread.join(10)
    assert left.wait(10)
    assert not thread.is_alive()


def test_what_a_worker_cannot_do_is_told(fake_model: str, folder: Path) -> None:
    config = AssessConfig(model=fake_model)
    chunk = [Input(str(path)) for path in sorted((folder / "rec").iterdir())[:5]]
    (found, last), *_ = answers(Assessor(config), chunk)
    assert last
    assert [rows[0].path for rows in found] == [item.path for item in chunk]
    broken = Broken(config)
    (said,) = answers(broken, chunk)
    assert isinstance(said, RuntimeError)
    assert "ValueError: no such thing" in str(said)
    broken.failure = OSError("no room")
    (said,) = answers(broken, chunk)
    assert "OSError: no room" in str(said)
    broken.failure = EnvironmentProblemError("the model failed")
    (said,) = answers(broken, chunk)
    assert isinstance(said, EnvironmentProblemError)


def test_a_model_that_is_exchanged_is_refused(fake_model: str) -> None:
    config = AssessConfig(model=fake_model)
    scoring, _ = Pipe()
    assert Job(config, config, Assessor(config).model_sha256).load(scoring).model
    with pytest.raises(EnvironmentProblemError, match="was exchanged while the run began"):
        Job(config, config, "0" * 64).load(scoring)


def test_a_worker_that_nobody_asks_ends(fake_model: str) -> None:
    near, far = Pipe()
    near.close()
    config = AssessConfig(model=fake_model)
    serve(far, lambda: Assessor(config), config, lambda: None)
