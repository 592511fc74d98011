"""Recordings in stores: a real S3 server on loopback, and the stores of fsspec that need none."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import fsspec
import pytest

from mtqscore import fetch, remote
from mtqscore.assess import Assessor
from mtqscore.assess_config import AssessConfig
from mtqscore.decode import open_recording
from mtqscore.errors import EnvironmentProblemError, MissingExtraError, UsageError
from mtqscore.inputs import is_remote
from mtqscore.scores import Status
from mtqscore.search import find_inputs
from mtqscore.shards import shard_number
from tests.signals import speechlike, write
from tests.test_torch_guard import ROOT, loaded_after

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Run

KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}
KEYS |= {"AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "1"}
UGLY = ["a b.wav", "q?x.wav", "take[1].wav", "*.wav", "é日.wav", "#h.wav", "%41.wav", "d//e.wav", "+.wav", "x\x01y.wav"]
UGLY += ["-dash.wav", " .wav", "a::b.wav", "a&b<>.wav", "s3:/z.wav", "=1+1.wav", "q\"uo'te.wav", f"{'n' * 250}.wav"]


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """A client of an S3 server on loopback, which this process and those that it starts find by their environment."""
    boto3 = pytest.importorskip("boto3")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}.items():
            environment.setenv(name, value)
        client = boto3.client("s3")
        client.create_bucket(Bucket="calls")
        yield client
        client.close()
    server.stop()


@pytest.fixture
def assessor(fake_model: str) -> Assessor:
    return Assessor(AssessConfig(model=fake_model, device="cpu"))


def rows(path: Path) -> dict[str, dict[str, Any]]:
    return {row["path"]: row for row in map(json.loads, path.read_bytes().splitlines())}


def put(client: Any, key: str, content: bytes) -> None:
    client.put_object(Bucket="calls", Key=key, Body=content)


def spoken(folder: Path, seed: int = 0, seconds: float = 0.5) -> bytes:
    return write(folder / "made.flac", speechlike(seconds, seed=seed)).read_bytes()


# --- a real S3 server ----------------------------------------------------------------------------------------------


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


def test_the_extra_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "s3fs.py").write_text("raise ModuleNotFoundError('No module named s3fs', name='s3fs')")
    done = run("assess", "s3://calls/a.wav", env={"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"})
    expected = b"mtqscore: s3:// needs the module s3fs; install it with: pip install 'mtqscore[remote]'\n"
    assert (done.returncode, done.stderr) == (4, expected)


def test_local_files_load_nothing_of_this(fake_model: str, tmp_path: Path) -> None:
    write(tmp_path / "a.wav", speechlike(0.5))
    arguments = ["assess", "a.wav", "--model", fake_model, "--jsonl", "o.jsonl", "--resume"]
    loaded = loaded_after("from mtqscore.cli import main; main()", *arguments, folder=tmp_path)
    assert not loaded & {"fsspec", "s3fs", "ray", "mtqscore.remote", "mtqscore.fetch", "mtqscore.engine_ray"}


# --- stores that need no server ------------------------------------------------------------------------------------


@pytest.fixture
def memory() -> Iterator[Any]:
    """The store of fsspec that lives in this process."""
    store = fsspec.filesystem("memory")
    store.store.clear()
    store.pseudo_dirs[:] = [""]
    yield store
    store.store.clear()


def test_names() -> None:
    remote_names = ["s3://b/k", "gs://b", "hf://datasets/o/n/a.wav", "HTTP://h/a", "memory://a", "s3a://\n"]
    assert all(map(is_remote, remote_names))
    assert not any(map(is_remote, ["a.wav", "C://a.wav", "./s3://b", "s3:/b", "://a", " s3://b", "hf:o/n@main", ""]))


def test_files_are_scored_in_order_and_large_ones_in_their_turn(
    memory: Any, assessor: Assessor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "AHEAD_BYTES", 20_000)
    names = []
    for number in range(40):  # more than are read ahead, and half of them large
        content = write(tmp_path / "a.wav", speechlike(0.3 if number % 2 else 2.0, seed=number)).read_bytes()
        memory.pipe_file(f"/rec/{number:02}.wav", content)
        names.append(f"memory:///rec/{number:02}.wav")
    inputs = find_inputs(["memory://rec/"])
    assert [item.path for item in inputs] == names
    assert all(item.stamp is not None for item in inputs)
    scored = list(assessor.assess_files(inputs))
    assert [row.path for row in scored] == names
    assert all(row.ok for row in scored)
    assert [(row.size_bytes, row.modified_ns) for row in scored] == [item.stamp for item in inputs]
    last = assessor.assess_file(tmp_path / "a.wav")
    assert last.scores is not None and scored[-1].scores is not None
    assert scored[-1].scores.g_mos == pytest.approx(last.scores.g_mos, abs=1e-4)


def test_nobody_waits_for_what_is_not_wanted_any_more(
    memory: Any, assessor: Assessor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "AHEAD_BYTES", 0)
    for number in range(40):
        memory.pipe_file(f"/rec/{number:02}.wav", spoken(tmp_path, number))
    scoring = assessor.assess_files(find_inputs(["memory://rec/"]))
    assert next(scoring).ok
    scoring.close()
    deadline = time.monotonic() + 5
    while any(thread.name.startswith("fetch-") for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("large", [True, False])
def test_a_file_that_is_replaced_while_it_is_fetched(
    memory: Any, assessor: Assessor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    monkeypatch.setattr(fetch, "BLOCK_BYTES", 1000 if large else 10**6)
    old, new = spoken(tmp_path, 1), spoken(tmp_path, 2, 0.8)
    memory.pipe_file("/a.wav", old)
    copy_of = fetch.Download._copy_of

    def replace(download: fetch.Download, stream: Any) -> Any:
        copy = copy_of(download, stream)
        memory.pipe_file("/a.wav", new)
        return copy

    monkeypatch.setattr(fetch.Download, "_copy_of", replace)
    row = assessor.assess_file("memory://a.wav")
    assert row.status is (Status.CHANGED if large else Status.OK)
    assert row.size_bytes == len(old), "what was read, so that --resume reads it again"


def test_no_room_for_a_copy(memory: Any, assessor: Assessor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory.pipe_file("/a.wav", spoken(tmp_path))
    full = tmp_path / "full"
    full.symlink_to("/dev/full")
    monkeypatch.setattr(fetch.tempfile, "TemporaryFile", lambda **_: full.open("r+b", buffering=0))
    with pytest.raises(EnvironmentProblemError, match="No space left on device; set TMPDIR to a folder with room"):
        list(assessor.assess_files(["memory://a.wav"]))
    monkeypatch.undo()
    monkeypatch.setattr(fetch.tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(EnvironmentProblemError, match="cannot keep a copy of a remote recording in"):
        open_recording("memory://a.wav")


def test_local_files_by_address(assessor: Assessor, tmp_path: Path) -> None:
    (tmp_path / "rec").mkdir()
    write(tmp_path / "rec" / "a b?.wav", speechlike(0.5))
    inputs = find_inputs([f"file://{tmp_path}/rec", f"file://{tmp_path}/rec/*", f"file://{tmp_path}/rec/a b?.wav"])
    assert [item.path for item in inputs] == [f"file://{tmp_path}/rec/a b?.wav"] * 3
    by_name = assessor.assess_file(tmp_path / "rec" / "a b?.wav")
    assert by_name.scores is not None
    for row in assessor.assess_files(inputs):
        assert row.scores is not None
        assert row.scores.g_mos == pytest.approx(by_name.scores.g_mos, abs=1e-4)
    assert assessor.assess_file(f"file://{tmp_path}/rec").status is Status.NOT_A_FILE
    assert find_inputs([f"file://{tmp_path}/"])[0].status is Status.OK


class WebPages(BaseHTTPRequestHandler):
    """Recordings, refusals, and a server that tells no length."""

    content = b""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        if self._answer():
            self.wfile.write(self.content)

    def _answer(self) -> bool:
        name = self.path.partition("?")[0]
        code = {"/a.wav": 200, "/nolength.wav": 200, "/closed.wav": 403, "/broken.wav": 500}.get(name, 404)
        self.send_response(code)
        if name != "/nolength.wav":
            self.send_header("Content-Length", str(len(self.content) if code == 200 else 0))
        if name == "/a.wav":
            self.send_header("ETag", '"abc"')
        self.end_headers()
        return code == 200

    def log_message(self, *_: object) -> None:
        """Nothing: the tests look at what the commands say."""


def test_the_web(assessor: Assessor, tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    WebPages.content = spoken(tmp_path)
    server = ThreadingHTTPServer(("127.0.0.1", 0), WebPages)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    host = f"http://127.0.0.1:{server.server_port}"
    expected = {
        f"{host}/a.wav?token=[x]*": Status.OK,
        f"{host}/nolength.wav": Status.OK,
        f"{host}/none.wav": Status.NOT_FOUND,
        f"{host}/closed.wav": Status.NO_PERMISSION,
        f"{host}/broken.wav": Status.UNREADABLE,
        "http://127.0.0.1:9/a.wav": Status.UNREADABLE,  # of one server of many: no reason to end the run
    }
    try:
        found = {row.path: row for row in assessor.assess_files(find_inputs(list(expected)))}
    finally:
        server.shutdown()
        server.server_close()
    assert {path: row.status for path, row in found.items()} == expected
    tagged, untold = found[f"{host}/a.wav?token=[x]*"], found[f"{host}/nolength.wav"]
    assert tagged.size_bytes == len(WebPages.content) and tagged.modified_ns is not None
    assert (untold.size_bytes, untold.modified_ns) == (None, None), "so --resume scores it again"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        # Listings and single answers round times in different ways.
        ({"LastModified": datetime(2026, 1, 1, 0, 0, 1, 5, UTC)}, {"LastModified": "2026-01-01T00:00:01Z"}, True),
        ({"mtime": 1.5, "ETag": "b"}, {"mtime": 1.5}, False),
        ({"mtime": 1.5, "ETag": None}, {"mtime": 1.6, "ETag": None}, False),
        ({"Last-Modified": "Sat, 21 Nov 2026 13:13:52 GMT"}, {"Last-Modified": "Sat, 21 Nov 2026 13:13:53 GMT"}, False),
        ({"ETag": "b"}, {"ETag": "b"}, True),
    ],
)
def test_stamps(one: dict[str, Any], other: dict[str, Any], same: bool) -> None:
    tag = {} if "mtime" in one or "Last-Modified" in one else {"ETag": "a"}
    first, second = remote.stamp_of_info({"size": 5, **tag, **one}), remote.stamp_of_info({"size": 5, **tag, **other})
    assert first is not None and second is not None
    assert (first == second) is same
    assert remote.stamp_of_info({"size": 6, **tag, **one}) != first


def test_stamps_that_tell_too_little() -> None:
    for info in ({"size": 5}, {"size": None, "ETag": "a"}, {"size": 5, "mtime": "yesterday"}):
        assert remote.stamp_of_info(info) is None


def test_an_unknown_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ImportError("Install adlfs to access Azure", name="adlfs")

    remote._store.cache_clear()
    monkeypatch.setattr(fsspec, "filesystem", missing)
    with pytest.raises(EnvironmentProblemError, match=r"^abfs:// cannot be read: Install adlfs to access Azure$"):
        find_inputs(["abfs://c/a.wav"])
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingExtraError, match=r"^az:// needs the module fsspec; install it with"):
        find_inputs(["az://c/a.wav"])
