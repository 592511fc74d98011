"""Parquet: typed columns, row groups, the run in the metadata, names of any bytes."""

from __future__ import annotations

import io
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pyarrow import parquet

from mtqscore.base.names import from_text
from mtqscore.report.summary import RunSummary
from mtqscore.results.parquet import ParquetWriter
from tests.report.kit import CURVES, NAMES, RUN, RUN_WITH_FRAMES, row, written
from tests.signals import speechlike, write

if TYPE_CHECKING:
    from tests.conftest import Run as RunProcess


@pytest.fixture
def recordings(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", speechlike(1))


def test_rows_are_those_of_json_lines() -> None:
    rows = [row(name, frames=CURVES) for name in NAMES] + [row("none.wav", None), replace(row(""), path=None)]
    for run in (RUN, RUN_WITH_FRAMES):
        lines = [json.loads(line) for line in written("jsonl", rows, run).decode().split("\n")[:-1]]
        table = parquet.read_table(io.BytesIO(written("parquet", rows, run)))
        found = table.to_pylist()
        for record in found:
            record["path"] = record["path"] and from_text(record["path"])
        wanted = [{"frames": None, **line} if run.frames else line for line in lines]
        assert found == wanted
        assert table.column_names == list(lines[0])


def test_columns_have_their_types() -> None:
    schema = parquet.read_schema(io.BytesIO(written("parquet", [], RUN_WITH_FRAMES)))
    kinds = {field.name: str(field.type).replace("item: ", "element: ") for field in schema}
    assert kinds["path"] == kinds["status"] == kinds["reason"] == "string"
    assert kinds["g_mos"] == kinds["duration_s"] == "double"
    assert kinds["sample_rate_hz"] == "int32"
    assert kinds["flags"] == "list<element: string>"
    assert kinds["frames"].startswith("struct<hop_s: double, s_mos: list<element: float>")


def test_the_metadata_tell_of_the_run() -> None:
    metadata = parquet.read_metadata(io.BytesIO(written("parquet", [row("a"), row("b", None)]))).metadata
    document = json.loads(written("json", [row("a"), row("b", None)]))
    assert json.loads(metadata[b"mtqscore.summary"]) == document["summary"]
    assert json.loads(metadata[b"mtqscore"]) == {
        name: value for name, value in document.items() if name not in ("results", "summary")
    }


def test_row_groups_are_written_as_they_fill(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtqscore.results.parquet.ROWS_A_GROUP", 4)
    content = written("parquet", [row(f"{number}.wav") for number in range(10)])
    metadata = parquet.read_metadata(io.BytesIO(content))
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [4, 4, 2]
    monkeypatch.setattr("mtqscore.results.parquet.VALUES_A_GROUP", 2 * CURVES.values.size)
    rows = [row("a.wav", frames=CURVES) for _ in range(5)]
    metadata = parquet.read_metadata(io.BytesIO(written("parquet", rows, RUN_WITH_FRAMES)))
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [2, 2, 1]


def test_an_abandoned_file_makes_no_noise(capfd: pytest.CaptureFixture[str]) -> None:
    stream = io.TextIOWrapper(io.BytesIO())
    writer = ParquetWriter(stream, RUN)
    writer.begin()
    writer.write(row("a.wav"))
    stream.close()
    del writer  # pyarrow ends a file that nobody ended; that must not reach the closed stream
    assert capfd.readouterr().err == ""


def test_a_pipe_takes_it_though_it_has_no_places() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w", encoding="utf-8") as stream:
        writer = ParquetWriter(stream, RUN)
        writer.begin()
        writer.write(row("a.wav"))
        writer.finish(RunSummary())
    with os.fdopen(reading, "rb") as content:
        assert parquet.read_table(io.BytesIO(content.read())).column("path").to_pylist() == ["a.wav"]


@pytest.mark.usefixtures("recordings")
def test_the_command_writes_it(run: RunProcess, tmp_path: Path) -> None:
    done = run("assess", "a.wav", "missing.wav", "--frames", "--parquet", "o.parquet", "--jsonl", "-")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    table = parquet.read_table(tmp_path / "o.parquet")
    assert done.returncode == 3
    assert table.column("status").to_pylist() == ["ok", "not_found"]
    assert table.column("frames").to_pylist()[0]["g_mos"] == pytest.approx(lines[0]["frames"]["g_mos"])
    piped = run("assess", "a.wav", "--parquet", "-")
    assert parquet.read_table(io.BytesIO(piped.stdout)).column("status").to_pylist() == ["ok"]


@pytest.mark.usefixtures("recordings")
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_4(run: RunProcess) -> None:
    done = run("assess", "a.wav", "--parquet", "/dev/full")
    assert done.returncode == 4
    assert b"No space left" in done.stderr


@pytest.mark.usefixtures("recordings")
def test_the_missing_extra_is_4_and_leaves_no_file(run: RunProcess, tmp_path: Path) -> None:
    (tmp_path / "hidden" / "pyarrow").mkdir(parents=True)
    (tmp_path / "hidden" / "pyarrow" / "__init__.py").write_text("raise ImportError")
    places = os.pathsep.join([str(tmp_path / "hidden"), str(Path(__file__).parents[2])])
    done = run("assess", "a.wav", "--parquet", "o.parquet", env={"PYTHONPATH": places})
    assert done.returncode == 4
    assert b"pip install 'mtqscore[parquet]'" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav", "hidden"]
