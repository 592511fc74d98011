"""Rules of the code base: layers of imports, sizes of files and functions, first lines of docstrings."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "mtqscore"
CODE = [path for folder in ("mtqscore", "tests", "benchmarks", "examples") for path in (ROOT / folder).rglob("*.py")]
QUESTIONS = {"What", "How", "Whether", "Who", "Where", "Which", "When", "Why"}


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the package in a folder."""
    command = [sys.executable, "-c", "import sys; from importlinter.cli import lint_imports_command as run; run()"]
    environment = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"}
    return subprocess.run(
        [*command, "--no-cache"], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_imports_keep_to_the_layers() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("base/text.py", "from mtqscore.cli import app", "mtqscore.base is not allowed to import mtqscore.cli"),
        ("audio/checks.py", "import scipy", "mtqscore.audio is not allowed to import scipy"),
        ("results/columns.py", "import onnxruntime", "mtqscore.results is not allowed to import onnxruntime"),
    ],
)
def test_an_import_across_the_layers_fails(tmp_path: Path, module: str, line: str, broken: str) -> None:
    shutil.copytree(PACKAGE, tmp_path / "mtqscore", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "mtqscore" / module).open("a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")
    done = lint(tmp_path)
    assert done.returncode == 1
    assert broken in done.stdout


def definitions(path: Path) -> Iterator[ast.AST]:
    """Modules, classes and functions of a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_first_lines_of_docstrings_are_no_questions() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {text.splitlines()[0]}"
        for path in CODE
        for node in definitions(path)
        if (text := ast.get_docstring(node) or "")  # type: ignore[arg-type]
        if text.split()[0].rstrip(",") in QUESTIONS
    ]
    assert not found, "open with a noun phrase or an imperative:\n" + "\n".join(found)


def test_files_functions_and_folders_are_small() -> None:
    long_files = [str(path) for path in CODE if len(path.read_text(encoding="utf-8").splitlines()) > 400]
    long_functions = [
        f"{path}: {node.name}"
        for path in PACKAGE.rglob("*.py")
        for node in definitions(path)
        if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno + 1 > 60
    ]
    folders = [path for path in (PACKAGE, *PACKAGE.rglob("*")) if path.is_dir()]
    full = [str(folder) for folder in folders if len(list(folder.glob("*.py"))) > (6 if folder == PACKAGE else 14)]
    assert not [*long_files, *long_functions, *full]
