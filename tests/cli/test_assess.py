"""The command as users run it: inputs, outputs, exit codes, endings."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.cli.conftest import start
from tests.fake_model import METADATA, write_fake_model
from tests.signals import RATE_HZ, speechlike, write

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Run

posix_only = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals and terminals")
COLUMNS = "path,channel,duration_s,sample_rate_hz,s_mos,n_mos,g_mos,status,flags,model,reason"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.wav", "a.flac", "sub/deep/c.ogg", "sub/d.WAV", ".hidden/e.wav"):
        (tmp_path / "rec" / name).parent.mkdir(parents=True, exist_ok=True)
        write(tmp_path / "rec" / name, speechlike(1, seed=len(name)))
    (tmp_path / "rec" / "notes.txt").write_text("not a recording")
    (tmp_path / "silent").mkdir()
    return tmp_path


def paths(result: subprocess.CompletedProcess[bytes]) -> list[str]:
    return [json.loads(line)["path"] for line in result.stdout.decode().splitlines()]


ALL = ["rec/a.flac", "rec/b.wav", "rec/sub/d.WAV", "rec/sub/deep/c.ogg"]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("named", "expected"),
    [
        (["rec/b.wav", "rec/a.flac"], ["rec/b.wav", "rec/a.flac"]),
        (["rec"], ALL),
        (["rec/"], ALL),
        (["rec/b.wav", "rec/b.wav"], ["rec/b.wav", "rec/b.wav"]),
        (["rec/*.wav"], ["rec/b.wav"]),
        (["rec/*"], ALL),
        (["rec/**"], ALL),
        (["rec/**/*.[wW][aA][vV]"], ["rec/b.wav", "rec/sub/d.WAV"]),
        (["rec/sub", "rec/?.flac"], ["rec/sub/d.WAV", "rec/sub/deep/c.ogg", "rec/a.flac"]),
    ],
)
def test_files_folders_and_patterns(run: Run, named: list[str], expected: list[str]) -> None:
    result = run("assess", *named, "--jsonl", "-")
    assert (paths(result), result.returncode) == (expected, 0)


@pytest.mark.parametrize(
    "content", [b"rec/b.wav\nrec/a.flac\n", b"rec/b.wav\r\n\r\nrec/a.flac", b"rec/b.wav\0rec/a.flac\0"]
)
def test_lists(run: Run, folder: Path, content: bytes) -> None:
    (folder / "list.txt").write_bytes(content)
    for result in (
        run("assess", "--from-list", "list.txt", "--jsonl", "-"),
        run("assess", "-", "--jsonl", "-", input=content),
        run("assess", "--from-list", "-", "--jsonl", "-", input=content),
    ):
        assert (paths(result), result.returncode) == (["rec/b.wav", "rec/a.flac"], 0)


@posix_only
def test_a_list_may_hold_any_bytes(run: Run, folder: Path) -> None:
    name = os.fsdecode(b"new\nline \xff.wav")
    (folder / name).write_bytes((folder / "rec/b.wav").read_bytes())
    result = run("assess", "-", "--jsonl", "-", input=os.fsencode(name) + b"\0")
    assert (paths(result), result.returncode) == ([name], 0)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["silent"],
        ["rec/*.mp3"],
        ["silent", "no/*.wav"],
        ["--from-list", "no-such-list"],
        ["--no-such-option", "rec"],
        ["rec", "--model", "no-such-model.onnx"],
        ["rec", "--channels", "left"],
        ["rec", "--device", "tpu"],
        ["rec", "--threads", "-1"],
        ["rec", "--threads", "many"],
        ["rec", "--batch-seconds", "nan"],
        ["rec", "--csv", "-", "--json", "-"],
        ["rec", "--csv", "same", "--json", "./same"],
        ["rec", "--csv", "no/such/folder/out.csv"],
        ["rec", "--json", "rec"],
        ["rec", "--csv", ""],
        ["-"],
    ],
)
def test_wrong_use_is_2_and_writes_nothing(run: Run, folder: Path, arguments: list[str]) -> None:
    before = sorted(folder.rglob("*"))
    result = run("assess", *arguments)
    assert result.returncode == 2
    assert result.stdout == b""
    assert result.stderr.strip()
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["assess", "--csv", "rec/b.wav", "rec/a.flac"],  # as the shell makes it of --csv rec/*
        ["assess", "rec/a.flac", "--jsonl", "rec/a.flac"],
        ["assess", "--from-list", "list", "--json", "./list"],
        ["assess", "rec/a.flac", "--baseline", "old.jsonl", "--jsonl", "old.jsonl"],
        ["gate", "old.jsonl", "--fail-under", "g>=1", "--json", "rec/../old.jsonl"],
        ["gate", "old.jsonl", "--fail-under", "g>=1", "--md", ""],
        ["compare", "old.jsonl", "new.csv", "--json", "new.csv"],
    ],
)
def test_nothing_replaces_a_recording_or_what_is_read(run: Run, folder: Path, arguments: list[str]) -> None:
    (folder / "list").write_text("rec/a.flac\n")
    assert run("assess", "rec/a.flac", "-q", "--jsonl", "old.jsonl", "--csv", "new.csv").returncode == 0
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"would replace" in done.stderr or b"names no file" in done.stderr
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.usefixtures("folder")
def test_what_holds_nothing_beside_what_holds_something_is_a_row(run: Run) -> None:
    result = run("assess", "silent", "rec/b.wav", "no/*.wav", "missing.wav", "--jsonl", "-")
    statuses = [json.loads(line)["status"] for line in result.stdout.decode().splitlines()]
    assert (statuses, result.returncode) == (["no_audio", "ok", "not_found", "not_found"], 3)


def test_a_missing_file_alone_is_a_row(run: Run) -> None:
    result = run("assess", "missing.wav")
    assert result.returncode == 3
    assert b"missing.wav" in result.stdout
    assert b"not_found" in result.stdout


def test_all_writers_at_once(run: Run, folder: Path) -> None:
    result = run("assess", "rec", "--csv", "o.csv", "--json", "o.json", "--jsonl", "o.jsonl")
    assert result.returncode == 0
    assert b"S-MOS" in result.stdout, "the table is shown beside files"
    text = (folder / "o.csv").read_text(encoding="utf-8")
    assert text.splitlines()[0] == COLUMNS
    table = list(csv.DictReader(text.splitlines()))
    document = json.loads((folder / "o.json").read_text(encoding="utf-8"))
    lines = [json.loads(line) for line in (folder / "o.jsonl").read_text(encoding="utf-8").splitlines()]
    assert document["schema"] == "mtqscore.assess/1"
    assert document["results"] == lines
    assert document["model"]["id"] == "fake@1"
    assert document["options"]["channels"] == "mean"
    assert document["summary"]["scored"] == len(lines) == len(table) == 4
    mean = np.mean([line["g_mos"] for line in lines])
    assert document["summary"]["mean"]["g_mos"] == pytest.approx(mean, abs=1e-4)
    assert [float(row["s_mos"]) for row in table] == [line["s_mos"] for line in lines]
    assert all(len(line["model_sha256"]) == 64 and line["provider"] == "CPUExecutionProvider" for line in lines)
    assert not list(folder.glob("*.partial"))


@pytest.mark.usefixtures("folder")
def test_one_result_on_stdout_leaves_nothing_else_there(run: Run) -> None:
    counts: dict[str, Callable[[str], int]] = {
        "--csv": lambda text: len(list(csv.DictReader(text.splitlines()))),
        "--json": lambda text: len(json.loads(text)["results"]),
        "--jsonl": lambda text: len([json.loads(line) for line in text.splitlines()]),
    }
    for option, count in counts.items():
        result = run("assess", "rec", option, "-")
        assert (result.returncode, count(result.stdout.decode())) == (0, 4)


@pytest.mark.usefixtures("folder")
def test_messages_go_to_stderr_and_quiet_is_quiet(run: Run) -> None:
    loud, quiet = run("assess", "rec"), run("assess", "rec", "-q")
    assert b"real time" in loud.stderr
    assert b"not distorted" in loud.stdout
    assert quiet.stderr == b""
    assert b"not distorted" not in quiet.stdout
    assert loud.stdout.splitlines()[:5] == quiet.stdout.splitlines()[:5]
    assert loud.stdout.splitlines()[-1].startswith(b"4 rows: 4 scored")


def test_existing_results_survive_a_refusal(run: Run, folder: Path) -> None:
    (folder / "o.csv").write_text("precious")
    assert run("assess", "silent", "--csv", "o.csv").returncode == 2
    assert (folder / "o.csv").read_text() == "precious"


@posix_only
def test_devices_and_links_are_written_through(run: Run, folder: Path) -> None:
    (folder / "real.csv").write_text("old")
    (folder / "link.csv").symlink_to("real.csv")
    assert run("assess", "rec", "--csv", "link.csv", "--json", "/dev/null").returncode == 0
    assert (folder / "link.csv").is_symlink()
    assert (folder / "real.csv").read_text().startswith("path,")
    assert not Path("/dev/null").is_file()


@pytest.mark.usefixtures("folder")
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_4(run: Run) -> None:
    result = run("assess", "rec", "--jsonl", "/dev/full")
    assert result.returncode == 4
    assert b"No space left" in result.stderr


def test_module_command_and_function_agree(run: Run, folder: Path, fake_model: str) -> None:
    from mtqscore import AssessConfig, assess_file

    (row,) = (json.loads(line) for line in run("assess", "rec/b.wav", "--jsonl", "-").stdout.splitlines())
    result = assess_file(folder / "rec/b.wav", AssessConfig(fake_model))
    assert result.scores is not None
    assert row["g_mos"] == round(result.scores.g_mos, 4)
    script = Path(sys.executable).with_name("mtqscore")
    if script.exists():
        command = [script, "assess", "rec/b.wav", "--model", fake_model, "--jsonl", "-"]
        done = subprocess.run(command, cwd=folder, capture_output=True, check=True)
        assert json.loads(done.stdout) == row


def test_each_channel_has_its_row(run: Run, tmp_path: Path) -> None:
    write(tmp_path / "two.wav", speechlike(1, channels=2))
    result = run("assess", "two.wav", "missing.wav", "--channels", "each", "--csv", "-")
    rows = list(csv.DictReader(result.stdout.decode().splitlines()))
    assert [(row["channel"], row["status"]) for row in rows] == [("1", "ok"), ("2", "ok"), ("", "not_found")]


@pytest.mark.usefixtures("folder")
def test_cuda_is_strict(run: Run) -> None:
    result = run("assess", "rec/b.wav", "--device", "cuda", env={"CUDA_VISIBLE_DEVICES": "-1"})
    assert result.returncode == 4
    assert result.stdout == b""
    assert len(result.stderr.splitlines()) == 1
    assert any(fix in result.stderr for fix in (b"--device cpu", b"pip install", b"install onnxruntime-gpu"))


@pytest.mark.usefixtures("folder")
def test_auto_and_cpu_are_quiet(run: Run) -> None:
    for device in ("auto", "cpu"):
        result = run("assess", "rec/b.wav", "--device", device, "-q", env={"CUDA_VISIBLE_DEVICES": "-1"})
        assert (result.returncode, result.stderr) == (0, b"")


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("targets", ["g_mos,n_mos,s_mos", "s_mos,n_mos,g_mos,loudness"])
def test_columns_follow_the_model(run: Run, tmp_path: Path, targets: str) -> None:
    count = len(targets.split(","))
    model = write_fake_model(tmp_path / "other.onnx", metadata=METADATA | {"targets": targets}, targets=count)
    rows = list(csv.DictReader(run("assess", "rec/b.wav", "--csv", "-", model=str(model)).stdout.decode().splitlines()))
    assert list(rows[0])[4 : 4 + count] == ["s_mos", "n_mos", "g_mos", "loudness"][:count]
    assert all(float(rows[0][target]) >= 1 for target in targets.split(","))


@posix_only
def test_a_reader_that_goes_away_is_no_fault(fake_model: str, folder: Path) -> None:
    names = ["rec/b.wav"] * 2_000
    for extra in ([], ["--csv", "-"], ["--jsonl", "-"]):
        words = ("assess", "--model", fake_model, *extra, *names)
        process = start(folder, *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
        process.stderr.close()
        assert process.wait(30) in (0, 141)
        assert errors == b""


def start_long_run(folder: Path, model: str, **options: object) -> subprocess.Popen[bytes]:
    write(folder / "long.wav", speechlike(60))
    (folder / "list").write_text("long.wav\n" * 20_000)
    words = ("assess", "--model", model, "--from-list", "list", "--csv", "o.csv", "--jsonl", "o.jsonl")
    return start(folder, *words, env={"TERM": "xterm", "COLUMNS": "80"}, **options)


def rest_of(terminal: int) -> bytes:
    """Read what a terminal shows until its other end has gone, and close it."""
    shown = b""
    with suppress(OSError):
        while more := os.read(terminal, 4_096):
            shown += more
    os.close(terminal)
    return shown


def wait_for_rows(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not (path.exists() and path.stat().st_size):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@posix_only
def test_ctrl_c_is_130_and_keeps_whole_lines(fake_model: str, tmp_path: Path) -> None:
    process = start_long_run(tmp_path, fake_model, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for_rows(tmp_path / "o.jsonl")
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    assert (process.returncode, output) == (130, b"")
    assert errors.decode().splitlines() == ["mtqscore: interrupted"]
    rows = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert {row["status"] for row in rows} == {"ok"}
    assert not list(tmp_path.glob("o.csv*")), "half a file is none"


@posix_only
def test_progress_is_for_terminals(fake_model: str, tmp_path: Path) -> None:
    import pty

    ours, theirs = pty.openpty()
    process = start_long_run(tmp_path, fake_model, stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    shown = b""
    deadline = time.monotonic() + 30
    while b"real time" not in shown and time.monotonic() < deadline:
        shown += os.read(ours, 4_096)
    process.send_signal(signal.SIGINT)
    shown += rest_of(ours)
    assert process.wait(30) == 130
    assert b"/20000" in shown
    assert b"recordings" in shown
    assert b"Traceback" not in shown


@posix_only
@pytest.mark.parametrize(("no_color", "coloured"), [(None, True), ("1", False)])
def test_the_table_on_a_terminal(fake_model: str, tmp_path: Path, no_color: str | None, coloured: bool) -> None:
    import pty

    name = "a-very-long-name-" * 8 + ".wav"
    write(tmp_path / name, speechlike(1))
    ours, theirs = pty.openpty()
    environment = {"TERM": "xterm", "COLUMNS": "70", **({"NO_COLOR": no_color} if no_color else {})}
    words = ("assess", "--model", fake_model, name, "missing.wav")
    process = start(tmp_path, *words, env=environment, stdout=theirs, stderr=subprocess.DEVNULL)
    os.close(theirs)
    shown = rest_of(ours)
    assert process.wait(30) == 3
    assert (b"\x1b[33m" in shown) is coloured
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode())
    starts = [match[1] for line in plain.splitlines() if (match := re.match(r" ([-a-z.]+)", line))]
    assert name in "".join(starts), "a long name is folded, not cut"
    assert max(map(len, plain.split("\r\n\r\n")[0].splitlines())) <= 70


@posix_only
def test_memory_does_not_grow_with_duration(tmp_path: Path) -> None:
    def peak_mib(seconds: int) -> float:
        path = tmp_path / f"{seconds}.wav"
        write(path, (speechlike(seconds) if seconds < 60 else np.resize(speechlike(60), (seconds * RATE_HZ, 1))))
        script = (
            "import resource, sys; from mtqscore.cli import main\n"
            "try: main()\nexcept SystemExit: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        arguments = ["assess", path.name, "--model", str(tmp_path / "fake.onnx"), "--jsonl", "-"]
        process = start(tmp_path, *arguments, program=("-c", script), stdout=subprocess.PIPE)
        return int(process.communicate(timeout=120)[0].splitlines()[-1]) / 1024

    write_fake_model(tmp_path / "fake.onnx")
    assert peak_mib(900) - peak_mib(120) < 20, "15 minutes are 55 MiB of samples"
