"""The command line within the test's own process, which saves the start of another."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

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
