"""Recordings in any store of fsspec: names, order, room, what they need, and the web."""

from __future__ import annotations

import os
import sys
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import pytest

from mtqscore.audio import download as fetch
from mtqscore.audio import remote
from mtqscore.audio.decoding import open_recording
from mtqscore.audio.discovery import find_inputs
from mtqscore.audio.inputs import Stamp, is_remote
from mtqscore.errors import EnvironmentProblemError, MissingExtraError
from mtqscore.scores import Status
from mtqscore.scoring.assessor import Assessor
from tests.audio.remote.kit import spoken
from tests.signals import speechlike, write
from tests.test_imports import ROOT, loaded_after

if TYPE_CHECKING:
    from tests.conftest import Run


def test_the_extra_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "s3fs.py").write_text("raise ModuleNotFoundError('No module named s3fs', name='s3fs')")
    done = run("assess", "s3://calls/a.wav", env={"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"})
    expected = b"mtqscore: s3:// needs the module s3fs; install it with: pip install 'mtqscore[remote]'\n"
    assert (done.returncode, done.stderr) == (4, expected)


def test_local_files_load_nothing_of_this(fake_model: str, tmp_path: Path) -> None:
    write(tmp_path / "a.wav", speechlike(0.5))
    arguments = ["assess", "a.wav", "--model", fake_model, "--jsonl", "o.jsonl", "--resume"]
    loaded = loaded_after("from mtqscore.cli import main; main()", *arguments, folder=tmp_path)
    assert not loaded & {
        "fsspec",
        "s3fs",
        "ray",
        "mtqscore.audio.remote",
        "mtqscore.audio.download",
        "mtqscore.scoring.ray",
    }


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
    assert [Stamp(row.size_bytes, row.modified_ns, row.etag) for row in scored] == [item.stamp for item in inputs]
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
    assert tagged.size_bytes == len(WebPages.content) and (tagged.modified_ns, tagged.etag) == (None, '"abc"')
    assert (untold.size_bytes, untold.modified_ns, untold.etag) == (None, None, None), "so --resume scores it again"


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
