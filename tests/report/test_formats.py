"""Writers: every row, exact names, nothing that breaks a reader."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow.parquet import read_table as from_parquet

from mtqscore.analysis.estimates import read_estimates
from mtqscore.base.names import from_text
from mtqscore.base.text import clock, text_table
from mtqscore.labels.table import LabelledRecording
from mtqscore.report.formats import WRITERS
from mtqscore.report.summary import RunSummary
from mtqscore.report.table import TableWriter, summary_line
from mtqscore.results.csv import guarded, unguarded
from mtqscore.results.run import Run
from mtqscore.scores import FLAG_MEANING, Flag, Scores
from tests.report.kit import CURVES, NAMES, OPTIONS, RUN, RUN_WITH_FRAMES, gated, row, written


def test_json_is_one_document_even_without_rows() -> None:
    for rows in ([], [row("a.wav")], [row(name, None) for name in NAMES]):
        document = json.loads(written("json", rows))
        assert [item["path"] for item in document["results"]] == [item.path for item in rows]
        assert document["summary"]["rows"] == len(rows)
        assert document["model"]["sha256"] == RUN.model_sha256


def test_csv_quotes_what_needs_it() -> None:
    text = written("csv", [row(name) for name in NAMES]).decode("utf-8")
    table = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [from_text(unguarded(item["path"])) for item in table] == NAMES
    assert [item["path"] for item in table][4:6] == ["\\udcff.wav", "'=1+1.wav"]
    assert table[0]["flags"] == "narrowband;clipped"
    assert table[0]["g_mos"] == "3.1235"
    assert table[0]["duration_s"] == "1.2346"


@given(cell=st.text(st.sampled_from("=+-@\t\r\n'＝＋－＠a x1"), max_size=4))
@settings(derandomize=True, max_examples=50)
def test_no_cell_begins_like_a_formula_and_every_cell_comes_back(cell: str) -> None:
    assert not guarded(cell).startswith(tuple("=+-@\t\r\n＝＋－＠"))
    assert unguarded(guarded(cell)) == cell


def test_a_model_or_a_reason_is_no_formula_either() -> None:
    content = written("csv", [row("a.wav", None, model="=m@1", reason='=HYPERLINK("x")')])
    (record,) = csv.DictReader(io.StringIO(content.decode()))
    assert (record["model"], record["reason"]) == ("'=m@1", '\'=HYPERLINK("x")')


def test_estimates_are_matched_by_the_very_names(tmp_path: Path) -> None:
    table = tmp_path / "scores.csv"
    names = [name for name in NAMES if name != "null"] + ["'a.wav", "'=b.wav", "-c.wav"]
    table.write_bytes(written("csv", [row(name) for name in [*names, "zero\0.wav"]]))
    rows = [LabelledRecording(tmp_path / name) for name in names]
    assert read_estimates(table, rows, tmp_path) == {
        item.path: {"s_mos": 1.0, "n_mos": 2.0, "g_mos": 3.1235} for item in rows
    }


@pytest.mark.parametrize("kind", ["json", "jsonl"])
def test_curves_are_written_when_the_run_has_them(kind: str) -> None:
    def first(content: bytes) -> dict[str, object]:
        value = json.loads(content)
        found: dict[str, object] = value["results"][0] if kind == "json" else value
        return found

    curves = {"hop_s": 0.032, "s_mos": [1, None, 5], "n_mos": [2, None, 1.5], "g_mos": [3, None, 2]}
    assert first(written(kind, [row("a.wav", frames=CURVES)], RUN_WITH_FRAMES))["frames"] == curves
    assert "frames" not in first(written(kind, [row("a.wav", None)], RUN_WITH_FRAMES))
    assert "frames" not in first(written(kind, [row("a.wav", frames=CURVES)], RUN))


def test_json_lines_are_lines_to_every_reader() -> None:
    text = written("jsonl", [row(f"a{end}b.wav") for end in "\n\r\x0b\x0c\x1c\x85\u2028\u2029"]).decode()
    assert [json.loads(line)["path"] for line in text.splitlines()] == [
        f"a{end}b.wav" for end in "\n\r\x0b\x0c\x1c\x85\u2028\u2029"
    ]


@pytest.mark.parametrize("kind", ["csv", "json", "jsonl"])
def test_a_missing_score_is_empty_not_zero(kind: str) -> None:
    content = written(kind, [row("a.wav", None)])
    if kind == "csv":
        assert next(csv.DictReader(io.StringIO(content.decode())))["g_mos"] == ""
    else:
        record = json.loads(content)["results"][0] if kind == "json" else json.loads(content)
        assert (record["g_mos"], record["status"], record["reason"]) == (None, "silent", "no sound")


def test_further_targets_follow_the_three() -> None:
    run = Run("1", "m@1", "", "", ("loudness", "g_mos", "s_mos", "n_mos"), OPTIONS)
    stream = io.StringIO()
    writer = WRITERS["csv"](stream, run)
    writer.begin()
    writer.write(row("a.wav", scores=Scores(1, 2, 3, {"loudness": 4.5})))
    (record,) = csv.DictReader(io.StringIO(stream.getvalue()))
    assert list(record)[4:8] == ["s_mos", "n_mos", "g_mos", "loudness"]
    assert record["loudness"] == "4.5"


def test_the_table_holds_no_control_characters_and_explains_its_flags() -> None:
    stream = io.StringIO()
    table = TableWriter(stream, RUN)
    summary = RunSummary()
    for item in [*(row(name) for name in NAMES), row("last.wav", None)]:
        table.write(item)
        summary.add(item)
    table.finish(summary)
    text = stream.getvalue()
    lines = text.splitlines()
    assert len(lines[: lines.index("")]) == len(NAMES) + 2
    assert all(line.isprintable() for line in lines)
    assert f"narrowband: {FLAG_MEANING[Flag.NARROWBAND]}" in lines
    assert "upsampled" not in text
    assert "silent: no sound (narrowband, clipped)" in text
    assert lines[-1] == "9 rows: 8 scored, 1 silent · mean S-MOS 1.00, N-MOS 2.00, G-MOS 3.12"


def test_the_summary_counts_what_was_scored() -> None:
    summary = RunSummary()
    for item in (row("a", 2.0), row("b", 4.0), row("c", None)):
        summary.add(item)
    assert (summary.rows, summary.scored, summary.means["g_mos"]) == (3, 2, 3.0)
    assert summary.audio_s == pytest.approx(2 * 1.23456789)
    assert summary_line(RunSummary(rows=1)) == "1 recording: 0 scored"


def test_every_flag_has_a_meaning() -> None:
    assert set(FLAG_MEANING) == set(Flag)


@pytest.mark.parametrize(
    ("duration_s", "shown"),
    [(0, "0.0 s"), (59.94, "59.9 s"), (59.96, "1:00"), (3_599.6, "1:00:00"), (36_001, "10:00:01")],
)
def test_lengths_are_shown_as_people_read_them(duration_s: float, shown: str) -> None:
    assert clock(duration_s) == shown


def test_columns_stay_straight_below_wide_and_combined_characters() -> None:
    lines = text_table([["name", "g"], ["日本語.wav", "1"], ["e\u0301.wav", "22"], ["plain", "3"]], left={"name"})
    assert lines == ["name         g", "日本語.wav   1", "e\u0301.wav       22", "plain        3"]


def test_no_line_of_the_table_is_a_command_of_a_ci_system() -> None:
    stream = io.StringIO()
    table = TableWriter(stream, RUN)
    summary = RunSummary()
    for name in ("::error::x.wav", " ::set-output name=a::b", "##vso[task.complete]", "##[error]y", "a::b.wav"):
        table.write(row(name))
        summary.add(row(name))
    table.finish(summary)
    lines = stream.getvalue().splitlines()
    assert not [line for line in lines if line.lstrip().startswith(("::", "##"))]
    assert "a::b.wav" in [line.split("  ")[0] for line in lines]


HOSTILE = [
    *NAMES,
    "a\0b.wav",
    "\x07\x1b]0;x\x07.wav",
    "\ud800.wav",
    "\ufffe\uffff.wav",
    "\u202e\u2028\x85.wav",
    "<script>alert(1)</script>.wav",
    "-rf.wav",
    "@SUM(1).wav",
    "x" * 5_000,
    "",
]


@pytest.mark.parametrize("kind", list(WRITERS))
def test_no_name_breaks_a_writer(kind: str) -> None:
    rows = [row(name, frames=CURVES) for name in HOSTILE] + [replace(row(""), path=None, frames=CURVES)]
    rows += [row(name, None, reason=name, channel="") for name in HOSTILE]
    content = written(kind, rows, RUN_WITH_FRAMES, gates=gated(rows, "g>=4", "p05(n)>=3 in **", warn=("s>=2",)))
    if kind == "parquet":
        assert len(from_parquet(io.BytesIO(content))) == len(rows)
        return
    text = content.decode("utf-8")
    assert "\x1b" not in text or kind == "csv"
    assert "<script>alert" not in text or kind not in ("html", "junit")
