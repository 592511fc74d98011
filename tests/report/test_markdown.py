"""The Markdown page, and what GitHub Actions is told: right findings, and names that stay names."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from markdown_it import MarkdownIt

from mtqscore.base.text import printable
from mtqscore.report.github import SUMMARY_BYTES, command
from mtqscore.report.markup import code, plain
from mtqscore.scores import Flag, Scores
from tests.report.kit import NAMES, compared, dropped, gated, row, written
from tests.signals import speechlike, write

if TYPE_CHECKING:
    from pathlib import Path

    from markdown_it.token import Token

    from tests.conftest import Run as RunProcess

HOSTILE = [
    *NAMES,
    "<script>alert(1)</script>.wav",
    "<img src=x onerror=alert(1)>",
    "@octocat/@org/team.wav",
    "a|b.wav",
    "a\\|b.wav",
    "a\\\\|b.wav",
    "`a`.wav",
    "``` a",
    "[x](javascript:alert(1)).wav",
    "![x](https://example.com/x.png)",
    "https://example.com www.example.com",
    "&lt;b&gt; &#124;",
    "**bold** _it_ ~~no~~ #12 GH-12 :smile:",
    "- [ ] # x",
    " lead and trail ",
    "-->.wav",
    "x" * 300,
    "",
]
OURS = re.compile(r"</?code>|<!-- -->")


def tokens(page: str) -> list[Token]:
    return MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(page)


def cells(page: str) -> list[list[str]]:
    """Rows of all tables as their readers see them; fails where something is not text or code."""
    found: list[list[str]] = []
    for token in tokens(page):
        assert token.type not in ("html_block", "fence", "code_block")
        if token.type == "tr_open":
            found.append([])
        if token.type == "inline" and token.level > 3:
            children = token.children or []
            for child in children:
                assert child.type in ("text", "code_inline") or OURS.fullmatch(child.content), child
            found[-1].append("".join(child.content for child in children if child.type != "html_inline"))
    return found


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("shown", [code, plain])
def test_a_name_is_shown_as_it_is_in_a_cell(name: str, shown: object) -> None:
    page = f"| a | b |\n|---|---|\n| {shown(name)} | x |\n"  # type: ignore[operator]
    (_, (cell, other)) = cells(page)
    assert (cell.strip(), other) == (printable(name).strip(), "x")


@pytest.mark.parametrize("name", HOSTILE)
def test_nobody_is_called(name: str) -> None:
    assert "@" not in plain(name)
    assert not re.search("&#64;(?!<!-- -->)", plain(name))


def test_the_page_holds_every_name_in_its_place() -> None:
    rows = [row(name, 2.0) for name in HOSTILE] + [row(name, None, reason=name) for name in HOSTILE]
    page = written("md", rows, gates=gated(rows, "g>=3 in **", warn=("p50(n)>=4",))).decode()
    table = cells(page)
    assert {len(cells) for cells in table} <= {2, 3, 7}
    shown = [printable(name) for name in HOSTILE]
    assert [cells[0] for cells in table if cells[0] in shown] == shown[:10] * 2


def test_the_page_says_what_was_found() -> None:
    rows = [row(f"{number}.wav", 1 + number / 10, flags=(Flag.CLIPPED,)) for number in range(30)]
    rows += [row(f"none-{number}.wav", None) for number in range(12)]
    page = written("md", rows, gates=gated(rows, "p05(g)>=3.5", "g>=1.5", "mean(n)>=1.5")).decode()
    assert page.startswith("# 2 of 3 gates failed; 12 of 42 not scored\n\n42 rows, 30 scored: 12 silent\n")
    table = cells(page)
    assert ["G-MOS", "2.45", "overall: 5 excellent, 1 bad"] in table
    assert ["g>=1.5", "all", "1.0000", "1.5", "-0.5000", "5 of 30 fail", "FAILED"] in table
    worst = [cells for cells in table if cells[0].endswith(".wav") and len(cells) == 2]
    assert [name for name, _ in worst] == [f"{number}.wav" for number in range(10)]
    assert worst[0][1] == "G-MOS 1.0000 (p05(g)>=3.5), G-MOS 1.0000 (g>=1.5)"
    assert "and 2 more" in page
    assert "- clipped (42): samples stand at full scale" in page
    assert "model `m@1`" in page


def test_without_a_failed_gate_the_lowest_are_shown() -> None:
    rows = [row(f"{number}.wav", 5 - number / 10) for number in range(30)]
    for known in ({}, {"gates": gated(rows, "g>=1.5")}):
        page = written("md", rows, **known).decode()
        assert page.startswith("# Passed" if known else "# 30 scored")
        lowest = [cells[0] for cells in cells(page) if cells[0].endswith(".wav")]
        assert lowest == [f"{29 - number}.wav" for number in range(10)]


def test_equal_scores_keep_their_order_and_targets_their_columns() -> None:
    rows = [replace(row(f"{number}.wav"), scores=Scores(1, 2, 3, {"loudness": 4.5})) for number in range(12)]
    table = cells(written("md", rows).decode())
    assert ["recording", "S-MOS", "N-MOS", "G-MOS", "loudness"] in table
    assert [cells[0] for cells in table if cells[0].endswith(".wav")] == [f"{number}.wav" for number in range(10)]


def test_a_warning_passes_and_a_drop_fails() -> None:
    rows = [row("a.wav", 2.0)]
    assert written("md", rows, gates=gated(rows, warn=("g>=3",))).startswith(b"# Passed; 1 gate warns\n")
    page = written("md", rows, comparison=compared(dropped())).decode()
    assert page.startswith("# G-MOS fell by more than is allowed\n")
    assert "## Comparison" in page


def test_nothing_at_all_is_a_page() -> None:
    assert written("md", []).startswith(b"# 0 scored\n\n0 rows, 0 scored\n\nmtqscore 1.2.3, model `m@1`")


# --- GitHub Actions -------------------------------------------------------------------------------------------


@pytest.fixture
def job(tmp_path: Path) -> dict[str, str]:
    write(tmp_path / "a.wav", speechlike(1))
    write(tmp_path / "b,c:50%.wav", speechlike(1))
    (tmp_path / "bad\n::error::x.wav").write_text("no audio")
    return {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md")}


def commands(stderr: bytes) -> list[str]:
    return [line for line in stderr.decode().splitlines() if line.lstrip().startswith("::") or "##[" in line]


def test_commands_are_escaped() -> None:
    assert command("error", "50 %: a\nb\r, ::x", file="./a%,b:c\n::d.wav") == (
        "::error file=a%25%2Cb%3Ac\\n%3A%3Ad.wav,title=mtqscore::50 %25: a\\nb\\r, ::x"
    )
    assert command("warning", "\udcff\x1b[2J") == "::warning title=mtqscore::\\udcff\\x1b[2J"


def test_a_job_gets_annotations_and_a_summary(run: RunProcess, tmp_path: Path, job: dict[str, str]) -> None:
    (tmp_path / "summary.md").write_text("before\n")
    gates = ["--fail-under", "g>=4.9", "--fail-under", "mean(s)>=4.9", "--warn-under", "n>=4.9"]
    done = run("assess", ".", *gates, "--md", "o.md", env=job)
    assert done.returncode == 3
    found = commands(done.stderr)
    assert [line.split("::")[1] for line in found] == [
        "error title=mtqscore",
        "error file=bad\\n%3A%3Aerror%3A%3Ax.wav,title=mtqscore",
        "error file=a.wav,title=mtqscore",
        "error file=b%2Cc%3A50%25.wav,title=mtqscore",
    ]
    assert "mean(s)>=4.9: observed" in found[0]
    assert "breaks g>=4.9" in found[2]
    assert "breaks n>=4.9" in found[2]
    assert (tmp_path / "summary.md").read_text() == "before\n" + (tmp_path / "o.md").read_text()
    assert not commands(done.stdout)


def test_a_warning_is_one(run: RunProcess, job: dict[str, str]) -> None:
    done = run("assess", "a.wav", "--warn-under", "g>=4.9", "--warn-under", "mean(g)>=4.9", env=job)
    assert done.returncode == 0
    assert [line.split()[0] for line in commands(done.stderr)] == ["::warning", "::warning"]


def test_nothing_to_tell_is_not_told(run: RunProcess, tmp_path: Path, job: dict[str, str]) -> None:
    assert not commands(run("assess", "a.wav", env=job).stderr)
    assert not (tmp_path / "summary.md").exists()
    elsewhere = run("assess", "a.wav", "--fail-under", "g>=4.9", env=job | {"GITHUB_ACTIONS": ""})
    assert (elsewhere.returncode, commands(elsewhere.stderr)) == (1, [])
    assert run("assess", "a.wav", "--fail-under", "g>=1.1", env=job).returncode == 0
    assert (tmp_path / "summary.md").read_text().startswith("# Passed")


def test_no_more_than_ten_annotations(run: RunProcess, tmp_path: Path, job: dict[str, str]) -> None:
    for number in range(12):
        write(tmp_path / f"many-{number}.wav", speechlike(0.5))
    done = run("assess", ".", "--fail-under", "g>=4.9", "--warn-under", "mean(g)>=4.9", env=job)
    assert len(commands(done.stderr)) == 10
    assert all(line.startswith("::error") for line in commands(done.stderr))


@pytest.mark.parametrize("free", [0, 10, 300])
def test_the_summary_of_a_step_ends_at_its_limit(
    run: RunProcess, tmp_path: Path, job: dict[str, str], free: int
) -> None:
    (tmp_path / "summary.md").write_bytes(b"x" * (SUMMARY_BYTES - free))
    done = run("assess", "a.wav", "--fail-under", "g>=4.9", env=job)
    assert done.returncode == 1
    content = (tmp_path / "summary.md").read_bytes()
    assert len(content) <= SUMMARY_BYTES
    if free == 300:
        assert content.endswith(b"\n\nThe rest is left out: the summary of a step ends at 1 MiB.\n")
        assert b"# 1 of 1 gate failed\n" in content
    else:
        assert len(content) == SUMMARY_BYTES - free
        assert sum("cannot write the summary" in line for line in commands(done.stderr)) == 1


def test_a_summary_that_cannot_be_written_is_one_line(run: RunProcess, tmp_path: Path, job: dict[str, str]) -> None:
    job |= {"GITHUB_STEP_SUMMARY": str(tmp_path / "no" / "such" / "summary.md")}
    done = run("assess", "a.wav", "--fail-under", "g>=4.9", env=job)
    assert done.returncode == 1
    assert [line for line in commands(done.stderr) if line.startswith("::warning") and "No such file" in line]
