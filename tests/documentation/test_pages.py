"""Promises of the documentation: its Python runs, its links lead somewhere, its commands exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from mtqscore.scores import Flag, Status

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / "models").glob("*.md"),
]
PYTHON = [
    pytest.param(block, id=f"{page.name}-{number}")
    for page in PAGES
    if page.name not in ("README.md", "python.md")  # test_python.py runs these
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL))
]


@pytest.mark.parametrize("block", PYTHON)
def test_python_runs(block: str) -> None:
    done = subprocess.run([sys.executable, "-c", block], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        place = page.parent / target if target else page
        assert place.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(place), f"{page.name} links to {target}#{anchor}"


def test_the_index_names_every_page() -> None:
    pages = {page.name for page in (ROOT / "docs").glob("*.md")}
    assert len(pages) <= 16
    linked = set(re.findall(r"\]\((\w+\.md)", (ROOT / "docs" / "index.md").read_text(encoding="utf-8")))
    assert linked == pages - {"index.md"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_their_options_exist(page: Path) -> None:
    known: dict[str, str] = {}
    for line in re.findall(r"^(?:\S+ \| )?mtqscore ([a-z]+.*)$", page.read_text(encoding="utf-8"), re.MULTILINE):
        command = " ".join(line.split()[: 2 if line.startswith("models ") else 1])
        if command not in known:
            words = [sys.executable, "-m", "mtqscore", *command.split(), "--help"]
            done = subprocess.run(words, capture_output=True, text=True, check=False, env={"COLUMNS": "200"})
            assert done.returncode == 0, f"{page.name}: mtqscore {command}: {done.stderr}"
            known[command] = done.stdout
        for option in re.findall(r"(?<=\s)--[a-z-]+", line.split("#")[0]):
            assert option in known[command], f"{page.name}: mtqscore {command} has no {option}"


def test_the_table_in_the_readme_is_what_assess_prints() -> None:
    words = [sys.executable, "-m", "mtqscore", "assess", "examples/"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    shown = re.search(r"<!-- output: score -->\n```\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert shown is not None
    assert [line.rstrip() for line in shown[1].splitlines()] == [line.rstrip() for line in done.stdout.splitlines()]


def test_every_status_and_flag_is_explained() -> None:
    page = (ROOT / "docs" / "assess.md").read_text(encoding="utf-8")
    for name in (*Status, *Flag):
        assert f"| `{name}` |" in page
