"""The command line within the test's own process, and as one that goes on beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mtqscore.cli.app import run as run_app


@dataclass(frozen=True)
class Done:
    """Exit code and output of a command."""

    code: int
    stdout: str
    stderr: str


Call = Callable[..., Done]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run a command here."""

    def run(*words: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["mtqscore", *words])
        with pytest.raises(SystemExit) as ended:
            run_app()
        code = ended.value.code
        return Done(code if isinstance(code, int) else 0, *capsys.readouterr())

    return run


def start(folder: Path, *words: str, program: tuple[str, ...] = ("-m", "mtqscore"), **options: Any) -> Any:
    """Start a command in a folder, as a process that the test goes on beside."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **options.pop("env", {})}
    return subprocess.Popen([sys.executable, *program, *words], cwd=folder, env=environment, **options)
