"""Scoring on real Ray clusters, one that runs already and one of our own, whose workers are killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mtqscore.config import AssessConfig
from mtqscore.errors import EnvironmentProblemError, UsageError
from mtqscore.results.reading import read_results
from mtqscore.scoring.ray import Cluster, RayEngine, _problem
from tests.scoring.process_tree import below, lives, wait_for
from tests.signals import speechlike, write
from tests.test_imports import ROOT

if TYPE_CHECKING:
    from tests.conftest import Run

needs_ray = pytest.mark.skipif(
    find_spec("ray") is None and os.environ.get("MTQSCORE_REQUIRE_RAY") != "1", reason="needs the extra ray"
)
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")

SHADOW = """
import os, signal, sys, time
from importlib import machinery, util
here = os.path.dirname(os.path.abspath(__file__))
spec = machinery.PathFinder.find_spec("soundfile", [path for path in sys.path if os.path.abspath(path) != here])
module = sys.modules["soundfile"] = util.module_from_spec(spec)
spec.loader.exec_module(module)
class SoundFile(module.SoundFile):
    def __init__(self, handle, *arguments, **options):
        open(os.path.join(here, "pids", str(os.getpid())), "w").close()
        if "poison" in os.readlink(f"/proc/self/fd/{handle}"):
            os.kill(os.getpid(), signal.SIGKILL)
        while "hold" in os.readlink(f"/proc/self/fd/{handle}"):
            time.sleep(1)
        time.sleep(0.03)
        super().__init__(handle, *arguments, **options)
module.SoundFile = SoundFile
"""
"""The library as it is, but slow, with a decoder that ends the process over one recording, and never ends another."""

UGLY = ["new\nline.wav", "q\"uo'te.wav", "-dash.wav", "\udcff.wav", "é日.wav"]
ROW_COUNT = 60


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Recordings of one length, so that no batch is padded and scores are the same to the last digit."""
    (tmp_path / "rec").mkdir()
    for number, name in enumerate([*UGLY, *(f"{number:03}.wav" for number in range(ROW_COUNT - len(UGLY)))]):
        write(tmp_path / "made.wav", speechlike(0.3, seed=number)).rename(tmp_path / "rec" / name)
    (tmp_path / "rec" / "003.wav").write_bytes(b"no audio")
    (tmp_path / "shadow" / "pids").mkdir(parents=True)
    (tmp_path / "shadow" / "soundfile.py").write_text(SHADOW)
    return tmp_path


def environment(folder: Path) -> dict[str, str]:
    # Warnings of Ray's own processes are no faults of ours.
    path = f"{folder / 'shadow'}{os.pathsep}{ROOT}"
    return {"PYTHONPATH": path, "PYTHONWARNINGS": "", "RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": ""}


@pytest.fixture
def head(folder: Path) -> Iterator[str]:
    """The address of a cluster of one machine with two processors."""
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--num-cpus=2", "--port=0"]
    command += ["--include-dashboard=false", "--disable-usage-stats"]
    command += [f"--object-store-memory={100 * 2**20}"]
    settings = {**os.environ, **environment(folder)}
    process = subprocess.Popen(command, env=settings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    said = ""
    while (found := re.search(r"--address='([^']+)'", said)) is None:
        line = process.stdout.readline()
        assert line, said
        said += line
    yield found[1]
    # Killed, since it would take half a minute to end by itself.
    for pid in below(process.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.communicate(timeout=60)


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def start(folder: Path, model: str, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "mtqscore", "assess", "rec", "--model", model, "--engine", "ray", *arguments]
    settings = {**os.environ, **environment(folder)}
    return subprocess.Popen(command, cwd=folder, env=settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def workers(folder: Path) -> list[int]:
    """Processes that read recordings and still live."""
    return [int(path.name) for path in (folder / "shadow" / "pids").iterdir() if lives(int(path.name))]


@needs_ray
def test_workers_are_lost_and_the_rows_are_those_of_one_process(
    run: Run, folder: Path, head: str, fake_model: str
) -> None:
    assert run("assess", "rec", "--jsonl", "whole.jsonl", "--csv", "whole.csv").returncode == 3
    whole = (folder / "whole.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "o.jsonl").write_bytes(b"".join(whole[10:20]))
    (folder / "rec" / "020 poison.wav").write_bytes((folder / "rec" / "020.wav").read_bytes())

    process = start(folder, fake_model, "--address", head, "--jsonl", "o.jsonl", "--resume", "--parquet", "o.parquet")
    wait_for(lambda: len(workers(folder)) >= 2)
    os.kill(workers(folder)[-1], signal.SIGKILL)
    table, errors = process.communicate(timeout=400)
    assert errors.splitlines()[0] == b"ray: 2 workers on 1 machine"
    assert errors.splitlines()[1] == b"going on: 10 of 61 recordings are done"
    assert (process.returncode, len(errors.splitlines())) == (3, 3), "Ray's own log stays in its files"
    assert table.startswith(b"recording ")
    assert b"61 rows: 59 scored, 2 unreadable" in table
    assert b"(raylet)" not in table, "whose messages on lost workers have no place in a result"

    lines = (folder / "o.jsonl").read_bytes().splitlines(keepends=True)
    poisoned = [number for number, line in enumerate(lines) if b"poison" in line]
    reason = json.loads(lines.pop(poisoned[0]))["reason"]
    assert reason == "2 processes ended while they read it"
    assert lines == whole, "every row is there once, in its order, with the same digits"
    assert len(list((folder / "shadow" / "pids").iterdir())) >= 4, "workers were replaced"
    stored = read_results(str(folder / "o.parquet")).rows
    assert [row.path for row in stored] == [row["path"] for row in rows(folder / "o.jsonl")]


@needs_ray
def test_ctrl_c_ends_the_cluster_and_another_engine_goes_on(run: Run, folder: Path, fake_model: str) -> None:
    run("assess", "rec", "--jsonl", "whole.jsonl")
    last = folder / "rec" / "zz hold.wav"
    last.write_bytes((folder / "rec" / "020.wav").read_bytes())
    process = start(folder, fake_model, "--jsonl", "o.jsonl", "--fail-under", "g>=1", "-q")
    journal = folder / "o.jsonl"
    wait_for(lambda: journal.exists() and journal.stat().st_size > 0)
    family = below(process.pid)
    assert len(family) > 4
    process.send_signal(signal.SIGINT)
    table, errors = process.communicate(timeout=60)
    assert (process.returncode, table, errors) == (130, b"", b"mtqscore: interrupted\n")
    wait_for(lambda: not any(map(lives, family)), 20)
    assert not list(folder.glob("*.partial"))

    last.unlink()
    kept = journal.read_bytes()
    assert (folder / "whole.jsonl").read_bytes().startswith(kept)
    done = run("assess", "rec", "--jsonl", "o.jsonl", "--resume")
    assert (
        f"going on: {kept.count(b'}' + bytes([10])) - kept.count(b'unreadable')} of {ROW_COUNT}".encode() in done.stderr
    )
    assert journal.read_bytes() == (folder / "whole.jsonl").read_bytes()


@needs_ray
@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("ray://localhost:9", b"cannot reach the Ray cluster 'ray://localhost:9': Connection refused; is it running?"),
        ("127.0.0.1:99999", b"cannot reach the Ray cluster '127.0.0.1:99999': "),
        ("x y", b"cannot join the Ray cluster 'x y': Invalid address format: x y"),
    ],
)
def test_no_cluster(run: Run, tmp_path: Path, address: str, said: bytes) -> None:
    write(tmp_path / "a.wav", speechlike(0.3))
    done = run("assess", "a.wav", "--engine", "ray", "--address", address, env={"PYTHONWARNINGS": ""})
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (4, b"", 1)
    assert done.stderr.startswith(b"mtqscore: " + said)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--engine", "dask"], b"--engine 'dask' is neither local nor ray"),
        (["--address", "auto"], b"--address goes with --engine ray"),
        (["--engine", "ray", "--workers", "0"], b"--workers 0 is not at least 1"),
    ],
)
def test_wrong_use(run: Run, tmp_path: Path, arguments: list[str], said: bytes) -> None:
    write(tmp_path / "a.wav", speechlike(0.3))
    done = run("assess", "a.wav", *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (2, b"", b"mtqscore: " + said + b"\n")


def test_a_device_that_cannot_be_shared_out(fake_model: str) -> None:
    with pytest.raises(UsageError, match="knows --device auto, cpu and cuda"):
        RayEngine(AssessConfig(model=fake_model, device="cuda:1"), Cluster())


def test_the_extra_is_named(fake_model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        EnvironmentProblemError, match=r"^assess --engine ray needs the module ray; install it with: pip"
    ):
        RayEngine(AssessConfig(model=fake_model), Cluster())


def test_what_workers_say_is_one_line() -> None:
    told = _problem(RuntimeError("It failed to import.\n  ...\nModuleNotFoundError: No module named 'mtqscore'\n"))
    assert str(told) == "the cluster's workers have no mtqscore: install it on every machine"
    held = RuntimeError("raised\nfar away")
    held.cause = EnvironmentProblemError("node-7: no room")  # type: ignore[attr-defined]
    assert str(_problem(held)) == "node-7: no room"
    assert str(_problem(ValueError("first\n\n  last \n"))) == "the Ray cluster failed: last"
