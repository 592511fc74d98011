"""Shell sessions in the documentation: fenced ``console`` blocks are run, and show what really comes out.

A line ``$ command`` is run by bash, in a folder that holds the bundled examples and stays the same throughout one
page. The lines below it are its output, stdout and stderr as they come; a line that is only ``…`` or ``...`` stands
for any lines. ``$ echo $?`` shows the exit code of the command before.

``python -m tests.docs_sessions update [PAGE …]`` writes today's outputs into the pages.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROMPT = "$ "
ANY_LINES = ("…", "...")
SHOWN_FOLDER = "/home/me/project"
"""Where pages seem to work, wherever they do."""
SPEED = re.compile(r"\bin [\d.,]+ s, [\d.,]+ × real time")


@dataclass(frozen=True)
class Step:
    """One command of a session.

    Args:
        command: what the shell runs.
        shown: the lines of output in the page.
        came: the lines of output that came.
    """

    command: str
    shown: list[str]
    came: list[str]

    @property
    def agrees(self) -> bool:
        """Check that the page shows what came."""
        return agree([_timeless(line) for line in self.shown], [_timeless(line) for line in self.came])

    def updated(self) -> list[str]:
        """The lines that the page should show; where it leaves out lines once, it still does."""
        gaps = [index for index, line in enumerate(self.shown) if line.strip() in ANY_LINES]
        if self.agrees:
            return self.shown
        if len(gaps) != 1 or len(self.came) < len(self.shown):
            return self.came
        after = len(self.shown) - gaps[0] - 1
        return [*self.came[: gaps[0]], self.shown[gaps[0]], *self.came[len(self.came) - after :]]


def _timeless(line: str) -> str:
    return SPEED.sub("in … s, … × real time", line.rstrip())


def agree(shown: list[str], came: list[str]) -> bool:
    """Tell whether lines are those that came; a line of dots stands for any lines, or none."""
    parts: list[list[str]] = [[]]
    for line in shown:
        if line.strip() in ANY_LINES:
            parts.append([])
        else:
            parts[-1].append(line)
    if len(parts) == 1:
        return shown == came
    first, *middle, last = parts
    end = len(came) - len(last)
    if came[: len(first)] != first or end < len(first) or came[end:] != last:
        return False
    start = len(first)
    for part in middle:
        found = next((at for at in range(start, end - len(part) + 1) if came[at : at + len(part)] == part), None)
        if found is None:
            return False
        start = found + len(part)
    return True


def read_block(text: str) -> list[tuple[str, list[str]]]:
    """Commands of a block, each with the output shown."""
    steps: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith(PROMPT):
            steps.append((line.removeprefix(PROMPT), []))
        elif steps and steps[-1][0].endswith("\\") and not steps[-1][1]:
            steps[-1] = (f"{steps[-1][0]}\n{line}", [])
        elif steps:
            steps[-1][1].append(line)
        else:
            raise ValueError(f"a console block begins with {line!r}, not with a command after '$ '")
    return steps


def play(page: Path, folder: Path) -> list[list[Step]]:
    """Run the sessions of a page.

    Args:
        page: the page.
        folder: an empty folder to work in.

    Returns:
        The steps of each block.
    """
    folder = folder.resolve()
    environment = _prepare(folder)
    code, blocks = 0, []
    for text in BLOCK.findall(page.read_text(encoding="utf-8")):
        steps = []
        for command, shown in read_block(text):
            done = subprocess.run(
                ["bash", "-c", f"(exit {code})\n{command}"],
                cwd=folder / "work",
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=120,
                check=False,
            )
            code = done.returncode
            came = (
                done.stdout.decode("utf-8", "backslashreplace").replace(f"{folder / 'work'}", SHOWN_FOLDER).splitlines()
            )
            steps.append(Step(command, shown, [line.rstrip() for line in came]))
        blocks.append(steps)
    return blocks


def _prepare(folder: Path) -> dict[str, str]:
    """Put the examples into the folder, ``mtqscore`` and its Python onto the path; every machine shows the same."""
    (folder / "bin").mkdir()
    (folder / "work").mkdir()
    for name, arguments in (("mtqscore", "-m mtqscore "), ("python", "")):
        command = folder / "bin" / name
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments}"$@"\n', encoding="utf-8")
        command.chmod(0o755)
    shutil.copytree(ROOT / "examples", folder / "work" / "examples", ignore=shutil.ignore_patterns("*.py", "__*", "ci"))
    kept = {name: value for name, value in os.environ.items() if name not in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY")}
    own = {"PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    return kept | own | {"COLUMNS": "80", "NO_COLOR": "1", "LC_ALL": "C.UTF-8", "CUDA_VISIBLE_DEVICES": "-1"}


def update(page: Path) -> bool:
    """Write today's outputs into a page; tell whether that changed it."""
    with tempfile.TemporaryDirectory() as folder:
        blocks = iter(play(page, Path(folder)))

    def rewritten(_: re.Match[str]) -> str:
        lines = [line for step in next(blocks) for line in (f"{PROMPT}{step.command}", *step.updated())]
        return "\n".join(["```console", *lines, "```"])

    before = page.read_text(encoding="utf-8")
    after = BLOCK.sub(rewritten, before)
    page.write_text(after, encoding="utf-8")
    return after != before


if __name__ == "__main__":
    if sys.argv[1:2] != ["update"]:
        sys.exit("python -m tests.docs_sessions update [PAGE …]")
    for name in sys.argv[2:] or PAGES:
        print(f"{name}: {'updated' if update(Path(name)) else 'as it was'}")
