"""Every Python block of the pages runs, in one namespace a page, in a folder with the bundled recordings."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def as_script(page: str) -> str:
    """The blocks of a page as one program; commands between them run where they stand."""
    lines = ["import subprocess, sys"]
    for kind, text in BLOCK.findall(page):
        if kind == "python":
            lines += text.splitlines()
            continue
        for line in text.splitlines():
            if line.startswith("$ mtqscore "):
                words = shlex.split(line.partition(" > ")[0].removeprefix("$ mtqscore "))
                lines.append(f"subprocess.run([sys.executable, '-m', 'mtqscore', *{words!r}], check=True)")
    return "\n".join(lines)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    return tmp_path


@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_the_python_of_a_page_runs(folder: Path, page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert "```python" in text
    environment = {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", as_script(text)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_message_shown_is_the_one_that_comes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mtqscore import assert_quality

    shown = re.search(r"^```text\n(.*?)\n```$", (ROOT / "docs/python.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert shown is not None
    monkeypatch.chdir(folder)
    with pytest.raises(AssertionError) as raised:
        assert_quality("examples/packet-loss.ogg", g=3.5)
    assert str(raised.value) == shown[1]
