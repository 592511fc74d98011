"""The GitHub action and the GitLab job: their own scripts, run as a runner runs them."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from lxml import etree

from tests.signals import speechlike, write

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs bash")

ROOT = Path(__file__).parents[2]
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
STEPS: list[dict[str, Any]] = ACTION["runs"]["steps"]
JOB: dict[str, Any] = yaml.safe_load((ROOT / "examples" / "ci" / "gitlab-ci.yml").read_text("utf-8"))["speech-quality"]
Done = subprocess.CompletedProcess[bytes]


def executable(place: Path, *lines: str) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("#!/bin/bash\n" + "\n".join(lines) + "\n")
    place.chmod(0o755)
    return place


@pytest.fixture
def workspace(tmp_path: Path, fake_model: str) -> Path:
    """A job's folder with recordings; mtqscore is installed where the action installs it, with the small model."""
    command = f'exec {shlex.quote(sys.executable)} -m mtqscore "$1" --model {shlex.quote(fake_model)} "${{@:2}}"'
    executable(tmp_path / "temp/mtqscore/bin/mtqscore", command)
    folder = tmp_path / "work"
    folder.mkdir()
    for name in ("a.wav", "with space.wav", "-dash.wav", "$(touch owned).wav"):
        write(folder / name, speechlike(1))
    return folder


def run_step(name: str, workspace: Path, **inputs: str) -> Done:
    """Run one step of the action with the environment of a runner; inputs that are not given have their defaults."""
    (step,) = (step for step in STEPS if step.get("name") == name)
    known = {f"inputs.{key}": entry.get("default", "") for key, entry in ACTION["inputs"].items()}
    known |= {f"inputs.{key.replace('_', '-')}": value for key, value in inputs.items()}
    known |= {"github.action_path": str(ROOT), "steps.python.outputs.python-path": str(workspace.parent / "python")}
    environment = {
        **os.environ,
        **{key: known[re.fullmatch(r"\$\{\{ (\S+) \}\}", value)[1]] for key, value in step["env"].items()},  # type: ignore[index]
        "PYTHONPATH": str(ROOT),
        "RUNNER_TEMP": str(workspace.parent / "temp"),
        "GITHUB_ACTIONS": "true",
        "GITHUB_OUTPUT": str(workspace.parent / "output"),
        "GITHUB_STEP_SUMMARY": str(workspace.parent / "summary.md"),
    }
    script = workspace.parent / "script.sh"
    script.write_text(step["run"])
    # These are the words that a runner starts `shell: bash` with.
    words = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", str(script)]
    return subprocess.run(words, cwd=workspace, env=environment, capture_output=True, check=False, timeout=60)


def outputs(workspace: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in (workspace.parent / "output").read_text().splitlines())


def test_no_script_holds_an_expression() -> None:
    scripts = [step["run"] for step in STEPS if "run" in step]
    assert len(scripts) == 2
    assert not any("${{" in script for script in scripts)
    assert all(step["shell"] == "bash" for step in STEPS if "run" in step)
    assert all("with" in step for step in STEPS if "uses" in step)


def test_outputs_are_those_of_the_step() -> None:
    wanted = {name: f"${{{{ steps.assess.outputs.{name} }}}}" for name in ("exit-code", "jsonl", "junit", "html")}
    assert {name: entry["value"] for name, entry in ACTION["outputs"].items()} == wanted


@pytest.mark.parametrize("version", ["", "1.2.3", "1; touch owned", "$(touch owned)"])
def test_the_wanted_version_is_installed_and_nothing_is_run(workspace: Path, version: str) -> None:
    record = workspace.parent / "record"
    installer = f'mkdir -p "$3/bin"; printf \'#!/bin/sh\\nprintf "%%s\\\\n" "$@" >{record}\\n\' >"$3/bin/python"'
    executable(workspace.parent / "python", installer, 'chmod +x "$3/bin/python"')
    assert run_step("Install mtqscore", workspace, version=version).returncode == 0
    wanted = f"mtqscore=={version}" if version else str(ROOT)
    assert record.read_text().splitlines()[-2:] == ["--", wanted]
    assert not (workspace / "owned").exists()


def test_a_gate_that_holds(workspace: Path) -> None:
    done = run_step("Score recordings", workspace, paths=".\n", fail_under="g>=1.1\nmean(s)>=1.1\n")
    assert done.returncode == 0, done.stderr
    found = outputs(workspace)
    assert found["exit-code"] == "0"
    assert len(Path(found["jsonl"]).read_text().splitlines()) == 4
    assert etree.parse(found["junit"]).getroot().get("failures") == "0"
    assert Path(found["html"]).read_text().lower().startswith("<!doctype html>")
    assert (workspace.parent / "summary.md").read_text().startswith("# Passed")
    assert b"::error" not in done.stderr + done.stdout


def test_a_gate_that_fails(workspace: Path) -> None:
    done = run_step(
        "Score recordings", workspace, paths="with space.wav\r\n\n-dash.wav", fail_under="g >= 4.9", warn_under="n>=4.9"
    )
    assert done.returncode == 1, done.stderr
    found = outputs(workspace)
    assert found["exit-code"] == "1"
    assert etree.parse(found["junit"]).getroot().get("failures") == "2"
    errors = [line for line in done.stderr.decode().splitlines() if line.startswith("::error")]
    assert [line.split(",")[0] for line in errors] == ["::error file=with space.wav", "::error file=-dash.wav"]
    assert (workspace.parent / "summary.md").read_text().startswith("# 1 of 2 gates failed")


def test_further_arguments_and_what_cannot_be_scored(workspace: Path) -> None:
    done = run_step(
        "Score recordings", workspace, paths="a.wav\nmissing.wav", args="--channels=each\n--csv\ntable $HOME.csv"
    )
    assert done.returncode == 3
    assert outputs(workspace)["exit-code"] == "3"
    assert (workspace / "table $HOME.csv").read_text().splitlines()[1].startswith("a.wav,1,")


@pytest.mark.parametrize(
    "ugly", ["$(touch owned)", "`touch owned`", '"; touch owned; "', "'; touch owned; '", "a\n$(touch owned)", "*"]
)
def test_inputs_are_never_shell(workspace: Path, ugly: str) -> None:
    for name in ("paths", "fail_under", "warn_under", "args"):
        done = run_step("Score recordings", workspace, **{"paths": "a.wav", name: ugly})
        assert done.returncode in (0, 2, 3), done.stderr
        assert not (workspace / "owned").exists()


def test_a_hostile_name_is_scored(workspace: Path) -> None:
    assert run_step("Score recordings", workspace, paths="$(touch owned).wav").returncode == 0
    row = json.loads(Path(outputs(workspace)["jsonl"]).read_text())
    assert row["path"] == "$(touch owned).wav"


def test_wrong_use_is_told(workspace: Path) -> None:
    done = run_step("Score recordings", workspace, paths="a.wav", fail_under="g>=9")
    assert done.returncode == 2
    assert outputs(workspace)["exit-code"] == "2"


@pytest.mark.parametrize(("limit", "code"), [("1.1", 0), ("4.9", 1)])
def test_the_gitlab_job(workspace: Path, limit: str, code: int) -> None:
    script = "\n".join(JOB["script"])
    assert script.count("'g>=3.2'") == 1
    executable(workspace.parent / "temp/mtqscore/bin/pip", "exit 0")
    environment = {
        **os.environ,
        "PATH": f"{workspace.parent / 'temp/mtqscore/bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "GITHUB_ACTIONS": "",
        **JOB["variables"],
        "RECORDINGS": ".",
    }
    words = ["bash", "-e", "-o", "pipefail", "-c", script.replace("'g>=3.2'", f"'g>={limit}'")]
    done = subprocess.run(words, cwd=workspace, env=environment, capture_output=True, check=False, timeout=60)
    assert done.returncode == code, done.stderr
    for name in (*JOB["artifacts"]["paths"], JOB["artifacts"]["reports"]["junit"]):
        assert (workspace / name).stat().st_size
    failures = etree.parse(workspace / JOB["artifacts"]["reports"]["junit"]).getroot().get("failures")
    assert (failures != "0") is bool(code)
