"""Whatever is named: a row with a status, never a traceback, never an invented score."""

from __future__ import annotations

import csv
import io
import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from mtqscore.results.csv import unguarded
from tests.signals import RATE_HZ, speechlike, write

if TYPE_CHECKING:
    from tests.conftest import Run

posix_only = pytest.mark.skipif(os.name != "posix", reason="needs POSIX files")
Make = Callable[[Path], object]


def header(
    path: Path, samples: bytes = b"", *, channels: int = 1, rate_hz: int = RATE_HZ, size: int | None = None
) -> None:
    """Write a WAV of 16 bit whose header says what one likes."""
    form = struct.pack("<HHIIHH", 1, channels, rate_hz, 0, max(1, channels * 2) & 0xFFFF, 16)
    length = len(samples) if size is None else size
    path.write_bytes(
        b"RIFF"
        + struct.pack("<I", 36 + len(samples))
        + b"WAVEfmt \x10\0\0\0"
        + form
        + b"data"
        + struct.pack("<I", length)
        + samples
    )


def pcm(seconds: float = 2) -> bytes:
    return (speechlike(seconds)[:, 0] * 32_767).astype("<i2").tobytes()


def with_value(value: float) -> Make:
    def make(path: Path) -> None:
        samples = speechlike(2)
        samples[5_000] = value
        write(path, samples, subtype="FLOAT")

    return make


def cut(path: Path, share: float) -> None:
    whole = write(path, speechlike(6))
    whole.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])


def flip_a_bit(path: Path) -> None:
    whole = bytearray(write(path, speechlike(6)).read_bytes())
    whole[len(whole) * 2 // 3] ^= 0xFF
    path.write_bytes(whole)


def against_each_other(path: Path) -> None:
    samples = speechlike(2)
    write(path, np.concatenate([samples, -samples], axis=1))


def make_fifo(path: Path) -> None:
    os.mkfifo(path)  # looked up when it is called: not every system has it


def bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(path.name)


CASES: dict[str, tuple[Make, str, set[str]]] = {
    "no-such-file.wav": (lambda _: None, "not_found", set()),
    "empty.wav": (lambda path: path.touch(), "empty", set()),
    "header-only.wav": (header, "empty", set()),
    "half-a-header.wav": (lambda path: path.write_bytes(b"RIFF\x24\0\0\0WAVEfmt "), "unreadable", set()),
    "text.wav": (lambda path: path.write_text("not a recording\n" * 100), "unreadable", set()),
    "text.mp3": (lambda path: path.write_text("not a recording\n" * 100), "unreadable", set()),
    "noise.flac": (lambda path: path.write_bytes(np.random.default_rng(0).bytes(20_000)), "unreadable", set()),
    "cut.wav": (lambda path: cut(path, 0.5), "ok", {"truncated"}),
    "cut.mp3": (lambda path: cut(path, 0.5), "ok", {"truncated"}),
    "cut-early.wav": (lambda path: cut(path, 0.01), "too_short", {"truncated"}),
    "one-bad-byte.flac": (flip_a_bit, "ok", {"truncated"}),
    "channels-that-cancel.wav": (against_each_other, "silent", set()),
    "0-samples.wav": (lambda path: write(path, speechlike(0)), "empty", set()),
    "0-samples.flac": (lambda path: write(path, speechlike(0)), "empty", set()),
    "1-sample.wav": (lambda path: write(path, speechlike(1)[:1]), "too_short", set()),
    "100-samples.wav": (lambda path: write(path, speechlike(1)[:100]), "too_short", set()),
    "100-samples-48k.wav": (lambda path: write(path, speechlike(1)[:100], 48_000), "too_short", set()),
    "zeros.wav": (lambda path: write(path, np.zeros(2 * RATE_HZ)), "silent", set()),
    "zeros-44k.wav": (lambda path: write(path, np.zeros(88_200), 44_100), "silent", set()),
    "dc.wav": (lambda path: write(path, np.full(2 * RATE_HZ, 0.5)), "silent", set()),
    "dc-full.wav": (lambda path: write(path, np.full(2 * RATE_HZ, 1.0)), "silent", {"clipped"}),
    "nan.wav": (with_value(np.nan), "non_finite", set()),
    "inf.wav": (with_value(np.inf), "non_finite", set()),
    "minus-inf.wav": (with_value(-np.inf), "non_finite", set()),
    "huge-values.wav": (with_value(1e30), "unreadable", set()),
    "double-overflow.wav": (
        lambda path: write(path, np.full(2 * RATE_HZ, 1e300), subtype="DOUBLE"),
        "non_finite",
        set(),
    ),
    "beyond-one.wav": (lambda path: write(path, speechlike(2) * 30, subtype="FLOAT"), "ok", set()),
    "clipped.wav": (lambda path: write(path, (speechlike(2) * 20).clip(-1, 1)), "ok", {"clipped"}),
    "192k.wav": (lambda path: write(path, speechlike(2, 192_000), 192_000), "ok", set()),
    "8k-alaw.wav": (
        lambda path: write(path, speechlike(2, 8_000), 8_000, subtype="ALAW"),
        "ok",
        {"upsampled", "narrowband"},
    ),
    "24-bit.wav": (lambda path: write(path, speechlike(2), subtype="PCM_24"), "ok", set()),
    "8-channels.wav": (lambda path: write(path, speechlike(2, channels=8)), "ok", set()),
    "a name  with spaces.wav": (lambda path: write(path, speechlike(2)), "ok", set()),
    "quote\"comma,semi;'.wav": (lambda path: write(path, speechlike(2)), "ok", set()),
    "[brackets]*?.wav": (lambda path: write(path, speechlike(2)), "ok", set()),
    "日本語 é.wav": (lambda path: write(path, speechlike(2)), "ok", set()),
    "no-extension": (lambda path: write(path, speechlike(2), format="WAV"), "ok", set()),
    "header-less.raw": (lambda path: path.write_bytes(pcm()), "unreadable", set()),
    "huge-size.wav": (lambda path: header(path, pcm(), size=2_000_000_000), "ok", {"truncated"}),
    "streamed-size.wav": (lambda path: header(path, pcm(), size=0xFFFFFFFF), "ok", set()),
    "no-channels.wav": (lambda path: header(path, pcm(), channels=0), "unreadable", set()),
    "65535-channels.wav": (lambda path: header(path, pcm(), channels=65_535), "unreadable", set()),
    "1024-channels.wav": (lambda path: header(path, pcm(), channels=1_024), "too_short", set()),
    "billion-channels.au": (
        lambda path: path.write_bytes(b".snd" + struct.pack(">IIIII", 24, 0xFFFFFFFF, 3, RATE_HZ, 10**9) + pcm()),
        "unreadable",
        set(),
    ),
    "rate-0.wav": (lambda path: header(path, pcm(), rate_hz=0), "unreadable", set()),
    "rate-1.wav": (lambda path: header(path, pcm(), rate_hz=1), "unreadable", set()),
    "rate-2-billion.wav": (lambda path: header(path, pcm(), rate_hz=2**31 - 1), "unreadable", set()),
}
CASES_POSIX: dict[str, tuple[Make, str, set[str]]] = {
    "a\nnew line.wav": (lambda path: write(path, speechlike(2)), "ok", set()),
    "\x1b[31mred\x07.wav": (lambda path: write(path, speechlike(2)), "ok", set()),
    os.fsdecode(b"not \xff utf-8 \xe9.wav"): (
        lambda path: path.write_bytes(write(path.with_name("plain.wav"), speechlike(2)).read_bytes()),
        "ok",
        set(),
    ),
    "-leading-dash.wav": (lambda path: write(path, speechlike(2)), "ok", set()),
    "fifo.wav": (make_fifo, "not_a_file", set()),
    "socket.wav": (bind, "not_a_file", set()),
    "device.wav": (lambda path: path.symlink_to("/dev/zero"), "not_a_file", set()),
    "dangling.wav": (lambda path: path.symlink_to("nowhere"), "not_found", set()),
    "to-itself.wav": (lambda path: path.symlink_to(path), "not_found", set()),
    "file/below.wav": (lambda path: path.parent.touch(), "not_found", set()),
    "n" * 300 + ".wav": (lambda _: None, "not_found", set()),
}


@pytest.fixture
def cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[Make, str, set[str]]]:
    chosen = CASES | (CASES_POSIX if os.name == "posix" else {})
    monkeypatch.chdir(tmp_path)
    for name, (make, *_) in chosen.items():
        make(tmp_path / name)
    return chosen


def test_every_name_has_its_row(cases: dict[str, tuple[Make, str, set[str]]], run: Run, tmp_path: Path) -> None:
    result = run("assess", "--jsonl", "-", "--csv", "out.csv", "--json", "out.json", "--", *cases)
    assert result.returncode == 3, result.stderr.decode()
    rows = [json.loads(line) for line in result.stdout.decode("utf-8").splitlines()]
    found = {row["path"]: (row["status"], set(row["flags"])) for row in rows}
    assert found == {name: (status, flags) for name, (_, status, flags) in cases.items()}
    assert [row["path"] for row in rows] == list(cases), "in the order of the names, bytes that are no text included"
    for row in rows:
        assert (row["reason"] == "") is (row["status"] == "ok")
        for target in ("s_mos", "n_mos", "g_mos"):
            assert (row[target] is None) is (row["status"] != "ok")
            assert row[target] is None or 1 <= row[target] <= 5

    document = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert document["results"] == rows
    table = list(csv.DictReader(io.StringIO((tmp_path / "out.csv").read_bytes().decode("utf-8"), newline="")))
    assert [row["status"] for row in table] == [row["status"] for row in rows]
    readable = [
        (row["path"], unguarded(plain["path"]))
        for row, plain in zip(rows, table, strict=True)
        if row["path"].isprintable()
    ]
    assert len(readable) > 40
    assert all(name == plain for name, plain in readable)


def test_the_table_shows_every_row_on_one_line(cases: dict[str, tuple[Make, str, set[str]]], run: Run) -> None:
    result = run("assess", "--", *cases)
    assert result.returncode == 3
    text = result.stdout.decode("utf-8")
    lines = text.split("\n\n")[0].splitlines()
    assert len(lines) == len(cases) + 1
    assert "a\\nnew line.wav" in text
    assert "\x1b" not in text
    assert "n" * 300 in text, "paths are not cut"
    assert b"part2_3_length" not in result.stderr, "decoders keep quiet"
    assert len(result.stderr.splitlines()) == 1


@posix_only
@pytest.mark.usefixtures("cases")
def test_a_folder_of_everything_is_searched_in_order(run: Run) -> None:
    Path("loop").symlink_to(".")
    Path("sub").mkdir()
    Path("sub", "up").symlink_to("..")
    write(Path("sub", "deep.wav"), speechlike(1))
    write(Path(".hidden.wav"), speechlike(1))
    result = run("assess", ".", "--jsonl", "-")
    names = [json.loads(line)["path"] for line in result.stdout.decode().splitlines()]
    audio = (".wav", ".mp3", ".flac", ".au")
    expected = [f"./{path.name}" for path in Path().iterdir() if path.suffix in audio]
    expected.remove("./.hidden.wav")
    assert names == sorted([*expected, "./sub/deep.wav"])


@posix_only
@pytest.mark.parametrize("locked", ["file", "folder"])
def test_no_permission_is_a_status(run: Run, tmp_path: Path, fake_model: str, locked: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    path = write(folder / "secret.wav", speechlike(2))
    write(tmp_path / "open.wav", speechlike(2))
    (path if locked == "file" else folder).chmod(0)
    if os.geteuid() != 0:
        done = run("assess", "in", "open.wav", "--jsonl", "-")
        code, output = done.returncode, done.stdout.decode()
    else:
        for above in (tmp_path, *tmp_path.parents[:3]):
            above.chmod(above.stat().st_mode | 0o055)
        code, output = _as_nobody(fake_model, tmp_path)
    rows = [json.loads(line) for line in output.splitlines()]
    assert [(row["path"], row["status"]) for row in rows] == [
        ("in/secret.wav" if locked == "file" else "in", "no_permission"),
        ("open.wav", "ok"),
    ]
    assert code == 3


def _as_nobody(model: str, folder: Path) -> tuple[int, str]:
    """Root may read everything: become nobody in a process that has loaded all it needs by scoring one file."""
    script = (
        "import os, sys\nfrom mtqscore.cli import main\ntry: main()\nexcept SystemExit: print('---', flush=True)\n"
        "os.setuid(65534)\nsys.argv[2:4] = ['in', 'open.wav']\nmain()"
    )
    for path in (Path(model), *Path(model).parents[:3]):
        path.chmod(path.stat().st_mode | 0o055)
    command = [sys.executable, "-c", script, "assess", "open.wav", "open.wav", "--model", model, "--jsonl", "-"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout.split("---\n")[-1]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_a_decoder_prints_is_no_data(run: Run, tmp_path: Path, workers: str) -> None:
    path = write(tmp_path / "a.sds", speechlike(1), format="SDS", subtype="PCM_16")
    content = bytearray(path.read_bytes())
    content[149] ^= 0x55  # a checksum, on which libsndfile prints a line
    path.write_bytes(content)
    done = run("assess", "a.sds", "--csv", "-", "-q", "--workers", workers)
    assert (done.returncode, done.stderr) == (0, b"")
    assert [line.partition(b",")[0] for line in done.stdout.splitlines()] == [b"path", b"a.sds"]
