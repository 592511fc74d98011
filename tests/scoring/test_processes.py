"""Several processes on this machine: the rows of one, whatever becomes of the others."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import soundfile

from mtqscore import Assessment, Assessor, Status
from mtqscore.audio.inputs import Input
from mtqscore.config import AssessConfig
from mtqscore.errors import EnvironmentProblemError, MissingExtraError, UsageError
from mtqscore.scoring import process_worker, processes
from mtqscore.scoring.process_worker import Job
from mtqscore.scoring.processes import RECORDINGS_A_PROCESS, ProcessEngine, worker_count
from tests.scoring.process_tree import below, lives, wait_for
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
    one, two = (run(*arguments, "--workers", count, model=None) for count in ("1", "2"))  # with the model of users
    assert (one.returncode, two.returncode) == (3, 3), two.stderr
    same(rows_of(one.stdout), rows_of(two.stdout))
    for row, other in zip(rows_of(one.stdout), rows_of(two.stdout), strict=True):
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
    monkeypatch.setattr(processes, "usable_cores", lambda: 8)
    assert worker_count(AssessConfig(), few) == 1
    assert worker_count(AssessConfig(), []) == 1
    assert worker_count(AssessConfig(), many) == 4
    assert worker_count(AssessConfig(threads=3), many) == 3
    assert worker_count(AssessConfig(threads=1), many) == 1
    monkeypatch.setattr(processes, "PROCESSES_A_GPU", 2)
    assert worker_count(AssessConfig(device="cuda"), many) == 2
    assert worker_count(AssessConfig(), [Input("s3://bucket/a.wav"), *many]) == 1
    monkeypatch.setattr(processes, "usable_memory_bytes", lambda: 2**30)
    assert worker_count(AssessConfig(), many) == 2
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert worker_count(AssessConfig(), many) == 1


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
    """Processes that score for one: those of the server that it started."""
    processes = below(pid)
    return [scoring for server in processes.pop(pid) for scoring in processes[server]]


def await_end(pids: list[int]) -> None:
    wait_for(lambda: not any(map(lives, pids)), 10)


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
    journal = folder / "out.jsonl"
    wait_for(lambda: journal.exists() and journal.stat().st_size > 20_000, 60)
    return children(process.pid)


@linux_only
def test_a_process_that_is_killed_costs_no_row(long_run: subprocess.Popen[bytes], tmp_path: Path) -> None:
    helpers = under_way(long_run, tmp_path)
    assert len(helpers) == 2
    os.kill(helpers[0], signal.SIGKILL)
    time.sleep(1)
    replaced = children(long_run.pid)
    assert long_run.wait(120) == 0
    assert len(replaced) == 2
    assert helpers[1] in replaced
    assert helpers[0] not in replaced
    rows = rows_of((tmp_path / "out.jsonl").read_bytes())
    assert len(rows) == 20_000
    assert {row["status"] for row in rows} == {"ok"}
    await_end(helpers + replaced)
    assert long_run.stderr is not None
    assert b"a process that scores has ended (SIGKILL); what it had is scored again\n" in long_run.stderr.read()


@linux_only
def test_ctrl_c_ends_them_all_in_one_line(long_run: subprocess.Popen[bytes], tmp_path: Path) -> None:
    helpers = under_way(long_run, tmp_path)
    for pid in below(long_run.pid):  # as a terminal does
        os.kill(pid, signal.SIGINT)
    _, errors = long_run.communicate(timeout=20)
    assert (long_run.returncode, errors) == (130, b"mtqscore: interrupted\n")
    await_end(helpers)
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
    await_end(helpers)


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
    def refuse(*_: object) -> None:
        raise OSError("no room for a process")

    monkeypatch.setattr(processes, "_Process", refuse)
    assert sum(row.ok for row in scored(fake_model, folder, 3)) == 40


def test_processes_that_end_before_they_can_score(
    fake_model: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_worker, "begin", os._exit)  # takes no pipe, and so fails at once
    assert sum(row.ok for row in scored(fake_model, folder, 2)) == 40


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


def test_errors_of_a_process_are_of_a_kind_that_any_can_read(
    fake_model: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job(AssessConfig(model=fake_model), 1)
    inputs = [Input(str(path)) for path in sorted((folder / "rec").iterdir())[:5]]
    assert [rows[0].path for rows in process_worker.score(job, inputs)] == [item.path for item in inputs]
    for error, kind in (
        (MissingExtraError("s3://", "remote", "s3fs"), EnvironmentProblemError),
        (UsageError("no scores"), UsageError),
        (ValueError("no such thing"), ValueError),
    ):

        def fail(*_: Any, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(Assessor, "assess_files", fail)
        with pytest.raises(kind) as caught:
            process_worker.score(job, inputs)
        assert type(caught.value) is kind
        assert str(caught.value) == str(error)
        pickle.loads(pickle.dumps(caught.value))


def test_a_model_that_is_none_is_refused_as_in_one_process(folder: Path) -> None:
    (folder / "no.onnx").write_bytes(b"no model")
    with pytest.raises(UsageError, match=r"no\.onnx: "):
        ProcessEngine(AssessConfig(model=str(folder / "no.onnx")), 2)


@linux_only
def test_this_process_opens_no_session(fake_model: str, folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from mtqscore import AssessConfig\n"
        "from mtqscore.scoring.processes import ProcessEngine\n"
        "if __name__ == '__main__':\n"
        "    with ProcessEngine(AssessConfig(model=sys.argv[1]), 2) as engine:\n"
        "        assert sum(row.ok for row in engine.assess_files(sorted(Path('rec').iterdir()))) == 40\n"
        "    assert 'onnxruntime' not in sys.modules"
    )
    (folder / "program.py").write_text(code)
    command = [sys.executable, "-W", "error", "program.py", fake_model]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
