"""Help pages: what a stranger reads first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import typer

from mtqscore.cli.app import build_app

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Run


def parameters(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    for sub_name, sub_command in getattr(command, "commands", {}).items():
        yield from parameters(sub_command, f"{name} {sub_name}")
    yield from ((f"{name} {parameter.name}", parameter) for parameter in command.params)


def test_no_option_is_unexplained() -> None:
    found = dict(parameters(typer.main.get_command(build_app()), "mtqscore"))
    assert len(found) > 100
    assert [name for name, parameter in found.items() if not parameter.help] == []


@pytest.mark.parametrize("command", ["compare", "evaluate", "explain", "export", "gate", "label", "simulate", "train"])
def test_pages_name_no_types_of_python(run: Run, command: str) -> None:
    page = run(command, "--help", env={"COLUMNS": "100"}).stdout.decode()
    assert "Show this message and exit." in page
    assert not [word for word in ("<bool>", "<str>", "<int", "<float", "<path>", "<list[str]>") if word in page]


def test_options_of_assess_stand_in_groups(run: Run) -> None:
    page = run("assess", "--help", env={"COLUMNS": "100"}).stdout.decode()
    groups = page.split("╭─ ")[1:]
    assert "<bool>" not in page
    held = {text.split(" ─")[0]: text for text in groups}
    assert list(held) == ["Arguments", "Options", "What is scored", "How it is scored", "Judging", "Results"]
    assert "--fail-under        GATE" in held["Judging"]
    assert all(option in held["Results"] for option in ("--csv", "--junit", "--html-files", "--frames"))
    # Exit codes stand one below the other.
    assert " 3  some input could not be scored " in page
