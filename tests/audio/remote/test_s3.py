"""Recordings in a real S3 server on loopback."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import pytest

from mtqscore.audio.discovery import find_inputs
from mtqscore.errors import UsageError
from mtqscore.results.shards import shard_number
from mtqscore.scoring.assessor import Assessor
from tests.audio.remote.kit import KEYS, put, rows, spoken
from tests.test_imports import ROOT

if TYPE_CHECKING:
    from tests.conftest import Run

UGLY = ["a b.wav", "q?x.wav", "take[1].wav", "*.wav", "é日.wav", "#h.wav", "%41.wav", "d//e.wav", "+.wav", "x\x01y.wav"]
UGLY += ["-dash.wav", " .wav", "a::b.wav", "a&b<>.wav", "s3:/z.wav", "=1+1.wav", "q\"uo'te.wav", f"{'n' * 250}.wav"]


def test_scores_are_those_of_local_files_whatever_the_key(s3: Any, run: Run, tmp_path: Path) -> None:
    (tmp_path / "rec").mkdir()
    for number, key in enumerate(UGLY):
        content = spoken(tmp_path, number)
        (tmp_path / "rec" / f"{number:02}.flac").write_bytes(content)
        put(s3, f"ugly/{key}", content)
    for key in (".hidden.wav", "d/.hidden/a.wav", "notes.txt"):
        put(s3, f"ugly/{key}", b"not to be found")
    local = run("assess", "rec", "--jsonl", "local.jsonl")
    done = run("assess", "s3://calls/ugly", "--jsonl", "remote.jsonl")
    assert (local.returncode, done.returncode) == (0, 0), done.stderr
    assert b"18 rows: 18 scored" in done.stdout
    here, there = rows(tmp_path / "local.jsonl"), rows(tmp_path / "remote.jsonl")
    assert list(there) == sorted(there, key=lambda path: path.split("/"))
    for number, key in enumerate(UGLY):
        one, other = here[f"rec/{number:02}.flac"], there[f"s3://calls/ugly/{key}"]
        for score in ("s_mos", "n_mos", "g_mos", "duration_s"):
            assert one[score] == pytest.approx(other[score], abs=2e-4)
        assert one["size_bytes"] == other["size_bytes"]
    # Each of them by its name; signs of patterns in it are its own.
    names = [f"s3://calls/ugly/{key}" for key in UGLY]
    assert [item.path for item in find_inputs(names)] == names


def test_what_is_not_there_is_a_row(s3: Any, assessor: Assessor, tmp_path: Path) -> None:
    put(s3, "some/a.flac", spoken(tmp_path))
    put(s3, "some/b/c.flac", spoken(tmp_path))
    put(s3, "some/broken.flac", b"fLaC and no more")
    put(s3, "some/empty.wav", b"")
    put(s3, "plain/notes.txt", b"text")
    expected = [
        ("s3://calls/some/**/c.fl*", "s3://calls/some/b/c.flac", "ok"),
        ("s3://calls/some/[a].flac", "s3://calls/some/a.flac", "ok"),
        ("s3://calls/some/a*", "s3://calls/some/a.flac", "ok"),
        ("S3://calls/some/b", "S3://calls/some/b/c.flac", "ok"),
        ("s3://calls/plain/*.txt", "s3://calls/plain/notes.txt", "unreadable"),
        ("s3://calls/some/broken.flac", "", "unreadable"),
        ("s3://calls/some/empty.wav", "", "empty"),
        ("s3://calls/some/none.wav", "", "not_found"),
        ("s3://calls/some/none", "", "not_found"),
        ("s3://nobucket/none.wav", "", "not_found"),
        ("s3://nobucket/", "", "not_found"),
        ("s3://nobucket/*", "", "not_found"),
        ("s3://calls/no*", "", "not_found"),
        ("s3://calls/plain/", "", "no_audio"),
        ("s3://calls/\udcff.wav", "", "not_found"),
        ("nosuch://calls/a.wav", "", "not_found"),
        ("nosuch://calls/", "", "not_found"),
        ("s3://", "", "unreadable"),
    ]
    found = list(assessor.assess_files(find_inputs([name for name, _, _ in expected])))
    assert [(row.path, str(row.status)) for row in found] == [(path or name, status) for name, path, status in expected]
    assert found[-2].reason == "no kind of store is called nosuch://"
    with pytest.raises(UsageError, match=r"^no recordings in 's3://calls/no\*'$"):
        find_inputs(["s3://calls/no*"])


def test_resume_knows_what_has_changed(s3: Any, run: Run, tmp_path: Path) -> None:
    for number in range(6):
        put(s3, f"resumed/{number}.wav", spoken(tmp_path, number))
    options = ("--jsonl", "o.jsonl", "--resume")
    assert run("assess", "s3://calls/resumed", *options).returncode == 0
    whole = (tmp_path / "o.jsonl").read_bytes()
    (tmp_path / "o.jsonl").write_bytes(b"".join(whole.splitlines(keepends=True)[:4])[:-20])
    done = run("assess", "s3://calls/resumed", *options)
    assert b"going on: 3 of 6 recordings are done" in done.stderr
    assert (tmp_path / "o.jsonl").read_bytes() == whole

    # Named one by one, nothing was listed; the store is asked all the same.
    names = "\n".join(f"s3://calls/resumed/{number}.wav" for number in range(6)).encode()
    done = run("assess", "-", *options, input=names)
    assert b"going on: 6 of 6 recordings are done" in done.stderr

    # A key with other content of the same size, in the same second as like as not; and one that has gone.
    content = bytearray(spoken(tmp_path, 2))
    content[-3000] ^= 1
    put(s3, "resumed/2.wav", bytes(content))
    s3.delete_object(Bucket="calls", Key="resumed/4.wav")
    done = run("assess", "-", *options, input=names)
    assert b"going on: 4 of 6 recordings are done" in done.stderr
    assert [row["status"] for row in rows(tmp_path / "o.jsonl").values()].count("not_found") == 1


def test_a_shard_with_its_report(s3: Any, run: Run, tmp_path: Path) -> None:
    for number in range(7):
        put(s3, f"sharded/{number}.wav", spoken(tmp_path, number, 0.3))
    done = run("assess", "s3://calls/sharded", "--shard", "2/3", "--jsonl", "o.jsonl", "--html", "r.html")
    assert done.returncode == 0
    names = [f"s3://calls/sharded/{number}.wav" for number in range(7)]
    chosen = [name for name in names if shard_number(name, 3) == 2]
    assert list(rows(tmp_path / "o.jsonl")) == chosen
    sound = re.findall(rb'"audio": ?"[^"]', (tmp_path / "r.html").read_bytes())
    assert len(sound) == len(chosen), "what the report lets hear was fetched again"


def test_credentials(s3: Any, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(s3, "closed/a.flac", spoken(tmp_path))
    names = ["s3://calls/closed/a.flac", "s3://calls/closed/", "s3://calls/closed/*"]
    reset = f"{os.environ['AWS_ENDPOINT_URL']}/moto-api/reset-auth"
    with urlopen(Request(reset, b"0", {"Content-Type": "text/plain"})):
        pass
    try:
        refused = run("assess", *names, "--jsonl", "wrong.jsonl")
    finally:
        with urlopen(Request(reset, b"1e9", {"Content-Type": "text/plain"})):
            pass
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    keyless = run("assess", *names, "--jsonl", "keyless.jsonl")
    assert (refused.returncode, keyless.returncode) == (3, 3)
    for kind, reason in (("keyless", "no credentials for s3://"), ("wrong", "no permission (")):
        found = rows(tmp_path / f"{kind}.jsonl")
        assert {row["status"] for row in found.values()} == {"no_permission"}
        assert list(found) == names
        assert all(row["reason"].startswith(reason) for row in found.values())


def test_a_store_that_does_not_answer_ends_the_run(run: Run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"
        environment = {**KEYS, "AWS_ENDPOINT_URL": endpoint}
        done = run("assess", "s3://calls/a.flac", env=environment)
    assert done.returncode == 4
    assert done.stderr.startswith(b"mtqscore: s3:// does not answer (Could not connect to the endpoint URL")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_ctrl_c_does_not_wait_for_a_store_that_hangs(fake_model: str, tmp_path: Path) -> None:
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen(50)  # takes connections, and never answers
        environment = {**os.environ, **KEYS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{hole.getsockname()[1]}"}
        environment |= {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
        command = [sys.executable, "-m", "mtqscore", "assess", "--model", fake_model, "s3://calls/a.wav"]
        process = subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.PIPE)
        connection, _ = hole.accept()
        started_s = time.monotonic()
        process.send_signal(signal.SIGINT)
        errors = process.communicate(timeout=30)[1]
        connection.close()
    assert time.monotonic() - started_s < 5
    assert (process.returncode, errors) == (130, b"mtqscore: interrupted\n")
    assert not list(tmp_path.glob("mtqscore*"))
