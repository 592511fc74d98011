"""Help pages: what a stranger reads first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer

from mtqscore.cli.app import build_app, with_place_of_json
from mtqscore.config import AssessConfig

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


@pytest.mark.parametrize("command", ["", "assess", "gate", "models list"])
def test_h_is_help(run: Run, command: str) -> None:
    page = run(*command.split(), "-h").stdout
    assert b"Show this message and exit." in page
    assert page == run(*command.split(), "--help").stdout


@pytest.mark.parametrize("command", ["assess", "gate", "compare"])
def test_pages_end_with_examples(run: Run, command: str) -> None:
    page = run(command, "--help", env={"COLUMNS": "100"}).stdout.decode()
    assert f" mtqscore {command} " in page.split("Examples:")[1]


@pytest.mark.parametrize("words", [["doctor", "--json"], ["doctor", "--json", "-"]])
def test_json_is_a_document_to_a_file_or_stdout(run: Run, tmp_path: Path, words: list[str]) -> None:
    assert json.loads(run(*words).stdout)["schema"] == "mtqscore.doctor/1"
    assert with_place_of_json(["models", "show", "--json", "m"]) == ["models", "show", "--json", "-", "m"]
    assert with_place_of_json(["assess", "--json", "a"]) == ["assess", "--json", "a"]
    assert run("models", "list", "--json", "list.json").stdout == b""
    assert json.loads((tmp_path / "list.json").read_text())["models"]


def test_the_shell_completes_commands_options_and_choices(run: Run) -> None:
    def completed(words: str) -> str:
        asked = {"_MTQSCORE_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": words}
        script = "import sys; sys.argv = ['mtqscore']; from mtqscore.cli import main; main()"
        return run(program=["-c", script], env=asked).stdout.decode()

    assert "assess" in completed("mtqscore as")
    assert "--fail-under" in completed("mtqscore gate --fail")
    assert "scratch" in completed("mtqscore train --recipe s")


def test_options_of_assess_stand_in_groups(run: Run) -> None:
    page = run("assess", "--help", env={"COLUMNS": "100"}).stdout.decode()
    groups = page.split("╭─ ")[1:]
    held = {text.split(" ─")[0]: text for text in groups}
    assert list(held) == ["Arguments", "Options", "What is scored", "How it is scored", "Results", "Judging"]
    assert "--fail-under        GATE" in held["Judging"]
    assert all(option in held["Results"] for option in ("--csv", "--junit", "--html-files", "--frames"))
    # Exit codes stand one below the other.
    assert " 3  some input could not be scored " in page


def test_all_cores_and_float32_have_one_name() -> None:
    assert AssessConfig(threads=0, precision="float32") == AssessConfig()
    assert AssessConfig(precision="fp32").precision == "fp32", "as result files say"
