"""Results read back: exactly what was written, or one clear line."""

from __future__ import annotations

import csv
import io
import json
import random
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mtqscore.base.files import Output
from mtqscore.config import AssessConfig
from mtqscore.errors import MissingExtraError, UsageError
from mtqscore.report.formats import WRITERS
from mtqscore.report.summary import RunSummary
from mtqscore.results.reading import read_results
from mtqscore.results.run import Run
from mtqscore.scores import Assessment, FrameScores, Scores, Status
from tests.report import kit

if TYPE_CHECKING:
    from pathlib import Path


OPTIONS = AssessConfig(channels="each", threads=2)
TARGETS = (*kit.RUN.targets, "loudness")
RUN = replace(kit.RUN, targets=TARGETS, options=OPTIONS)
NAMES = [
    *kit.NAMES,
    "\udcff\udc80.wav",
    "-rf.wav",
    "'@tab\t.wav",
    "<script>alert(1)</script>.wav",
    "x" * 300 + "/..wav",
    "{.wav",
    "back\\udcff.wav",
    "=\\u005c.wav",
    "'plain.wav",
    " ",
]
FORMATS = ["csv", "json", "jsonl", "parquet"]


def row(path: str | None, g_mos: float | None = 3.1235, **changes: Any) -> Assessment:
    known: dict[str, Any] = {"channel": "1", "duration_s": 1.2346, "options": OPTIONS}
    if g_mos is None:
        known |= {"status": Status.UNREADABLE, "reason": "=cannot, be\nread \udcff", "flags": ()}
    else:
        known["scores"] = Scores(1.0, 5.0, g_mos, {"loudness": 4.5})
    return kit.row(path, g_mos, **known | changes)


def write_result(path: Path, kind: str, rows: list[Assessment], run: Run = RUN) -> Path:
    with Output(str(path), line_by_line=False) as output:
        writer = WRITERS[kind](output.stream, run)
        writer.begin()
        for item in rows:
            writer.write(item)
        writer.finish(RunSummary())
        output.commit()
    return path


ROWS = [
    *(row(name) for name in NAMES),
    row(None),
    row("lost.wav", None),
    row("gone.wav", None, channel="", duration_s=None, sample_rate_hz=None, status=Status.NOT_FOUND),
]


@pytest.mark.parametrize("kind", FORMATS)
def test_every_row_comes_back_as_it_was(tmp_path: Path, kind: str) -> None:
    # The name says nothing: the content decides.
    results = read_results(write_result(tmp_path / "result.txt", kind, ROWS))
    assert [item.path for item in results.rows] == [item.path for item in ROWS]
    # What a format does not hold is empty.
    known = {
        "model_sha256": "" if kind == "csv" else RUN.model_sha256,
        "provider": "" if kind == "csv" else RUN.provider,
        "options": OPTIONS if kind in ("json", "parquet") else None,
    }
    assert list(results.rows) == [replace(item, **known) for item in ROWS]
    assert results.run.targets == TARGETS
    assert results.run.model == "m@1"
    assert results.run.version == ("1.2.3" if kind in ("json", "parquet") else "")
    assert results.run.options == known["options"]
    assert not results.run.frames


@pytest.mark.parametrize("kind", ["json", "jsonl", "parquet"])
def test_scores_along_time_come_back(tmp_path: Path, kind: str) -> None:
    values = np.linspace(1, 5, 40, dtype=np.float32).reshape(10, 4).round(4)
    values[3:5] = np.nan
    rows = [row("a.wav", frames=FrameScores(0.032, TARGETS, values)), row("b.wav", None)]
    results = read_results(write_result(tmp_path / "r", kind, rows, replace(RUN, frames=True)))
    frames = results.rows[0].frames
    assert results.run.frames
    assert frames is not None
    assert (frames.hop_s, frames.targets) == (0.032, TARGETS)
    assert frames.values.dtype == np.float32
    np.testing.assert_allclose(frames.values, values, atol=1e-6)
    assert results.rows[1].frames is None


def test_what_editors_do_to_text_is_tolerated(tmp_path: Path) -> None:
    for kind in ("csv", "json", "jsonl"):
        path = write_result(tmp_path / kind, kind, [row("a.wav"), row("b.wav")])
        path.write_bytes(b"\xef\xbb\xbf\n" + path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
        assert [item.path for item in read_results(path).rows] == ["a.wav", "b.wav"]
    path = write_result(tmp_path / "compact", "json", [row("a.wav")])
    path.write_text(json.dumps(json.loads(path.read_text())))
    assert [item.path for item in read_results(path).rows] == ["a.wav"]
    path = write_result(tmp_path / "no-end", "jsonl", [row("a.wav"), row("b.wav")])
    path.write_bytes(path.read_bytes().rstrip())
    assert [item.path for item in read_results(path).rows] == ["a.wav", "b.wav"]


def test_what_other_tools_do_to_rows_is_tolerated(tmp_path: Path) -> None:
    rows = [row("a.wav"), row("b.wav", None)]
    objects = [json.loads(line) for line in write_result(tmp_path / "l", "jsonl", rows).read_text().splitlines()]
    header, *cells = list(csv.reader(write_result(tmp_path / "c", "csv", rows).read_text().splitlines()))
    table = [header, *cells]
    made = {
        "jq -s": json.dumps(objects),
        "pandas.to_json": json.dumps(objects, indent=1),
        "jq -S": "\n".join(json.dumps(item, sort_keys=True) for item in objects),
        "pandas.to_csv": as_csv([["", *header]] + [[str(at), *line] for at, line in enumerate(cells)]),
        "a column before": as_csv([["talker", *header]] + [["Ann", *line] for line in cells]),
        "a column behind": as_csv([[*header, "comment"]] + [[*line, "why?"] for line in cells]),
        "columns turned round": as_csv([line[::-1] for line in table]),
        "pandas.read_json.to_csv": as_csv(
            [header, [*cells[0][:9], "['narrowband', 'clipped']", *cells[0][10:]], cells[1]]
        ).replace("8000", "8000.0"),
        "pandas.read_csv.to_json": json.dumps(
            [item | {"channel": 1.0, "sample_rate_hz": 8000.0, "flags": ";".join(item["flags"])} for item in objects]
        ).replace('""', "null"),
        "duckdb to csv": as_csv([header, [*cells[0][:9], "[narrowband, clipped]", *cells[0][10:]], cells[1]]),
        "rows without a word": as_csv([*table, [""] * len(header), [""] * len(header)]),
    }
    for tool, text in made.items():
        (tmp_path / "made").write_text(text)
        found = read_results(tmp_path / "made")
        assert [(item.path, item.ok) for item in found.rows] == [("a.wav", True), ("b.wav", False)], tool
        first = found.rows[0]
        assert (first.channel, first.sample_rate_hz, first.flags) == ("1", 8000, rows[0].flags), tool
        scores = first.scores
        assert scores is not None
        assert scores.g_mos == rows[0].scores.g_mos, tool  # type: ignore[union-attr]


def as_csv(table: list[list[str]]) -> str:
    file = io.StringIO()
    csv.writer(file).writerows(table)
    return file.getvalue()


@pytest.mark.parametrize("kind", FORMATS)
def test_stdin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    content = write_result(tmp_path / "r", kind, [row("a.wav")]).read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    results = read_results("-")
    assert (results.source, results.rows[0].path) == ("stdin", "a.wav")


def refusal(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        read_results(path)
    message = str(caught.value)
    assert message.isprintable()
    assert path.name in message
    assert len(message) < 400
    return message


def record(**changes: object) -> dict[str, object]:
    values: dict[str, object] = {"path": "a.wav", "channel": "mean", "duration_s": 1.0, "sample_rate_hz": 16_000}
    values |= {"s_mos": 3.0, "n_mos": 3.0, "g_mos": 3.0, "status": "ok", "flags": [], "model": "m@1", "reason": ""}
    return values | changes


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"g_mos": "abc"}, "row 2: g_mos 'abc' is no number"),
        ({"g_mos": True}, "row 2: g_mos True is no number"),
        ({"g_mos": 10**400}, "row 2: g_mos 1000"),
        ({"g_mos": 5.2}, "row 2: g_mos 5.2 is outside 1 to 5"),
        ({"s_mos": 0}, "row 2: s_mos 0 is outside 1 to 5"),
        ({"g_mos": None}, "row 2: the status is ok, but there is no g_mos"),
        ({"status": "silent"}, "row 2: the status is silent, but there is a s_mos"),
        ({"status": "great"}, "row 2: status or flag unknown: 'great'"),
        ({"flags": ["loud"]}, "row 2: status or flag unknown"),
        ({"flags": 5}, "row 2: status or flag unknown"),
        ({"status": []}, "row 2: status [] is no text"),
        ({"duration_s": -1}, "row 2: duration_s -1 is outside 0 to inf"),
        ({"sample_rate_hz": 0}, "row 2: sample_rate_hz 0 is outside 1 to inf"),
        ({"size_bytes": 0.5}, "row 2: size_bytes 0.5 is no whole number"),
        ({"path": 5}, "row 2: path 5 is no text"),
        ({"channel": [1]}, "row 2: channel [1] is no text"),
        ({"frames": {"hop_s": 0.03, "s_mos": [1], "n_mos": [1, 2], "g_mos": [1]}}, "row 2: frames are no scores"),
        ({"frames": {"hop_s": 0.03}}, "row 2: frames are no scores"),
        ({"frames": "\u202e" * 1000}, "row 2: frames are no scores"),
        ({"model": "m@2"}, "its rows stem from different models"),
        ({"model_sha256": "ff"}, "its rows stem from different models"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, changes: dict[str, object], expected: str) -> None:
    rows = [record(), record(**changes)]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(item) + "\n" for item in rows))
    assert expected in refusal(tmp_path / "r.jsonl")
    document = {
        "schema": "mtqscore.assess/1",
        "model": {"targets": ["s_mos", "n_mos", "g_mos"]},
        "results": rows,
    }
    (tmp_path / "r.json").write_text(json.dumps(document))
    assert expected in refusal(tmp_path / "r.json")


@pytest.mark.parametrize("name", ["path", "channel", "s_mos", "status", "flags", "model", "reason"])
def test_a_row_that_lacks_a_column_is_named(tmp_path: Path, name: str) -> None:
    lacking = record()
    del lacking[name]
    for rows in ([lacking], [record(), lacking]):
        (tmp_path / "r").write_text("".join(json.dumps(item) + "\n" for item in rows))
        assert f"row {len(rows)} has no {name!r}" in refusal(tmp_path / "r")


@pytest.mark.parametrize("cell", ["nan", "inf", "-1e999", "0.5", "3,5", "x" * 10_000])
def test_a_cell_that_is_no_score_is_named(tmp_path: Path, cell: str) -> None:
    path = write_result(tmp_path / "r.csv", "csv", [row("a.wav"), row("b.wav", 2.5)])
    path.write_text(path.read_text().replace("2.5", f'"{cell}"'))
    assert "row 2: g_mos" in refusal(path)


def test_half_a_result_is_refused(tmp_path: Path) -> None:
    for kind, expected in [
        ("jsonl", "the last line is incomplete"),
        ("json", "ends early"),
        ("csv", "row 2 has 6 cells"),
    ]:
        path = write_result(tmp_path / kind, kind, [row("a.wav"), row("b.wav")])
        content = path.read_bytes()
        end = content.index(b'"s_mos"', content.index(b"b.wav")) if kind != "csv" else content.rindex(b"5.0")
        path.write_bytes(content[:end])
        assert expected in refusal(path)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf\n\n", "is empty"),
        (b"name,score\na,1\n", "no table with 'path' and 'status'"),
        (b"path;status;g_mos\n", "separated by semicolons"),
        (b"path\tg_mos\tstatus\n", "separated by tabs"),
        (b"path,status\na.wav,ok\n", "row 1 has no 'channel'"),
        (b"path,status\n", "no rows"),
        (b"path,status\na,b,c\n", "row 1 has 3 cells, the header 2"),
        (b'path,status\n"a\0.wav', "r"),
        (b"[1, 2]\n", "lacks the results"),
        (b'[{"path": 1}, ', "ends early"),
        (b'{"a": 1}\n', "row 1 has no 'path'"),
        (b'{"a": 1}\nnonsense\n', "r"),
        (b'{"schema": "other/1"}', "its schema is 'other/1'"),
        (b'{"schema": "mtqscore.assess/1"}', "lacks the targets"),
        (b'{"schema": "mtqscore.assess/1", "model": {"targets": []}, "results": []}', "no rows"),
        (b'{"schema": "mtqscore.assess/1", "model": {"targets": []}, "results": [1]}', "lacks the results"),
        (b'{"a": NaN}\n', "damaged"),
        (b'{"a": ' * 100_000, "damaged"),
        (b"{\n", "damaged"),
        (b"RIFF\x24\x08\xff\xfeWAVEfmt ", "not text in UTF-8"),
        ("path,status\n".encode("utf-16"), "not text in UTF-8"),
        (b"PAR1 is what it says\n", "damaged"),
    ],
)
def test_what_is_no_result_is_refused_in_one_line(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "r").write_bytes(content)
    assert expected in refusal(tmp_path / "r")


@pytest.mark.parametrize("kind", FORMATS)
def test_damage_anywhere_is_one_line_or_none(tmp_path: Path, kind: str) -> None:
    content = write_result(tmp_path / "r", kind, [row("a.wav"), row("b\udcff.wav"), row("c.wav", None)]).read_bytes()
    draw = random.Random(kind)
    refused = 0
    for _ in range(150):
        damaged = bytearray(content)
        place = draw.randrange(len(damaged))
        if draw.random() < 0.5:
            damaged[place] = draw.randrange(256)
        else:
            del damaged[place : place + draw.randrange(1, 40)]
        (tmp_path / "r").write_bytes(damaged)
        try:
            read_results(tmp_path / "r")
        except UsageError as error:
            assert str(error).isprintable()
            refused += 1
    assert refused > 50


@pytest.mark.parametrize("name", ["missing.json", ".", "nul\0.csv", "\udcff", "x" * 300, "new\nline\x1b[2J"])
def test_what_cannot_be_opened_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_results(name)
    assert str(caught.value).isprintable()


def test_parquet_without_its_library_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_result(tmp_path / "r", "parquet", [row("a.wav")])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"mtqscore\[parquet\]"):
        read_results(path)


@pytest.mark.parametrize("kind", FORMATS)
def test_many_rows_are_read_in_linear_time(tmp_path: Path, kind: str) -> None:
    path = write_result(tmp_path / "r", kind, [row(f"{index}.wav") for index in range(4_000)])
    started_s = time.monotonic()
    assert len(read_results(path).rows) == 4_000
    assert time.monotonic() - started_s < 4, "100,000 rows would take minutes"
