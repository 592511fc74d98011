"""Modules that scoring may load: one of three guards against torch on the path of ``assess``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.signals import speechlike, write

HEAVY = {"torch", "torchaudio", "scipy", "pandas", "librosa", "matplotlib", "onnx", "pesq", "pystoi"}
SLOW = {"huggingface_hub", "rich", "jinja2", "pyarrow", "asyncio", "multiprocessing", "http", "pydantic"}
SLOW |= {"numpy.ma"}  # which np.unique loads
ROOT = Path(__file__).parent.parent


def loaded_after(code: str, *arguments: str, folder: Path | None = None) -> set[str]:
    """Run code in a fresh interpreter and return the modules that it loaded."""
    report = "print('\\n' + json.dumps(sorted(sys.modules)))"
    script = f"import atexit, json, sys\natexit.register(lambda: {report})\n{code}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
def test_assess_loads_nothing_of_training(tmp_path: Path, rate_hz: int) -> None:
    write(tmp_path / "a.wav", speechlike(1, rate_hz), rate_hz)
    outputs = ["--csv", "a.csv", "--json", "a.json", "--jsonl", "a.jsonl"]
    arguments = ["assess", ".", *outputs]
    loaded = loaded_after("from mtqscore.cli import main; main()", *arguments, folder=tmp_path)
    assert "onnxruntime" in loaded, "it must have scored"
    assert not loaded & HEAVY
    assert not loaded & SLOW, "slow to load, and not needed to score"
    assert ("soxr" in loaded) is (rate_hz != 16_000)


def test_a_plain_run_loads_only_what_it_uses(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", speechlike(1))
    (tmp_path / "pyproject.toml").write_text("[project.scripts]\nmtqscore = 'mtqscore.cli:main'\n")
    loaded = loaded_after("from mtqscore.cli import main; main()", "assess", "a.wav", folder=tmp_path)
    assert "mtqscore.report.table" in loaded, "it must have shown a score"
    idle = {
        "training",
        "labels",
        "simulation",
        "models.onnx_check",
        "audio.remote",
        "report.html.page",
        "analysis.compare",
    }
    assert not loaded & {"tomllib", *(f"mtqscore.{name}" for name in idle)}


def test_import_loads_nothing_heavy() -> None:
    loaded = loaded_after("import mtqscore; from mtqscore import AssessConfig, Assessment, UsageError")
    assert not loaded & (HEAVY | {"numpy", "onnxruntime", "soundfile", "soxr", "typer", "rich"})
    loaded = loaded_after("from mtqscore import assess_file, assess_array, Assessor, find_inputs")
    assert not loaded & (HEAVY | {"onnxruntime", "typer", "rich"})


@pytest.mark.parametrize("arguments", [["--help"], ["assess", "--help"], ["train", "--help"], ["simulate", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    loaded = loaded_after("from mtqscore.cli import main; main()", *arguments)
    assert not loaded & (HEAVY | {"numpy", "onnxruntime", "soundfile", "soxr"})
