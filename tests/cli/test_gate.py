"""`mtqscore gate` as users run it: results of any format, exit codes, what is shown and written."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from mtqscore.cli.verdicts import exit_code
from mtqscore.report.summary import RunSummary
from mtqscore.results.csv import CsvWriter
from mtqscore.results.json import JsonLinesWriter
from tests.analysis.test_gates import RUN, row

if TYPE_CHECKING:
    from mtqscore.scores import Assessment
    from tests.cli.conftest import Call
    from tests.conftest import Run

posix_only = pytest.mark.skipif(os.name != "posix", reason="names of any bytes")
ROWS = [row(2.0, "street/a.wav"), row(3.0, "street/b.wav"), row(4.0, "clean/c.flac")]


def write(path: Path, rows: list[Assessment], kind: type[JsonLinesWriter] | type[CsvWriter] = JsonLinesWriter) -> str:
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
        writer = kind(stream, RUN)
        writer.begin()
        for item in rows:
            writer.write(item)
        writer.finish(RunSummary())
    return path.name


@pytest.fixture
def results(tmp_path: Path) -> str:
    return write(tmp_path / "results.jsonl", ROWS)


@pytest.mark.parametrize(
    ("gates", "code"),
    [
        (["g>=2"], 0),
        (["g>=2.5"], 1),
        (["g>=2", "mean(g)>=3.5"], 1),
        (["g>=3 in clean/**"], 0),
        (["g>=3 in nowhere/**"], 2),
        (["g>=0.5"], 2),
        (["x>=3"], 2),
    ],
)
def test_exit_codes(run: Run, results: str, gates: list[str], code: int) -> None:
    done = run("gate", results, *(word for gate in gates for word in ("--fail-under", gate)))
    assert done.returncode == code, done.stderr
    assert (done.stdout == b"") is (code == 2)
    assert len(done.stderr.decode().splitlines()) == 1


@pytest.mark.parametrize(
    ("scored", "gates", "comparison", "code"),
    [(2, None, None, 0), (2, True, True, 0), (2, True, False, 1), (2, False, None, 1), (1, False, False, 3)],
)
def test_the_exit_code_of_a_summary(scored: int, gates: bool | None, comparison: bool | None, code: int) -> None:
    summary = RunSummary(rows=2, scored=scored)
    for name, passed in (("gates", gates), ("comparison", comparison)):
        if passed is not None:
            setattr(summary, name, SimpleNamespace(passed=passed))
    assert exit_code(summary) == code


def test_warnings_do_not_fail(run: Run, results: str) -> None:
    done = run("gate", results, "--warn-under", "g>=2.5", "--fail-under", "g>=2")
    assert done.returncode == 0
    assert done.stdout.decode().splitlines() == [
        "3 rows: 3 scored · mean S-MOS 1.50, N-MOS 2.00, G-MOS 3.00",
        "",
        "gate    observed  limit   margin   recordings  result",
        "g>=2      2.0000      2  +0.0000            3  ok",
        "g>=2.5    2.0000    2.5  -0.5000  1 of 3 fail  warning",
    ]
    assert done.stderr.decode() == "1 of 2 gates only warned: g>=2.5 (2.0000)\n"


def test_what_could_not_be_scored_comes_before_a_failed_gate(run: Run, tmp_path: Path) -> None:
    name = write(tmp_path / "r", [*ROWS, row(None, "x\x1b.wav")])
    for gate in ("g>=2", "g>=2.5"):
        done = run("gate", name, "--fail-under", gate)
        assert done.returncode == 3
        assert done.stderr.decode().splitlines()[1] == ("1 of 4 rows have no scores, the first is x\\x1b.wav: silent")
    alone = write(tmp_path / "alone", [row(None)])
    assert run("gate", alone, "--fail-under", "g>=2").returncode == 3
    assert run("gate", alone, "--fail-under", "x>=2").returncode == 2


@pytest.mark.parametrize("arguments", [["no-such-file"], ["."], []])
def test_no_result_is_wrong_use(call: Call, arguments: list[str]) -> None:
    done = call("gate", *arguments, "--fail-under", "g>=2")
    assert (done.code, done.stdout, done.stderr != "") == (2, "", True)


def test_without_a_gate_nothing_passes(run: Run, results: str) -> None:
    done = run("gate", results)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"--fail-under 'g>=3.2'" in done.stderr


def test_gates_come_from_the_settings_unless_the_command_line_names_some(
    run: Run, results: str, tmp_path: Path
) -> None:
    (tmp_path / "mtqscore.toml").write_text("fail-under = 'g>=2.5'\n[[gates]]\nexpect = 'g>=3.5'\npaths = 'clean/'\n")
    done = run("gate", results)
    assert done.returncode == 1
    assert done.stderr.decode() == "mtqscore: 1 of 2 gates failed: g>=2.5 (2.0000)\n"
    named = run("gate", results, "--fail-under", "g>=2")
    assert named.returncode == 0
    assert named.stderr.decode().splitlines() == [
        f"the gates of {tmp_path / 'mtqscore.toml'} are not used: the command line names its own",
        "1 gate passed",
    ]
    assert run("gate", results, "--no-config").returncode == 2
    (tmp_path / "other.toml").write_text("fail-under = 'g>=2'")
    assert run("gate", results, "--config", "other.toml").returncode == 0
    assert run("gate", results, "--config", "other.toml", "--no-config").returncode == 2
    assert run("gate", results, "--config", "missing.toml", "--fail-under", "g>=2").returncode == 2
    (tmp_path / "other.toml").write_text("fail-under = 'x>=2'")
    wrong = run("gate", results, "--config", "other.toml")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith(b"mtqscore: other.toml: fail-under: gate 'x>=2': unknown metric 'x'")


def test_quiet_is_quiet(run: Run, results: str, tmp_path: Path) -> None:
    (tmp_path / "mtqscore.toml").write_text("fail-under = 'g>=2.5'")
    # What fails the run is said all the same.
    assert run("gate", results, "-q").stderr == b"mtqscore: 1 of 1 gate failed: g>=2.5 (2.0000)\n"
    assert run("gate", results, "-q", "--fail-under", "g>=2").stderr == b""


def test_a_report_on_stdout_leaves_nothing_else_there(run: Run, results: str) -> None:
    done = run("gate", results, "--fail-under", "g>=2.5", "--json", "-")
    document = json.loads(done.stdout)
    assert done.returncode == 1
    assert [item["path"] for item in document["results"]] == [item.path for item in ROWS]
    gates = document["summary"]["gates"]
    assert (gates["passed"], gates["verdicts"][0]["gate"], gates["verdicts"][0]["observed"]) == (False, "g>=2.5", 2.0)
    assert b"g>=2.5 (2.0000)" in done.stderr


def test_reports_are_written(run: Run, results: str, tmp_path: Path) -> None:
    done = run("gate", results, "--fail-under", "g>=2.5", "--json", "o.json", "--junit", "o.xml", "--md", "o.md")
    assert done.returncode == 1
    assert done.stdout.startswith(b"3 rows")
    assert "g>=2.5" in (tmp_path / "o.md").read_text(encoding="utf-8").replace("&gt;", ">")
    assert "street/a.wav" in (tmp_path / "o.xml").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "o.json").read_text(encoding="utf-8"))["summary"]["rows"] == 3
    assert run("gate", results, "--fail-under", "g>=2", "--json", "same", "--md", "./same").returncode == 2
    assert run("gate", results, "--fail-under", "g>=2", "--json", "no/folder/o.json").returncode == 2


def test_every_format_and_stdin_say_the_same(run: Run, results: str, tmp_path: Path) -> None:
    gates = ["--fail-under", "mean(g)>=3", "--fail-under", "g>=2.5", "--warn-under", "p05(g)>=2.1 in street/*"]
    expected = run("gate", results, *gates)
    assert expected.returncode == 1
    run("gate", results, *gates, "--json", "again.json")
    table = write(tmp_path / "results.csv", ROWS, CsvWriter)
    content = (tmp_path / results).read_bytes()
    for done in (
        run("gate", "again.json", *gates),
        run("gate", table, *gates),
        run("gate", "-", *gates, input=content),
    ):
        assert (done.returncode, done.stdout, done.stderr) == (1, expected.stdout, expected.stderr)


@posix_only
def test_hostile_names(run: Run, tmp_path: Path) -> None:
    names = ["new\nline.wav", "\udcff.wav", "-x.wav", "\x1b[2J.wav", "=1+1.wav", "<script>.wav", "a" * 300, "é 日.wav"]
    rows = [row(2.0, f"d/{name}") for name in names]
    for kind in (JsonLinesWriter, CsvWriter):
        name = write(tmp_path / "r", rows, kind)
        done = run("gate", name, "--fail-under", "g>=3", "--fail-under", os.fsencode("g>=3 in \udcff.wav"))
        assert done.returncode == 1
        text = done.stdout.decode()
        assert all(line.isprintable() for line in text.splitlines())
        assert text.count("d/") == len(names)
        assert "g>=3 in \\udcff.wav (2.0000)" in done.stderr.decode()


@pytest.mark.usefixtures("results")
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_4(run: Run) -> None:
    assert run("gate", "results.jsonl", "--fail-under", "g>=2", "--json", "/dev/full").returncode == 4
